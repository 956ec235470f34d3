// Job names: a job that is submitted again under its name is not run again, whoever submits it.
#include "broker/core/job_names.h"

#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using std::chrono::hours;
using Range = wire::OutcomeRange;

constexpr WallTime kNow{hours(1)};

RunData Names(const std::vector<std::string>& names) {
  RunData run;
  for (const std::string& name : names) run.Append(name);
  return run;
}

TEST(JobNamesClassTest, FindsWhatCountsStill) {
  JobNames names;
  names.Keep(3, 10, kNow, Names({"a", "", "b"}));
  EXPECT_EQ(names.count(), 2u);
  ASSERT_TRUE(names.Find("b", kNow - seconds(1)));
  EXPECT_EQ(names.Find("b", kNow - seconds(1))->stream, 3u);
  EXPECT_EQ(names.Find("b", kNow - seconds(1))->number, 12u);
  EXPECT_FALSE(names.Find("b", kNow));
  EXPECT_FALSE(names.Find("c", WallTime{}));
}

TEST(JobNamesClassTest, TheLaterOneCountsInWhateverOrderTheyCome) {
  for (const bool later_first : {false, true}) {
    JobNames names;
    if (later_first) names.Keep(1, 1, kNow + seconds(5), Names({"a"}));
    names.Keep(2, 1, kNow, Names({"a", "b"}));
    if (!later_first) names.Keep(1, 1, kNow + seconds(5), Names({"a"}));
    EXPECT_EQ(names.Find("a", kNow)->stream, 1u);
    EXPECT_EQ(names.oldest()->stream, 2u);
    names.DropOldest();
    EXPECT_EQ(names.Find("a", kNow)->stream, 1u);
    EXPECT_FALSE(names.Find("b", WallTime{}));
    names.DropOldest();
    EXPECT_EQ(names.bytes(), 0u);
    EXPECT_EQ(names.count(), 0u);
    EXPECT_EQ(names.oldest(), nullptr);
  }
}

struct Scene {
  explicit Scene(bool durable = false, uint64_t memory = 1ull << 30)
      : h(MakeConfig(durable, memory)), producer(&h, "p") {
    producer.Join();
  }
  static Config MakeConfig(bool durable, uint64_t memory) {
    Config config;
    config.memory_limit_bytes = memory;
    config.default_policy.durable = durable;
    config.default_policy.names_window = hours(24);
    return config;
  }
  // Jobs with these names as their payloads.
  static wire::Envelope Message(const ProducerPeer& from, uint64_t first,
                                const std::vector<std::string>& names) {
    wire::Envelope message = from.SubmitMessage("q", first, names);
    for (const std::string& name : names) message.mutable_submit()->add_names(name);
    return message;
  }
  void Submit(uint64_t first, const std::vector<std::string>& names) {
    h.Submit(Message(producer, first, names));
    EXPECT_EQ(producer.TakeUpdate().next(), first + names.size());
  }
  void PassTime(Duration d) {
    h.now.wall += d;
    h.Run(seconds(1));
  }
  BrokerHarness h;
  ProducerPeer producer;
};

TEST(JobNamesTest, AJobIsNotAcceptedAgainUnderItsName) {
  Scene s;
  s.Submit(1, {"a", "b"});
  ProducerPeer other(&s.h, "other");
  other.Join();
  s.h.Submit(Scene::Message(other, 1, {"x", "b", "y"}));
  EXPECT_EQ(other.TakeUpdate().next(), 4u);
  const Range outcome = other.TakeOutcome();
  EXPECT_EQ(outcome.kind(), Range::REJECTED);
  EXPECT_EQ(outcome.first(), 2u);
  EXPECT_EQ(outcome.count(), 1u);
  EXPECT_EQ(FromWire(outcome.status()),
            absl::AlreadyExistsError("job 1-2 has the name \"b\" already"));
  EXPECT_EQ(s.h.ledger("q").accepted, 4u);
  EXPECT_EQ(s.h.counter("repeated_names"), 1u);
  EXPECT_EQ(s.h.counter("rejected_jobs"), 0u);
}

