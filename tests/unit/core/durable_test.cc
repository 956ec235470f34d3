// What is said only after a commit is durable. The queue "d" is durable, "m" is not.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  Scene()
      : h(MakeConfig()), producer(&h, "p"), worker(&h, "w", {.slots = 4, .queues = {"d", "m"}}) {
    h.durable_at_once = false;
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig() {
    Config config;
    config.queues["d"].durable = true;
    config.queues["d"].backoff_min = config.queues["d"].backoff_max = Duration(0);
    return config;
  }
  // Everything that was written becomes durable.
  void MakeDurable() { h.Step({Durable{h.broker.last_commit()}}); }

  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(DurableTest, NothingIsSaidBeforeTheCommitIsDurable) {
  Scene s;
  s.producer.Submit("d", 1, {"payload"});
  s.h.ExpectNothingLeft();  // neither accepted nor delivered
  EXPECT_EQ(s.h.broker.last_commit(), 1u);
  ASSERT_EQ(s.h.Rows(record::Record::kRun).size(), 1u);
  EXPECT_EQ(s.h.Rows(record::Record::kRun)[0].run().jobs().block(), "payload");
  EXPECT_EQ(s.h.Rows(record::Record::kLease).size(), 1u);
  s.MakeDurable();
  EXPECT_EQ(s.producer.TakeUpdate().next(), 2u);
  const uint64_t token = s.worker.TakeDelivery().token();

  s.h.Complete(
      s.worker.ReportMessage({WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 1)}));
  s.h.ExpectNothingLeft();  // neither confirmed nor reported
  EXPECT_EQ(s.h.Rows(record::Record::kRun).size(), 0u);
  EXPECT_EQ(s.h.Rows(record::Record::kLease).size(), 0u);
  EXPECT_EQ(s.h.Rows(record::Record::kOutcome).size(), 1u);
  s.MakeDurable();
  EXPECT_EQ(s.worker.TakeReportAck(), 2u);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::COMPLETED);
}

// Found by the simulator: the delivery was counted as sent, though the session ended in the step
// that released it.
TEST(DurableTest, ADeliveryThatIsReleasedAsItsLeaseEndsChargesNobody) {
  Scene s;
  s.producer.Submit("d", 1, {"payload"});
  const uint64_t commit = s.h.broker.last_commit();
  s.h.Run(milliseconds(9'999));
  s.h.now.mono += milliseconds(1);
  s.h.Step({Durable{commit}});
  EXPECT_TRUE(s.h.HasLog("worker_left"));
  s.MakeDurable();
  WorkerPeer other(&s.h, "other", {.queues = {"d"}});
  other.Join();
  s.MakeDurable();
  EXPECT_EQ(other.TakeDelivery().attempt(), 1u);
  s.h.sent.clear();
}

// The store may take its time with what nobody waits for.
TEST(DurableTest, ItIsSaidWhetherACommitIsAwaited) {
  Scene s;
  EXPECT_FALSE(s.h.is_awaited);
  s.producer.Submit("d", 1, {"payload"});
  EXPECT_TRUE(s.h.is_awaited);
  s.MakeDurable();
  EXPECT_FALSE(s.h.is_awaited);
  s.h.Complete(s.worker.ReportMessage(
      {WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1)}));
  EXPECT_TRUE(s.h.is_awaited);
  s.h.Run(seconds(1));
  EXPECT_TRUE(s.h.is_awaited);  // still
  s.MakeDurable();
  s.h.sent.clear();
  s.producer.Ack("d", 2);  // its row is erased, and nobody cares when
  EXPECT_EQ(s.h.broker.last_commit(), 3u);
  EXPECT_FALSE(s.h.is_awaited);
  s.h.Run(seconds(1));
  EXPECT_FALSE(s.h.is_awaited);
  s.producer.Submit("d", 2, {"payload"});
  EXPECT_TRUE(s.h.is_awaited);
}

// Found by the simulator: it forgot what was not kept; a crash undid the end of the lease, which
// then looked like one that it had never got, and its only attempt was given twice.
TEST(DurableTest, AWorkerIsWelcomedAgainWhenTheEndOfItsLeasesIsDurable) {
  Scene s;
  s.producer.Submit("d", 1, {"payload"});
  s.MakeDurable();
  const uint64_t token = s.worker.TakeDelivery().token();
  s.h.sent.clear();
  s.h.Run(seconds(11));
  ASSERT_TRUE(s.h.HasLog("leases_expired"));
  s.h.sent.clear();
  s.h.Door("w", s.worker.HelloMessage({token}));
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  EXPECT_EQ(s.h.Take("w", wire::Envelope::kWelcome).welcome().leases_kept_size(), 0);
  s.h.sent.clear();
}

// Members whose outcome nobody wants are not acknowledged by their producer either.
TEST(DurableTest, TheEndOfAGroupWaitsForItsMembersOutcomes) {
  Scene s;
  wire::JobOptions options;
  options.set_group(7);
  options.set_discard_outcome(true);
  s.producer.Submit("d", 1, {"payload"}, options);
  wire::Envelope close;
  close.mutable_close_group()->set_session(s.producer.session);
  close.mutable_close_group()->set_group(7);
  close.mutable_close_group()->add_counts()->set_queue("d");
  close.mutable_close_group()->mutable_counts(0)->set_jobs(1);
  s.h.Submit(std::move(close));
  s.h.ExpectNothingLeft();  // not even that the group is closed
  s.MakeDurable();
  s.h.Take("p", wire::Envelope::kGroupUpdates);
  s.producer.TakeUpdate();
  const uint64_t token = s.worker.TakeDelivery().token();
  s.h.Complete(
      s.worker.ReportMessage({WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 1)}));
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  const wire::Envelope updates = s.h.Take("p", wire::Envelope::kGroupUpdates);
  EXPECT_EQ(updates.group_updates().ended(0).completed(), 1u);
  s.h.sent.clear();
}

