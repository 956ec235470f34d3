// Outcomes of durable queues wait in the store for a producer that is slow to read them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using Outcome = wire::OutcomeRange;

constexpr uint64_t kMemory = 8 << 20;
constexpr uint64_t kResult = 30'000;
// Of the budget, that a producer's unread outcomes have in memory.
constexpr uint64_t kInMemory = kMemory / 2 / 8;

Config DurableConfig() {
  Config config;
  config.memory_limit_bytes = kMemory;
  config.default_policy.durable = true;
  return config;
}

std::string Result(uint64_t number) {
  std::string result = std::to_string(number);
  result.resize(kResult, '.');
  return result;
}

// A producer of queue "q" and a worker that ends all at once, each job with a large result.
struct Scene {
  explicit Scene(uint64_t jobs) : h(DurableConfig()), producer(&h, "p"), worker(&h, "w") {
    producer.Join();
    if (jobs > 0) producer.SubmitAccepted("q", 1, jobs);
    worker.Join();
    RunAll();
  }
  ~Scene() { h.sent.clear(); }

  void RunAll() {
    while (h.HasFrameFor("w")) {
      const wire::Delivery delivery = worker.TakeDelivery();
      wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1);
      item.clear_results();
      AppendToRun(Result(delivery.first()), item.mutable_results());
      worker.Report({item});
    }
  }
  // What a producer sees that reads until there is nothing more, each range once.
  std::vector<Outcome> ReadAll() {
    std::vector<Outcome> all;
    while (h.HasFrameFor("p")) {
      const wire::Outcomes outcomes = producer.TakeOutcomes();
      for (const Outcome& outcome : outcomes.ranges()) all.push_back(outcome);
      producer.Ack("q", outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size()));
    }
    return all;
  }

  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

void ExpectEach(const std::vector<Outcome>& outcomes, uint64_t first, uint64_t jobs) {
  std::map<uint64_t, std::string> results;
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.kind(), Outcome::COMPLETED);
    EXPECT_EQ(outcome.results().block().size(), outcome.count() * kResult);
    for (uint64_t i = 0; i < outcome.count(); ++i) {
      const std::string result = outcome.results().block().substr(i * kResult, kResult);
      EXPECT_TRUE(results.emplace(outcome.first() + i, result).second);
    }
  }
  EXPECT_EQ(results.size(), jobs);
  for (uint64_t number = first; number < first + jobs; ++number) {
    EXPECT_EQ(results[number], Result(number)) << number;
  }
}

TEST(StoredOutcomesTest, JobsGoOnWhileNobodyReads) {
  Scene s(100);
  EXPECT_EQ(s.h.ledger("q").completed, 100u);
  EXPECT_EQ(s.h.counter("producers_stopped"), 0u);
  EXPECT_LT(s.h.queue("q").outcome_bytes, kInMemory + 100 * kStoredOutcomeBytes);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 100u);
  ExpectEach(s.ReadAll(), 1, 100);
  EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
  EXPECT_TRUE(s.h.Rows(record::Record::kOutcome).empty());
}

TEST(StoredOutcomesTest, ABriskReaderNeverWaitsForTheStore) {
  Scene s(1);
  s.producer.SubmitAccepted("q", 2, 100);
  std::vector<Outcome> all = s.ReadAll();
  while (s.h.HasFrameFor("w")) {
    wire::ReportItem item =
        WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1);
    item.clear_results();
    AppendToRun(Result(1), item.mutable_results());
    s.worker.Report({item});
    s.ReadAll();
  }
  EXPECT_EQ(s.h.ledger("q").completed, 101u);
  EXPECT_EQ(s.h.counter("outcomes_stored"), 0u);
}

TEST(StoredOutcomesTest, TheyAreAskedForAWindowAheadAndNoMore) {
  Scene s(60);
  s.h.loads_at_once = false;
  uint64_t most = 0;
  std::vector<Outcome> all;
  while (s.h.HasFrameFor("p") || !s.h.loads.empty()) {
    most = std::max(most, s.h.loads.size() * kResult);
    s.h.Load();
    if (!s.h.HasFrameFor("p")) continue;
    for (const Outcome& outcome : s.ReadAll()) all.push_back(outcome);
  }
  ExpectEach(all, 1, 60);
  EXPECT_LE(most, 2 * s.h.broker.config().window_bytes());
  EXPECT_GE(most, s.h.broker.config().window_bytes());
}

TEST(StoredOutcomesTest, WhatIsLargerThanAWindowComesAlone) {
  Scene s(0);
  s.producer.SubmitAccepted("q", 1, 5);
  while (s.h.HasFrameFor("w")) {
    wire::ReportItem item =
        WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1);
    item.clear_results();
    AppendToRun(std::string(kInMemory + 1, 'x'), item.mutable_results());
    s.worker.Report({item});
  }
  EXPECT_EQ(s.h.ledger("q").completed, 5u);
  EXPECT_EQ(s.ReadAll().size(), 5u);
}

