// What becomes of jobs whose worker is heard, but does not answer for them.
#include <gtest/gtest.h>

#include "tests/unit/core/overdue_scene.h"

namespace whippletree::core {
namespace {

using Scene = OverdueScene;

TEST(OverdueTest, AStartedJobThatIsNotAnsweredIsChargedAndTriedAgain) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  s.Pass(kTimeout + kGrace - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  EXPECT_EQ(s.h.counter("jobs_overdue"), 1u);
  EXPECT_TRUE(s.h.HasLog("jobs_overdue"));
  s.ExpectCancel(worker, token, 0, 1);
  WorkerPeer other(&s.h, "other");
  other.Join();
  EXPECT_EQ(other.TakeDelivery().attempt(), 2u);
}

TEST(OverdueTest, ItsOwnTimeoutCountsBeforeThatOfTheQueue) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  wire::JobOptions options;
  options.set_timeout_ms(60'000);
  s.producer.SubmitAccepted("q", 1, 1, options);
  worker.TakeDelivery();
  s.Pass(seconds(60) + kGrace - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, WithoutATimeoutItRunsForAsLongAsItsWorkerIsHeard) {
  QueuePolicy policy = Scene::Policy();
  policy.timeout = Duration(0);
  Scene s(policy);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  s.Pass(seconds(600), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
}

TEST(OverdueTest, APolicyThatChangesMeanwhileIsNotThatOfTheLease) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  EXPECT_EQ(worker.TakeDelivery().options().timeout_ms(), 2000u);
  Policies policies;
  policies.defaults = Scene::Policy();
  policies.defaults.timeout = seconds(100);
  s.h.Step({policies});
  s.h.Run(seconds(1));  // nobody said that it has arrived
  EXPECT_EQ(worker.TakeDelivery().options().timeout_ms(), 2000u);
  s.Pass(kTimeout + kGrace - seconds(1), {&worker});
  EXPECT_EQ(s.h.counter("jobs_overdue"), 1u);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, AWorkerThatNeedsLongToEndJobsHasThatTimeToo) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.end_grace_ms = 30'000});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  s.Pass(kTimeout + kGrace + seconds(30) - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, AMarkedJobHasItsTimeFromTheMarkOn) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.held_max = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  const std::vector<wire::Delivery> deliveries = worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  worker.Completed(deliveries[0].token());
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.Pass(seconds(7), {&worker});
  worker.Started(deliveries[1].token(), 0);
  worker.Started(deliveries[1].token(), 0);  // says it again, which is nothing
  s.Pass(kTimeout + kGrace - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 2u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  EXPECT_EQ(s.h.queue("q").held, 1u);  // nobody asked for the other one before
  s.ExpectCancel(worker, deliveries[1].token(), 0, 1);
  EXPECT_EQ(s.h.Take("w", wire::Envelope::kRevoke).revoke().ranges(0).first(), 1u);
}

TEST(OverdueTest, ABatchIsHalved) {
  QueuePolicy policy = Scene::Policy();
  policy.batch = {.max_jobs = 4};
  Scene s(policy);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  wire::JobOptions options;
  options.set_timeout_ms(3000);
  s.producer.SubmitAccepted("q", 1, 4, options);
  const uint64_t token = worker.TakeDelivery().token();
  s.Pass(seconds(3) + kGrace - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 4u);
  s.h.Run(milliseconds(1));
  s.ExpectCancel(worker, token, 0, 4);
  EXPECT_EQ(s.h.counter("batches_halved"), 1u);
  EXPECT_EQ(s.h.counter("jobs_overdue"), 4u);
  WorkerPeer other(&s.h, "other", {.slots = 2});
  other.Join();
  const std::vector<wire::Delivery> halves = other.TakeDeliveries();
  ASSERT_EQ(halves.size(), 2u);
  for (const wire::Delivery& half : halves) {
    EXPECT_EQ(half.run().sizes_size(), 2);
    EXPECT_EQ(half.parts(0).attempt(), 1u);  // nobody was charged
  }
}

TEST(OverdueTest, WhoRunsABatchOneByOneHasTheTimeOfEachJob) {
  QueuePolicy policy = Scene::Policy();
  policy.batch = {.max_jobs = 3};
  Scene s(policy);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  const uint64_t token = worker.TakeDelivery().token();
  for (uint32_t i = 0; i < 3; ++i) {
    worker.Started(token, i);
    s.Pass(seconds(9), {&worker});
  }
  EXPECT_EQ(s.h.counter("jobs_overdue"), 0u);
  worker.Started(token, 1);  // came before
  s.Pass(seconds(1), {&worker});
  EXPECT_EQ(s.h.counter("jobs_overdue"), 3u);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, AJobOnItsLastAttemptIsDead) {
  QueuePolicy policy = Scene::Policy();
  policy.max_attempts = 1;
  Scene s(policy);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  s.Pass(kTimeout + kGrace, {&worker});
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(outcome.attempts(), 1u);
  EXPECT_EQ(outcome.status().code(), static_cast<int>(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(outcome.worker(), "w");
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, ACancelledOneIsCancelled) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  s.producer.Cancel("q", 1, 1);
  s.Pass(kTimeout + kGrace, {&worker});
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::CANCELLED);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, OneThatExpiredMeanwhileIsNotTriedAgain) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  wire::JobOptions options;
  options.set_expires_at_ms(
      static_cast<uint64_t>(ToMilliseconds((s.h.now.wall + seconds(1)).time_since_epoch())));
  s.producer.SubmitAccepted("q", 1, 1, options);
  worker.TakeDelivery();
  s.Pass(kTimeout + kGrace, {&worker});
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::EXPIRED);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, ALateReportIsStaleAndTheWorkerGoesOn) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  s.Pass(kTimeout + kGrace, {&worker});
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
  EXPECT_TRUE(s.h.HasLog("worker_stuck"));
  EXPECT_EQ(s.h.broker.Status().workers(0).state(), "stuck");
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "workers stuck");
  // That it lives, and that it starts something, is no answer.
  s.Pass(seconds(60), {&worker});
  worker.Started(token);
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
  EXPECT_EQ(s.h.counter("stale_completions"), 1u);  // the mark

  worker.Completed(token);
  EXPECT_EQ(s.h.counter("stale_completions"), 2u);
  EXPECT_EQ(s.h.ledger("q").completed, 0u);
  EXPECT_TRUE(s.h.HasLog("worker_goes_on"));
  EXPECT_EQ(s.h.broker.Status().workers(0).state(), "active");
  const wire::Delivery again = worker.TakeDelivery();
  EXPECT_EQ(again.attempt(), 2u);
  worker.Completed(again.token());
  EXPECT_EQ(s.producer.TakeOutcome().attempts(), 2u);
}

