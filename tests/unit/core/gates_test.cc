// What keeps waiting jobs from dispatch, and that each gate opens by itself.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(const QueuePolicy& policy, uint32_t slots = 100)
      : h(MakeConfig(policy)), producer(&h, "p"), worker(&h, "w", {.slots = slots}) {
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig(QueuePolicy policy) {
    Config config;
    policy.lease_duration = std::chrono::hours(1);
    config.default_policy.lease_duration = std::chrono::hours(1);
    config.queues["q"] = policy;
    return config;
  }
  // Jobs that were delivered since the last call; the first token of them is `token`.
  uint32_t Delivered() {
    uint32_t jobs = 0;
    while (h.HasFrameFor("w")) {
      for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
        jobs += static_cast<uint32_t>(delivery.run().sizes_size());
        tokens.push_back(delivery.token());
      }
    }
    if (jobs > 0) worker.Heartbeat();  // they arrived
    return jobs;
  }
  std::string gate() const {
    const wire::StatusReply status = h.broker.Status();
    for (const wire::QueueStatus& queue : status.queues()) {
      if (queue.name() == "q") return queue.gate();
    }
    return "no such queue";
  }
  wire::PauseReply Pause(bool paused) {
    wire::Envelope message;
    message.mutable_admin_request()->mutable_pause()->set_queue("q");
    message.mutable_admin_request()->mutable_pause()->set_paused(paused);
    h.Door("admin", std::move(message));
    return h.Take("admin", wire::Envelope::kAdminReply).admin_reply().pause();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  std::vector<uint64_t> tokens;
};

TEST(RateTest, StartsKeepToRateAndBurst) {
  QueuePolicy policy;
  policy.rate = {.count = 10, .burst = 3};
  Scene s(policy);
  s.h.Run(seconds(5));  // idle: one burst, not more
  s.producer.SubmitAccepted("q", 1, 20);
  EXPECT_EQ(s.Delivered(), 3u);
  EXPECT_EQ(s.gate(), "rate");
  s.h.Run(milliseconds(99));
  EXPECT_EQ(s.Delivered(), 0u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.Delivered(), 1u);
  s.h.Run(seconds(1));
  EXPECT_EQ(s.Delivered(), 10u);
  EXPECT_GT(s.h.broker.Status().queues(0).rate_pauses(), 0u);
}

TEST(RateTest, ABrokerStartsWithAnEmptyBucket) {
  QueuePolicy policy;
  policy.rate = {.count = 10, .burst = 3};
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 5);
  EXPECT_EQ(s.Delivered(), 0u);
  s.h.Run(milliseconds(100));
  EXPECT_EQ(s.Delivered(), 1u);
}

TEST(RateTest, RetriesCount) {
  QueuePolicy policy;
  policy.rate = {.count = 10, .burst = 1};
  policy.backoff_min = policy.backoff_max = Duration(0);
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 1);
  s.h.Run(milliseconds(100));
  EXPECT_EQ(s.Delivered(), 1u);
  s.worker.Failed(s.tokens.back(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(s.Delivered(), 0u);
  s.h.Run(milliseconds(99));
  EXPECT_EQ(s.Delivered(), 0u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.Delivered(), 1u);
}

TEST(RateTest, JobsAreNeverHeld) {
  QueuePolicy policy;
  policy.rate = {.count = 1000, .burst = 50};
  Scene s(policy, 1);
  s.worker.options.held_max = 100;
  s.worker.Heartbeat();
  s.h.Run(seconds(1));
  s.producer.SubmitAccepted("q", 1, 20);
  EXPECT_EQ(s.Delivered(), 1u);
}

TEST(ConcurrencyTest, LimitsLiveLeasesOverAllWorkers) {
  QueuePolicy policy;
  policy.concurrency = 3;
  Scene s(policy, 2);
  WorkerPeer other(&s.h, "other", {.slots = 2});
  other.Join();
  s.producer.SubmitAccepted("q", 1, 10);
  const uint32_t here = s.Delivered();
  EXPECT_EQ(s.h.ledger("q").leased, 3u);
  EXPECT_EQ(s.gate(), "concurrency");
  // The place that one worker gives up may be another's.
  if (here == 2) {
    other.TakeDeliveries();
  } else {
    other.TakeDelivery();
  }
  s.worker.Completed(s.tokens[0], 0, 1);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.h.ledger("q").leased, 3u);
  s.h.sent.clear();
}