TEST(JobNamesTest, TwoInOneRunAreOneJob) {
  Scene s;
  s.Submit(1, {"a", "a", "b", "a", ""});
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  ASSERT_EQ(outcomes.ranges_size(), 2);
  EXPECT_EQ(outcomes.ranges(0).first(), 2u);
  EXPECT_EQ(outcomes.ranges(1).first(), 4u);
  EXPECT_EQ(outcomes.ranges(1).status().message(), "job 1-1 has the name \"a\" already");
  EXPECT_EQ(s.h.ledger("q").accepted, 3u);
}

TEST(JobNamesTest, ARunThatIsSentAgainIsTheSameJobs) {
  Scene s;
  s.Submit(1, {"a", "b"});
  s.h.Submit(Scene::Message(s.producer, 1, {"a", "b", "c"}));
  EXPECT_EQ(s.producer.TakeUpdate().next(), 4u);
  EXPECT_EQ(s.h.ledger("q").accepted, 3u);
}

TEST(JobNamesTest, JobsWithoutANameAreFree) {
  Scene s;
  s.Submit(1, {"", "", ""});
  EXPECT_EQ(s.h.ledger("q").accepted, 3u);
  EXPECT_EQ(s.h.queue("q").names.bytes(), 0u);
}

TEST(JobNamesTest, EachQueueHasItsOwn) {
  Scene s;
  s.Submit(1, {"a"});
  wire::Envelope message = s.producer.SubmitMessage("other", 1, {"payload"});
  message.mutable_submit()->add_names("a");
  s.h.Submit(std::move(message));
  EXPECT_EQ(s.producer.TakeUpdate().next(), 2u);
  EXPECT_EQ(s.h.ledger("other").accepted, 1u);
}

TEST(JobNamesTest, TheNameOfAJobThatCompletedStays) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.Submit(1, {"a"});
  worker.Completed(worker.TakeDelivery().token());
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.Submit(2, {"a"});
  EXPECT_EQ(s.producer.TakeOutcome().kind(), Range::REJECTED);
}

// Whoever submits it again takes it for done otherwise.
TEST(JobNamesTest, ADeadJobIsNoSuccessOfTheNextOneWithItsName) {
  Scene s(true);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.Submit(1, {"a"});
  worker.Failed(worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), Range::DEAD);
  const std::string why =
      "job 1-1 has the name \"a\" already, and is dead: requeue or drop it (whippletree-broker "
      "dead), or use another name";
  s.Submit(2, {"a"});
  EXPECT_EQ(FromWire(s.producer.TakeOutcome().status()), absl::FailedPreconditionError(why));
  // A restart does not change that.
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  ProducerPeer other(&h, "other");
  other.Join();
  h.Submit(Scene::Message(other, 1, {"a"}));
  other.TakeUpdate();
  EXPECT_EQ(other.TakeOutcome().status().message(), why);
}

TEST(JobNamesTest, ADroppedJobGivesItsNameFree) {
  Scene s(true);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.Submit(1, {"a"});
  worker.Failed(worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  s.producer.TakeOutcome();
  wire::AdminRequest drop;
  drop.mutable_dead()->set_action(wire::DeadRequest::DROP);
  drop.mutable_dead()->set_queue("q");
  EXPECT_EQ(s.h.Ask(std::move(drop)).dead().jobs_size(), 1);
  s.Submit(2, {"a"});
  EXPECT_EQ(s.h.ledger("q").accepted, 2u);
  worker.TakeDelivery();
}

TEST(JobNamesTest, ARequeuedJobStandsForTheDeadOne) {
  Scene s(true);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.Submit(1, {"a"});
  worker.Failed(worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  s.producer.TakeOutcome();
  wire::AdminRequest requeue;
  requeue.mutable_dead()->set_action(wire::DeadRequest::REQUEUE);
  requeue.mutable_dead()->set_queue("q");
  EXPECT_EQ(s.h.Ask(std::move(requeue)).dead().jobs_size(), 1);
  worker.Completed(worker.TakeDelivery().token());
  s.Submit(2, {"a"});
  EXPECT_EQ(FromWire(s.producer.TakeOutcome().status()),
            absl::AlreadyExistsError("job 2-1 has the name \"a\" already"));
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  EXPECT_EQ(h.queue("q").names.count(), 1u);
  EXPECT_EQ(h.queue("q").names.NameOf(2, 1), "a");
}

TEST(JobNamesTest, ACancelledJobGivesItsNameFree) {
  Scene s(true);
  s.Submit(1, {"a", "b", "c"});
  s.producer.Cancel("q", 1, 2);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), Range::CANCELLED);
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  for (BrokerHarness* each : {&s.h, &h}) {
    ProducerPeer other(each, "other");
    other.Join();
    each->Submit(Scene::Message(other, 1, {"a", "b", "c"}));
    EXPECT_EQ(other.TakeUpdate().next(), 4u);
    const Range outcome = other.TakeOutcome();
    EXPECT_EQ(outcome.first(), 3u);
    EXPECT_EQ(outcome.count(), 1u);
  }
}

