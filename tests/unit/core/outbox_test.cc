// Peers whose sockets take nothing for a while.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

// What was sent last fails: the socket is full.
void FailAllWithAgain(BrokerHarness* h) {
  std::vector<Input> failed;
  for (Send& send : h->sent) {
    failed.push_back(SendFailed{SendFailed::Reason::kAgain, std::move(send)});
  }
  h->sent.clear();
  h->Step(std::move(failed));
}

struct Scene {
  Scene() : producer(&h, "p"), worker(&h, "w", {.slots = 10}) {
    producer.Join();
    worker.Join();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(OutboxTest, AFrameThatWasNotTakenIsTriedAgain) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  FailAllWithAgain(&s.h);
  s.h.ExpectNothingLeft();
  s.h.Run(kOutboxRetry - Duration(1));
  s.h.ExpectNothingLeft();
  s.h.Run(Duration(1));
  EXPECT_EQ(s.worker.TakeDelivery().first(), 1u);
}

TEST(OutboxTest, OtherTimersDoNotForgetTheRetry) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.TakeDelivery();
  s.h.Run(milliseconds(998));  // the delivery is sent again in two milliseconds
  s.producer.SubmitAccepted("q", 2, 1);
  FailAllWithAgain(&s.h);
  s.h.Run(kOutboxRetry);
  uint32_t jobs = 0;
  while (s.h.HasFrameFor("w")) jobs += static_cast<uint32_t>(s.worker.TakeDeliveries().size());
  EXPECT_GE(jobs, 2u);
}

TEST(OutboxTest, NothingIsDispatchedMeanwhile) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  FailAllWithAgain(&s.h);
  s.producer.SubmitAccepted("q", 2, 1);
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
  s.h.Run(kOutboxRetry);
  EXPECT_EQ(s.worker.TakeDelivery().first(), 1u);
  EXPECT_EQ(s.worker.TakeDelivery().first(), 2u);
}

TEST(OutboxTest, AnotherWorkerGetsTheJobMeanwhile) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  FailAllWithAgain(&s.h);
  WorkerPeer other(&s.h, "other");
  other.Join();
  s.producer.SubmitAccepted("q", 2, 1);
  EXPECT_EQ(other.TakeDelivery().first(), 2u);
  s.h.Run(kOutboxRetry);
  s.worker.TakeDelivery();
}

TEST(OutboxTest, OrderIsKept) {
  Scene s;
  s.producer.Submit("a", 1, {"1"});
  s.producer.Submit("b", 1, {"1"});
  FailAllWithAgain(&s.h);
  s.producer.Submit("c", 1, {"1"});
  s.h.ExpectNothingLeft();
  s.h.Run(kOutboxRetry);
  EXPECT_EQ(s.producer.TakeUpdate().queue(), "a");
  EXPECT_EQ(s.producer.TakeUpdate().queue(), "b");
  EXPECT_EQ(s.producer.TakeUpdate().queue(), "c");
}

TEST(OutboxTest, IsBounded) {
  Scene s;
  s.producer.Submit("q", 1, {"1"});
  s.worker.TakeDelivery();
  FailAllWithAgain(&s.h);
  for (size_t i = 0; i < 2 * kOutboxFramesMax; ++i) s.producer.Submit("q", 1, {"1"});
  EXPECT_GT(s.h.counter("outbox_overflows"), 0u);
  s.h.Run(kOutboxRetry);
  EXPECT_LE(s.h.sent.size(), kOutboxFramesMax);
  EXPECT_GE(s.h.sent.size(), kOutboxFramesMax / 2);
  s.h.sent.clear();
}

TEST(OutboxTest, ADeliveryThatNeverLeftIsNotCharged) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  FailAllWithAgain(&s.h);
  s.h.Run(kOutboxRetry);
  Send send = std::move(s.h.sent.front());
  s.h.sent.clear();
  s.h.Step({SendFailed{SendFailed::Reason::kUnreachable, std::move(send)}});
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
  WorkerPeer other(&s.h, "other");
  other.Join();
  EXPECT_EQ(other.TakeDelivery().attempt(), 1u);
}

TEST(OutboxTest, AFailedSendOfASessionThatEndedIsForgotten) {
  Scene s;
  s.producer.Submit("q", 1, {"1"});
  s.worker.TakeDelivery();
  Send send = std::move(s.h.sent.front());
  s.h.sent.clear();
  s.producer.Goodbye();
  s.h.Step({SendFailed{SendFailed::Reason::kAgain, send},
            SendFailed{SendFailed::Reason::kUnreachable, send}});
  s.h.Run(seconds(1) - milliseconds(1));
}

}  // namespace
}  // namespace whippletree::core