TEST(PauseTest, NothingStartsUntilItIsResumed) {
  Scene s(QueuePolicy{});
  EXPECT_TRUE(s.h.broker.queues().contains("q"));
  EXPECT_TRUE(s.Pause(true).changed());
  EXPECT_FALSE(s.Pause(true).changed());
  s.producer.SubmitAccepted("q", 1, 10);
  s.h.Run(seconds(5));
  EXPECT_EQ(s.Delivered(), 0u);
  EXPECT_EQ(s.gate(), "paused");
  EXPECT_TRUE(s.Pause(false).changed());
  EXPECT_EQ(s.Delivered(), 10u);
}

TEST(PauseTest, WhatIsHeldIsTakenBack) {
  Scene s(QueuePolicy{}, 1);
  s.worker.options.held_max = 5;
  s.worker.Heartbeat();
  s.producer.SubmitAccepted("q", 1, 4);
  EXPECT_EQ(s.Delivered(), 4u);
  s.Pause(true);
  const wire::Envelope revoke = s.h.Take("w", wire::Envelope::kRevoke);
  EXPECT_EQ(revoke.revoke().ranges(0).count(), 3u);
  s.worker.HandedBack(revoke.revoke().ranges(0).token(), 0, 3);
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  EXPECT_EQ(s.Delivered(), 0u);
}

TEST(PauseTest, WhatIsHeldIsAskedBackAgainAfterAReconnect) {
  Scene s(QueuePolicy{}, 1);
  s.worker.options.held_max = 5;
  s.worker.Heartbeat();
  s.producer.SubmitAccepted("q", 1, 4);
  EXPECT_EQ(s.Delivered(), 4u);
  s.Pause(true);
  s.h.Take("w", wire::Envelope::kRevoke);  // is lost with the session
  s.worker.Join(s.tokens);
  s.h.Run(milliseconds(1));
  const wire::Envelope revoke = s.h.Take("w", wire::Envelope::kRevoke);
  EXPECT_EQ(revoke.revoke().ranges(0).count(), 3u);
}

TEST(PauseTest, OfAQueueThatIsNotThereSaysSo) {
  BrokerHarness h;
  wire::Envelope message;
  message.mutable_admin_request()->mutable_pause()->set_queue("nowhere");
  h.Door("admin", std::move(message));
  const wire::Envelope reply = h.Take("admin", wire::Envelope::kAdminReply);
  EXPECT_EQ(reply.admin_reply().error().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST(RetryAfterTest, TheWholeQueueWaits) {
  Scene s(QueuePolicy{}, 2);
  s.producer.SubmitAccepted("q", 1, 5);
  EXPECT_EQ(s.Delivered(), 2u);
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, s.tokens[0], 0, 1);
  item.mutable_status()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  item.mutable_status()->set_retry_after_ms(3000);
  s.worker.Report({item});
  EXPECT_EQ(s.gate(), "retry after");
  s.worker.Heartbeat();
  s.h.Run(milliseconds(2999));
  EXPECT_EQ(s.Delivered(), 0u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.Delivered(), 1u);
}

TEST(RetryAfterTest, ResumingTheQueueEndsTheWait) {
  Scene s(QueuePolicy{}, 1);
  s.producer.SubmitAccepted("q", 1, 2);
  EXPECT_EQ(s.Delivered(), 1u);
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, s.tokens[0], 0, 1);
  item.mutable_status()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  item.mutable_status()->set_retry_after_ms(4'000'000'000);
  s.worker.Report({item});
  EXPECT_LE(s.h.queue("q").held_until, s.h.now.mono + std::chrono::hours(1));
  s.Pause(true);
  s.Pause(false);
  EXPECT_EQ(s.Delivered(), 1u);
}

// The sequence of rules.md: max_attempts 1, one job per 100 ms, open for 200 ms.
TEST(BreakerTest, TheOriginalsSequence) {
  QueuePolicy policy;
  policy.breaker = {.failures = 3, .open = milliseconds(200), .probes = 1};
  policy.max_attempts = 1;
  policy.rate = {.count = 10, .burst = 1};
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 11);
  const bool fails[] = {true, true, true, true, false, true, false, false, true, true, false};
  std::string trace;
  std::string state = "closed";
  int next = 0;
  const auto note = [&] {
    const std::string now(s.h.queue("q").breaker.name());
    if (now != state) trace += " " + now;
    state = now;
  };
  for (int step = 0; step < 400 && next < 11; ++step) {
    s.h.Run(milliseconds(10));
    note();
    while (s.Delivered() > 0) {
      const uint64_t token = s.tokens.back();
      trace += " " + std::to_string(next + 1) + (fails[next] ? "f" : "s");
      if (fails[next]) {
        s.worker.Failed(token, absl::StatusCode::kUnavailable);
      } else {
        s.worker.Completed(token);
      }
      ++next;
      s.producer.TakeOutcome();
      s.producer.Ack("q", static_cast<uint64_t>(next) + 1);
      note();
    }
  }
  EXPECT_EQ(trace, " 1f 2f 3f open half-open 4f open half-open 5s closed 6f 7s 8s 9f 10f 11s");
  EXPECT_EQ(s.h.ledger("q").dead, 7u);
  EXPECT_EQ(s.h.ledger("q").completed, 4u);
}

