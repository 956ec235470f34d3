// A disk that gets full: what durable queues then do and what they leave. "d" is one, "m" is not.
#include <gtest/gtest.h>

#include "broker/core/disk_gate.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr uint64_t kReserve = 80'000;
constexpr Disk kPlenty{kReserve * 10, kReserve};
constexpr Disk kLow{kReserve - 1, kReserve};
constexpr Disk kFull{kReserve / 2 - 1, kReserve};

struct Scene {
  Scene()
      : h(MakeConfig()), producer(&h, "p"), worker(&h, "w", {.slots = 4, .queues = {"d", "m"}}) {
    h.Step({kPlenty});
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig() {
    Config config;
    config.queues["d"].durable = config.queues["d2"].durable = true;
    return config;
  }
  void SetDisk(Disk disk) { h.Step({disk}); }
  std::string gate() const {
    const wire::StatusReply status = h.broker.Status();
    for (const wire::QueueStatus& queue : status.queues()) {
      if (queue.name() == "d") return queue.gate();
    }
    return "no such queue";
  }

  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(DiskGateTest, EachStepEndsAboveWhereItBegan) {
  DiskGate gate;
  EXPECT_GT(gate.room(), 1ull << 60);  // nobody looks at a disk
  const auto at = [&](uint64_t free) {
    gate.Set(free, 80);
    return gate.state();
  };
  EXPECT_EQ(at(80), DiskState::kOk);
  EXPECT_EQ(at(79), DiskState::kLow);
  EXPECT_EQ(at(89), DiskState::kLow);
  EXPECT_EQ(at(90), DiskState::kOk);
  EXPECT_EQ(at(39), DiskState::kFull);
  EXPECT_EQ(at(49), DiskState::kFull);
  EXPECT_EQ(at(50), DiskState::kLow);
  EXPECT_EQ(at(40), DiskState::kLow);
  EXPECT_EQ(at(0), DiskState::kFull);
  EXPECT_EQ(at(90), DiskState::kOk);
  EXPECT_EQ(gate.room(), 30u);
  gate.Take(10);
  EXPECT_EQ(gate.state(), DiskState::kOk);
  gate.Take(1);
  EXPECT_EQ(gate.state(), DiskState::kLow);
  EXPECT_EQ(gate.room(), 0u);
  gate.Take(1000);
  EXPECT_EQ(gate.free_bytes(), 0u);
}

TEST(DiskGateTest, TheReasonHasItsNumbers) {
  DiskGate gate;
  gate.Set(3 << 20, 12 << 20);
  EXPECT_EQ(gate.Reason(),
            "the disk of the broker's data directory is full: 3.0 MiB are free, and 12.0 MiB are "
            "kept in reserve");
}

TEST(DiskTest, BelowTheReserveNothingIsAcceptedAndWhatIsAcceptedGoesOn) {
  Scene s;
  s.producer.SubmitAccepted("d", 1, 5);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.SetDisk(kLow);
  EXPECT_TRUE(s.h.HasLog("disk"));
  s.producer.Submit("d", 6, {"payload"});
  const wire::StreamUpdate update = s.producer.TakeUpdate();
  EXPECT_EQ(update.state(), wire::StreamUpdate::FULL);
  EXPECT_EQ(update.next(), 6u);
  EXPECT_EQ(update.status().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_NE(update.status().message().find("disk"), std::string::npos);
  s.worker.Completed(token, 0, 4);
  s.producer.TakeOutcome();
  s.worker.Completed(s.worker.TakeDelivery().token());
  s.producer.TakeOutcome();
  EXPECT_EQ(s.h.ledger("d").completed, 5u);
  const wire::StatusReply status = s.h.broker.Status();
  EXPECT_EQ(status.disk(), "low");
  EXPECT_EQ(status.disk_reserve_bytes(), kReserve);
  EXPECT_TRUE(status.queues(0).full_by_disk());

  s.SetDisk({kReserve + kReserve / 8 - 1, kReserve});
  s.h.ExpectNothingLeft();
  s.SetDisk(kPlenty);
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::OPEN);
  s.producer.SubmitAccepted("d", 6, 1);
  s.worker.TakeDelivery();
}

TEST(DiskTest, BelowHalfOfTheReserveNothingIsDispatchedAndLeasedJobsEnd) {
  Scene s;
  s.producer.SubmitAccepted("d", 1, 6);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.SetDisk(kFull);
  s.worker.Completed(token, 0, 2);
  EXPECT_EQ(s.producer.TakeOutcome().count(), 2u);
  s.producer.Ack("d", 2);
  s.worker.Failed(token, absl::StatusCode::kInvalidArgument, 2, 1);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
  s.producer.Ack("d", 3);
  s.worker.Failed(token, absl::StatusCode::kInternal, 3, 1);  // waits again
  s.h.Run(seconds(3));
  s.worker.Heartbeat();
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.gate(), "disk full");
  EXPECT_EQ(s.h.ledger("d").waiting(), 3u);
  EXPECT_EQ(s.h.broker.Status().disk(), "full");

  s.SetDisk({kReserve / 2 + 1, kReserve});  // not enough more
  s.h.ExpectNothingLeft();
  s.SetDisk({kReserve / 2 + kReserve / 8, kReserve});
  EXPECT_EQ(s.worker.TakeDeliveries().size(), 2u);  // the one that failed is no first attempt
  EXPECT_EQ(s.gate(), "");
}

TEST(DiskTest, QueuesInMemoryGoOn) {
  Scene s;
  s.producer.SubmitAccepted("d", 1, 4);
  s.worker.Completed(s.worker.TakeDelivery().token(), 0, 4);
  s.producer.TakeOutcome();
  s.SetDisk(kFull);
  s.producer.Submit("d", 5, {"payload"});
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::FULL);
  s.producer.SubmitAccepted("m", 1, 2);
  s.worker.Completed(s.worker.TakeDelivery().token(), 0, 2);
  EXPECT_EQ(s.producer.TakeOutcome().count(), 2u);
}