TEST(DurableTest, MemoryQueuesDoNotWait) {
  Scene s;
  s.producer.Submit("d", 1, {"payload"});
  s.producer.SubmitAccepted("m", 1, 1);
  const wire::Delivery delivery = s.worker.TakeDelivery();
  EXPECT_EQ(delivery.queue(), "m");
  s.worker.Completed(delivery.token());
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::COMPLETED);
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  EXPECT_EQ(s.producer.TakeUpdate().queue(), "d");
  EXPECT_EQ(s.worker.TakeDelivery().queue(), "d");
}

TEST(DurableTest, OneStepIsOneCommitWhateverItHolds) {
  Scene s;
  std::vector<Input> inputs;
  for (uint64_t i = 1; i <= 5; ++i) {
    inputs.push_back(
        s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("d", i, {"payload"})));
  }
  s.h.Step(std::move(inputs));
  EXPECT_EQ(s.h.broker.last_commit(), 1u);
  s.MakeDurable();
  EXPECT_EQ(s.producer.TakeUpdate().next(), 6u);
  s.worker.TakeDeliveries();
}

TEST(DurableTest, AStepWithoutWritesIsNoCommit) {
  Scene s;
  s.producer.SubmitAccepted("m", 1, 1);
  s.worker.TakeDelivery();
  s.h.Run(milliseconds(900));
  EXPECT_EQ(s.h.broker.last_commit(), 0u);
}

TEST(DurableTest, OrderHoldsWithinAStream) {
  Scene s;
  s.producer.Submit("d", 1, {"1"});
  s.producer.Submit("d", 2, {"2"});
  s.producer.Submit("d", 2, {"2"});  // a repetition depends on the same commit
  s.h.Step({Durable{1}});
  EXPECT_EQ(s.producer.TakeUpdate().next(), 2u);
  EXPECT_EQ(s.worker.TakeDelivery().first(), 1u);
  s.h.ExpectNothingLeft();
  s.h.Step({Durable{2}});
  EXPECT_EQ(s.producer.TakeUpdate().next(), 3u);
  EXPECT_EQ(s.producer.TakeUpdate().next(), 3u);
  EXPECT_EQ(s.worker.TakeDelivery().first(), 2u);
}

// A crash must not undo what an admin was told.
TEST(DurableTest, APauseIsConfirmedWhenItIsDurable) {
  Scene s;
  s.producer.Submit("d", 1, {"payload"});
  s.MakeDurable();
  s.h.sent.clear();
  const auto pause = [&](const std::string& queue) {
    wire::Envelope message;
    message.mutable_admin_request()->mutable_pause()->set_queue(queue);
    message.mutable_admin_request()->mutable_pause()->set_paused(true);
    s.h.Door("admin", std::move(message));
  };
  pause("d");
  pause("d");  // nothing changes, and the commit of the first is still under way
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  for (const bool changed : {true, false}) {
    const wire::Envelope reply = s.h.Take("admin", wire::Envelope::kAdminReply);
    EXPECT_EQ(reply.admin_reply().pause().changed(), changed);
  }
  pause("m");
  EXPECT_TRUE(s.h.Take("admin", wire::Envelope::kAdminReply).admin_reply().pause().changed());
}

TEST(DurableTest, SendsOfASessionThatEndedMeanwhileAreDropped) {
  Scene s;
  s.producer.Submit("d", 1, {"1"});
  s.producer.Goodbye();
  s.worker.Goodbye();
  s.MakeDurable();
  s.h.ExpectNothingLeft();
}

