// Cancelled jobs: waiting, leased, held, and those whose worker is lost.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using Range = wire::OutcomeRange;

struct Scene {
  Scene() : producer(&h, "p"), worker(&h, "w", {.slots = 2, .held_max = 2}) { producer.Join(); }
  // The one range that the worker is asked to cancel.
  wire::JobRange TakeCancel() {
    const wire::Envelope message = h.Take("w", wire::Envelope::kCancelJobs);
    EXPECT_EQ(message.cancel_jobs().session(), worker.session);
    EXPECT_EQ(message.cancel_jobs().ranges_size(), 1);
    return message.cancel_jobs().ranges_size() > 0 ? message.cancel_jobs().ranges(0)
                                                   : wire::JobRange();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(CancelTest, WaitingJobsEndAtOnce) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 10);
  s.producer.Cancel("q", 3, 4);
  const Range outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), Range::CANCELLED);
  EXPECT_EQ(outcome.first(), 3u);
  EXPECT_EQ(outcome.count(), 4u);
  EXPECT_EQ(outcome.attempts(), 0u);
  EXPECT_EQ(s.h.ledger("q").cancelled, 4u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 6u);
  s.producer.Cancel("q", 1, 10);  // what is cancelled stays so
  EXPECT_EQ(s.producer.TakeOutcomes().ranges_size(), 2);
  EXPECT_EQ(s.h.ledger("q").cancelled, 10u);
  EXPECT_EQ(s.h.queue("q").bytes, 0u);
}

TEST(CancelTest, JobsThatDoNotExistAreIgnored) {
  Scene s;
  s.producer.Cancel("nowhere", 1, 5);
  s.producer.SubmitAccepted("q", 1, 1);
  s.producer.Cancel("q", 2, 1'000'000);
  EXPECT_EQ(s.h.ledger("q").cancelled, 0u);
}

TEST(CancelTest, ALeasedJobIsConfirmedWhenItsWorkerAnswers) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.producer.Cancel("q", 1, 1);
  const wire::JobRange range = s.TakeCancel();
  EXPECT_EQ(range.token(), token);
  EXPECT_EQ(range.count(), 1u);
  EXPECT_EQ(s.h.ledger("q").cancelled, 0u);
  s.worker.Failed(token, absl::StatusCode::kCancelled);
  const Range outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), Range::CANCELLED);
  EXPECT_EQ(outcome.attempts(), 1u);
  EXPECT_EQ(s.h.queue("q").retries, 0u);
}

TEST(CancelTest, ACompletionThatCameFirstStands) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.producer.Cancel("q", 1, 1);
  s.TakeCancel();
  s.worker.Completed(token);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), Range::COMPLETED);
}

TEST(CancelTest, AHeldJobIsHandedBackAndEnds) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 4);
  const std::vector<wire::Delivery> deliveries = s.worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  s.producer.Cancel("q", 4, 1);
  const wire::JobRange range = s.TakeCancel();
  EXPECT_EQ(range.token(), deliveries[1].token());
  EXPECT_EQ(range.first(), 1u);
  s.worker.HandedBack(range.token(), 1);
  const Range outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), Range::CANCELLED);
  EXPECT_EQ(outcome.first(), 4u);
  EXPECT_EQ(outcome.attempts(), 0u);
  EXPECT_EQ(s.h.queue("q").held, 1u);
}

TEST(CancelTest, OneRequestMayCoverWaitingAndLeasedJobs) {
  Scene s;
  s.worker.options.held_max = 0;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 6);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.producer.Cancel("q", 2, 4);
  EXPECT_EQ(s.TakeCancel().first(), 1u);
  const Range outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.first(), 3u);
  EXPECT_EQ(outcome.count(), 3u);
  s.worker.Completed(token, 0);
  EXPECT_EQ(s.worker.TakeDelivery().first(), 6u);
  s.producer.TakeOutcome();
}