TEST(DiskTest, NotEvenRejectionsAreWritten) {
  Scene s;
  s.SetDisk(kLow);
  wire::JobOptions bad;
  bad.set_max_attempts(100'000);
  s.h.writes.clear();
  s.producer.Submit("d", 1, {"payload"}, bad);
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::FULL);
  EXPECT_TRUE(s.h.Rows(record::Record::kOutcome).empty());
  s.SetDisk(kPlenty);
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::OPEN);
}

TEST(DiskTest, AFastProducerStopsAtTheReserve) {
  Scene s;
  s.worker.Goodbye();
  // Of one step, before anybody looks at the disk again.
  s.SetDisk({kReserve * 2, kReserve});
  std::vector<Input> inputs;
  const std::string payload(10'000, 'x');
  for (uint64_t i = 1; i <= 20; ++i) {
    inputs.push_back(s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("d", i, {payload})));
  }
  s.h.Step(std::move(inputs));
  const wire::StreamUpdate update = s.producer.TakeUpdate();
  EXPECT_EQ(update.state(), wire::StreamUpdate::FULL);
  EXPECT_EQ(update.next(), 10u);  // the ninth went below the reserve
  EXPECT_EQ(s.h.broker.Status().disk(), "low");
}

TEST(DiskTest, ALargeJobWaitsForRoomAndOthersGoOn) {
  Scene s;
  s.SetDisk({kReserve + 1000, kReserve});
  s.producer.Submit("d", 1, {std::string(kReserve, 'x')});
  wire::StreamUpdate update = s.producer.TakeUpdate();
  EXPECT_EQ(update.state(), wire::StreamUpdate::FULL);
  EXPECT_NE(update.status().message().find("nearly full"), std::string::npos);
  EXPECT_EQ(s.h.broker.Status().disk(), "ok");
  EXPECT_TRUE(s.h.broker.Status().queues(0).full_by_disk());
  s.producer.SubmitAccepted("d2", 1, 1);
  s.SetDisk({kReserve * 2, kReserve});
  EXPECT_EQ(s.producer.TakeUpdate().state(), wire::StreamUpdate::OPEN);
}

