// What costs memory is counted, though it has no bytes of payload; tables of what peers name are
// bounded.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using State = wire::StreamUpdate;

Config Limited(uint64_t memory_limit_bytes) {
  Config config;
  config.memory_limit_bytes = memory_limit_bytes;
  return config;
}

// Submits until the queue is full; how many jobs it took.
uint64_t Fill(BrokerHarness* h, ProducerPeer* producer,
              const std::function<wire::Envelope(uint64_t next)>& message) {
  uint64_t next = 1;
  for (int i = 0; i < 1'000'000; ++i) {
    h->Submit(message(next));
    const State update = producer->TakeUpdate();
    next = update.next();
    if (update.state() == State::FULL) break;
  }
  return next - 1;
}

TEST(AccountsTest, JobsOfNoBytesFillTheMemoryToo) {
  BrokerHarness h(Limited(4 << 20));
  ProducerPeer producer(&h, "p");
  producer.Join();
  int key = 0;
  const uint64_t jobs = Fill(&h, &producer, [&](uint64_t next) {
    wire::JobOptions options;
    options.set_key(std::string(250, 'k') + std::to_string(++key));
    return producer.SubmitMessage("q", next, {""}, options);
  });
  EXPECT_LE(h.broker.used_bytes(), h.broker.config().budget_bytes());
  // Each took a kilobyte or more.
  EXPECT_LT(jobs, h.broker.config().budget_bytes() / 1000);
  EXPECT_GT(jobs, 100u);
}

TEST(AccountsTest, ManySmallJobsOfOneRunCountEach) {
  Config config = Limited(4 << 20);
  config.default_policy.capacity_jobs = 10'000'000;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  const std::vector<std::string> empty(10'000, "");
  const uint64_t jobs =
      Fill(&h, &producer, [&](uint64_t next) { return producer.SubmitMessage("q", next, empty); });
  EXPECT_LE(jobs * kJobOverheadBytes, h.broker.config().budget_bytes());
}

TEST(AccountsTest, OptionsCountOnceForAllRunsThatShareThem) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  wire::JobOptions options;
  options.set_key(std::string(200, 'k'));
  producer.SubmitAccepted("q", 1, 1, options);
  const uint64_t one = h.broker.used_bytes();
  producer.SubmitAccepted("q", 2, 1, options);
  EXPECT_LT(h.broker.used_bytes() - one, 200u);
}

TEST(AccountsTest, QueuesFillATableOfTheirOwnAndGoAgain) {
  BrokerHarness h(Limited(4 << 20));
  ProducerPeer producer(&h, "p");
  producer.Join();
  size_t queues = 0;
  State update;
  while (update.state() != State::REFUSED && queues < 10'000) {
    producer.Submit("q" + std::to_string(queues++), 1, {"payload"});
    update = producer.TakeUpdate();
  }
  EXPECT_EQ(update.state(), State::REFUSED);
  EXPECT_EQ(update.status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  // What is there goes on.
  producer.SubmitAccepted("q0", 2, 1);
  EXPECT_LE(h.broker.used_bytes(), h.broker.config().budget_bytes());
}

TEST(AccountsTest, AConnectionBringsFewPeers) {
  BrokerHarness h;
  for (uint32_t i = 0; i < kPeersPerRouteMax; ++i) {
    ProducerPeer producer(&h, "p" + std::to_string(i), {.route = "one"});
    producer.Join();
  }
  ProducerPeer further(&h, "further", {.route = "one"});
  h.Door("one", further.HelloMessage({}));
  const wire::Refusal refusal = h.TakeRefusal("one");
  EXPECT_EQ(refusal.status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(refusal.action(), wire::Refusal::NONE);
  // One of them that says hello again is no further one, and another connection is free.
  ProducerPeer again(&h, "p0", {.process = 2, .route = "one"});
  h.Door("one", again.HelloMessage({}));
  h.Take("one", wire::Envelope::kRefusal);  // to the process before
  again.TakeWelcome();
  ProducerPeer other(&h, "other", {.route = "two"});
  other.Join();
}

TEST(AccountsTest, WhoOnlySaidHelloIsForgottenWhenItFallsSilent) {
  BrokerHarness h;
  ProducerPeer blank(&h, "blank");
  blank.Join();
  ProducerPeer user(&h, "user");
  user.Join();
  user.SubmitAccepted("q", 1, 1);
  EXPECT_EQ(h.broker.Status().producers(), 2u);
  const uint64_t with_both = h.broker.used_bytes();
  h.Run(h.broker.config().default_policy.lease_duration + seconds(1));
  EXPECT_LE(h.broker.used_bytes(), with_both - kPeerOverheadBytes);
}

TEST(AccountsTest, StreamsThatWereOnlyOpenedGoSoonAfterTheirProducer) {
  BrokerHarness h;
  const uint64_t before = h.broker.used_bytes();
  ProducerPeer careless(&h, "careless", {.named = true});
  std::vector<ProducerPeer::Claim> claims;
  for (uint32_t i = 0; i < 200; ++i) claims.push_back({"q" + std::to_string(i)});
  careless.Join(claims);
  EXPECT_GE(h.broker.used_bytes(), before + 200 * kStreamOverheadBytes);
  ProducerPeer user(&h, "user", {.named = true});
  user.Join({{"q1"}, {"q2"}});
  user.SubmitAccepted("q1", 1, 2);
  h.Run(h.broker.config().default_policy.lease_duration + kProducerRetention + seconds(1));
  EXPECT_LE(h.broker.used_bytes(), before + 200 * kQueueOverheadBytes + (48 << 10));
  h.Run(kQueueRetention + seconds(120));
  EXPECT_LE(h.broker.used_bytes(), before + (48 << 10));
  // Whoever has sent what was not accepted begins where it was.
  const wire::Welcome careless_again = careless.Join({{"q1", 1}});
  EXPECT_EQ(careless_again.streams(0).state(), wire::StreamUpdate::OPEN);
  EXPECT_EQ(careless_again.streams(0).next(), 1u);
  const wire::Welcome again = user.Join({{"q1", 3}, {"q2", 1}});
  EXPECT_EQ(again.streams(0).next(), 3u);
  EXPECT_EQ(again.streams(1).state(), wire::StreamUpdate::OPEN);
  EXPECT_EQ(again.streams(1).next(), 1u);
}

TEST(AccountsTest, NumbersOfEndedGroupsAreFewRanges) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  const uint64_t before = h.broker.used_bytes();
  for (uint64_t group = 2; group < 2 * (kEndedGroupRangesMax + 100); group += 2) {
    wire::Envelope message;
    message.mutable_close_group()->set_session(producer.session);
    message.mutable_close_group()->set_group(group);
    h.Submit(std::move(message));
    h.Take("p", wire::Envelope::kGroupUpdates);
    wire::Envelope ack;
    ack.mutable_group_ack()->set_session(producer.session);
    ack.mutable_group_ack()->add_groups(group);
    h.Door("p", std::move(ack));
  }
  EXPECT_LE(h.broker.used_bytes() - before, (kEndedGroupRangesMax + 1) * kIntervalBytes);
  h.sent.clear();
}

}  // namespace
}  // namespace whippletree::core