TEST(CancelTest, TheWorkerIsAskedAgainUntilItAnswers) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.worker.Heartbeat();
  s.producer.Cancel("q", 1, 1);
  s.TakeCancel();
  s.producer.Cancel("q", 1, 1);  // the producer asks again: nothing new
  s.h.ExpectNothingLeft();
  s.h.Run(seconds(1));
  s.TakeCancel();
  s.h.Run(seconds(1));
  s.TakeCancel();
  s.worker.Failed(token, absl::StatusCode::kCancelled);
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.h.Run(seconds(5));
}

TEST(CancelTest, TheWorkerIsAskedOnceForEachJobAndAgainForAll) {
  Scene s;
  s.worker.options.held_max = 0;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 6);
  s.worker.TakeDelivery();
  s.worker.Heartbeat();
  s.producer.Cancel("q", 1, 1);
  EXPECT_EQ(s.TakeCancel().first(), 0u);
  s.producer.Cancel("q", 1, 2);
  EXPECT_EQ(s.TakeCancel().first(), 1u);
  s.h.ExpectNothingLeft();
  s.h.Run(seconds(1));
  EXPECT_EQ(s.TakeCancel().count(), 2u);  // both
  s.h.ExpectNothingLeft();
}

TEST(CancelTest, TheWorkerIsAskedAgainInItsNewSession) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.producer.Cancel("q", 1, 1);
  s.TakeCancel();
  s.worker.Join({token});
  EXPECT_EQ(s.TakeCancel().token(), token);
}

TEST(CancelTest, AJobThatBacksOffEndsAtOnce) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInternal);
  s.producer.Cancel("q", 1, 1);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), Range::CANCELLED);
  EXPECT_EQ(s.h.ledger("q").waiting(), 0u);
}

TEST(CancelTest, JobsOfALostWorkerEndAsCancelled) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  EXPECT_EQ(s.worker.TakeDeliveries().size(), 2u);
  s.worker.Heartbeat();
  s.producer.Cancel("q", 1, 3);
  s.TakeCancel();
  s.TakeCancel();
  for (int i = 0; i < 5; ++i) {
    s.h.Run(seconds(2));
    s.producer.Heartbeat();
  }
  while (s.h.HasFrameFor("w")) s.TakeCancel();
  uint64_t cancelled = 0;
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  for (const Range& range : outcomes.ranges()) {
    EXPECT_EQ(range.kind(), Range::CANCELLED);
    cancelled += range.count();
  }
  EXPECT_EQ(cancelled, 3u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 0u);
}

TEST(CancelTest, OutcomesThatNobodyReadsDoNotFillTheMemory) {
  constexpr uint64_t kJobs = 8000;
  Config config;
  config.memory_limit_bytes = 2 << 20;
  config.default_policy.durable = false;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, std::vector<std::string>(kJobs, ""));
  wire::Envelope cancel;
  cancel.mutable_cancel()->set_session(producer.session);
  cancel.mutable_cancel()->set_queue("q");
  for (uint64_t i = 1; i <= kJobs; i += 2) {  // an outcome each
    cancel.mutable_cancel()->add_firsts(i);
    cancel.mutable_cancel()->add_counts(1);
  }
  h.Submit(cancel);
  EXPECT_LT(h.broker.used_bytes(), config.budget_bytes());
  EXPECT_LT(h.ledger("q").cancelled, kJobs / 2);
  EXPECT_EQ(h.counter("full_cancels"), 1u);
  // What it has read makes room.
  uint64_t next = 1;
  for (int i = 0; i < 100 && h.ledger("q").cancelled < kJobs / 2; ++i) {
    for (const Send& send : std::exchange(h.sent, {})) {
      if (!send.message.has_outcomes()) continue;
      next = send.message.outcomes().first_ordinal() +
             static_cast<uint64_t>(send.message.outcomes().ranges_size());
    }
    producer.Ack("q", next);
    h.Submit(cancel);
  }
  EXPECT_EQ(h.ledger("q").cancelled, kJobs / 2);
  h.sent.clear();
}

}  // namespace
}  // namespace whippletree::core
