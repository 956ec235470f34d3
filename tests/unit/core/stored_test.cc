// Payloads that only the store has: order, memory, and what becomes of jobs that wait there.
#include <algorithm>
#include <string>
#include <vector>

#include "broker/core/limits.h"
#include "tests/unit/core/stored_scene.h"

namespace whippletree::core {
namespace {

TEST(StoredTest, WhatIsBeyondTheShareLeavesTheMemory) {
  StoredScene s;
  s.Submit(1, 1);
  s.Submit(2, 1);
  EXPECT_EQ(s.h.queue("q").bytes, 16u);
  EXPECT_EQ(s.h.queue("q").jobs.stored_jobs(), 0u);
  const uint64_t used = s.h.broker.used_bytes();
  for (uint64_t first = 3; first <= 99; first += 2) s.Submit(first, 2);
  EXPECT_EQ(s.h.queue("q").bytes, 16u);
  EXPECT_EQ(s.h.queue("q").jobs.stored_jobs(), 98u);
  EXPECT_EQ(s.h.queue("q").jobs.stored_bytes(), 98u * 8);
  // Two records more, and rows.
  EXPECT_LE(s.h.broker.used_bytes(), used + 2 * kRunOverheadBytes + 49 * kRowOverheadBytes);
  const wire::QueueStatus status = s.h.broker.Status().queues(0);
  EXPECT_EQ(status.waiting(), 100u);
  EXPECT_EQ(status.waiting_bytes(), 800u);
  EXPECT_EQ(status.stored_jobs(), 98u);
  EXPECT_EQ(status.stored_bytes(), 784u);
}

TEST(StoredTest, JobsComeInOrderAcrossTheBorder) {
  StoredScene s;
  for (uint64_t first = 1; first <= 60; first += 3) s.Submit(first, 3);
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 1, 60));
  EXPECT_EQ(s.h.queue("q").jobs.stored_jobs(), 0u);
  EXPECT_EQ(s.h.queue("q").bytes, 0u);
  EXPECT_EQ(s.h.queue("q").rows, 0u);
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, JobsOfSeveralProducersKeepTheOrderOfTheirAcceptance) {
  StoredScene s;
  ProducerPeer other(&s.h, "other");
  other.Join();
  std::vector<std::string> expected;
  uint64_t next[] = {1, 1};
  for (int i = 0; i < 20; ++i) {
    const bool mine = i % 3 != 0;
    const uint64_t count = 1 + static_cast<uint64_t>(i) % 4;
    uint64_t& first = next[mine ? 0 : 1];
    // Streams are numbered as they come.
    const uint64_t stream = mine ? 2 : 1;
    s.SubmitAs(mine ? &s.producer : &other, stream, first, count);
    for (const std::string& name : Names(stream, first, count)) expected.push_back(name);
    first += count;
  }
  WorkerPeer worker(&s.h, "w", {.slots = 3});
  worker.Join();
  EXPECT_EQ(RunAll(&s.h, &worker), expected);
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, NewJobsDoNotOvertakeStoredOnes) {
  StoredScene s;
  s.h.loads_at_once = false;
  for (uint64_t first = 1; first <= 9; first += 3) s.Submit(first, 3);
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  // There is memory; what is next is not there yet.
  EXPECT_FALSE(s.h.HasFrameFor("w"));
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "loading");
  s.Submit(10, 1);
  EXPECT_FALSE(s.h.HasFrameFor("w"));
  s.h.loads_at_once = true;
  s.h.Load();
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 1, 10));
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "");
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, NothingIsAskedForBeforeItIsDurable) {
  StoredScene s;
  s.h.durable_at_once = false;
  s.Submit(1, 3);
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  s.h.Run(seconds(3));
  EXPECT_TRUE(s.h.loads.empty());
  EXPECT_EQ(s.h.counter("rows_loaded"), 0u);
  s.h.Step({Durable{s.h.broker.last_commit()}});
  EXPECT_EQ(s.h.counter("rows_loaded"), 1u);
  s.h.Step({Durable{s.h.broker.last_commit()}});
  s.producer.TakeUpdate();
  EXPECT_EQ(NamesOf(worker.TakeDeliveries()), Names(1, 1, 3));
}

