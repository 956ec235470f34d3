// What is said back at once, and what waits for a message that goes there anyway.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr Duration kDelay = milliseconds(1);

// Queue "q" is in memory, whatever the tests run with, and "d" is not.
Config DelayConfig() {
  Config config;
  config.ack_delay = kDelay;
  config.store_id = "store";
  config.queues["q"].capacity_jobs = 100;
  config.queues["d"].durable = true;
  return config;
}

// A producer that was told that its stream is open, and a worker.
struct Scene {
  explicit Scene(uint32_t slots = 4, const std::string& queue = "q")
      : producer(&h, "p"), worker(&h, "w", {.slots = slots, .queues = {queue}}) {
    producer.Join();
    producer.SubmitAccepted(queue, 1, 1);
    worker.Join();
    Complete(worker.TakeDelivery().token());
    h.Jump(kDelay);
    EXPECT_EQ(worker.TakeReportAck(), 2u);
  }
  void Complete(uint64_t token, const std::string& result = "result") {
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 1);
    item.clear_results();
    AppendToRun(result, item.mutable_results());
    h.Complete(worker.ReportMessage({item}));
    producer.TakeOutcomes();
  }
  wire::ReportAck TakeAck() { return h.Take("w", wire::Envelope::kReportAck).report_ack(); }

  BrokerHarness h{DelayConfig()};
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(AckDelayTest, AnAcceptanceGoesWithTheOutcome) {
  Scene s;
  s.producer.Submit("q", 2, {"payload"});
  const wire::Delivery delivery = s.worker.TakeDelivery();
  s.h.ExpectNothingLeft();
  s.Complete(delivery.token());
  EXPECT_EQ(s.producer.TakeUpdate().next(), 3u);
  s.h.ExpectNothingLeft();  // the report is not acknowledged yet
}

TEST(AckDelayTest, AnAcceptanceIsHeldForAMomentOnly) {
  Scene s;
  s.producer.Submit("q", 2, {"payload"});
  s.worker.TakeDelivery();
  EXPECT_EQ(s.h.broker.NextDeadline(), s.h.now.mono + kDelay);
  s.h.Jump(kDelay / 2);
  s.producer.Submit("q", 3, {"payload"});
  s.worker.TakeDelivery();
  s.h.ExpectNothingLeft();
  s.h.Jump(kDelay / 2);
  EXPECT_EQ(s.producer.TakeUpdate().next(), 4u);
  EXPECT_GT(s.h.broker.NextDeadline(), s.h.now.mono + kDelay);
}

TEST(AckDelayTest, AcceptancesOfJobsThatWaitAreToldAtOnce) {
  Scene s(1);
  s.producer.Submit("q", 2, {"payload", "payload"});
  s.worker.TakeDelivery();
  EXPECT_EQ(s.producer.TakeUpdate().next(), 4u);
}

TEST(AckDelayTest, CreditDoesNotRunOut) {
  Scene s(100);
  s.producer.Submit("q", 2, std::vector<std::string>(24, "payload"));
  s.worker.TakeDelivery();
  s.h.ExpectNothingLeft();
  s.producer.Submit("q", 26, {"payload"});  // a quarter of the window
  s.worker.TakeDelivery();
  EXPECT_EQ(s.producer.TakeUpdate().jobs_limit(), 126u);
}

TEST(AckDelayTest, NewsOfAStreamAreToldAtOnce) {
  Scene s;
  s.producer.Submit("q", 3, {"payload"});
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::GAP);
  // The producer sends again because of it: the next word is news, too.
  s.producer.Submit("q", 2, {"payload"});
  s.worker.TakeDelivery();
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::OPEN);
  s.producer.Submit("q", 2, {"payload"});  // a repeated one, since the word was lost
  EXPECT_EQ(s.producer.TakeUpdate().next(), 3u);
}

TEST(AckDelayTest, TheFirstWordOfASessionIsToldAtOnce) {
  Scene s;
  s.producer.Join({{.queue = "q", .next = 2, .wanted = 2}});
  s.producer.Submit("q", 2, {"payload"});
  s.worker.TakeDelivery();
  EXPECT_EQ(s.producer.TakeUpdate().next(), 3u);
}

