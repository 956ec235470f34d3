// Batches by size, bytes and time, and the halving of those that fail as a whole.
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(const QueuePolicy& policy, uint32_t slots = 1)
      : h(MakeConfig(policy)), producer(&h, "p"), worker(&h, "w", {.slots = slots}) {
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig(QueuePolicy policy) {
    Config config;
    policy.lease_duration = std::chrono::hours(1);
    policy.backoff_min = policy.backoff_max = Duration(0);
    config.default_policy = policy;
    return config;
  }
  static QueuePolicy Batches(uint32_t max_jobs, Duration linger = seconds(2)) {
    QueuePolicy policy;
    policy.batch = {.max_jobs = max_jobs, .max_bytes = 1 << 20, .linger = linger};
    return policy;
  }
  void Submit(uint64_t count) {
    producer.SubmitAccepted("q", next, count);
    next += count;
  }
  // The numbers of the jobs of a batch.
  static std::vector<uint64_t> Numbers(const wire::Delivery& batch) {
    std::vector<uint64_t> numbers;
    for (const wire::DeliveryPart& part : batch.parts()) {
      for (uint64_t i = 0; i < part.count(); ++i) numbers.push_back(part.first() + i);
    }
    return numbers;
  }
  wire::Delivery TakeBatch() {
    wire::Delivery batch = worker.TakeDelivery();
    EXPECT_TRUE(batch.batch());
    EXPECT_EQ(batch.started(), static_cast<uint32_t>(batch.run().sizes_size()));
    return batch;
  }
  void CompleteAll(const wire::Delivery& batch) {
    worker.Completed(batch.token(), 0, static_cast<uint32_t>(batch.run().sizes_size()));
  }
  void FailWhole(const wire::Delivery& batch, absl::StatusCode code) {
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, batch.token(), 0,
                                             static_cast<uint32_t>(batch.run().sizes_size()));
    *item.mutable_status() = WireStatus(code, "all of it");
    item.set_whole_batch(true);
    worker.Report({item});
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  uint64_t next = 1;
};

TEST(BatchTest, IsCompleteBySize) {
  Scene s(Scene::Batches(4));
  s.Submit(3);
  s.h.ExpectNothingLeft();
  s.Submit(2);
  const wire::Delivery batch = s.TakeBatch();
  EXPECT_EQ(Scene::Numbers(batch), (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(batch.parts(0).attempt(), 1u);
  EXPECT_EQ(s.h.broker.Status().queues(0).batches_by_size(), 1u);
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "batch incomplete");
}

TEST(BatchTest, IsCompleteByBytes) {
  QueuePolicy policy = Scene::Batches(100);
  policy.batch.max_bytes = 25;
  Scene s(policy, 10);
  s.producer.Submit("q", 1, std::vector<std::string>(5, "1234567890"));
  s.producer.TakeUpdate();
  const std::vector<wire::Delivery> batches = s.worker.TakeDeliveries();
  ASSERT_EQ(batches.size(), 2u);  // 20 of 25 bytes each; the last job waits for others
  for (const wire::Delivery& batch : batches) EXPECT_EQ(batch.run().sizes_size(), 2);
  EXPECT_EQ(s.h.broker.Status().queues(0).batches_by_bytes(), 2u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
}

TEST(BatchTest, AJobLargerThanABatchGoesAlone) {
  QueuePolicy policy = Scene::Batches(100);
  policy.batch.max_bytes = 25;
  Scene s(policy, 10);
  s.producer.Submit("q", 1, {"small", std::string(100, 'x'), "small"});
  s.producer.TakeUpdate();
  const std::vector<wire::Delivery> batches = s.worker.TakeDeliveries();
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(Scene::Numbers(batches[0]), (std::vector<uint64_t>{1}));
  EXPECT_EQ(Scene::Numbers(batches[1]), (std::vector<uint64_t>{2}));
}

// The original's timer fired once and was never armed again.
TEST(BatchTest, TheFlushTimerIsArmedAgainForEveryBatch) {
  Scene s(Scene::Batches(4));
  for (int round = 0; round < 3; ++round) {
    s.Submit(2);
    s.h.Run(milliseconds(1000));
    s.Submit(1);  // does not prolong the wait of the first
    s.h.Run(milliseconds(999));
    s.h.ExpectNothingLeft();
    s.h.Run(milliseconds(1));
    const wire::Delivery batch = s.TakeBatch();
    EXPECT_EQ(batch.run().sizes_size(), 3);
    s.CompleteAll(batch);
    s.producer.TakeOutcome();
    s.producer.Ack("q", static_cast<uint64_t>(round) + 2);
  }
  EXPECT_EQ(s.h.broker.Status().queues(0).batches_by_linger(), 3u);
}

TEST(BatchTest, WhatIsLeftOfALargerRunWaitsItsOwnTime) {
  Scene s(Scene::Batches(4), 10);
  s.Submit(3);
  s.h.Run(milliseconds(1500));
  s.Submit(2);  // completes a batch; one job is left that came just now
  EXPECT_EQ(s.TakeBatch().run().sizes_size(), 4);
  s.worker.Heartbeat();
  s.h.Run(milliseconds(1999));
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.TakeBatch().run().sizes_size(), 1);
}

// The original's last partial batch went past the limiter.
TEST(BatchTest, TheLastPartialBatchIsRateLimitedToo) {
  QueuePolicy policy = Scene::Batches(4, milliseconds(100));
  policy.rate = {.count = 2, .of_batches = true, .burst = 1};
  Scene s(policy, 10);
  s.h.Run(seconds(1));
  s.Submit(7);
  EXPECT_EQ(s.TakeBatch().run().sizes_size(), 4);
  s.h.Run(milliseconds(499));
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "rate");
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.TakeBatch().run().sizes_size(), 3);
}

