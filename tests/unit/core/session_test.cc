// Sessions: hello, welcome, heartbeats, silence, the end.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

TEST(SessionTest, TheWelcomeStatesPortsAndLimits) {
  Config config;
  config.epoch = 3;
  config.broker_start = 99;
  config.submit_port = 7712;
  config.complete_port = 7713;
  config.payload_bytes_max = 1000;
  config.result_bytes_max = 2000;
  config.default_policy.lease_duration = seconds(5);
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  const wire::Welcome welcome = producer.Join();
  EXPECT_EQ(welcome.session() >> 32, 3u);
  EXPECT_EQ(welcome.broker_start(), 99u);
  EXPECT_EQ(welcome.submit_port(), 7712u);
  EXPECT_EQ(welcome.complete_port(), 7713u);
  EXPECT_EQ(welcome.payload_bytes_max(), 1000u);
  EXPECT_EQ(welcome.result_bytes_max(), 2000u);
  EXPECT_EQ(welcome.lease_duration_ms(), 5000u);
  EXPECT_EQ(welcome.heartbeat_interval_ms(), 1000u);
  EXPECT_TRUE(h.HasLog("producer_joined"));
}

TEST(SessionTest, ARepeatedHelloIsIgnored) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  const wire::Envelope hello = producer.HelloMessage({});
  h.Door("p", hello);
  producer.TakeWelcome();
  h.Door("p", hello);
  EXPECT_EQ(h.counter("repeated_hellos"), 1u);
  producer.Heartbeat();  // the session lives on
}

TEST(SessionTest, ANewerHelloOfTheSameProcessEndsTheSession) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  const uint64_t first = producer.session;
  EXPECT_GT(producer.Join().session(), first);
  producer.session = first;
  producer.Submit("q", 1, {"1"});
  EXPECT_TRUE(h.broker.queues().empty());
  EXPECT_EQ(h.counter("frames_of_other_sessions"), 1u);
}

TEST(SessionTest, FramesOfAnUnknownSessionAreToldToSayHello) {
  BrokerHarness h;
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(12345);
  h.Door("stranger", message);
  EXPECT_EQ(h.TakeRefusal("stranger").action(), wire::Refusal::SAY_HELLO);
  EXPECT_EQ(h.counter("frames_of_other_sessions"), 1u);
}

TEST(SessionTest, ASessionBelongsToItsConnection) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  wire::Envelope message;
  message.mutable_goodbye()->set_session(producer.session);
  h.Door("thief", message);
  EXPECT_EQ(h.TakeRefusal("thief").action(), wire::Refusal::SAY_HELLO);
  producer.Heartbeat();
}

TEST(SessionTest, AWorkerCannotSpeakAsProducer) {
  BrokerHarness h;
  WorkerPeer worker(&h, "w");
  worker.Join();
  ProducerPeer producer(&h, "w");
  producer.session = worker.session;
  producer.Submit("q", 1, {"1"});
  producer.Ack("q", 1);
  EXPECT_EQ(h.TakeRefusal("w").action(), wire::Refusal::SAY_HELLO);
  EXPECT_EQ(h.counter("frames_of_other_sessions"), 2u);
  EXPECT_EQ(h.ledger("q").accepted, 0u);
}

TEST(SessionTest, HeartbeatsAreAnsweredAndKeepTheSession) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  for (int i = 0; i < 20; ++i) {
    h.Run(seconds(2));
    producer.Heartbeat();
  }
  EXPECT_FALSE(h.HasLog("producer_left"));
}

TEST(SessionTest, SilenceEndsTheSession) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  h.Run(milliseconds(9999));
  EXPECT_FALSE(h.HasLog("producer_left"));
  h.Run(milliseconds(1));
  EXPECT_TRUE(h.HasLog("producer_left"));
}

TEST(SessionTest, ANameIsOfOneRole) {
  BrokerHarness h;
  ProducerPeer producer(&h, "same");
  producer.Join();
  WorkerPeer worker(&h, "same");
  h.Door("elsewhere", worker.HelloMessage());
  EXPECT_EQ(h.TakeRefusal("elsewhere").action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(h.counter("rejected_hellos"), 1u);
  producer.Heartbeat();
}

TEST(SessionTest, AnotherProcessCannotTakeAWorkersName) {
  BrokerHarness h;
  WorkerPeer worker(&h, "w");
  worker.Join();
  WorkerPeer other(&h, "w", {.process = 2});
  h.Door("elsewhere", other.HelloMessage());
  EXPECT_EQ(h.TakeRefusal("elsewhere").action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(h.counter("rejected_hellos"), 1u);
  worker.Heartbeat();
}

TEST(SessionTest, NoMorePeersThanAllowed) {
  Config config;
  config.peers_max = 2;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  WorkerPeer worker(&h, "w");
  worker.Join();
  ProducerPeer third(&h, "third");
  h.Door("third", third.HelloMessage({}));
  const wire::Refusal refusal = h.TakeRefusal("third");
  EXPECT_EQ(refusal.status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(refusal.action(), wire::Refusal::NONE);  // it tries again
  EXPECT_EQ(refusal.status().message(),
            "the broker has as many peers as it may have (2); try again later");
  EXPECT_EQ(h.counter("refused_peers"), 1u);
  worker.Goodbye();
  third.Join();
}

TEST(SessionTest, NoMorePeersThanTheMemoryHas) {
  Config config;
  config.memory_limit_bytes = 200 << 10;  // 37 KiB for peers
  BrokerHarness h(config);
  ProducerPeer first(&h, "p1");
  ProducerPeer second(&h, "p2");
  ProducerPeer third(&h, "p3");
  ProducerPeer fourth(&h, "p4");
  for (ProducerPeer* peer : {&first, &second, &third}) peer->Join();
  h.Door("fourth", fourth.HelloMessage({}));
  const wire::Refusal refusal = h.TakeRefusal("fourth");
  EXPECT_EQ(refusal.status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(refusal.action(), wire::Refusal::NONE);
  EXPECT_EQ(refusal.status().message(),
            "the broker has no memory for another peer: its peers, queues, streams and groups take "
            "48 KiB, and new peers are taken up to 37 KiB, which is 3/16 of its --memory-limit; "
            "raise that, or use fewer peers or queues");
  EXPECT_EQ(h.counter("refused_peers"), 1u);
}

TEST(SessionTest, SaysGoodbyeAndIsForgotten) {
  BrokerHarness h;
  const uint64_t base = h.broker.used_bytes();
  WorkerPeer worker(&h, "w");
  worker.Join();
  EXPECT_EQ(h.broker.used_bytes(),
            base + kPeerOverheadBytes + kQueueOverheadBytes + kWorkerQueueOverheadBytes);
  worker.Goodbye();
  EXPECT_EQ(h.broker.used_bytes(), base + kQueueOverheadBytes);
  EXPECT_EQ(h.broker.Status().workers_size(), 0);
}

TEST(SessionTest, SessionsAndTokensGrowOverRestarts) {
  Config config;
  config.epoch = 1;
  BrokerHarness first(config);
  config.epoch = 2;
  BrokerHarness second(config);
  WorkerPeer a(&first, "w");
  WorkerPeer b(&second, "w");
  a.Join();
  EXPECT_GT(b.Join().session(), a.session);
}

}  // namespace
}  // namespace whippletree::core
