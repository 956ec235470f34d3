// The work of one step is bounded; the rest is carried to the next ones, in order.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr uint64_t kMost = 10;

Config Bounded() {
  Config config;
  config.step_work_max = kMost;
  config.default_policy.backoff_min = config.default_policy.backoff_max = seconds(1);
  return config;
}

struct Scene {
  Scene() : producer(&h, "p"), worker(&h, "w", {.slots = 1000}) {
    producer.Join();
    worker.Join();
  }
  // Steps once, whatever it leaves; how many jobs have ended since the last call.
  uint64_t EndedByStep(std::vector<Input> inputs) {
    const uint64_t before = h.ledger("q").ended();
    Effects effects;
    h.broker.Step(h.now, inputs, &effects);
    h.broker.CheckInvariants();
    h.Take(effects);
    if (effects.commit != 0) durable.emplace_back(Durable{effects.commit});
    return h.ledger("q").ended() - before;
  }
  // Steps until nothing is left; the most that one step has ended.
  uint64_t MostEnded(std::vector<Input> inputs) {
    uint64_t most = EndedByStep(std::move(inputs));
    while (h.broker.has_more() || !durable.empty()) {
      EXPECT_TRUE(durable.size() > 0 || h.broker.NextDeadline() <= h.now.mono);
      most = std::max(most, EndedByStep(std::exchange(durable, {})));
    }
    return most;
  }

  BrokerHarness h{Bounded()};
  ProducerPeer producer;
  WorkerPeer worker;
  std::vector<Input> durable;
};

TEST(StepWorkTest, AReportOfManyItemsTakesSeveralSteps) {
  Scene s;
  std::vector<wire::ReportItem> items;
  for (uint64_t i = 1; i <= 100; ++i) {
    s.producer.SubmitAccepted("q", i, 1);
    items.push_back(
        WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1));
  }
  const uint64_t most =
      s.MostEnded({s.h.Signed(Channel::kComplete, "", s.worker.ReportMessage(items))});
  EXPECT_LE(most, kMost);
  EXPECT_GE(most, 1u);
  EXPECT_EQ(s.h.ledger("q").completed, 100u);
  EXPECT_EQ(s.worker.TakeReportAck(), 101u);
  EXPECT_GT(s.h.counter("steps_exhausted"), 5u);
  s.h.sent.clear();
}

TEST(StepWorkTest, AFailureOfManyJobsIsTakenApart) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 100);
  std::vector<wire::ReportItem> items;
  uint32_t jobs = 0;
  while (jobs < 100) {
    const wire::Delivery delivery = s.worker.TakeDelivery();
    const auto count = static_cast<uint32_t>(delivery.run().sizes_size());
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, delivery.token(), 0, count);
    *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "no");
    items.push_back(item);
    jobs += count;
  }
  EXPECT_LE(s.MostEnded({s.h.Signed(Channel::kComplete, "", s.worker.ReportMessage(items))}),
            kMost);
  EXPECT_EQ(s.h.ledger("q").dead, 100u);
  EXPECT_EQ(s.worker.TakeReportAck(), items.size() + 1);
  s.h.sent.clear();
}

TEST(StepWorkTest, ACancelOfManyRangesTakesSeveralSteps) {
  Scene s;
  s.h.Ask([] {
    wire::AdminRequest request;
    request.mutable_pause()->set_queue("q");
    request.mutable_pause()->set_paused(true);
    return request;
  }());
  s.producer.SubmitAccepted("q", 1, 200);
  wire::Envelope message;
  message.mutable_cancel()->set_session(s.producer.session);
  message.mutable_cancel()->set_queue("q");
  for (uint64_t i = 200; i > 0; i -= 2) {
    message.mutable_cancel()->add_firsts(i);
    message.mutable_cancel()->add_counts(1);
  }
  EXPECT_LE(s.MostEnded({s.h.Signed(Channel::kSubmit, "", message)}), kMost);
  EXPECT_EQ(s.h.ledger("q").cancelled, 100u);
  s.h.sent.clear();
}

TEST(StepWorkTest, WhatComesLaterWaitsForWhatIsCarried) {
  Scene s;
  std::vector<Input> inputs;
  for (uint64_t i = 1; i <= 50; ++i) {
    inputs.push_back(s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("q", i, {"x"})));
  }
  Effects effects;
  s.h.broker.Step(s.h.now, inputs, &effects);
  s.h.Take(effects);
  EXPECT_TRUE(s.h.broker.has_carried());
  EXPECT_EQ(s.h.ledger("q").accepted, kMost);
  // One that is ahead of what is carried is no gap.
  s.h.Step({s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("q", 51, {"x"}))});
  EXPECT_EQ(s.h.ledger("q").accepted, 51u);
  EXPECT_EQ(s.h.counter("early_runs"), 0u);
  s.h.sent.clear();
}

TEST(StepWorkTest, JobsThatComeDueTogetherDoSoInSeveralSteps) {
  Scene s;
  std::vector<wire::ReportItem> items;
  for (uint64_t i = 1; i <= 60; ++i) {
    s.producer.SubmitAccepted("q", i, 1);
    wire::ReportItem item =
        WorkerPeer::Item(wire::ReportItem::FAILED, s.worker.TakeDelivery().token(), 0, 1);
    *item.mutable_status() = WireStatus(absl::StatusCode::kUnavailable, "again");
    items.push_back(item);
  }
  s.worker.Report(items);
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 60u);
  s.h.now.mono += seconds(2);
  Effects effects;
  s.h.broker.Step(s.h.now, {}, &effects);
  s.h.Take(effects);
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 60u - kMost);
  EXPECT_LE(s.h.broker.NextDeadline(), s.h.now.mono);
  s.h.Run(seconds(1));
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 0u);
  EXPECT_EQ(s.h.ledger("q").leased, 60u);
  s.h.sent.clear();
}

TEST(StepWorkTest, AWorkerThatTakesManyRecordsIsGivenThemInSeveralSteps) {
  BrokerHarness h(Bounded());
  ProducerPeer producer(&h, "p");
  producer.Join();
  wire::JobOptions options;
  for (uint64_t i = 1; i <= 60; ++i) {
    options.set_timeout_ms(static_cast<uint32_t>(i));  // a record of its own
    producer.SubmitAccepted("q", i, 1, options);
  }
  WorkerPeer worker(&h, "w", {.slots = 1000});
  std::vector<Input> inputs = {h.Signed(Channel::kDoor, "w", worker.HelloMessage())};
  Effects effects;
  h.broker.Step(h.now, inputs, &effects);
  h.Take(effects);
  EXPECT_TRUE(h.broker.has_more());
  EXPECT_LE(h.ledger("q").leased, kMost);
  h.Step();
  EXPECT_EQ(h.ledger("q").leased, 60u);
  h.sent.clear();
}

}  // namespace
}  // namespace whippletree::core