TEST(StoredTest, AStoredJobIsCancelledWithoutALoad) {
  StoredScene s;
  s.h.loads_at_once = false;
  s.Submit(1, 2);
  s.Submit(3, 4);
  s.Submit(7, 4);
  s.h.loads.clear();
  const uint64_t rows = s.h.Rows(record::Record::kRun).size();
  s.producer.Cancel("q", 7, 4);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::CANCELLED);
  EXPECT_TRUE(s.h.loads.empty());
  EXPECT_EQ(s.h.ledger("q").cancelled, 4u);
  EXPECT_EQ(s.h.queue("q").jobs.waiting(), 6u);
  EXPECT_EQ(s.h.Rows(record::Record::kRun).size(), rows - 1);
}

TEST(StoredTest, JobsThatAreCancelledWhileTheyAreReadDoNotStart) {
  StoredScene s;
  s.h.loads_at_once = false;
  s.Submit(1, 6);
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  ASSERT_EQ(s.h.loads.size(), 1u);
  s.producer.Cancel("q", 2, 2);
  s.producer.TakeOutcome();
  s.h.Load();
  EXPECT_EQ(NamesOf(worker.TakeDeliveries()),
            (std::vector<std::string>{"1-1", "1-4", "1-5", "1-6"}));
}

TEST(StoredTest, AnAnswerForARowWhoseJobsAreAllCancelledChangesNothing) {
  StoredScene s;
  s.h.loads_at_once = false;
  s.Submit(1, 6);
  s.Submit(7, 6);
  ASSERT_EQ(s.h.loads.size(), 1u);
  s.producer.Cancel("q", 1, 6);
  s.producer.TakeOutcome();
  s.h.loads_at_once = true;
  s.h.Load();  // NOT_FOUND
  EXPECT_EQ(s.h.counter("jobs_lost"), 0u);
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 7, 6));
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, StoredJobsExpire) {
  StoredScene s;
  wire::JobOptions options;
  options.set_expires_at_ms(
      static_cast<uint64_t>(ToMilliseconds((s.h.now.wall + seconds(10)).time_since_epoch())));
  s.h.loads_at_once = false;
  s.Submit(1, 3);
  s.Submit(4, 3, options);
  Rest(&s);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::EXPIRED);
  EXPECT_EQ(s.h.ledger("q").expired, 3u);
  s.h.loads_at_once = true;
  s.h.Load();
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 1, 3));
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, StoredJobsWaitForTheirTime) {
  StoredScene s;
  wire::JobOptions options;
  options.set_not_before_ms(
      static_cast<uint64_t>(ToMilliseconds((s.h.now.wall + seconds(10)).time_since_epoch())));
  s.Submit(1, 5, options);
  s.Submit(6, 3);
  EXPECT_EQ(s.h.queue("q").jobs.scheduled(), 5u);
  EXPECT_EQ(s.h.queue("q").jobs.stored_jobs(), 8u - 3u);  // the head was read
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 6, 3));
  Rest(&s, &worker);
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 1, 5));
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, ARowThatCannotBeReadEndsItsJobsAndNoOthers) {
  StoredScene s;
  s.h.damaged.insert(4);
  for (uint64_t first = 1; first <= 7; first += 3) s.Submit(first, 3);
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  std::vector<std::string> expected = Names(1, 1, 3);
  for (const std::string& name : Names(1, 7, 3)) expected.push_back(name);
  EXPECT_EQ(RunAll(&s.h, &worker), expected);
  EXPECT_EQ(s.h.ledger("q").dead, 3u);
  EXPECT_EQ(s.h.counter("jobs_lost"), 3u);
  EXPECT_TRUE(s.h.HasLog("jobs_lost"));
  bool told = false;
  for (const Send& send : s.h.sent) {
    for (const wire::OutcomeRange& range : send.message.outcomes().ranges()) {
      if (range.kind() != wire::OutcomeRange::DEAD) continue;
      told = true;
      EXPECT_EQ(range.first(), 4u);
      EXPECT_EQ(range.status().code(), static_cast<int>(absl::StatusCode::kDataLoss));
    }
  }
  EXPECT_TRUE(told);
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, ARowThatIsNotWhatWasWrittenEndsItsJobs) {
  StoredScene s;
  s.h.loads_at_once = false;
  s.Submit(1, 3);
  ASSERT_EQ(s.h.loads.size(), 1u);
  Loaded answer = s.h.Answer(s.h.loads[0]);
  answer.row->mutable_run()->mutable_jobs()->mutable_sizes()->RemoveLast();
  s.h.Step({answer});
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(s.h.ledger("q").dead, 3u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 0u);
}