TEST(AckDelayTest, AReportIsAcknowledgedWithTheNextDelivery) {
  Scene s(1);
  s.producer.Submit("q", 2, {"payload"});
  s.Complete(s.worker.TakeDelivery().token());
  s.producer.TakeUpdate();
  s.h.Jump(microseconds(300));
  s.h.ExpectNothingLeft();
  s.producer.Submit("q", 3, {"payload"});
  s.worker.TakeDelivery();
  const wire::ReportAck ack = s.TakeAck();
  EXPECT_EQ(ack.next(), 3u);
  EXPECT_EQ(ack.delay_us(), 300u);
  s.h.ExpectNothingLeft();
  s.h.Jump(kDelay);
  EXPECT_EQ(s.producer.TakeUpdate().next(), 4u);
}

TEST(AckDelayTest, AReportIsAcknowledgedAfterAMomentAtTheLatest) {
  Scene s(2);
  s.producer.Submit("q", 2, {"payload"});
  const uint64_t first = s.worker.TakeDelivery().token();
  s.producer.Submit("q", 3, {"payload"});
  const uint64_t second = s.worker.TakeDelivery().token();
  s.Complete(first);
  s.producer.TakeUpdate();
  s.h.Jump(kDelay / 4);
  s.Complete(second);
  s.h.Jump(kDelay * 3 / 4);
  const wire::ReportAck ack = s.TakeAck();
  EXPECT_EQ(ack.next(), 4u);
  EXPECT_EQ(ack.delay_us(), 750u);  // of the last one
}

TEST(AckDelayTest, OneThatDrainsIsAcknowledgedAtOnce) {
  Scene s(1);
  s.producer.Submit("q", 2, {"payload"});
  s.Complete(s.worker.TakeDelivery().token());
  s.producer.TakeUpdate();
  s.worker.draining = true;
  s.h.Complete(s.worker.ReportMessage({}));
  EXPECT_EQ(s.TakeAck().next(), 3u);
}

TEST(AckDelayTest, RepeatedReportsAreAcknowledgedAtOnce) {
  Scene s(1);
  s.producer.Submit("q", 2, {"payload"});
  const wire::Envelope report = s.worker.ReportMessage(
      {WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1)});
  s.h.Complete(report);
  s.producer.TakeOutcomes();
  s.producer.TakeUpdate();
  s.h.ExpectNothingLeft();
  s.h.Complete(report);
  EXPECT_EQ(s.TakeAck().next(), 3u);
}

TEST(AckDelayTest, ManyBytesOfResultsAreAcknowledgedAtOnce) {
  Scene s(1);
  s.producer.Submit("q", 2, {"payload"});
  s.Complete(s.worker.TakeDelivery().token(),
             std::string(s.h.broker.config().window_bytes() / 4, 'r'));
  s.producer.TakeUpdate();
  EXPECT_EQ(s.TakeAck().next(), 3u);
}

TEST(AckDelayTest, DurableAnswersWaitForTheirCommitAlone) {
  Scene s(1, "d");
  s.producer.Submit("d", 2, {"payload"});
  const uint64_t token = s.worker.TakeDelivery().token();
  EXPECT_EQ(s.producer.TakeUpdate().next(), 3u);
  s.Complete(token);
  EXPECT_EQ(s.TakeAck().next(), 3u);
}

TEST(AckDelayTest, WhatWasHeldForOneWhoIsGoneIsForgotten) {
  Scene s;
  s.producer.Submit("q", 2, {"payload"});
  s.Complete(s.worker.TakeDelivery().token());
  s.producer.TakeUpdate();
  s.producer.Submit("q", 3, {"payload"});
  s.worker.TakeDelivery();
  EXPECT_EQ(s.TakeAck().next(), 3u);
  // Of nothing that is leased.
  s.h.Complete(s.worker.ReportMessage({WorkerPeer::Item(wire::ReportItem::STARTED, 1, 0, 1)}));
  s.producer.Goodbye();
  s.worker.Goodbye();
  s.h.Jump(kDelay);
  s.h.ExpectNothingLeft();
}

}  // namespace
}  // namespace whippletree::core