TEST(JobNamesTest, AJobThatExpiresUnstartedGivesItsNameFree) {
  Scene s;
  wire::JobOptions options;
  options.set_expires_at_ms(
      static_cast<uint64_t>(ToMilliseconds((s.h.now.wall + seconds(5)).time_since_epoch())));
  options.set_max_attempts(5);
  wire::Envelope message = s.producer.SubmitMessage("q", 1, {"one", "two"}, options);
  for (const char* name : {"tried", "waits"}) message.mutable_submit()->add_names(name);
  s.h.Submit(std::move(message));
  s.producer.TakeUpdate();
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  worker.Failed(worker.TakeDelivery().token(), absl::StatusCode::kInternal);
  worker.Goodbye();
  s.h.sent.clear();
  s.PassTime(seconds(5));
  for (int expired = 0; expired < 2;) {
    const wire::Outcomes outcomes = s.producer.TakeOutcomes();
    for (const Range& range : outcomes.ranges()) {
      EXPECT_EQ(range.kind(), Range::EXPIRED);
      expired += static_cast<int>(range.count());
    }
  }
  s.Submit(3, {"waits", "tried"});
  EXPECT_EQ(s.h.ledger("q").accepted, 3u);
  const Range outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.first(), 4u);
  EXPECT_EQ(outcome.status().message(),
            "job 1-1 has the name \"tried\" already, and expired after a failed attempt");
}

TEST(JobNamesTest, AfterTheWindowTheNameIsFree) {
  Scene s(true);
  s.Submit(1, {"a"});
  s.PassTime(hours(24) - seconds(2));
  s.Submit(2, {"a"});
  EXPECT_EQ(s.producer.TakeOutcome().kind(), Range::REJECTED);
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.h.Rows(record::Record::kJobNames).size(), 1u);
  s.PassTime(seconds(1));
  EXPECT_EQ(s.h.queue("q").names.count(), 0u);
  EXPECT_EQ(s.h.Rows(record::Record::kJobNames).size(), 0u);
  s.Submit(3, {"a"});
  EXPECT_EQ(s.h.ledger("q").accepted, 2u);
}

TEST(JobNamesTest, TheWindowOfTheMomentCounts) {
  Scene s;
  s.Submit(1, {"a"});
  Policies policies;
  policies.defaults.names_window = seconds(1);
  s.h.Step({policies});
  s.PassTime(seconds(1));
  s.Submit(2, {"a"});
  policies.defaults.names_window = Duration(0);
  s.h.Step({policies});
  s.Submit(3, {"a", "a"});  // not looked at
  EXPECT_EQ(s.h.ledger("q").accepted, 4u);
  EXPECT_EQ(s.h.queue("q").names.bytes(), 0u);
}

