// A broker that was stopped for a while must not take its peers for dead.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  Scene() : producer(&h, "p"), worker(&h, "w") {
    producer.Join();
    worker.Join();
    producer.SubmitAccepted("q", 1, 1);
    token = worker.TakeDelivery().token();
    worker.Heartbeat();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  uint64_t token = 0;
};

TEST(PauseTest, LeasesGrowByTheGap) {
  Scene s;
  s.h.Run(seconds(8));
  s.h.Jump(seconds(3600));
  EXPECT_TRUE(s.h.HasLog("broker_paused"));
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1999));
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  EXPECT_TRUE(s.h.HasLog("producer_left"));
}

TEST(PauseTest, WhatCameMeanwhileIsReadFirst) {
  Scene s;
  s.h.now.mono += seconds(60);
  s.h.now.wall += seconds(60);
  s.worker.Completed(s.token);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::COMPLETED);
  EXPECT_EQ(s.h.counter("stale_completions"), 0u);
}

TEST(PauseTest, ShortGapsAreNoPause) {
  Scene s;
  for (int i = 0; i < 10; ++i) s.h.Jump(seconds(1));
  EXPECT_FALSE(s.h.HasLog("broker_paused"));
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
}

TEST(PauseTest, ALostWorkerGetsTheGapToo) {
  Scene s;
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(s.worker.session);
  s.h.Step({SendFailed{SendFailed::Reason::kUnreachable, Send{"w", s.worker.session, message}}});
  s.h.Jump(seconds(3600));
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  EXPECT_EQ(s.worker.Join({s.token}).leases_kept_size(), 1);
}

TEST(PauseTest, AJumpOfTheWallClockChangesNothing) {
  Scene s;
  s.h.now.wall += std::chrono::hours(24);
  s.h.Run(seconds(5));
  s.h.now.wall -= std::chrono::hours(48);
  s.h.Run(milliseconds(4999));
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
}

}  // namespace
}  // namespace whippletree::core
