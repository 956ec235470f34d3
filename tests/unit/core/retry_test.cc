// Failed jobs: tried again after a while, or dead.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(uint32_t max_attempts = 5, Duration backoff = seconds(1))
      : h(MakeConfig(max_attempts, backoff)), producer(&h, "p"), worker(&h, "w") {
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig(uint32_t max_attempts, Duration backoff) {
    Config config;
    config.default_policy.max_attempts = max_attempts;
    config.default_policy.backoff_min = backoff;
    config.default_policy.backoff_max = backoff * 4;
    return config;
  }
  void PassUntilDelivery() {
    producer.Heartbeat();
    worker.Heartbeat();
    for (int i = 0; i < 500 && !h.HasFrameFor("w"); ++i) h.Run(milliseconds(10));
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(RetryTest, AFailedJobBacksOffAndIsTriedAgain) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  Duration bound = seconds(1);
  for (uint32_t attempt = 1; attempt <= 4; ++attempt) {
    const wire::Delivery delivery = s.worker.TakeDelivery();
    EXPECT_EQ(delivery.attempt(), attempt);
    s.worker.Failed(delivery.token(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
    EXPECT_EQ(s.h.queue("q").jobs.delayed(), 1u);
    EXPECT_LE(s.h.queue("q").jobs.next_due(), s.h.now.mono + bound);
    s.PassUntilDelivery();
    bound = std::min<Duration>(bound * 2, seconds(4));
  }
  s.worker.Completed(s.worker.TakeDelivery().token());
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::COMPLETED);
  EXPECT_EQ(outcome.attempts(), 5u);
  EXPECT_EQ(s.h.queue("q").retries, 4u);
}

TEST(RetryTest, BackOffIsShownAsTheGate) {
  Scene s(5, std::chrono::minutes(1));
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInternal);
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "backing off");
  EXPECT_EQ(s.h.broker.Status().queues(0).delayed(), 1u);
}

TEST(RetryTest, TheLastAttemptEndsAsDead) {
  Scene s(2, Duration(0));
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInternal);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kAborted);
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(outcome.attempts(), 2u);
  EXPECT_EQ(outcome.status().code(), static_cast<int>(absl::StatusCode::kAborted));
  EXPECT_EQ(outcome.status().message(), "it failed");
  EXPECT_EQ(outcome.worker(), "w");
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_TRUE(s.h.HasLog("jobs_dead"));
}

TEST(RetryTest, TheJobsOwnMaximumCountsBeforeTheQueues) {
  Scene s(5, Duration(0));
  wire::JobOptions options;
  options.set_max_attempts(1);
  s.producer.SubmitAccepted("q", 1, 1, options);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInternal);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
}

TEST(RetryTest, WhatTheJobIsAtFaultForIsNotTriedAgain) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound,
        absl::StatusCode::kAlreadyExists, absl::StatusCode::kPermissionDenied,
        absl::StatusCode::kUnauthenticated, absl::StatusCode::kFailedPrecondition,
        absl::StatusCode::kOutOfRange, absl::StatusCode::kUnimplemented}) {
    Scene s;
    s.producer.SubmitAccepted("q", 1, 1);
    s.worker.Failed(s.worker.TakeDelivery().token(), code);
    const wire::OutcomeRange outcome = s.producer.TakeOutcome();
    EXPECT_EQ(outcome.kind(), wire::OutcomeRange::DEAD);
    EXPECT_EQ(outcome.status().code(), static_cast<int>(code));
    EXPECT_EQ(outcome.attempts(), 1u);
  }
}

TEST(RetryTest, AFailureWithoutACodeIsNoSuccess) {
  Scene s(1);
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kOk);
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(outcome.status().code(), static_cast<int>(absl::StatusCode::kUnknown));
}

TEST(RetryTest, OnlyTheJobsThatFailedAreTriedAgain) {
  Scene s(5, Duration(0));
  WorkerPeer wide(&s.h, "wide", {.slots = 3, .queues = {"wide"}});
  wide.Join();
  s.producer.SubmitAccepted("wide", 1, 3);
  const uint64_t token = wide.TakeDelivery().token();
  wide.Failed(token, absl::StatusCode::kInternal, 1);
  const wire::Delivery again = wide.TakeDelivery();
  EXPECT_EQ(again.first(), 2u);
  EXPECT_EQ(again.run().sizes_size(), 1);
  wide.Completed(token, 0);
  wide.Completed(token, 2);
  wide.Completed(again.token());
  EXPECT_EQ(s.h.ledger("wide").completed, 3u);
  s.h.sent.clear();
}

TEST(RetryTest, AJobWithOneAttemptIsNeverHeld) {
  Scene s(1);
  WorkerPeer holder(&s.h, "holder", {.slots = 1, .queues = {"h"}, .held_max = 10});
  holder.Join();
  s.producer.SubmitAccepted("h", 1, 3);
  EXPECT_EQ(holder.TakeDelivery().run().sizes_size(), 1);
  EXPECT_EQ(s.h.ledger("h").waiting(), 2u);
}

}  // namespace
}  // namespace whippletree::core