TEST(BatchTest, IsCutToTheBurstWhenJobsAreCounted) {
  QueuePolicy policy = Scene::Batches(10);
  policy.rate = {.count = 10, .burst = 3};
  Scene s(policy, 10);
  s.h.Run(seconds(5));
  s.Submit(10);
  EXPECT_EQ(s.TakeBatch().run().sizes_size(), 3);
  s.h.Run(milliseconds(299));
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.TakeBatch().run().sizes_size(), 3);
}

TEST(BatchTest, TakesOneSlot) {
  Scene s(Scene::Batches(4), 2);
  s.Submit(12);
  EXPECT_EQ(s.worker.TakeDeliveries().size(), 2u);
  EXPECT_EQ(s.h.ledger("q").leased, 8u);
}

TEST(BatchTest, MayComeFromSeveralStreams) {
  Scene s(Scene::Batches(4));
  ProducerPeer other(&s.h, "other");
  other.Join();
  s.Submit(2);
  other.SubmitAccepted("q", 1, 2);
  const wire::Delivery batch = s.TakeBatch();
  ASSERT_EQ(batch.parts_size(), 2);
  EXPECT_NE(batch.parts(0).stream(), batch.parts(1).stream());
  s.CompleteAll(batch);
  EXPECT_EQ(s.producer.TakeOutcome().count(), 2u);
  EXPECT_EQ(other.TakeOutcome().count(), 2u);
}

TEST(BatchTest, HasOneStatusForEachJobIfTheHandlerSaysSo) {
  Scene s(Scene::Batches(4));
  s.Submit(4);
  const wire::Delivery batch = s.TakeBatch();
  wire::ReportItem failed = WorkerPeer::Item(wire::ReportItem::FAILED, batch.token(), 2, 1);
  *failed.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "this one");
  s.worker.Report({WorkerPeer::Item(wire::ReportItem::COMPLETED, batch.token(), 0, 2), failed,
                   WorkerPeer::Item(wire::ReportItem::COMPLETED, batch.token(), 3, 1)});
  EXPECT_EQ(s.h.ledger("q").completed, 3u);
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  s.h.sent.clear();
}

