// Times of the calendar: not before, and expiry.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(Config config = {}) : h(std::move(config)), producer(&h, "p"), worker(&h, "w") {
    producer.Join();
  }
  wire::JobOptions NotBefore(Duration d) const {
    wire::JobOptions options;
    options.set_not_before_ms(Milliseconds(d));
    return options;
  }
  wire::JobOptions ExpiresIn(Duration d) const {
    wire::JobOptions options;
    options.set_expires_at_ms(Milliseconds(d));
    return options;
  }
  uint64_t Milliseconds(Duration d) const {
    return static_cast<uint64_t>(ToMilliseconds((h.now.wall + d).time_since_epoch()));
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(NotBeforeTest, AJobWaitsForItsTime) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.NotBefore(seconds(5)));
  s.h.Run(milliseconds(4999));
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "not before");
  EXPECT_EQ(s.h.broker.Status().queues(0).scheduled(), 1u);
  s.h.Run(milliseconds(1));
  s.worker.TakeDelivery();
}

TEST(NotBeforeTest, OthersGoOn) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.NotBefore(seconds(5)));
  s.producer.SubmitAccepted("q", 2, 1);
  EXPECT_EQ(s.worker.TakeDelivery().first(), 2u);
}

TEST(NotBeforeTest, FollowsTheCalendarWhenItJumps) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.NotBefore(std::chrono::hours(24)));
  s.h.now.wall += std::chrono::hours(24);
  s.h.Run(seconds(1));
  s.worker.TakeDelivery();
}

TEST(NotBeforeTest, AJobMayBeCancelledMeanwhile) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 10, s.NotBefore(seconds(5)));
  s.producer.Cancel("q", 3, 5);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::CANCELLED);
  EXPECT_EQ(s.h.ledger("q").waiting(), 5u);
}

TEST(ExpiryTest, AWaitingJobExpires) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 3, s.ExpiresIn(seconds(5)));
  s.producer.SubmitAccepted("q", 4, 1);
  s.h.Run(milliseconds(4999));
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(1));
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::EXPIRED);
  EXPECT_EQ(outcome.first(), 1u);
  EXPECT_EQ(outcome.count(), 3u);
  EXPECT_EQ(s.h.ledger("q").expired, 3u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
}

TEST(ExpiryTest, ARunningJobMayFinish) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.ExpiresIn(seconds(5)));
  const uint64_t token = s.worker.TakeDelivery().token();
  s.worker.Heartbeat();
  s.h.Run(seconds(6));
  s.worker.Completed(token);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::COMPLETED);
}

TEST(ExpiryTest, AFailedJobIsNotTriedAgainAfterIt) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.ExpiresIn(seconds(5)));
  const uint64_t token = s.worker.TakeDelivery().token();
  s.worker.Heartbeat();
  s.h.Run(seconds(6));
  s.worker.Failed(token, absl::StatusCode::kUnavailable);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::EXPIRED);
}

TEST(ExpiryTest, AJobThatBacksOffExpires) {
  Config config;
  config.default_policy.backoff_min = config.default_policy.backoff_max = std::chrono::hours(1);
  Scene s(config);
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.ExpiresIn(seconds(5)));
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kUnavailable);
  s.h.Run(seconds(5));
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::EXPIRED);
}

TEST(ExpiryTest, AJobThatComesTooLateIsNeverStarted) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1, s.ExpiresIn(seconds(-1)));
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::EXPIRED);
}

TEST(ExpiryTest, NothingIsHeld) {
  Scene s;
  s.worker.options.held_max = 10;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 5, s.ExpiresIn(seconds(5)));
  EXPECT_EQ(s.worker.TakeDelivery().run().sizes_size(), 1);
  s.h.ExpectNothingLeft();
}

// The original's worker returned without a result for the job that it dropped.
TEST(TimeoutTest, ATimedOutJobHasAnOutcome) {
  Config config;
  config.default_policy.max_attempts = 1;
  Scene s(config);
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kDeadlineExceeded);
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(outcome.status().code(), static_cast<int>(absl::StatusCode::kDeadlineExceeded));
}

TEST(TimeoutTest, TheQueuesHoldsWhereTheJobSaysNothing) {
  Config config;
  config.default_policy.timeout = seconds(7);
  Scene s(config);
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const wire::Delivery delivery = s.worker.TakeDelivery();
  EXPECT_EQ(delivery.options().timeout_ms(), 7000u);
  s.worker.Completed(delivery.token());
  s.producer.TakeOutcome();
  wire::JobOptions options;
  options.set_timeout_ms(100);
  s.producer.SubmitAccepted("q", 2, 1, options);
  EXPECT_EQ(s.worker.TakeDelivery().options().timeout_ms(), 100u);
}

}  // namespace
}  // namespace whippletree::core