TEST(OverdueTest, TheSlotOfAnUnansweredJobStaysTaken) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t lost = worker.TakeDelivery().token();
  s.Pass(seconds(5), {&worker});
  s.producer.SubmitAccepted("q", 2, 1);
  const uint64_t other = worker.TakeDelivery().token();
  s.Pass(seconds(5), {&worker});
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
  EXPECT_EQ(s.h.counter("jobs_overdue"), 1u);
  s.producer.SubmitAccepted("q", 3, 2);
  worker.Completed(other);
  s.producer.TakeOutcome();
  // One of its slots works.
  EXPECT_EQ(worker.TakeDelivery().run().sizes_size(), 1);
  s.h.ExpectNothingLeft();
  worker.Failed(lost, absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(worker.TakeDelivery().run().sizes_size(), 1);
}

TEST(OverdueTest, ANewSessionOfAStuckWorkerIsGivenJobs) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  s.Pass(kTimeout + kGrace, {&worker});
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
  EXPECT_EQ(worker.Join({token}).leases_kept_size(), 0);
  EXPECT_EQ(worker.TakeDelivery().attempt(), 2u);
}

TEST(OverdueTest, WhoNeverGotTheDeliveryIsGivenJobsOnceItSaysWhatItHas) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  s.DropFrames(worker, wire::Envelope::kDeliveries);
  for (Duration passed{}; passed < kTimeout + kGrace; passed += milliseconds(500)) {
    worker.deliveries_next = 1;
    s.Pass(milliseconds(500), {&worker});
    s.DropFrames(worker, wire::Envelope::kDeliveries);
  }
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
  EXPECT_EQ(s.h.counter("jobs_overdue"), 1u);
  EXPECT_EQ(s.h.broker.Status().workers(0).state(), "stuck");
  worker.deliveries_next = 2;
  worker.Heartbeat();
  EXPECT_EQ(worker.TakeDelivery().attempt(), 2u);
}