TEST(JobNamesTest, NamesOutliveTheBrokerWithTheirWindow) {
  Scene s(true);
  s.Submit(1, {"a", "", "b"});
  ASSERT_EQ(s.h.Rows(record::Record::kJobNames).size(), 1u);
  Instant later = s.h.now;
  later.mono += hours(1);
  later.wall += hours(23);
  BrokerHarness h(s.h.NextConfig(), s.h.rows, later);
  ProducerPeer other(&h, "other");
  other.Join();
  h.Submit(Scene::Message(other, 1, {"b", "c"}));
  EXPECT_EQ(other.TakeUpdate().next(), 3u);
  EXPECT_EQ(other.TakeOutcome().status().message(), "job 1-3 has the name \"b\" already");
  other.Ack("q", 2);
  h.now.wall += hours(1);
  h.Run(seconds(1));
  h.Submit(Scene::Message(other, 3, {"b"}));
  EXPECT_EQ(other.TakeUpdate().next(), 4u);
  EXPECT_EQ(h.ledger("q").accepted, 5u);
}

// Else a name would be told as that of another job.
TEST(JobNamesTest, TheStreamOfANameIsNotGivenAway) {
  Scene s(true);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.Submit(1, {"a"});
  worker.Completed(worker.TakeDelivery().token());
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.producer.Goodbye();
  ASSERT_EQ(s.h.Rows(record::Record::kStream).size(), 0u);
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  ProducerPeer other(&h, "other");
  other.Join();
  h.Submit(Scene::Message(other, 1, {"b"}));
  EXPECT_EQ(other.TakeUpdate().stream(), 2u);
}

TEST(JobNamesTest, ABadNameIsRejected) {
  Scene s;
  s.Submit(1, {std::string(257, 'n'), "\xff", std::string(256, 'n')});
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  ASSERT_EQ(outcomes.ranges_size(), 2);
  EXPECT_EQ(outcomes.ranges(1).status().message(),
            "a job's name is UTF-8 text of at most 256 bytes");
  EXPECT_EQ(s.h.counter("rejected_jobs"), 2u);
  EXPECT_EQ(s.h.ledger("q").accepted, 1u);
}

TEST(JobNamesTest, NamesThatDoNotFitTheirRunAreNoMessage) {
  Scene s;
  wire::Envelope message = s.producer.SubmitMessage("q", 1, {"one", "two"});
  message.mutable_submit()->add_names("a");
  s.h.Submit(std::move(message));
  EXPECT_EQ(s.h.counter("rejected_frames"), 1u);
}

TEST(JobNamesTest, ARepeatedJobIsARejectedMemberOfItsGroup) {
  Scene s;
  s.Submit(1, {"a"});
  wire::JobOptions options;
  options.set_group(5);
  wire::Envelope message = s.producer.SubmitMessage("q", 2, {"payload"}, options);
  message.mutable_submit()->add_names("a");
  s.h.Submit(std::move(message));
  s.producer.TakeUpdate();
  EXPECT_EQ(s.producer.TakeOutcome().group(), 5u);
}

// Names have a share of the memory; beyond it producers of named jobs wait, others go on.
TEST(JobNamesTest, TheirMemoryIsBounded) {
  Scene s(false, 1 << 20);
  uint64_t next = 1;
  wire::StreamUpdate update;
  while (next < 100'000) {
    s.h.Submit(Scene::Message(s.producer, next, {"name " + std::to_string(next)}));
    update = s.producer.TakeUpdate();
    if (update.next() == next) break;
    ++next;
  }
  EXPECT_EQ(update.state(), wire::StreamUpdate::FULL);
  EXPECT_EQ(update.status().message().rfind("the broker's memory for job names is full", 0), 0u);
  EXPECT_LT(s.h.queue("q").names.bytes(), s.h.broker.config().budget_bytes() / 3);
  ProducerPeer other(&s.h, "other");
  other.Join();
  other.SubmitAccepted("q", 1, 10);
  s.h.Run(seconds(5));
  s.h.ExpectNothingLeft();  // it is not woken in vain
  s.h.now.wall += hours(24);
  s.h.Run(seconds(1));
  EXPECT_EQ(s.h.queue("q").names.bytes(), 0u);
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::OPEN);
}

}  // namespace
}  // namespace whippletree::core
