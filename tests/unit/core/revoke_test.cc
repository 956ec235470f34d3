// Unstarted jobs are taken back when another worker is idle.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

// A worker that runs one job and holds eight.
struct Scene {
  Scene() : producer(&h, "p"), busy(&h, "busy", {.slots = 1, .held_max = 8}), idle(&h, "idle") {
    producer.Join();
    busy.Join();
    producer.SubmitAccepted("q", 1, 9);
    const std::vector<wire::Delivery> deliveries = busy.TakeDeliveries();
    EXPECT_EQ(deliveries.size(), 2u);
    running = deliveries[0].token();
    held = deliveries[1].token();
    busy.Heartbeat();
  }
  wire::JobRange TakeRevoke() {
    const wire::Envelope message = h.Take("busy", wire::Envelope::kRevoke);
    EXPECT_EQ(message.revoke().ranges_size(), 1);
    return message.revoke().ranges_size() > 0 ? message.revoke().ranges(0) : wire::JobRange();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer busy;
  WorkerPeer idle;
  uint64_t running = 0;
  uint64_t held = 0;
};

TEST(RevokeTest, HalfOfWhatIsHeldIsAskedBackAfterAWhile) {
  Scene s;
  s.h.Run(milliseconds(1));
  s.idle.Join();
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(3));
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(1));  // five since they were sent
  const wire::JobRange range = s.TakeRevoke();
  EXPECT_EQ(range.token(), s.held);
  EXPECT_EQ(range.first(), 4u);  // the newest
  EXPECT_EQ(range.count(), 4u);
  EXPECT_EQ(s.h.counter("jobs_revoked"), 4u);
}

TEST(RevokeTest, NotMoreIsAskedBackThanTheIdleOneTakes) {
  Scene s;
  s.idle.options.jobs_limit = 2;
  s.h.Run(kRevokeAfter);
  s.idle.Join();
  EXPECT_EQ(s.TakeRevoke().count(), 2u);
}

TEST(RevokeTest, ARevokedJobMovesOnlyOnTheAnswer) {
  Scene s;
  s.h.Run(kRevokeAfter);
  s.idle.Join();
  s.TakeRevoke();
  EXPECT_EQ(s.h.ledger("q").leased, 9u);
  s.busy.HandedBack(s.held, 4, 1);
  EXPECT_EQ(s.idle.TakeDelivery().attempt(), 1u);
}

TEST(RevokeTest, NothingMoreIsAskedWhileAnAnswerIsOutstanding) {
  Scene s;
  s.h.Run(kRevokeAfter);
  s.idle.Join();
  s.TakeRevoke();
  s.idle.Heartbeat();
  s.h.Run(milliseconds(500));
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.counter("jobs_revoked"), 4u);
}

TEST(RevokeTest, TheQuestionIsRepeatedUntilItIsAnswered) {
  Scene s;
  s.h.Run(kRevokeAfter);
  s.idle.Join();
  s.TakeRevoke();
  s.h.Run(kRepeatAfter);
  EXPECT_EQ(s.TakeRevoke().count(), 4u);
  // Those that were started are out of question.
  s.busy.Started(s.held, 4, 4);
  EXPECT_EQ(s.TakeRevoke().first(), 2u);  // half of the others
}

TEST(RevokeTest, NothingIsAskedBackWhileJobsWait) {
  Scene s;
  s.h.Run(kRevokeAfter);
  s.producer.SubmitAccepted("q", 10, 1);
  s.idle.Join();
  s.idle.TakeDelivery();
  s.h.Run(milliseconds(10));
  s.h.ExpectNothingLeft();
}

// The queue's timer is that of another thing before.
TEST(RevokeTest, AnEarlierTimerOfTheQueueIsNotTheEndOfIt) {
  Scene s;
  s.h.Run(milliseconds(1));
  wire::JobOptions later;
  later.set_not_before_ms(
      static_cast<uint64_t>(ToMilliseconds((s.h.now.wall + milliseconds(2)).time_since_epoch())));
  s.producer.SubmitAccepted("q", 10, 1, later);
  WorkerPeer idle(&s.h, "idle2", {.slots = 2});
  idle.Join();
  s.h.Run(milliseconds(2));
  idle.TakeDelivery();
  s.h.Run(milliseconds(2));
  EXPECT_EQ(s.TakeRevoke().token(), s.held);
}

TEST(RevokeTest, AnIdleWorkerOfAnotherQueueIsNoReason) {
  Scene s;
  s.h.Run(kRevokeAfter);
  s.idle.options.queues = {"other"};
  s.idle.Join();
  s.h.Run(milliseconds(100));
  EXPECT_EQ(s.h.counter("jobs_revoked"), 0u);
}

TEST(RevokeTest, AWorkerThatBecomesIdleIsAReason) {
  Scene s;
  s.h.Run(kRevokeAfter);
  s.idle.Join();
  s.TakeRevoke();
  s.busy.options.held_max = 0;
  s.busy.Heartbeat();
  s.busy.HandedBack(s.held, 4, 4);
  const uint64_t token = s.idle.TakeDelivery().token();
  // Three wait meanwhile; the idle one takes them before any more is asked back.
  s.idle.Completed(token);
  s.producer.TakeOutcome();
  for (int i = 0; i < 3; ++i) {
    s.idle.Completed(s.idle.TakeDelivery().token());
    s.producer.TakeOutcome();
  }
  EXPECT_EQ(s.TakeRevoke().first(), 2u);
}

}  // namespace
}  // namespace whippletree::core
