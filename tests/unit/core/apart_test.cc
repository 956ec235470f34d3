// A job that ends its worker is not to take others along each time: those that were lost together
// come back each at a time of its own, and after a second loss they run apart.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(QueuePolicy policy = {}, Duration backoff = {})
      : h(MakeConfig(std::move(policy), backoff)), producer(&h, "p") {
    producer.Join();
    NextWorker();
  }
  static Config MakeConfig(QueuePolicy policy, Duration backoff) {
    Config config;
    config.default_policy = std::move(policy);
    config.default_policy.backoff_min = config.default_policy.backoff_max = backoff;
    return config;
  }
  void NextWorker() {
    const std::string name = "w" + std::to_string(++last_worker);
    worker = std::make_unique<WorkerPeer>(&h, name, WorkerPeerOptions{.slots = 4});
    worker->Join();
  }
  // What the worker is running is lost with it.
  void LoseWorker() {
    for (Duration passed{}; passed < seconds(10); passed += milliseconds(500)) {
      h.Run(milliseconds(500));
      producer.Heartbeat();
    }
  }
  // The first jobs of the deliveries that have come.
  std::multiset<uint64_t> TakeFirsts() {
    std::multiset<uint64_t> firsts;
    while (h.HasFrameFor(worker->route())) {
      for (const wire::Delivery& delivery : worker->TakeDeliveries()) {
        firsts.insert(delivery.first());
        tokens[delivery.first()] = delivery.token();
      }
    }
    worker->Heartbeat();
    return firsts;
  }
  BrokerHarness h;
  ProducerPeer producer;
  int last_worker = 0;
  std::unique_ptr<WorkerPeer> worker;
  std::map<uint64_t, uint64_t> tokens;
};

using Firsts = std::multiset<uint64_t>;

TEST(ApartTest, WhatWasLostTogetherComesBackEachAtATimeOfItsOwn) {
  Scene s({}, seconds(100));
  s.producer.SubmitAccepted("q", 1, 4);
  s.TakeFirsts();
  s.LoseWorker();
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 4u);
  std::set<MonoTime> times;
  s.h.queue("q").jobs.ForEach([&](const Slice&, const JobQueue::Until& until) {
    times.insert(until.mono);
    return true;
  });
  EXPECT_EQ(times.size(), 4u);
}

TEST(ApartTest, AfterTwoLossesOneRunsInAWorkerAtATime) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 4);
  EXPECT_EQ(s.TakeFirsts().size(), 1u);  // a run of four
  s.LoseWorker();
  s.NextWorker();
  EXPECT_EQ(s.TakeFirsts(), (Firsts{1, 2, 3, 4}));
  s.LoseWorker();
  s.NextWorker();
  s.producer.SubmitAccepted("q", 5, 2);
  Firsts firsts = s.TakeFirsts();
  EXPECT_EQ(firsts.size(), 2u);
  EXPECT_EQ(firsts.count(5), 1u);  // others run beside it
  firsts.erase(5);
  WorkerPeer other(&s.h, "other", {.slots = 4});
  other.Join();
  EXPECT_EQ(firsts.count(other.TakeDelivery().first()), 0u);  // it is one worker's matter
  s.worker->Completed(s.tokens[*firsts.begin()]);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.TakeFirsts().size(), 1u);
}

TEST(ApartTest, BeforeItsLastAttemptOneLossIsEnough) {
  QueuePolicy policy;
  policy.max_attempts = 2;
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 3);
  s.TakeFirsts();
  s.LoseWorker();
  s.NextWorker();
  EXPECT_EQ(s.TakeFirsts(), Firsts{1});
  s.LoseWorker();
  s.NextWorker();
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(s.TakeFirsts(), Firsts{2});
}

TEST(ApartTest, HalvesOfBatchesToo) {
  QueuePolicy policy;
  policy.batch.max_jobs = 4;
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 8);
  EXPECT_EQ(s.worker->TakeDeliveries().size(), 2u);
  s.worker->Heartbeat();
  s.LoseWorker();
  s.NextWorker();
  EXPECT_EQ(s.worker->TakeDeliveries().size(), 4u);
  s.worker->Heartbeat();
  s.LoseWorker();
  s.NextWorker();
  const wire::Delivery one = s.worker->TakeDelivery();
  s.worker->Completed(one.token(), 0, 2);
  s.producer.TakeOutcome();
  s.worker->TakeDelivery();
  s.h.ExpectNothingLeft();
}

TEST(ApartTest, AFailureThatTheWorkerTellsIsNoLoss) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 2);
  for (uint32_t attempt = 1; attempt <= 3; ++attempt) {
    const wire::Delivery both = s.worker->TakeDelivery();
    EXPECT_EQ(both.attempt(), attempt);
    EXPECT_EQ(both.run().sizes_size(), 2);
    s.worker->Failed(both.token(), absl::StatusCode::kUnavailable, 0, 2);
  }
  s.worker->TakeDelivery();
}

}  // namespace
}  // namespace whippletree::core
