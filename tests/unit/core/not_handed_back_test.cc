// Held jobs that a worker is asked for, and does not hand back.
#include <gtest/gtest.h>

#include "tests/unit/core/overdue_scene.h"

namespace whippletree::core {
namespace {

using Scene = OverdueScene;

// A worker that runs one job and holds eight, and one that is idle and asks for them.
struct HeldScene : Scene {
  HeldScene() : Scene(NoTimeout()), busy(&h, "busy", {.held_max = 8}), idle(&h, "idle") {
    busy.Join();
    producer.SubmitAccepted("q", 1, 9);
    const std::vector<wire::Delivery> deliveries = busy.TakeDeliveries();
    EXPECT_EQ(deliveries.size(), 2u);
    held = deliveries[1].token();
    busy.Heartbeat();
    h.Run(kRevokeAfter);
    idle.options.jobs_limit = 1;
    idle.Join();
    EXPECT_EQ(Revoked(), (IntervalSet::Interval{7, 8}));
  }
  static QueuePolicy NoTimeout() {
    QueuePolicy policy = Policy();
    policy.timeout = Duration(0);
    return policy;
  }
  // What the busy one was asked for last; the questions are taken.
  IntervalSet::Interval Revoked() {
    IntervalSet::Interval asked{};
    for (const Send& send : h.sent) {
      if (send.route != "busy" || !send.message.has_revoke()) continue;
      const wire::JobRange& range = send.message.revoke().ranges(0);
      EXPECT_EQ(range.token(), held);
      asked = {range.first(), range.first() + range.count()};
    }
    DropFrames(busy, wire::Envelope::kRevoke);
    return asked;
  }
  WorkerPeer busy;
  WorkerPeer idle;
  uint64_t held = 0;
};

TEST(NotHandedBackTest, AHeldJobReturnsUnchargedAndSuspectAGraceAfterTheFirstQuestion) {
  HeldScene s;
  s.Pass(kGrace - milliseconds(1), {&s.busy, &s.idle});
  EXPECT_EQ(s.h.ledger("q").leased, 9u);
  s.Revoked();  // was repeated
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.counter("jobs_not_handed_back"), 1u);
  EXPECT_EQ(s.h.counter("suspects"), 1u);
  EXPECT_TRUE(s.h.HasLog("jobs_not_handed_back"));
  s.ExpectCancel(s.busy, s.held, 7, 1);
  const wire::Delivery delivery = s.idle.TakeDelivery();
  EXPECT_EQ(delivery.first(), 9u);
  EXPECT_EQ(delivery.attempt(), 1u);
  EXPECT_EQ(s.Revoked(), (IntervalSet::Interval{0, 7}));  // all the rest
}

TEST(NotHandedBackTest, AllThatAStuckWorkerHoldsReturnsAGraceLater) {
  HeldScene s;
  s.Pass(kGrace, {&s.busy, &s.idle});
  s.idle.TakeDelivery();
  s.Pass(kGrace, {&s.busy, &s.idle});
  EXPECT_EQ(s.h.counter("jobs_not_handed_back"), 8u);
  EXPECT_EQ(s.h.queue("q").held, 0u);
  EXPECT_EQ(s.h.ledger("q").leased, 2u);  // those that were started
  s.Revoked();
  s.DropFrames(s.busy, wire::Envelope::kCancelJobs);
  s.h.ExpectNothingLeft();  // it gets nothing
  EXPECT_EQ(s.h.broker.Status().workers(0).state(), "stuck");
}

TEST(NotHandedBackTest, OneThatWasMarkedMeanwhileStays) {
  HeldScene s;
  s.Pass(kGrace - seconds(1), {&s.busy, &s.idle});
  s.Revoked();
  s.busy.Started(s.held, 7);
  s.Revoked();
  s.Pass(seconds(1), {&s.busy, &s.idle});
  EXPECT_EQ(s.h.counter("jobs_not_handed_back"), 0u);
  EXPECT_EQ(s.h.broker.Status().workers(0).state(), "active");
  s.Revoked();
}

TEST(NotHandedBackTest, TheLateAnswerIsStaleAndTheWorkerGoesOn) {
  HeldScene s;
  s.Pass(kGrace, {&s.busy, &s.idle});
  s.idle.TakeDelivery();
  s.Revoked();
  s.DropFrames(s.busy, wire::Envelope::kCancelJobs);
  s.busy.HandedBack(s.held, 0, 8);
  EXPECT_EQ(s.h.counter("stale_completions"), 1u);
  EXPECT_EQ(s.h.counter("jobs_handed_back"), 7u);
  EXPECT_EQ(s.h.broker.Status().workers(0).state(), "active");
  s.busy.TakeDelivery();
}

TEST(NotHandedBackTest, ANewSessionIsAskedAgainAndHasNoMoreTime) {
  HeldScene s;
  const std::vector<uint64_t> tokens = {s.held - 1, s.held};
  s.Pass(kGrace - seconds(1), {&s.busy, &s.idle});
  s.Revoked();
  EXPECT_EQ(s.busy.Join(tokens).leases_kept_size(), 2);
  EXPECT_EQ(s.Revoked(), (IntervalSet::Interval{7, 8}));
  s.Pass(seconds(1), {&s.busy, &s.idle});
  EXPECT_EQ(s.h.counter("jobs_not_handed_back"), 1u);
  s.idle.TakeDelivery();
  s.Revoked();
  s.DropFrames(s.busy, wire::Envelope::kCancelJobs);
}

TEST(NotHandedBackTest, AHeldJobWhoseCancelIsNotAnsweredIsCancelled) {
  HeldScene s;
  s.busy.HandedBack(s.held, 7);
  s.idle.TakeDelivery();
  s.producer.Cancel("q", 2, 1);  // index 0
  s.Pass(kGrace, {&s.busy, &s.idle});
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::CANCELLED);
  EXPECT_EQ(outcome.first(), 2u);
  EXPECT_EQ(outcome.attempts(), 0u);
  s.Revoked();
  s.DropFrames(s.busy, wire::Envelope::kCancelJobs);
}

TEST(NotHandedBackTest, APauseOfTheBrokerExtendsTheTime) {
  HeldScene s;
  s.Pass(seconds(3), {&s.busy, &s.idle});
  s.h.Jump(seconds(3600));
  s.Pass(kGrace - seconds(3) - milliseconds(1), {&s.busy, &s.idle});
  EXPECT_EQ(s.h.ledger("q").leased, 9u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 9u);  // one moved
  EXPECT_EQ(s.h.counter("jobs_not_handed_back"), 1u);
  s.idle.TakeDelivery();
  s.Revoked();
  s.DropFrames(s.busy, wire::Envelope::kCancelJobs);
}

}  // namespace
}  // namespace whippletree::core