TEST(OverdueTest, TheTimeBeginsWhenTheDeliveryLeaves) {
  QueuePolicy policy = Scene::Policy();
  policy.durable = true;
  Scene s(policy);
  WorkerPeer worker(&s.h, "w");
  s.producer.SubmitAccepted("q", 1, 1);
  s.h.durable_at_once = false;
  worker.Join();
  s.Pass(seconds(100), {&worker});
  s.h.ExpectNothingLeft();
  s.h.Step({Durable{s.h.broker.last_commit()}});
  worker.TakeDelivery();
  s.DropFrames(worker, wire::Envelope::kDeliveries);  // it was to be sent again meanwhile
  s.h.durable_at_once = true;
  s.Pass(kTimeout + kGrace - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, APauseOfTheBrokerExtendsTheTime) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  worker.TakeDelivery();
  s.Pass(seconds(3), {&worker});
  s.h.Jump(seconds(3600));
  s.Pass(kTimeout + kGrace - seconds(3) - milliseconds(1), {&worker});
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, ARestoredLeaseHasItsWholeTimeOnceMore) {
  QueuePolicy policy = Scene::Policy();
  policy.durable = true;
  Scene s(policy);
  WorkerPeer worker(&s.h, "w", {.end_grace_ms = 1000});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  s.Pass(seconds(5), {&worker});
  Config config = s.h.NextConfig();
  config.default_policy.timeout = seconds(1000);  // it was given out with another
  BrokerHarness h(config, s.h.rows, s.h.now);
  WorkerPeer again(&h, "w");
  EXPECT_EQ(again.Join({token}).leases_kept_size(), 1);
  for (int i = 0; i < 21; ++i) {
    h.Run(milliseconds(500));
    again.Heartbeat();
  }
  h.Run(milliseconds(499));
  EXPECT_EQ(h.ledger("q").leased, 1u);
  h.Run(milliseconds(1));
  EXPECT_EQ(h.ledger("q").leased, 0u);
  EXPECT_EQ(h.counter("jobs_overdue"), 1u);
  h.Take("w", wire::Envelope::kCancelJobs);
}

TEST(OverdueTest, ItsPlacesAreFreeAtOnce) {
  QueuePolicy policy = Scene::Policy();
  policy.concurrency = 1;
  policy.max_attempts = 1;
  policy.keys.ordered = true;
  Scene s(policy);
  WorkerPeer worker(&s.h, "w");
  WorkerPeer other(&s.h, "other");
  worker.Join();
  wire::JobOptions options;
  options.set_key("k");
  s.producer.SubmitAccepted("q", 1, 2, options);
  worker.TakeDelivery();
  other.Join();
  s.Pass(kTimeout + kGrace, {&worker, &other});
  s.DropFrames(worker, wire::Envelope::kCancelJobs);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(other.TakeDelivery().first(), 2u);
}

TEST(OverdueTest, NotAllAreTakenInOneStep) {
  Scene s;
  WorkerPeer workers[] = {{&s.h, "a", {.slots = kSlotsMax}}, {&s.h, "b", {.slots = kSlotsMax}}};
  for (WorkerPeer& worker : workers) worker.Join();
  s.producer.SubmitAccepted("q", 1, 2 * kSlotsMax);
  for (WorkerPeer& worker : workers) {
    EXPECT_EQ(worker.TakeDelivery().run().sizes_size(), static_cast<int>(kSlotsMax));
  }
  s.Pass(kTimeout + kGrace - milliseconds(1), {&workers[0], &workers[1]});
  EXPECT_EQ(s.h.ledger("q").leased, 2 * kSlotsMax);
  s.h.durable_at_once = false;  // or there are two steps
  s.h.Jump(milliseconds(1));
  int steps = 1;
  for (; s.h.ledger("q").leased > 0 && steps < 100; ++steps) {
    EXPECT_LE(s.h.broker.NextDeadline(), s.h.now.mono);
    const uint64_t before = s.h.ledger("q").leased;
    s.h.Step();
    EXPECT_LE(before - s.h.ledger("q").leased, 2 * s.h.broker.config().step_work_max);
  }
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  EXPECT_GE(steps, 4);
  s.h.Step({Durable{s.h.broker.last_commit()}});
  for (WorkerPeer& worker : workers) s.DropFrames(worker, wire::Envelope::kCancelJobs);
}

}  // namespace
}  // namespace whippletree::core