TEST(DiskTest, AFullQueueIsNotTheDisks) {
  Config config = Scene::MakeConfig();
  config.queues["d"].capacity_jobs = 2;
  BrokerHarness h(config);
  h.Step({kPlenty});
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("d", 1, {"1", "2", "3"});
  const wire::StreamUpdate update = producer.TakeUpdate();
  EXPECT_EQ(update.state(), wire::StreamUpdate::FULL);
  EXPECT_FALSE(update.has_status());
  EXPECT_FALSE(h.broker.Status().queues(0).full_by_disk());
}

// They are bounded by what is leased.
TEST(DiskTest, FollowOnJobsOfLeasedJobsAreTakenAndTheirGroupEndsLater) {
  Scene s;
  wire::JobOptions options;
  options.set_group(7);
  s.producer.SubmitAccepted("d", 1, 1, options);
  wire::Envelope close;
  close.mutable_close_group()->set_session(s.producer.session);
  close.mutable_close_group()->set_group(7);
  close.mutable_close_group()->add_counts()->set_queue("d");
  close.mutable_close_group()->mutable_counts(0)->set_jobs(1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.SetDisk(kFull);
  s.h.Submit(std::move(close));
  s.h.Take("p", wire::Envelope::kGroupUpdates);
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 1);
  wire::FollowOn* follow_on = item.add_follow_ons();
  follow_on->set_queue("d");
  AppendToRun("next", follow_on->mutable_run());
  s.worker.Report({item});
  s.producer.TakeOutcome();
  s.producer.Ack("d", 2);
  EXPECT_EQ(s.h.ledger("d").accepted, 2u);
  s.h.ExpectNothingLeft();  // it is not dispatched, and the group goes on
  s.SetDisk(kPlenty);
  s.worker.Completed(s.worker.TakeDelivery().token());
  s.producer.TakeOutcome();
  wire::Envelope ack;
  ack.mutable_outcome_ack()->set_session(s.producer.session);
  ack.mutable_outcome_ack()->add_streams()->set_queue("d");
  ack.mutable_outcome_ack()->mutable_streams(0)->set_next(2);
  ack.mutable_outcome_ack()->mutable_streams(0)->set_follow_on(true);
  s.h.Door("p", std::move(ack));
  const wire::Envelope updates = s.h.Take("p", wire::Envelope::kGroupUpdates);
  EXPECT_EQ(updates.group_updates().ended(0).completed(), 2u);
}

// Queues in memory go on, so nothing bounds what they ask for.
TEST(DiskTest, AFullDiskTakesNoDurableFollowOnJobsOfQueuesInMemory) {
  Scene s;
  s.producer.SubmitAccepted("m", 1, 2);
  const uint64_t token = s.worker.TakeDelivery().token();
  const auto with_follow_on = [&](uint32_t index) {
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, index, 1);
    wire::FollowOn* follow_on = item.add_follow_ons();
    follow_on->set_index(index);
    follow_on->set_queue("d2");
    AppendToRun("next", follow_on->mutable_run());
    return item;
  };
  s.SetDisk(kFull);
  s.worker.Report({with_follow_on(0)});
  EXPECT_EQ(s.h.ledger("m").completed, 0u);
  EXPECT_EQ(s.h.queue("m").retries, 1u);
  s.SetDisk(kLow);
  s.SetDisk({kReserve / 2 + kReserve / 8, kReserve});
  s.worker.Report({with_follow_on(1)});
  EXPECT_EQ(s.h.ledger("m").completed, 1u);
  EXPECT_EQ(s.h.ledger("d2").accepted, 1u);
  s.producer.TakeOutcome();
}

TEST(DiskTest, ARestoredBrokerThatIsToldFirstDispatchesNothing) {
  Scene s;
  s.worker.Goodbye();
  s.producer.SubmitAccepted("d", 1, 2);
  BrokerHarness next(s.h.NextConfig(), s.h.rows, s.h.now);
  next.Step({kFull});
  WorkerPeer worker(&next, "w", {.queues = {"d"}});
  worker.Join();
  next.ExpectNothingLeft();
  next.Step({kPlenty});
  worker.TakeDelivery();
}

}  // namespace
}  // namespace whippletree::core
