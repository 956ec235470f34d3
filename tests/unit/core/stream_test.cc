// What a stream takes: numbers, gaps, room, credit.
#include <gtest/gtest.h>

#include <limits>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using State = wire::StreamUpdate;

TEST(StreamTest, TakesExactlyTheNextNumber) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 3);
  producer.SubmitAccepted("q", 4, 2);
  EXPECT_EQ(h.ledger("q").accepted, 5u);
  EXPECT_EQ(h.ledger("q").waiting(), 5u);
}

TEST(StreamTest, DropsDuplicatesAndTellsTheNextNumber) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 3);
  producer.Submit("q", 1, {"a", "b", "c"});
  EXPECT_EQ(producer.TakeUpdate().next(), 4u);
  EXPECT_EQ(h.counter("repeated_jobs"), 3u);
  EXPECT_EQ(h.ledger("q").accepted, 3u);
}

TEST(StreamTest, AResendMayBeCutDifferently) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, {"1", "2", "3"});
  EXPECT_EQ(producer.TakeUpdate().next(), 4u);
  producer.Submit("q", 2, {"2", "3", "4", "5"});
  EXPECT_EQ(producer.TakeUpdate().next(), 6u);
  WorkerPeer worker(&h, "w", {.slots = 10});
  worker.Join();
  std::string block;
  for (const wire::Delivery& delivery : worker.TakeDeliveries()) block += delivery.run().block();
  EXPECT_EQ(block, "12345");
}

TEST(StreamTest, AGapIsToldOnce) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 1);
  producer.Submit("q", 5, {"5"});
  State update = producer.TakeUpdate();
  EXPECT_EQ(update.state(), State::GAP);
  EXPECT_EQ(update.next(), 2u);
  producer.Submit("q", 6, {"6"});
  EXPECT_EQ(producer.TakeUpdate().state(), State::OPEN);
  // The next gap is told again.
  producer.SubmitAccepted("q", 2, 1);
  producer.Submit("q", 9, {"9"});
  EXPECT_EQ(producer.TakeUpdate().state(), State::GAP);
  EXPECT_EQ(h.ledger("q").accepted, 2u);
}

TEST(StreamTest, StreamsOfAProducerAreNumberedOnTheirOwn) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("a", 1, {"1"});
  const State a = producer.TakeUpdate();
  producer.Submit("b", 1, {"1"});
  const State b = producer.TakeUpdate();
  EXPECT_EQ(a.next(), 2u);
  EXPECT_EQ(b.next(), 2u);
  EXPECT_NE(a.stream(), b.stream());
}

Config SmallQueue(uint64_t jobs, uint64_t bytes = 1 << 20) {
  Config config;
  config.default_policy.capacity_jobs = jobs;
  config.default_policy.capacity_bytes = bytes;
  return config;
}

TEST(StreamTest, TakesTheFirstPartOfARunThatDoesNotFit) {
  BrokerHarness h(SmallQueue(3));
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, {"1", "2", "3", "4", "5"});
  const State update = producer.TakeUpdate();
  EXPECT_EQ(update.state(), State::FULL);
  EXPECT_EQ(update.next(), 4u);
  EXPECT_EQ(h.ledger("q").accepted, 3u);
}

TEST(StreamTest, FullLeavesNextAndOpenIsToldWhenThereIsRoom) {
  BrokerHarness h(SmallQueue(2));
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 2);
  producer.Submit("q", 3, {"3"});
  EXPECT_EQ(producer.TakeUpdate().state(), State::FULL);
  producer.Submit("q", 3, {"3"});
  EXPECT_EQ(producer.TakeUpdate().next(), 3u);
  // Another queue goes on meanwhile.
  producer.SubmitAccepted("other", 1, 2);

  WorkerPeer worker(&h, "w", {.slots = 1});
  worker.Join();
  worker.Completed(worker.TakeDelivery().token());
  const State open = producer.TakeUpdate();
  EXPECT_EQ(open.state(), State::OPEN);
  EXPECT_EQ(open.next(), 3u);
  EXPECT_EQ(producer.TakeOutcome().first(), 1u);
  worker.TakeDelivery();
  producer.SubmitAccepted("q", 3, 1);
}

TEST(StreamTest, AFullStreamOfAProducerThatLeftIsForgotten) {
  BrokerHarness h(SmallQueue(1));
  ProducerPeer gone(&h, "gone");
  gone.Join();
  gone.SubmitAccepted("q", 1, 1);
  gone.Submit("q", 2, {"2"});
  EXPECT_EQ(gone.TakeUpdate().state(), State::FULL);
  ProducerPeer other(&h, "other");
  other.Join();
  other.Submit("q", 1, {"1"});
  EXPECT_EQ(other.TakeUpdate().state(), State::FULL);
  gone.Goodbye();
  WorkerPeer worker(&h, "w");
  worker.Join();
  worker.Completed(worker.TakeDelivery().token());
  EXPECT_EQ(other.TakeUpdate().state(), State::OPEN);
}

TEST(StreamTest, RejectedUsesTheNumberUp) {
  Config config;
  config.payload_bytes_max = 4;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, {"1234", "12345", "123"});
  EXPECT_EQ(producer.TakeUpdate().next(), 4u);
  const wire::OutcomeRange rejected = producer.TakeOutcome();
  EXPECT_EQ(rejected.kind(), wire::OutcomeRange::REJECTED);
  EXPECT_EQ(rejected.first(), 2u);
  EXPECT_EQ(rejected.count(), 1u);
  EXPECT_EQ(rejected.status().message(), "payload of 5 bytes; at most 4 are taken");
  EXPECT_EQ(h.ledger("q").accepted, 2u);
  EXPECT_EQ(h.counter("rejected_jobs"), 1u);
}