TEST(BatchTest, WhatIsCancelledWhileItWaitsIsNotInIt) {
  Scene s(Scene::Batches(4));
  s.Submit(3);
  s.producer.Cancel("q", 2, 1);
  s.producer.TakeOutcome();
  s.Submit(1);
  s.h.ExpectNothingLeft();  // three wait
  s.Submit(1);
  EXPECT_EQ(Scene::Numbers(s.TakeBatch()), (std::vector<uint64_t>{1, 3, 4, 5}));
}

TEST(HalvingTest, ANonRetryableStatusForSeveralFindsTheGuiltyOne) {
  Scene s(Scene::Batches(8));
  s.Submit(8);
  std::map<uint64_t, int> starts;
  for (int round = 0; s.h.HasFrameFor("w") && round < 100; ++round) {
    const wire::Delivery batch = s.TakeBatch();
    const std::vector<uint64_t> numbers = Scene::Numbers(batch);
    bool guilty = false;
    for (uint64_t number : numbers) {
      ++starts[number];
      guilty = guilty || number == 5;
    }
    if (guilty) {
      s.FailWhole(batch, absl::StatusCode::kInvalidArgument);
    } else {
      s.CompleteAll(batch);
    }
  }
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_EQ(s.h.ledger("q").completed, 7u);
  for (const auto& [number, n] : starts) EXPECT_LE(n, 1 + 3) << number;
  while (s.h.HasFrameFor("p")) {
    const wire::Outcomes outcomes = s.producer.TakeOutcomes();
    for (const wire::OutcomeRange& range : outcomes.ranges()) {
      EXPECT_EQ(range.attempts(), 1u);
      EXPECT_EQ(range.kind() == wire::OutcomeRange::DEAD, range.first() == 5);
    }
  }
}

TEST(HalvingTest, WhatIsLeftOfABatchIsHalvedWhereverItIs) {
  Scene s(Scene::Batches(9));
  s.Submit(9);
  const wire::Delivery batch = s.TakeBatch();
  for (uint32_t i = 1; i < 9; i += 2) s.worker.Completed(batch.token(), i);
  s.h.sent.clear();
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, batch.token(), 0, 9);
  *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "the rest of it");
  item.set_whole_batch(true);
  s.worker.Report({item});
  EXPECT_EQ(s.h.counter("batches_halved"), 1u);
  const wire::Delivery half = s.TakeBatch();
  EXPECT_EQ(Scene::Numbers(half), (std::vector<uint64_t>{1, 3, 5}));
  s.CompleteAll(half);
  EXPECT_EQ(Scene::Numbers(s.TakeBatch()), (std::vector<uint64_t>{7, 9}));
  s.h.sent.clear();
}

