// What becomes of the jobs of a worker that is silent, comes back, or cannot be reached.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr Duration kLease = seconds(10);

struct Scene {
  explicit Scene(uint32_t max_attempts = 5) : h(MakeConfig(max_attempts)), producer(&h, "p") {
    producer.Join();
  }
  static Config MakeConfig(uint32_t max_attempts) {
    Config config;
    config.default_policy.max_attempts = max_attempts;
    config.default_policy.backoff_min = config.default_policy.backoff_max = Duration(0);
    return config;
  }
  // Time passes; the producer and `alive` say that they live.
  void Pass(Duration d, std::vector<WorkerPeer*> alive = {}) {
    for (Duration passed{}; passed < d; passed += milliseconds(500)) {
      h.Run(milliseconds(500));
      producer.Heartbeat();
      for (WorkerPeer* worker : alive) worker->Heartbeat();
    }
  }
  BrokerHarness h;
  ProducerPeer producer;
};

TEST(LostWorkerTest, WhatItRanIsChargedAndTriedAgain) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 2);
  worker.TakeDelivery();
  worker.Heartbeat();
  s.Pass(kLease - milliseconds(500));
  EXPECT_EQ(s.h.ledger("q").leased, 2u);
  s.Pass(milliseconds(500));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  EXPECT_EQ(s.h.counter("leases_expired"), 1u);
  EXPECT_TRUE(s.h.HasLog("leases_expired"));
  WorkerPeer other(&s.h, "other", {.slots = 2});
  other.Join();
  for (const wire::Delivery& delivery : other.TakeDeliveries()) EXPECT_EQ(delivery.attempt(), 2u);
}

TEST(LostWorkerTest, AJobOnItsLastAttemptIsDead) {
  Scene s(1);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  worker.Heartbeat();
  s.Pass(kLease);
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(outcome.attempts(), 1u);
  EXPECT_EQ(outcome.status().code(), static_cast<int>(absl::StatusCode::kUnavailable));
}

TEST(LostWorkerTest, WhatItHeldIsSuspectAndGoesOnlyToFreeSlots) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 1, .held_max = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  const std::vector<wire::Delivery> deliveries = worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[0].started(), 1u);
  EXPECT_EQ(deliveries[1].started(), 0u);
  worker.Heartbeat();
  s.Pass(kLease);
  EXPECT_EQ(s.h.counter("suspects"), 2u);

  WorkerPeer other(&s.h, "other", {.slots = 1, .held_max = 10});
  other.Join();
  std::map<uint64_t, uint32_t> attempt_of;
  while (s.h.HasFrameFor("other")) {
    for (const wire::Delivery& delivery : other.TakeDeliveries()) {
      EXPECT_EQ(delivery.run().sizes_size(), 1);
      EXPECT_TRUE(delivery.started() == 1 || delivery.first() == 1);  // that one was charged
      attempt_of[delivery.first()] = delivery.attempt();
      other.Completed(delivery.token());
      s.producer.TakeOutcomes();
    }
  }
  EXPECT_EQ(attempt_of, (std::map<uint64_t, uint32_t>{{1, 2}, {2, 1}, {3, 1}}));
}

TEST(LostWorkerTest, AStartMarkCharges) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 1, .held_max = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  const std::vector<wire::Delivery> deliveries = worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  worker.Completed(deliveries[0].token());
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  worker.Started(deliveries[1].token(), 0);
  EXPECT_EQ(s.h.queue("q").held, 1u);
  s.Pass(kLease);
  EXPECT_EQ(s.h.counter("suspects"), 1u);
  EXPECT_EQ(s.h.queue("q").retries, 1u);
  WorkerPeer other(&s.h, "other", {.slots = 2});
  other.Join();
  std::map<uint64_t, uint32_t> attempt_of;
  for (const wire::Delivery& d : other.TakeDeliveries()) attempt_of[d.first()] = d.attempt();
  EXPECT_EQ(attempt_of, (std::map<uint64_t, uint32_t>{{2, 2}, {3, 1}}));
}