TEST(BreakerTest, WaitingBehindItChargesNothing) {
  QueuePolicy policy;
  policy.breaker = {.failures = 1, .open = seconds(60)};
  policy.backoff_min = policy.backoff_max = Duration(0);
  Scene s(policy, 1);
  s.producer.SubmitAccepted("q", 1, 2);
  EXPECT_EQ(s.Delivered(), 1u);
  s.worker.Failed(s.tokens.back(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(s.gate(), "breaker open");
  s.h.Run(milliseconds(59'999));
  EXPECT_EQ(s.Delivered(), 0u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.gate(), "breaker half-open");
  const std::vector<wire::Delivery> probe = s.worker.TakeDeliveries();
  ASSERT_EQ(probe.size(), 1u);
  EXPECT_EQ(probe[0].attempt(), 2u);
}

TEST(BreakerTest, AJobsOwnFaultDoesNotCount) {
  QueuePolicy policy;
  policy.breaker = {.failures = 1};
  Scene s(policy, 5);
  s.producer.SubmitAccepted("q", 1, 2);
  EXPECT_EQ(s.Delivered(), 2u);
  s.worker.Failed(s.tokens[0], absl::StatusCode::kInvalidArgument);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.h.queue("q").breaker.name(), "closed");
}

TEST(PoliciesTest, NewOnesHoldFromTheNextDispatchOn) {
  Scene s(QueuePolicy{}, 2);
  s.producer.SubmitAccepted("q", 1, 10);
  EXPECT_EQ(s.Delivered(), 2u);
  Policies policies;
  policies.queues["q"].concurrency = 1;
  s.h.Step({policies});
  s.worker.Completed(s.tokens[0], 0, 1);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.Delivered(), 0u);
  s.worker.Completed(s.tokens[0], 1, 1);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.Delivered(), 1u);
}

// A probe of the breaker before must not count for the new one.
TEST(PoliciesTest, ANewBreakerKnowsNothingOfStartsFromBefore) {
  QueuePolicy policy;
  policy.breaker = {.failures = 1, .open = seconds(1)};
  policy.max_attempts = 1;
  Scene s(policy, 5);
  s.producer.SubmitAccepted("q", 1, 1);
  EXPECT_EQ(s.Delivered(), 1u);
  const auto fail = [&](uint64_t token) {
    s.worker.Failed(token, absl::StatusCode::kUnavailable);
    s.producer.TakeOutcome();
  };
  fail(s.tokens[0]);
  s.h.Run(seconds(1));
  s.producer.SubmitAccepted("q", 2, 1);
  EXPECT_EQ(s.Delivered(), 1u);  // a probe
  Policies policies;
  policies.queues["q"] = policy;
  policies.queues["q"].breaker.open = seconds(2);
  policies.queues["q"].lease_duration = std::chrono::hours(1);
  s.h.Step({policies});
  EXPECT_EQ(s.h.queue("q").breaker.name(), "closed");
  s.producer.SubmitAccepted("q", 3, 1);
  EXPECT_EQ(s.Delivered(), 1u);
  s.h.sent.clear();
  s.worker.Failed(s.tokens[2], absl::StatusCode::kUnavailable);
  EXPECT_EQ(s.h.queue("q").breaker.name(), "open");
  s.producer.SubmitAccepted("q", 4, 1);
  s.h.Run(seconds(2));
  EXPECT_EQ(s.h.queue("q").breaker.name(), "half-open");
  s.worker.Completed(s.tokens[1]);
  EXPECT_EQ(s.h.queue("q").breaker.name(), "half-open");
  s.h.sent.clear();
}

TEST(PoliciesTest, UnknownQueuesMayBeRefused) {
  Config config;
  config.queues["known"] = {};
  config.unknown_queues = false;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("known", 1, 1);
  producer.Submit("other", 1, {"x"});
  const wire::StreamUpdate update = producer.TakeUpdate();
  EXPECT_EQ(update.state(), wire::StreamUpdate::REFUSED);
  EXPECT_EQ(update.status().message(),
            "there is no queue \"other\" in the broker's configuration (unknown_queues: refuse)");
  EXPECT_TRUE(h.HasLog("queue_refused"));
  // Claimed again in the same start of the broker, it was never accepted; an earlier start may have
  // accepted it.
  EXPECT_EQ(producer.Join({{"other", 1, 1}}).streams(0).state(), wire::StreamUpdate::REFUSED);
  ProducerPeer old(&h, "old");
  EXPECT_EQ(old.Join({{"other", 1, 1}}).streams(0).state(), wire::StreamUpdate::GONE);
}

TEST(PoliciesTest, AWorkerIsToldOfARefusedQueueAndTakesItUpWhenItMay) {
  Config config;
  config.queues["known"] = {};
  config.unknown_queues = false;
  BrokerHarness h(config);
  WorkerPeer worker(&h, "w", {.queues = {"known", "late"}});
  const wire::Welcome refused = worker.Join();
  ASSERT_EQ(refused.refused_size(), 1);
  EXPECT_EQ(refused.refused(0).queue(), "late");
  EXPECT_EQ(refused.refused(0).status().code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_TRUE(h.HasLog("queue_refused"));
  worker.Heartbeat();
  EXPECT_FALSE(h.HasFrameFor("w"));

  Policies policies;
  policies.queues["known"] = policies.queues["late"] = {};
  policies.unknown_queues = false;
  h.Step({policies});
  worker.Heartbeat();
  EXPECT_EQ(h.TakeRefusal("w").action(), wire::Refusal::SAY_HELLO);
  worker.Heartbeat();  // the word of it may be lost
  EXPECT_EQ(h.TakeRefusal("w").action(), wire::Refusal::SAY_HELLO);
  EXPECT_EQ(worker.Join().refused_size(), 0);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("late", 1, 1);
  worker.Completed(worker.TakeDelivery().token());
  producer.TakeOutcome();
}

TEST(LeaseTimeTest, AQueueMayHaveItsOwn) {
  Config config;
  config.queues["q"].lease_duration = seconds(60);
  BrokerHarness h(config);
  WorkerPeer worker(&h, "w");
  const wire::Welcome welcome = worker.Join();
  EXPECT_EQ(welcome.lease_duration_ms(), 60'000u);
  EXPECT_EQ(welcome.heartbeat_interval_ms(), 12'000u);
  h.Run(milliseconds(59'999));
  EXPECT_EQ(h.broker.Status().workers(0).state(), "active");
}

}  // namespace
}  // namespace whippletree::core