// As a broker without a configuration has it.
Config NoCapacity() {
  Config config;
  config.payload_bytes_max = 4;
  config.default_policy.capacity_jobs = std::numeric_limits<uint64_t>::max();
  config.default_policy.capacity_bytes = std::numeric_limits<uint64_t>::max();
  return config;
}

TEST(StreamTest, AQueueWithoutCapacityTakesWhatFollowsARejectedJob) {
  BrokerHarness h(NoCapacity());
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, {"1", "12345", "3"});
  EXPECT_EQ(producer.TakeUpdate().next(), 4u);
  EXPECT_EQ(producer.TakeOutcome().kind(), wire::OutcomeRange::REJECTED);
  EXPECT_EQ(h.ledger("q").accepted, 2u);
}

TEST(StreamTest, AQueueWithoutCapacityTakesTheRestOfARepeatedRun) {
  BrokerHarness h(NoCapacity());
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w", {.slots = 2});
  producer.Join();
  worker.Join();
  producer.Submit("q", 1, {"1", "2"});
  producer.TakeUpdate();
  worker.Completed(worker.TakeDelivery().token(), 0, 2);
  producer.TakeOutcome();
  producer.Submit("q", 1, {"1", "2", "3"});
  EXPECT_EQ(producer.TakeUpdate().next(), 4u);
  EXPECT_EQ(h.ledger("q").accepted, 3u);
  EXPECT_EQ(worker.TakeDelivery().first(), 3u);
}

TEST(StreamTest, BadOptionsRejectTheWholeRun) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  wire::JobOptions options;
  options.set_key(std::string(257, 'k'));
  producer.Submit("q", 1, {"1", "2"}, options);
  EXPECT_EQ(producer.TakeUpdate().next(), 3u);
  const wire::OutcomeRange rejected = producer.TakeOutcome();
  EXPECT_EQ(rejected.kind(), wire::OutcomeRange::REJECTED);
  EXPECT_EQ(rejected.count(), 2u);
  EXPECT_EQ(rejected.status().message(), "a job's key has at most 256 bytes");
  options.Clear();
  options.set_max_attempts(kAttemptsMax + 1);
  producer.Submit("q", 3, {"3"}, options);
  EXPECT_EQ(producer.TakeUpdate().next(), 4u);
  EXPECT_EQ(producer.TakeOutcome().status().message(), "a job has at most 1000 attempts");
}

TEST(StreamTest, ByteCreditIsCumulative) {
  Config config = SmallQueue(1000, 10'000);
  config.payload_bytes_max = 100;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  EXPECT_EQ(producer.Join().first_bytes_limit(), 10'000u);
  producer.Submit("q", 1, {std::string(60, 'x')});
  EXPECT_EQ(producer.TakeUpdate().bytes_limit(), 10'060u);
  producer.Submit("q", 2, {std::string(101, 'x')});  // rejected: it was sent nevertheless
  EXPECT_EQ(producer.TakeUpdate().bytes_limit(), 10'161u);
  EXPECT_EQ(producer.TakeOutcome().kind(), wire::OutcomeRange::REJECTED);
  producer.Submit("q", 3, {std::string(9, 'x')});
  EXPECT_EQ(producer.TakeUpdate().bytes_limit(), 10'170u);
  // A new session counts anew.
  const wire::Welcome welcome = producer.Join({{"q", 4, 2}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).bytes_limit(), 10'000u);
  EXPECT_EQ(producer.TakeOutcome().kind(), wire::OutcomeRange::REJECTED);
}

TEST(StreamTest, JobCreditIsCumulative) {
  BrokerHarness h(SmallQueue(10));
  ProducerPeer producer(&h, "p");
  EXPECT_EQ(producer.Join().first_jobs_limit(), 10u);
  producer.Submit("q", 1, {"1", "2", "3"});
  EXPECT_EQ(producer.TakeUpdate().jobs_limit(), 13u);
}

TEST(StreamTest, AJobLargerThanTheQueueIsTakenAlone) {
  BrokerHarness h(SmallQueue(10, 100));
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, {std::string(500, 'x'), "2"});
  const State update = producer.TakeUpdate();
  EXPECT_EQ(update.next(), 2u);
  EXPECT_EQ(update.state(), State::FULL);
}

TEST(StreamTest, AStreamOfABadQueueNameIsRefused) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("no spaces", 1, {"1"});
  const State update = producer.TakeUpdate();
  EXPECT_EQ(update.state(), State::REFUSED);
  EXPECT_EQ(update.status().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_TRUE(h.broker.queues().empty());
  EXPECT_EQ(h.counter("rejected_frames"), 1u);
}

TEST(StreamTest, AQueueMayBeOpenedAndAskedFor) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p", {.named = true});
  producer.Join();
  wire::Envelope message;
  message.mutable_open_stream()->set_session(producer.session);
  message.mutable_open_stream()->mutable_claim()->set_queue("q");
  h.Door("p", message);
  State update = producer.TakeUpdate();
  EXPECT_EQ(update.next(), 1u);
  EXPECT_EQ(update.unsettled(), 0u);
  producer.SubmitAccepted("q", 1, 2);
  h.Door("p", message);
  update = producer.TakeUpdate();
  EXPECT_EQ(update.next(), 3u);
  EXPECT_EQ(update.unsettled(), 2u);
}

}  // namespace
}  // namespace whippletree::core