TEST(HalvingTest, ATimeoutHalvesARetryableStatusDoesNot) {
  Scene s(Scene::Batches(4));
  s.Submit(4);
  s.FailWhole(s.TakeBatch(), absl::StatusCode::kUnavailable);
  const wire::Delivery again = s.TakeBatch();
  EXPECT_EQ(again.run().sizes_size(), 4);
  EXPECT_EQ(again.parts(0).attempt(), 2u);  // charged
  s.FailWhole(again, absl::StatusCode::kDeadlineExceeded);
  const wire::Delivery half = s.TakeBatch();
  EXPECT_EQ(Scene::Numbers(half), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(half.parts(0).attempt(), 2u);  // not charged
  EXPECT_EQ(s.h.counter("batches_halved"), 1u);
}

// A program whose exit code says no more than that it failed, as sqlite3 at a row that it refuses.
TEST(HalvingTest, AtTheLastAttemptARetryableStatusFindsTheGuiltyOneToo) {
  QueuePolicy policy = Scene::Batches(8);
  policy.max_attempts = 2;
  Scene s(policy);
  s.Submit(8);
  std::map<uint64_t, int> starts;
  for (int round = 0; s.h.HasFrameFor("w") && round < 100; ++round) {
    const wire::Delivery batch = s.TakeBatch();
    const std::vector<uint64_t> numbers = Scene::Numbers(batch);
    for (uint64_t number : numbers) ++starts[number];
    if (std::find(numbers.begin(), numbers.end(), 5) != numbers.end()) {
      s.FailWhole(batch, absl::StatusCode::kUnknown);
    } else {
      s.CompleteAll(batch);
    }
  }
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_EQ(s.h.ledger("q").completed, 7u);
  for (const auto& [number, n] : starts) EXPECT_LE(n, 2 + 3) << number;
  while (s.h.HasFrameFor("p")) {
    const wire::Outcomes outcomes = s.producer.TakeOutcomes();
    for (const wire::OutcomeRange& range : outcomes.ranges()) {
      EXPECT_EQ(range.attempts(), 2u);
      EXPECT_EQ(range.kind() == wire::OutcomeRange::DEAD, range.first() == 5);
    }
  }
}

TEST(HalvingTest, WithOneAttemptNothingIsHalved) {
  QueuePolicy policy = Scene::Batches(4);
  policy.max_attempts = 1;
  Scene s(policy);
  s.Submit(4);
  s.FailWhole(s.TakeBatch(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(s.h.ledger("q").dead, 4u);
  s.h.sent.clear();
}

TEST(HalvingTest, HalvesDoNotMergeWithOthers) {
  Scene s(Scene::Batches(4));
  s.Submit(4);
  s.FailWhole(s.TakeBatch(), absl::StatusCode::kInvalidArgument);
  s.Submit(4);
  std::vector<size_t> sizes;
  for (int i = 0; i < 3; ++i) {
    const wire::Delivery batch = s.TakeBatch();
    sizes.push_back(Scene::Numbers(batch).size());
    s.CompleteAll(batch);
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{2, 2, 4}));
  s.h.sent.clear();
}

// One poison job among many, whose handler kills its worker each time.
TEST(HalvingTest, APoisonJobThatKillsItsWorkersEndsAloneAndWithinTheBound) {
  QueuePolicy policy = Scene::Batches(100, Duration(0));
  policy.max_attempts = 3;
  BrokerHarness h(Scene::MakeConfig(policy));
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 300);
  std::map<uint64_t, int> starts;
  for (int life = 0; life < 1000 && h.ledger("q").ended() < 300; ++life) {
    WorkerPeer worker(&h, "w" + std::to_string(life));
    worker.Join();
    bool dead = false;
    while (!dead && h.HasFrameFor(worker.route())) {
      const wire::Delivery batch = worker.TakeDelivery();
      for (uint64_t number : Scene::Numbers(batch)) {
        ++starts[number];
        dead = dead || number == 123;
      }
      if (!dead) {
        worker.Completed(batch.token(), 0, static_cast<uint32_t>(batch.run().sizes_size()));
      }
    }
    if (dead) {  // nothing is heard of it any more
      producer.Heartbeat();
      h.Jump(milliseconds(900));
      for (int i = 0; i < 10'000 && h.ledger("q").leased > 0; ++i) {
        h.Jump(milliseconds(900));
        if (i % 10 == 0) producer.Heartbeat();
      }
    } else {
      worker.Goodbye();
    }
  }
  EXPECT_EQ(h.ledger("q").dead, 1u);
  EXPECT_EQ(h.ledger("q").completed, 299u);
  for (const auto& [number, n] : starts) EXPECT_LE(n, 3 + 7) << number;
  h.sent.clear();
}

TEST(HalvingTest, CountsAsOneFailureForTheBreaker) {
  QueuePolicy policy = Scene::Batches(8);
  policy.breaker = {.failures = 2, .open = seconds(5)};
  Scene s(policy);
  s.Submit(8);
  s.FailWhole(s.TakeBatch(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(s.h.queue("q").breaker.name(), "closed");
  s.FailWhole(s.TakeBatch(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(s.h.queue("q").breaker.name(), "open");
  s.h.Run(milliseconds(4900));
  s.h.ExpectNothingLeft();
  s.worker.Heartbeat();
  s.h.Run(milliseconds(100));
  const wire::Delivery probe = s.TakeBatch();  // of several jobs: one probe
  s.CompleteAll(probe);
  EXPECT_EQ(s.h.queue("q").breaker.name(), "closed");
  s.h.sent.clear();
}

}  // namespace
}  // namespace whippletree::core
