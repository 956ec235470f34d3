// Rows that cannot be, by themselves or beside the others: a start says so and changes nothing.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "broker/core/broker.h"
#include "broker/store/keys.h"

namespace whippletree::core {
namespace {

using RowTexts = std::vector<std::string>;

// Four jobs wait, two have completed; another producer has a stream in another queue.
const RowTexts kSound = {
    R"(queue { name: "q" accepted: 6 completed: 2 })",
    R"(queue { name: "other" accepted: 1 })",
    R"(producer { name: "p" })",
    R"(stream { number: 1 producer: "p" queue: "q" next: 7 })",
    R"(stream { number: 2 producer: "p" queue: "other" next: 2 })",
    R"(run { stream: 1 first: 1 jobs { sizes: [1, 1] block: "ab" } options { key: "k" } })",
    R"(run { stream: 1 first: 5 jobs { sizes: [1, 1] block: "ef" } })",
    R"(run { stream: 2 first: 1 jobs { sizes: 1 block: "x" } })",
};

// Those with the key of a row before take its place.
absl::Status Start(const RowTexts& more) {
  std::map<std::string, record::Record> rows;
  for (const RowTexts& texts : {kSound, more}) {
    for (const std::string& text : texts) {
      record::Record row;
      EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &row)) << text;
      rows[KeyOf(row).value()] = row;
    }
  }
  Config config;
  config.epoch = 2;
  config.store_id = "store";
  config.last_commit = 9;
  config.default_policy.durable = true;
  Broker broker(config);
  for (const auto& [key, row] : rows) {
    if (absl::Status status = broker.Restore(row); !status.ok()) return status;
  }
  Effects effects;
  const Instant now{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  absl::Status status = broker.FinishRestore(now, &effects);
  if (status.ok()) broker.CheckInvariants();
  return status;
}

struct Damage {
  std::string name;
  RowTexts rows;
};

class DamagedRowsTest : public ::testing::TestWithParam<Damage> {};

TEST_P(DamagedRowsTest, IsSaidAtTheStart) {
  EXPECT_EQ(Start(GetParam().rows).code(), absl::StatusCode::kDataLoss);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, DamagedRowsTest,
    ::testing::ValuesIn(std::vector<Damage>{
        {"QueueWithANameThatNoQueueHas", {R"(queue { name: "no name" })"}},
        {"QueueThatCountsBeyondAllNumbers",
         {R"(queue { name: "z" accepted: 9 completed: 18446744073709551615 dead: 10 })"}},
        {"ProducerWithoutAName", {R"(producer { named: true })"}},
        {"StreamOfNumberZero", {R"(stream { queue: "q" next: 1 })"}},
        {"StreamOfTheLastNumberThereIs",
         {R"(stream { number: 18446744073709551615 queue: "q" next: 1 })"}},
        {"StreamThatAcceptedBeyondAllNumbers",
         {R"(stream { number: 3 queue: "q" next: 18446744073709551615 })"}},
        {"TwoStreamsOfOneProducerAndQueue",
         {R"(stream { number: 3 producer: "p" queue: "q" next: 1 })"}},
        {"RunOfJobZero", {R"(run { stream: 1 first: 0 jobs { sizes: 1 block: "a" } })"}},
        {"RunAroundTheEndOfTheNumbers",
         {R"(run { stream: 1 first: 18446744073709551615 jobs { sizes: [1, 1] block: "ab" } })"}},
        {"RunThatLacksBytes", {R"(run { stream: 1 first: 3 jobs { sizes: 2 block: "a" } })"}},
        {"JobInTwoRuns", {R"(run { stream: 1 first: 2 jobs { sizes: 1 block: "a" } })"}},
        {"RunAllOfWhichHasEnded", {R"(ended { stream: 1 first: 5 count: 2 })"}},
        {"EndedJobOfNoRun", {R"(ended { stream: 1 first: 3 count: 1 })"}},
        {"EndedJobsAroundTheEndOfTheNumbers",
         {R"(ended { stream: 1 first: 2 count: 18446744073709551615 })"}},
        {"ReturnedJobOfNoRun", {R"(returned { stream: 1 first: 3 count: 1 })"}},
        {"MoreReturnedJobsThanASliceHas", {R"(returned { stream: 1 first: 1 count: 4294967297 })"}},
        {"JobReturnedTwice",
         {R"(returned { stream: 1 first: 1 count: 2 })",
          R"(returned { stream: 1 first: 2 count: 1 })"}},
        {"JobsReturnedTogetherThatDiffer",
         {R"(run { stream: 1 first: 3 jobs { sizes: [1, 1] block: "cd" } })",
          R"(queue { name: "q" accepted: 8 completed: 2 })",
          R"(returned { stream: 1 first: 2 count: 2 })"}},
        {"LeaseOnMoreJobsThanADeliveryHas",
         {R"(lease { token: 1 worker: "w" parts { stream: 1 first: 1 count: 4000000000 } })"}},
        {"LeaseOfALaterStart",
         {R"(lease { token: 90000000000 worker: "w" parts { stream: 1 first: 1 count: 1 } })"}},
        {"LeaseOnTwoRunsThatIsNoBatch",
         {R"(lease { token: 1 worker: "w" parts { stream: 1 first: 1 count: 1 }
                     parts { stream: 1 first: 5 count: 1 } })"}},
        {"LeaseOnJobsOfTwoQueues",
         {R"(lease { token: 1 worker: "w" batch: true parts { stream: 1 first: 1 count: 1 }
                     parts { stream: 2 first: 1 count: 1 } })"}},
        {"LeaseOnJobsThatDiffer",
         {R"(run { stream: 1 first: 3 jobs { sizes: [1, 1] block: "cd" } })",
          R"(queue { name: "q" accepted: 8 completed: 2 })",
          R"(lease { token: 1 worker: "w" parts { stream: 1 first: 2 count: 2 } })"}},
        {"LeaseOfAProducer",
         {R"(lease { token: 1 worker: "p" parts { stream: 1 first: 1 count: 1 } })"}},
        {"OutcomeOfAJobWithout",
         {R"(outcome { stream: 1 outcome { kind: DEAD first: 1 count: 1 } })"}},
        {"OutcomeOfAJobThatIsNotThere",
         {R"(outcome { stream: 1 outcome { kind: DEAD first: 7 count: 1 } })"}},
        {"OutcomeOfNoKind", {R"(outcome { stream: 1 outcome { first: 3 count: 1 } })"}},
        {"OutcomeWithoutItsResults",
         {R"(outcome { stream: 1 outcome { kind: COMPLETED first: 3 count: 2
                       results { sizes: 1 block: "r" } } })"}},
        {"TwoOutcomesOfOneJob",
         {R"(outcome { stream: 1 outcome { kind: DEAD first: 3 count: 2 } })",
          R"(outcome { stream: 1 outcome { kind: DEAD first: 4 count: 1 } })"}},
        {"GroupZero", {R"(group { producer: "p" })"}},
        {"GroupThatEndedBeforeItsJobs",
         {R"(run { stream: 1 first: 3 jobs { sizes: [1, 1] block: "cd" } options { group: 7 } })",
          R"(queue { name: "q" accepted: 8 completed: 2 })",
          R"(group { producer: "p" group: 7 closed: true ended: true })"}},
        {"NamesOfAStreamBeyondAllNumbers",
         {R"(job_names { stream: 18446744073709551615 first: 1 queue: "q" names: "n" })"}},
        {"AttemptsOfAJobThatHasEnded",
         {R"(attempts { stream: 1 first: 3 count: 1 attempts { worker: "w" } })"}},
        {"TwoRowsOfAttemptsOfOneJob",
         {R"(attempts { stream: 1 first: 1 count: 2 attempts { worker: "w" } })",
          R"(attempts { stream: 1 first: 2 count: 1 attempts { worker: "w" } })"}},
        {"DeadJobOfAStreamBeyondAllNumbers",
         {R"(dead { stream: 18446744073709551615 number: 1 queue: "q" order: 1 })"}},
        {"DeadJobAfterAllOthers",
         {R"(dead { stream: 1 number: 3 queue: "q" order: 18446744073709551615 })"}},
    }),
    [](const auto& damage) { return damage.param.name; });

TEST(SoundRowsTest, AreTaken) {
  EXPECT_TRUE(Start({}).ok()) << Start({});
  EXPECT_TRUE(
      Start({R"(lease { token: 1 worker: "w" parts { stream: 1 first: 1 count: 2 } })"}).ok());
  EXPECT_TRUE(Start({R"(returned { stream: 1 first: 5 count: 2 attempts: 1 })"}).ok());
  EXPECT_TRUE(Start({R"(outcome { stream: 1 outcome { kind: DEAD first: 3 count: 2 } })"}).ok());
}

}  // namespace
}  // namespace whippletree::core
