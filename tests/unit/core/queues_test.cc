// Queues that nobody uses go, by themselves or at an admin's word; what they counted stays.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr Duration kLong = kQueueRetention + seconds(1);

wire::AdminReply Drop(BrokerHarness* h, const std::string& queue) {
  wire::AdminRequest request;
  request.mutable_drop_queue()->set_queue(queue);
  return h->Ask(std::move(request));
}

// Submits a job, runs it, and leaves.
void Use(BrokerHarness* h, const std::string& queue) {
  ProducerPeer producer(h, "p-" + queue);
  WorkerPeer worker(h, "w-" + queue, {.queues = {queue}});
  producer.Join();
  worker.Join();
  producer.SubmitAccepted(queue, 1, 1);
  worker.Completed(worker.TakeDelivery().token());
  producer.TakeOutcome();
  producer.Ack(queue, 2);
  producer.Goodbye();
  worker.Goodbye();
}

TEST(QueuesTest, OneThatNobodyUsesGoesAfterAWhile) {
  BrokerHarness h;
  const uint64_t before = h.broker.used_bytes();
  Use(&h, "q");
  h.Jump(kQueueRetention - seconds(1));
  EXPECT_EQ(h.broker.queues().size(), 1u);
  h.Jump(seconds(2));
  h.Jump(kLong);
  EXPECT_TRUE(h.broker.queues().empty());
  EXPECT_TRUE(h.HasLog("queue_dropped"));
  EXPECT_EQ(h.broker.used_bytes(), before);
  const wire::StatusReply status = h.broker.Status();
  EXPECT_EQ(status.dropped_queues(), 1u);
  EXPECT_EQ(status.dropped().accepted(), 1u);
  EXPECT_EQ(status.dropped().completed(), 1u);
  // It may come again, and counts anew.
  Use(&h, "q");
  EXPECT_EQ(h.ledger("q").accepted, 1u);
}

TEST(QueuesTest, WhatIsConfiguredOrPausedOrHasSomethingStays) {
  Config config;
  config.queues["configured"] = config.default_policy;
  BrokerHarness h(config);
  Use(&h, "configured");
  Use(&h, "paused");
  wire::AdminRequest pause;
  pause.mutable_pause()->set_queue("paused");
  pause.mutable_pause()->set_paused(true);
  h.Ask(std::move(pause));
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("waiting", 1, 1);
  producer.Goodbye();
  WorkerPeer worker(&h, "w", {.queues = {"served"}});
  worker.Join();
  for (int i = 0; i < 2000; ++i) {
    h.Jump(seconds(1));
    worker.Heartbeat();
  }
  EXPECT_EQ(h.broker.queues().size(), 4u);
}

TEST(QueuesTest, AnAdminDropsOneThatIsNotUsed) {
  BrokerHarness h;
  Use(&h, "q");
  const wire::AdminReply reply = Drop(&h, "q");
  EXPECT_EQ(reply.error().code(), 0);
  EXPECT_EQ(reply.drop_queue().accepted(), 1u);
  EXPECT_TRUE(h.broker.queues().empty());
  EXPECT_EQ(Drop(&h, "q").error().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST(QueuesTest, OneThatIsUsedIsNotDroppedAndTheAnswerSaysWhy) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w");
  producer.Join();
  producer.SubmitAccepted("q", 1, 1);
  const auto why = [&] {
    const wire::AdminReply reply = Drop(&h, "q");
    EXPECT_EQ(reply.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
    return reply.error().message();
  };
  EXPECT_EQ(why(), "queue q has jobs without an outcome: 1; let them end, or cancel them");
  worker.Join();
  worker.Failed(worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(why(), "queue q has outcomes that their producers have not fetched: 1");
  producer.TakeOutcome();
  producer.Ack("q", 2);
  EXPECT_EQ(why(), "queue q has dead jobs that are kept: 1; requeue or drop them first");
  wire::AdminRequest drop_dead;
  drop_dead.mutable_dead()->set_action(wire::DeadRequest::DROP);
  drop_dead.mutable_dead()->set_queue("q");
  h.Ask(std::move(drop_dead));
  EXPECT_EQ(why(), "queue q is served by worker w; stop its workers first");
  worker.Goodbye();
  EXPECT_EQ(why(), "queue q is used by a producer; it can go when that one is gone and forgotten");
  producer.Goodbye();
  EXPECT_EQ(Drop(&h, "q").error().code(), 0);
}

TEST(QueuesTest, TheSumsOfDurableOnesOutliveTheBroker) {
  Config config;
  config.default_policy.durable = true;
  BrokerHarness h(config);
  Use(&h, "a");
  Use(&h, "b");
  Drop(&h, "a");
  Drop(&h, "b");
  EXPECT_TRUE(h.broker.queues().empty());
  BrokerHarness after(h.NextConfig(), h.rows, h.now);
  EXPECT_TRUE(after.broker.queues().empty());
  EXPECT_EQ(after.broker.Status().dropped().accepted(), 2u);
  EXPECT_EQ(after.broker.Status().dropped().completed(), 2u);
}

TEST(QueuesTest, AHundredThousandNamesDoNotFillTheTableForGood) {
  Config config;
  config.memory_limit_bytes = 4 << 20;
  BrokerHarness h(config);
  ProducerPeer flood(&h, "flood");
  flood.Join();
  wire::StreamUpdate update;
  for (int i = 0; update.state() != wire::StreamUpdate::REFUSED; ++i) {
    wire::Envelope message;
    message.mutable_open_stream()->set_session(flood.session);
    message.mutable_open_stream()->mutable_claim()->set_queue("q" + std::to_string(i));
    h.Door("flood", std::move(message));
    update = flood.TakeUpdate();
  }
  flood.Goodbye();
  h.Run(kLong);
  EXPECT_TRUE(h.broker.queues().empty());
  Use(&h, "q");
}

}  // namespace
}  // namespace whippletree::core