TEST(LostWorkerTest, ComesBackAndGoesOnWithItsLeases) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 2);
  const uint64_t token = worker.TakeDelivery().token();
  s.Pass(seconds(8));
  s.h.sent.clear();  // deliveries that were sent again
  const wire::Welcome welcome = worker.Join({token});
  ASSERT_EQ(welcome.leases_kept_size(), 1);
  EXPECT_EQ(welcome.leases_kept(0), token);
  s.Pass(seconds(5), {&worker});
  worker.Completed(token, 0, 2);
  EXPECT_EQ(s.producer.TakeOutcome().count(), 2u);
}

TEST(LostWorkerTest, ComesBackTooLateAndDropsItsLeases) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  worker.Heartbeat();
  s.Pass(kLease);
  const wire::Welcome welcome = worker.Join({token});
  EXPECT_EQ(welcome.leases_kept_size(), 0);
  EXPECT_GT(worker.TakeDelivery().token(), token);
  worker.Completed(token);
  EXPECT_EQ(s.h.counter("stale_completions"), 1u);
}

TEST(LostWorkerTest, LeasesThatItDoesNotListReturnAtOnceUncharged) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 1, .held_max = 1});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 2);
  EXPECT_EQ(worker.TakeDeliveries().size(), 2u);
  EXPECT_EQ(worker.Join().leases_kept_size(), 0);
  const std::vector<wire::Delivery> again = worker.TakeDeliveries();
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].attempt(), 1u);
  EXPECT_EQ(again[1].attempt(), 1u);
  EXPECT_EQ(s.h.counter("suspects"), 0u);
}

TEST(LostWorkerTest, HeldJobsOfAKeptLeaseAreStillCountedAsHeld) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 1, .held_max = 3});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 4);
  const std::vector<wire::Delivery> deliveries = worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  worker.Join({deliveries[0].token(), deliveries[1].token()});
  worker.Started(deliveries[1].token(), 0);  // two are held now
  s.Pass(seconds(1), {&worker});
  WorkerPeer idle(&s.h, "idle");
  idle.Join();
  const wire::Envelope revoke = s.h.Take("w", wire::Envelope::kRevoke);
  ASSERT_EQ(revoke.revoke().ranges_size(), 1);
  EXPECT_EQ(revoke.revoke().ranges(0).first(), 2u);  // half of them
  EXPECT_EQ(revoke.revoke().ranges(0).count(), 1u);
}

TEST(LostWorkerTest, JobsOfAnUnreachableWorkerReturnAtOnceUncharged) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  ASSERT_EQ(s.h.sent.size(), 1u);
  Send send = std::move(s.h.sent.front());
  s.h.sent.clear();
  s.h.Step({SendFailed{SendFailed::Reason::kUnreachable, std::move(send)}});
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  EXPECT_EQ(s.h.counter("unreachable_peers"), 1u);
  WorkerPeer other(&s.h, "other");
  other.Join();
  EXPECT_EQ(other.TakeDelivery().attempt(), 1u);
}

TEST(LostWorkerTest, ADeliveryThatWasSentBeforeMayHaveArrived) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  s.h.Run(seconds(1));
  Send send = std::move(s.h.sent.front());
  s.h.sent.clear();
  s.h.Step({SendFailed{SendFailed::Reason::kUnreachable, std::move(send)}});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.Pass(kLease);
  WorkerPeer other(&s.h, "other");
  other.Join();
  EXPECT_EQ(other.TakeDelivery().attempt(), 2u);
}

TEST(LostWorkerTest, AGoodbyeReturnsWhatItStillHasUncharged) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  worker.Goodbye();
  EXPECT_EQ(s.h.counter("leases_expired"), 0u);
  WorkerPeer other(&s.h, "other");
  other.Join();
  EXPECT_EQ(other.TakeDelivery().attempt(), 1u);
}

TEST(LostWorkerTest, StartsOfAPoisonJobAreBounded) {
  Scene s(3);
  s.producer.SubmitAccepted("q", 1, 1);
  uint32_t starts = 0;
  while (s.h.ledger("q").dead == 0 && starts < 10) {
    WorkerPeer worker(&s.h, "w" + std::to_string(++starts));
    worker.Join();
    worker.TakeDelivery();
    worker.Heartbeat();
    s.Pass(kLease);
  }
  EXPECT_EQ(starts, 3u);
  EXPECT_EQ(s.producer.TakeOutcome().attempts(), 3u);
}

}  // namespace
}  // namespace whippletree::core