// Batches of six after a second, of which two jobs are in memory; nothing is read back by itself.
struct BatchScene : StoredScene {
  BatchScene() : StoredScene(Policy()), worker(&h, "w", {.slots = 1}) {
    h.loads_at_once = false;
    worker.Join();
  }
  static QueuePolicy Policy() {
    QueuePolicy policy;
    policy.batch.max_jobs = 6;
    policy.batch.linger = seconds(1);
    return policy;
  }
  WorkerPeer worker;
};

TEST(StoredTest, ABatchWaitsForItsJobsLongerThanItsLinger) {
  BatchScene s;
  s.Submit(1, 2);
  s.Submit(3, 2);
  s.Submit(5, 2);
  s.h.Run(seconds(3));
  EXPECT_FALSE(s.h.HasFrameFor("w"));
  s.h.loads_at_once = true;
  s.h.Load();
  const std::vector<wire::Delivery> got = s.worker.TakeDeliveries();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(NamesOf(got), Names(1, 1, 6));
}

// Found by the simulator: the batch waited until something else woke its queue.
TEST(StoredTest, ABatchDoesNotWaitForJobsThatAreCancelled) {
  BatchScene s;
  s.Submit(1, 2);
  s.Submit(3, 2);
  s.h.Run(seconds(3));
  EXPECT_FALSE(s.h.HasFrameFor("w"));
  s.producer.Cancel("q", 3, 2);
  EXPECT_EQ(NamesOf(s.worker.TakeDeliveries()), Names(1, 1, 2));
  s.h.sent.clear();
}

TEST(StoredTest, WhatAKeyKeepsBackIsNotReadInsteadOfWhatABatchNeeds) {
  QueuePolicy policy;
  policy.batch.max_jobs = 2;
  policy.batch.max_bytes = 2 * 8;
  policy.keys.concurrency = 1;
  StoredScene s(policy);
  wire::JobOptions options;
  options.set_key("a");
  s.Submit(1, 8, options);
  options.set_key("b");
  s.Submit(9, 8, options);
  WorkerPeer worker(&s.h, "w", {.slots = 1});
  worker.Join();
  const std::vector<wire::Delivery> got = worker.TakeDeliveries();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(NamesOf(got), (std::vector<std::string>{"1-1", "1-9"}));
}

TEST(StoredTest, EveryKeyHasItsStoredJobs) {
  QueuePolicy policy;
  policy.keys.ordered = true;
  StoredScene s(policy);
  for (uint64_t number = 1; number <= 12; ++number) {
    wire::JobOptions options;
    options.set_key(std::string(1, static_cast<char>('a' + number % 3)));
    s.Submit(number, 1, options);
  }
  WorkerPeer worker(&s.h, "w", {.slots = 100});
  worker.Join();
  const std::vector<wire::Delivery> got = TakeAll(&s.h, &worker);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(NamesOf(got), Names(1, 1, 3));  // one of each key
  worker.Completed(got[1].token());
  const std::vector<wire::Delivery> next = TakeAll(&s.h, &worker);
  ASSERT_EQ(NamesOf(next), Names(1, 5, 1));
  for (const wire::Delivery& delivery : {got[0], got[2], next[0]}) {
    worker.Completed(delivery.token());
  }
  EXPECT_EQ(RunAll(&s.h, &worker).size(), 8u);
  EXPECT_EQ(s.h.ledger("q").completed, 12u);
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, WhatBacksOffLeavesTheMemory) {
  StoredScene s;
  s.Submit(1, 6);
  s.Submit(7, 6);
  WorkerPeer worker(&s.h, "w", {.slots = 6});
  worker.Join();
  const std::vector<wire::Delivery> got = worker.TakeDeliveries();
  EXPECT_EQ(NamesOf(got), Names(1, 1, 6));
  worker.Failed(got[0].token(), absl::StatusCode::kUnavailable, 0, 6);
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 6u);
  EXPECT_EQ(s.h.queue("q").jobs.stored_jobs(), 6u);
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 7, 6));
  Rest(&s, &worker);
  const wire::Delivery again = worker.TakeDelivery();
  EXPECT_EQ(again.attempt(), 2u);
  EXPECT_EQ(NamesOf({again}), Names(1, 1, 6));
  ForgetOutcomes(&s.h);
}

