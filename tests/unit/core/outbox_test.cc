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

TEST(OutboxTest, ItsBytesAreCountedAndBounded) {
  BrokerHarness h(BrokerHarness::InOneStep());
  ProducerPeer producer(&h, "p");
  std::vector<ProducerPeer::Claim> claims;
  for (int i = 0; i < kStreamsPerProducerMax; ++i) {
    claims.push_back({std::string(110, 'q') + std::to_string(i)});
  }
  producer.Join(claims);
  // Each stream has an update, in one message.
  const auto submit_all = [&](uint64_t first) {
    std::vector<Input> inputs;
    for (const auto& claim : claims) {
      inputs.push_back(
          h.Signed(Channel::kSubmit, "", producer.SubmitMessage(claim.queue, first, {""})));
    }
    h.Step(std::move(inputs));
  };
  submit_all(1);
  const uint64_t used = h.broker.used_bytes();
  const uint64_t message_bytes = h.sent.back().message.ByteSizeLong();
  ASSERT_GT(message_bytes, kOutboxBytesMax / 2);
  FailAllWithAgain(&h);
  EXPECT_GT(h.broker.used_bytes(), used + message_bytes);
  submit_all(1);
  EXPECT_EQ(h.counter("outbox_overflows"), 1u);
  EXPECT_LT(h.broker.used_bytes(), used + kOutboxBytesMax);
  h.Run(kOutboxRetry);
  EXPECT_EQ(h.broker.used_bytes(), used);
  EXPECT_EQ(h.sent.size(), 1u);
  FailAllWithAgain(&h);
  EXPECT_GT(h.broker.used_bytes(), used);
  producer.Goodbye();
  EXPECT_LT(h.broker.used_bytes(), used);
}

TEST(OutboxTest, WhatWaitsForACommitIsCounted) {
  BrokerHarness h([] {
    Config config;
    config.default_policy.durable = true;
    return config;
  }());
  ProducerPeer producer(&h, "p");
  producer.Join();
  h.durable_at_once = false;
  const uint64_t used = h.broker.used_bytes();
  producer.Submit("q", 1, {"1"});
  const uint64_t with_update = h.broker.used_bytes();
  h.Step({Durable{h.broker.last_commit()}});
  EXPECT_EQ(producer.TakeUpdate().next(), 2u);
  EXPECT_LT(h.broker.used_bytes(), with_update - 200);
  EXPECT_GT(h.broker.used_bytes(), used);
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