// The next process of the name must not be told again what this one acknowledged.
TEST(DurableTest, TheGoodbyeOfANamedProducerIsConfirmedOnceItsAcknowledgementsAreDurable) {
  Scene s;
  ProducerPeer named(&s.h, "named", {.named = true});
  named.Join();
  named.Submit("d", 1, {"1"});
  s.MakeDurable();
  named.TakeUpdate();
  s.h.Complete(s.worker.ReportMessage(
      {WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1)}));
  s.MakeDurable();
  s.worker.TakeReportAck();
  named.TakeOutcome();
  named.Ack("d", 2);
  named.Goodbye();
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  EXPECT_EQ(s.h.Take("named", wire::Envelope::kGoodbye).goodbye().session(), named.session);
}

TEST(DurableTest, AWelcomeTellsOnlyWhatIsDurable) {
  Scene s;
  s.worker.Goodbye();
  s.producer.Submit("d", 1, {"1"});
  s.h.Door("p", s.producer.HelloMessage({{"d", 1, 1}}));
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  EXPECT_EQ(s.producer.TakeWelcome().streams(0).next(), 2u);
}

TEST(DurableTest, NothingOvertakesTheWelcome) {
  Scene s;
  s.producer.SubmitAccepted("m", 1, 1);
  s.worker.Completed(s.worker.TakeDelivery().token());
  s.producer.TakeOutcome();  // not acknowledged
  s.worker.Goodbye();
  s.producer.Submit("d", 1, {"1"});
  s.h.Door("p", s.producer.HelloMessage({{"d", 1, 1}, {"m", 2, 1}}));
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  ASSERT_EQ(s.h.sent.size(), 2u);
  EXPECT_TRUE(s.h.sent[0].message.has_welcome());
  s.producer.TakeWelcome();
  s.producer.TakeOutcome();
}

TEST(DurableTest, AnOpenedStreamTellsOnlyWhatIsDurable) {
  Scene s;
  s.worker.Goodbye();
  s.producer.Submit("d", 1, {"1"});
  wire::Envelope message;
  message.mutable_open_stream()->set_session(s.producer.session);
  message.mutable_open_stream()->mutable_claim()->set_queue("d");
  s.h.Door("p", message);
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  s.producer.TakeUpdate();
  s.producer.TakeUpdate();
}

// Found by the simulator: the outcome of a follow-on job in memory was told, and then the commit
// that had made it was lost with the broker; its parent ran again and asked for it once more.
TEST(DurableTest, FollowOnJobsInMemoryWaitForTheirParentsCommit) {
  Scene s;
  s.h.durable_at_once = true;
  s.producer.SubmitAccepted("d", 1, 1);
  wire::ReportItem item =
      WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1);
  item.add_follow_ons()->set_queue("m");
  AppendToRun("next", item.mutable_follow_ons(0)->mutable_run());
  s.h.durable_at_once = false;
  s.h.Complete(s.worker.ReportMessage({item}));
  s.h.ExpectNothingLeft();
  s.MakeDurable();
  EXPECT_EQ(s.worker.TakeReportAck(), 2u);
  EXPECT_EQ(s.worker.TakeDelivery().queue(), "m");
  s.producer.TakeOutcome();
}

TEST(DurableTest, ChargesAndReturnsAreWritten) {
  Scene s;
  s.worker.options.slots = 1;
  s.worker.options.held_max = 1;
  s.worker.Join();
  s.producer.Submit("d", 1, {"1", "2"});
  s.MakeDurable();
  s.producer.TakeUpdate();
  const std::vector<wire::Delivery> deliveries = s.worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  s.h.writes.clear();
  s.h.Complete(s.worker.ReportMessage(
      {WorkerPeer::Item(wire::ReportItem::STARTED, deliveries[1].token(), 0, 1)}));
  ASSERT_EQ(s.h.writes.size(), 1u);
  EXPECT_EQ(s.h.writes[0].lease().token(), deliveries[1].token());
  EXPECT_EQ(s.h.writes[0].lease().charged_size(), 1);
  s.h.writes.clear();
  wire::ReportItem failed = WorkerPeer::Item(wire::ReportItem::FAILED, deliveries[0].token(), 0, 1);
  *failed.mutable_status() = WireStatus(absl::StatusCode::kInternal, "no");
  s.worker.options.held_max = 0;
  s.h.Complete(s.worker.ReportMessage({failed}));
  const auto returned = std::find_if(s.h.writes.begin(), s.h.writes.end(),
                                     [](const auto& row) { return row.has_returned(); });
  ASSERT_NE(returned, s.h.writes.end());
  EXPECT_EQ(returned->returned().attempts(), 1u);
  s.MakeDurable();
  s.h.sent.clear();
}

TEST(DurableTest, AcknowledgedOutcomesAreDroppedFromTheStore) {
  Scene s;
  s.h.durable_at_once = true;
  s.producer.SubmitAccepted("d", 1, 1);
  s.worker.Completed(s.worker.TakeDelivery().token());
  s.producer.TakeOutcome();
  s.h.writes.clear();
  s.producer.Ack("d", 2);
  EXPECT_EQ(s.h.Rows(record::Record::kOutcome).size(), 0u);
}

}  // namespace
}  // namespace whippletree::core