TEST(StoredTest, WhatTheStoreHasNotWrittenCountsAsMemory) {
  Config config = StoredScene::MakeConfig({});
  config.memory_limit_bytes = 1 << 20;
  BrokerHarness h(config);
  h.durable_at_once = false;
  ProducerPeer producer(&h, "p");
  producer.Join();
  const std::string payload(50'000, 'x');
  uint64_t next = 1;
  for (int i = 0; i < 30; ++i) producer.Submit("q", next++, {payload});
  EXPECT_EQ(h.counter("full_runs"), 1u);
  // And what waits for the commit, to tell of these.
  EXPECT_LE(h.broker.used_bytes(), config.budget_bytes() + 30 * 2 * kSendOverheadBytes);
  const uint64_t accepted = h.ledger("q").accepted;
  h.Step({Durable{h.broker.last_commit()}});
  EXPECT_LT(h.broker.used_bytes(), config.budget_bytes() / 4);
  h.sent.clear();
  producer.Submit("q", accepted + 1, {payload});
  EXPECT_EQ(h.ledger("q").accepted, accepted + 1);
  h.sent.clear();
}

TEST(StoredTest, TwentyMillionJobsAreOneRecord) {
  JobQueue queue;
  const auto options = std::make_shared<wire::JobOptions>();
  const auto jobs = [&](uint64_t first) {
    Slice slice;
    slice.stream = 1;
    slice.first = first;
    slice.end = 1000;
    slice.stored_bytes = 8000;
    slice.options = options;
    return slice;
  };
  for (uint64_t first = 1; first <= 20'000'000; first += 1000) queue.Push(jobs(first));
  EXPECT_EQ(queue.waiting(), 20'000'000u);
  EXPECT_EQ(queue.stored_bytes(), 160'000'000u);
  EXPECT_EQ(queue.records(), 1u);
  LoadPlan plan;
  plan.ahead_bytes = 20'000;
  plan.row_of = [](uint64_t, uint64_t number) {
    const uint64_t first = (number - 1) / 1000 * 1000 + 1;
    return StoredRow{first, first + 1000, 8000, 0};
  };
  const LoadsAsked asked = queue.AskForStored(plan, MonoTime{});
  EXPECT_EQ(asked.loads.size(), 3u);
  EXPECT_EQ(queue.AskForStored(plan, MonoTime{}).loads.size(), 0u);
  queue.CheckStored();
  EXPECT_EQ(queue.stored_bytes(), 160'000'000u);
}

TEST(StoredTest, AGroupEndsWithItsStoredJobs) {
  StoredScene s;
  wire::JobOptions options;
  options.set_group(1);
  for (uint64_t first = 1; first <= 12; first += 4) s.Submit(first, 4, options);
  wire::Envelope message;
  message.mutable_close_group()->set_session(s.producer.session);
  message.mutable_close_group()->set_group(1);
  wire::GroupCount* expected = message.mutable_close_group()->add_counts();
  expected->set_queue("q");
  expected->set_jobs(12);
  s.h.Submit(std::move(message));
  WorkerPeer worker(&s.h, "w", {.slots = 5});
  worker.Join();
  EXPECT_EQ(RunAll(&s.h, &worker), Names(1, 1, 12));
  uint64_t next = 1;
  for (const Send& send : s.h.sent) {
    const wire::Outcomes& outcomes = send.message.outcomes();
    if (!send.message.has_outcomes()) continue;
    next = outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size());
  }
  s.producer.Ack("q", next);
  const bool ended = std::any_of(s.h.sent.begin(), s.h.sent.end(), [](const Send& send) {
    return send.message.group_updates().ended_size() > 0 &&
           send.message.group_updates().ended(0).completed() == 12;
  });
  EXPECT_TRUE(ended);
  ForgetOutcomes(&s.h);
}

}  // namespace
}  // namespace whippletree::core