TEST(StoredOutcomesTest, OneThatIsNotDurableIsNotAskedFor) {
  Scene s(30);
  s.ReadAll();
  s.producer.SubmitAccepted("q", 31, 1);
  s.h.durable_at_once = false;
  const wire::Delivery delivery = s.worker.TakeDelivery();
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1);
  item.clear_results();
  AppendToRun(std::string(kInMemory + 1, 'x'), item.mutable_results());
  s.h.Complete(s.worker.ReportMessage({item}));
  EXPECT_TRUE(s.h.loads.empty());
  EXPECT_GT(s.h.broker.used_bytes(), kInMemory);  // until it is written
  s.h.loads_at_once = false;
  s.h.Step({Durable{s.h.broker.last_commit()}});
  ASSERT_EQ(s.h.loads.size(), 1u);
  EXPECT_EQ(s.h.loads[0].kind, record::Record::kOutcome);
  s.h.Load();
  EXPECT_EQ(s.ReadAll().size(), 1u);
}

TEST(StoredOutcomesTest, ARestartLeavesThemInTheStore) {
  Scene s(60);
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  EXPECT_LT(h.queue("q").outcome_bytes, kInMemory + 60 * kStoredOutcomeBytes);
  EXPECT_EQ(h.queue("q").outcome_jobs, 60u);
  ProducerPeer producer(&h, "p");
  producer.broker_start = s.producer.broker_start;
  producer.Join({{"q", 61, 1}});
  uint64_t jobs = 0;
  while (h.HasFrameFor("p")) {
    const wire::Outcomes outcomes = producer.TakeOutcomes();
    for (const Outcome& outcome : outcomes.ranges()) jobs += outcome.count();
    producer.Ack("q", outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size()));
  }
  EXPECT_EQ(jobs, 60u);
  EXPECT_TRUE(h.Rows(record::Record::kOutcome).empty());
}

TEST(StoredOutcomesTest, WhatTheProducerHasIsNotSentAgain) {
  Scene s(60);
  s.h.sent.clear();
  s.producer.Join({{"q", 61, 41}});
  std::vector<Outcome> left = s.ReadAll();
  ExpectEach(left, 41, 20);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 0u);
  EXPECT_TRUE(s.h.Rows(record::Record::kOutcome).empty());
}

TEST(StoredOutcomesTest, AnAnswerThatNobodyWaitsForChangesNothing) {
  for (const bool leaves : {false, true}) {
    Scene s(60);
    s.h.loads_at_once = false;
    while (s.h.loads.empty()) {
      const wire::Outcomes outcomes = s.producer.TakeOutcomes();
      s.producer.Ack("q", outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size()));
    }
    s.h.sent.clear();
    if (leaves) {
      s.producer.Goodbye();
    } else {
      s.producer.Join({{"q", 61, 61}});
    }
    EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
    s.h.Load();
    EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
    EXPECT_FALSE(s.h.HasFrameFor("p"));
  }
}

TEST(StoredOutcomesTest, OneThatCannotBeReadIsToldAsThat) {
  Scene s(100);
  s.h.damaged.insert(90);
  std::vector<Outcome> lost;
  uint64_t jobs = 0;
  for (const Outcome& outcome : s.ReadAll()) {
    jobs += outcome.count();
    if (outcome.kind() == Outcome::DEAD) lost.push_back(outcome);
  }
  EXPECT_EQ(jobs, 100u);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].first(), 90u);
  EXPECT_EQ(lost[0].status().code(), static_cast<int>(absl::StatusCode::kDataLoss));
  EXPECT_EQ(lost[0].status().message(),
            "it has ended, but what came of it cannot be read from the store: it is damaged");
  EXPECT_TRUE(s.h.HasLog("outcomes_lost"));
  EXPECT_TRUE(s.h.Rows(record::Record::kOutcome).empty());
}

TEST(StoredOutcomesTest, AllStreamsGetTheirTurns) {
  Scene s(0);
  for (const char* queue : {"a", "b"}) s.producer.SubmitAccepted(queue, 1, 50);
  WorkerPeer other(&s.h, "other", {.queues = {"a", "b"}});
  other.Join();
  while (s.h.HasFrameFor("other")) {
    wire::ReportItem item =
        WorkerPeer::Item(wire::ReportItem::COMPLETED, other.TakeDelivery().token(), 0, 1);
    item.clear_results();
    AppendToRun(Result(1), item.mutable_results());
    other.Report({item});
  }
  std::string turns;
  while (s.h.HasFrameFor("p")) {
    const wire::Outcomes outcomes = s.producer.TakeOutcomes();
    turns += outcomes.queue();
    s.producer.Ack(outcomes.queue(),
                   outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size()));
  }
  EXPECT_EQ(s.h.queue("a").outcome_jobs + s.h.queue("b").outcome_jobs, 0u);
  const size_t half = turns.size() / 2;
  EXPECT_NE(turns.substr(half).find('a'), std::string::npos) << turns;
  EXPECT_NE(turns.substr(half).find('b'), std::string::npos) << turns;
}

}  // namespace
}  // namespace whippletree::core
