// Leases: tokens, charging, completions, hand-backs, and what becomes of the jobs of a lost worker.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

Config NoBackoff(uint32_t max_attempts = 5) {
  Config config;
  config.default_policy.max_attempts = max_attempts;
  config.default_policy.backoff_min = config.default_policy.backoff_max = Duration(0);
  return config;
}

struct Scene {
  explicit Scene(Config config = NoBackoff()) : h(std::move(config)), producer(&h, "p") {
    producer.Join();
  }
  BrokerHarness h;
  ProducerPeer producer;
};

TEST(LeaseTest, TokensStrictlyIncreaseAndCarryTheEpoch) {
  Config config = NoBackoff();
  config.epoch = 7;
  Scene s(config);
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  uint64_t last = uint64_t{7} << 32;
  for (uint64_t i = 1; i <= 5; ++i) {
    s.producer.SubmitAccepted("q", i, 1);
    const uint64_t token = worker.TakeDelivery().token();
    EXPECT_GT(token, last);
    EXPECT_EQ(token >> 32, 7u);
    last = token;
    worker.HandedBack(token);
    EXPECT_GT(worker.TakeDelivery().token(), last);
    worker.Completed(++last);
    s.producer.TakeOutcome();
  }
}

TEST(LeaseTest, TheDeliveryHasAllOfTheJob) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  wire::JobOptions options;
  options.set_timeout_ms(1234);
  s.producer.Submit("q", 1, {"the payload"}, options);
  const uint64_t stream = s.producer.TakeUpdate().stream();
  const wire::Delivery delivery = worker.TakeDelivery();
  EXPECT_EQ(delivery.queue(), "q");
  EXPECT_EQ(delivery.stream(), stream);
  EXPECT_EQ(delivery.first(), 1u);
  EXPECT_EQ(delivery.attempt(), 1u);
  EXPECT_EQ(delivery.started(), 1u);
  EXPECT_EQ(delivery.options().timeout_ms(), 1234u);
  EXPECT_EQ(delivery.run().block(), "the payload");
}

TEST(LeaseTest, StaleCompletionIsIgnored) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  worker.Completed(token + 1);
  EXPECT_EQ(s.h.counter("stale_completions"), 1u);
  EXPECT_TRUE(s.h.HasLog("stale_completion"));
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  worker.Completed(token);
  s.producer.TakeOutcome();
  worker.Failed(token, absl::StatusCode::kInternal);  // it has its outcome
  EXPECT_EQ(s.h.counter("stale_completions"), 2u);
  EXPECT_EQ(s.h.ledger("q").completed, 1u);
}

TEST(LeaseTest, ALeaseOfAnotherWorkerIsStaleToo) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  WorkerPeer other(&s.h, "other");
  other.Join();
  other.Completed(token);
  EXPECT_EQ(s.h.counter("stale_completions"), 1u);
  EXPECT_EQ(s.h.ledger("q").completed, 0u);
}

TEST(LeaseTest, AReportBeyondTheLeaseCountsWhatIsThere) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 2);
  worker.Completed(worker.TakeDelivery().token(), 1, 5);
  EXPECT_EQ(s.producer.TakeOutcome().first(), 2u);
  EXPECT_EQ(s.h.counter("stale_completions"), 4u);
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
}

TEST(LeaseTest, RepeatedAndEarlyReportsChangeNothing) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 2);
  const uint64_t token = worker.TakeDelivery().token();
  const wire::Envelope first =
      worker.ReportMessage({WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 1)});
  const wire::Envelope second =
      worker.ReportMessage({WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 1, 1)});
  s.h.Complete(second);
  EXPECT_EQ(worker.TakeReportAck(), 1u);
  EXPECT_EQ(s.h.counter("early_reports"), 1u);
  s.h.Complete(first);
  EXPECT_EQ(worker.TakeReportAck(), 2u);
  EXPECT_EQ(s.producer.TakeOutcome().first(), 1u);
  s.h.Complete(first);
  EXPECT_EQ(worker.TakeReportAck(), 2u);
  EXPECT_EQ(s.h.counter("repeated_reports"), 1u);
  s.h.Complete(second);
  EXPECT_EQ(worker.TakeReportAck(), 3u);
  EXPECT_EQ(s.producer.TakeOutcome().first(), 2u);
}

TEST(LeaseTest, AHandBackIsNotCharged) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  for (int i = 0; i < 10; ++i) {
    const wire::Delivery delivery = worker.TakeDelivery();
    EXPECT_EQ(delivery.attempt(), 1u);
    worker.HandedBack(delivery.token());
  }
  worker.TakeDelivery();
  EXPECT_EQ(s.h.counter("jobs_handed_back"), 10u);
}

TEST(LeaseTest, ATooLargeResultEndsTheJobAsDead) {
  Config config = NoBackoff();
  config.result_bytes_max = 8;
  Scene s(config);
  WorkerPeer worker(&s.h, "w", {.slots = 3});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  wire::ReportItem item =
      WorkerPeer::Item(wire::ReportItem::COMPLETED, worker.TakeDelivery().token(), 0, 3);
  item.clear_results();
  for (const char* result : {"12345678", "123456789", "1"}) {
    AppendToRun(result, item.mutable_results());
  }
  worker.Report({item});
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  ASSERT_EQ(outcomes.ranges_size(), 3);
  EXPECT_EQ(outcomes.ranges(0).kind(), wire::OutcomeRange::COMPLETED);
  EXPECT_EQ(outcomes.ranges(1).kind(), wire::OutcomeRange::DEAD);
  EXPECT_EQ(outcomes.ranges(1).first(), 2u);
  EXPECT_EQ(outcomes.ranges(1).status().message(), "result of 9 bytes; at most 8 are taken");
  EXPECT_EQ(outcomes.ranges(2).kind(), wire::OutcomeRange::COMPLETED);
  EXPECT_EQ(outcomes.ranges(2).first(), 3u);
}

TEST(LeaseTest, AnUnacknowledgedDeliveryIsSentAgain) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const wire::Delivery delivery = worker.TakeDelivery();
  s.h.Run(seconds(1));
  EXPECT_EQ(worker.TakeDelivery().token(), delivery.token());
  worker.Heartbeat();  // acknowledges it
  s.h.Run(seconds(5));
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.counter("deliveries_sent_again"), 1u);
}

TEST(LeaseTest, AResentDeliveryNamesTheJobsThatAreLeft) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 3});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 3);
  const wire::Delivery delivery = worker.TakeDelivery();
  worker.deliveries_next = 1;  // it says that it has none
  worker.Completed(delivery.token(), 1);
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.h.Run(seconds(1));
  const wire::Delivery rest = worker.TakeDelivery();
  EXPECT_EQ(rest.token(), delivery.token());
  ASSERT_EQ(rest.indexes_size(), 2);
  EXPECT_EQ(rest.indexes(0), 0u);
  EXPECT_EQ(rest.indexes(1), 2u);
  EXPECT_EQ(rest.run().sizes_size(), 2);
}

TEST(LeaseTest, AResentDeliveryOfALeaseThatEndedIsEmpty) {
  Scene s;
  WorkerPeer worker(&s.h, "w");
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const wire::Delivery delivery = worker.TakeDelivery();
  worker.deliveries_next = 1;
  worker.Completed(delivery.token());
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.h.Run(seconds(1));
  EXPECT_EQ(worker.TakeDelivery().token(), 0u);
}

}  // namespace
}  // namespace whippletree::core
