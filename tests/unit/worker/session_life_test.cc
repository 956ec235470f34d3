// Over sessions, and to the end: leases kept and dropped, draining, goodbye.
#include <gtest/gtest.h>

#include "common/status.h"
#include "common/wire_limits.h"
#include "tests/unit/worker/session_harness.h"

namespace whippletree {
namespace {

class WorkerLifeTest : public WorkerSessionTest {};

TEST_F(WorkerLifeTest, ListsItsLeasesAndDropsThoseThatAreNotKept) {
  Join();
  Deliver(1, 11, 2, 2);
  Deliver(2, 12, 1, 0);
  out.Clear();
  SayHello();
  Join(2, {12});
  EXPECT_EQ(hello.attempt(), 2u);
  EXPECT_EQ(hello.broker_start(), 9u);
  EXPECT_EQ(std::vector<uint64_t>(hello.leases().begin(), hello.leases().end()),
            (std::vector<uint64_t>{11, 12}));
  EXPECT_EQ(out.drop, std::vector<uint64_t>{11});
  EXPECT_EQ(session.held_jobs(), 1u);
  TakeItems();
  Finish(11, 0);  // void: nothing is reported
  Finish(12, 0);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 12, 0, 1}}));
}

TEST_F(WorkerLifeTest, UnacknowledgedReportsOfKeptLeasesAreSentAgain) {
  Join();
  Deliver(1, 11, 1, 1);
  Deliver(2, 12, 1, 1);
  Finish(11, 0);
  Finish(12, 0);
  Poll();
  out.Clear();
  SayHello();
  Join(2, {12});                      // 11 is recorded: the acknowledgement was lost
  EXPECT_EQ(hello.leases_size(), 2);  // finished, and still listed
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 12, 0, 1}}));
  EXPECT_EQ(report.first_ordinal(), 1u);
}

TEST_F(WorkerLifeTest, AFinishedLeaseIsForgottenWhenItsReportIsAcknowledged) {
  Join();
  Deliver(1, 11, 1, 1);
  Finish(11, 0);
  Poll();
  AckReports(2);
  SayHello();
  Join(2);
  EXPECT_EQ(hello.leases_size(), 0);
}

TEST_F(WorkerLifeTest, TheHelloRepeatsTheHighestCommitThatItWasToldOf) {
  Join();
  EXPECT_EQ(hello.store_id(), "");
  wire::Envelope message;
  message.set_commit(12);
  message.set_receipt(1012);
  message.mutable_report_ack()->set_session(session_number);
  OnDoor(message);
  SayHello();
  Join(2);
  EXPECT_EQ(hello.store_id(), "store");
  EXPECT_EQ(hello.commit(), 12u);
  EXPECT_EQ(hello.receipt(), 1012u);
}

TEST_F(WorkerLifeTest, WorkGoesOnWithoutTheBroker) {
  Join();
  Deliver(1, 11, 2, 1);
  out.Clear();
  SayHello();
  session.OnStarted(11, 1);
  Finish(11, 0);
  Poll();
  EXPECT_TRUE(out.complete.empty());
  Join(2, {11});
  const Items items = TakeItems();
  EXPECT_NE(std::find(items.begin(), items.end(), Items::value_type{Item::COMPLETED, 11, 0, 1}),
            items.end());
  Run(milliseconds(1));
}

TEST_F(WorkerLifeTest, DeliveriesCountAnewInANewSession) {
  Join();
  Deliver(1, 11, 1, 1);
  out.Clear();
  SayHello();
  Join(2, {11});
  out.Clear();
  Deliver(1, 12, 1, 1);
  EXPECT_EQ(TakeStarted(), std::vector<uint64_t>{12});
  Deliver(2, 11, 1, 1);  // it has that one
  EXPECT_TRUE(TakeStarted().empty());
}

TEST_F(WorkerLifeTest, CreditCountsAnewInANewSession) {
  Join();
  Deliver(1, 11, 2, 2);
  out.Clear();
  SayHello();
  Join(2, {11});
  EXPECT_EQ(CreditIn(hello).jobs_limit(), 0u);
  TakeItems();
  Finish(11, 0);
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report).jobs_limit(), 1u);
}

TEST_F(WorkerLifeTest, DrainingHandsBackFinishesAndSaysGoodbye) {
  Join();
  Deliver(1, 11, 3, 2);
  TakeItems();
  out.Clear();
  session.Drain(&out);
  Poll();
  EXPECT_TRUE(session.draining());
  ASSERT_EQ(out.recall.size(), 1u);
  EXPECT_EQ(out.recall[0].token(), 11u);
  TakeItems();
  EXPECT_TRUE(report.draining());
  session.OnRecalled(11, 2);
  Finish(11, 0);
  Poll();
  EXPECT_EQ(TakeItems().size(), 2u);
  EXPECT_FALSE(session.done());
  Finish(11, 1);
  Poll();
  EXPECT_TRUE(out.door.empty());  // not before the broker has confirmed it
  AckReports(4);
  EXPECT_TRUE(session.done());
  ASSERT_EQ(out.door.size(), 1u);
  EXPECT_TRUE(out.door[0].has_goodbye());
}

TEST_F(WorkerLifeTest, WhatComesWhileItDrainsIsHandedBack) {
  Join();
  Deliver(1, 11, 1, 1);
  session.Drain(&out);
  Poll();
  out.Clear();
  Deliver(2, 12, 2, 0);  // it crossed our word
  ASSERT_EQ(out.recall.size(), 1u);
  EXPECT_EQ(out.recall[0].token(), 12u);
  EXPECT_EQ(out.run.size(), 1u);  // the executor hears of it first
}

TEST_F(WorkerLifeTest, AnIdleWorkerLeavesAtOnce) {
  Join();
  out.Clear();
  session.Drain(&out);
  Poll();
  EXPECT_TRUE(session.done());
  EXPECT_TRUE(out.door.back().has_goodbye());
}

TEST_F(WorkerLifeTest, AWorkerWithoutABrokerLeavesWhenItHasNothing) {
  session.Drain(&out);
  Poll();
  EXPECT_TRUE(session.done());
  EXPECT_TRUE(out.door.empty());
}

TEST_F(WorkerLifeTest, ADrainingWorkerComesBackToReport) {
  Join();
  Deliver(1, 11, 1, 1);
  session.Drain(&out);
  Finish(11, 0);
  Poll();
  out.Clear();
  SayHello();
  EXPECT_FALSE(session.done());
  Join(2, {11});
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}}));
  EXPECT_TRUE(report.draining());
  out.Clear();
  AckReports(2);
  EXPECT_TRUE(session.done());
}

TEST_F(WorkerLifeTest, ARefusedQueueIsToldOnceAndWhenItIsTakenUp) {
  using Lines = std::vector<std::string>;
  const auto welcome = [&](uint64_t number, bool refuses) {
    wire::Envelope message;
    message.mutable_welcome()->set_session(number);
    message.mutable_welcome()->set_broker_start(9);
    message.mutable_welcome()->set_lease_duration_ms(1'000'000);
    message.mutable_welcome()->set_heartbeat_interval_ms(2000);
    if (refuses) {
      wire::RefusedQueue* refused = message.mutable_welcome()->add_refused();
      refused->set_queue("other");
      *refused->mutable_status() = ToWire(absl::NotFoundError("there is no such queue"));
    }
    OnDoor(message);
    return std::exchange(out.log, {});
  };
  const auto say_hello = [&](const absl::Status& why) {
    wire::Envelope message;
    message.mutable_refusal()->set_action(wire::Refusal::SAY_HELLO);
    *message.mutable_refusal()->mutable_status() = ToWire(why);
    OnDoor(message);
    return std::exchange(out.log, {});
  };
  EXPECT_EQ(welcome(1, true),
            (Lines{"connected",
                   "no jobs of queue other: there is no such queue; they are taken as soon as the "
                   "broker allows it"}));
  EXPECT_EQ(say_hello(absl::UnauthenticatedError("say hello")),
            (Lines{"connection lost; trying again"}));
  EXPECT_EQ(welcome(2, true), (Lines{"connected"}));
  EXPECT_EQ(say_hello(absl::UnavailableError("queue other can be served now")), Lines{});
  EXPECT_EQ(welcome(3, false), (Lines{"connected", "jobs of queue other are taken now"}));
  EXPECT_EQ(say_hello(absl::UnauthenticatedError("say hello")),
            (Lines{"connection lost; trying again"}));
  EXPECT_EQ(welcome(4, false), (Lines{"connected"}));
}

TEST_F(WorkerLifeTest, ARefusedHelloIsRememberedUntilThereIsAWelcome) {
  const auto refuse = [&](const absl::Status& why) {
    wire::Envelope message;
    message.mutable_refusal()->set_action(wire::Refusal::NONE);
    *message.mutable_refusal()->mutable_status() = ToWire(why);
    out.Clear();
    OnDoor(message);
    return out.log;
  };
  const absl::Status full = absl::ResourceExhaustedError("full");
  Run(seconds(1));
  EXPECT_TRUE(session.refusal().ok());
  EXPECT_EQ(refuse(full), std::vector<std::string>{"the broker refused a message: full"});
  EXPECT_EQ(session.refusal(), full);
  EXPECT_EQ(refuse(full), std::vector<std::string>{});  // one line, however often it tries
  EXPECT_EQ(refuse(absl::DataLossError("lost")).size(), 1u);
  EXPECT_EQ(session.refusal(), absl::DataLossError("lost"));
  EXPECT_TRUE(session.fatal().ok());
  out.Clear();
  Join();
  EXPECT_TRUE(session.refusal().ok());
  EXPECT_EQ(refuse(full).size(), 1u);
  EXPECT_TRUE(session.refusal().ok());  // that was of something else
}

TEST_F(WorkerLifeTest, ARefusalForGoodEndsIt) {
  Join();
  wire::Envelope message;
  message.mutable_refusal()->set_action(wire::Refusal::GIVE_UP);
  message.mutable_refusal()->mutable_status()->set_code(9);
  message.mutable_refusal()->mutable_status()->set_message("no");
  OnDoor(message);
  EXPECT_EQ(session.fatal(), absl::FailedPreconditionError("no"));
  out.Clear();
  Run(seconds(30));
  EXPECT_TRUE(out.door.empty() && out.complete.empty());
}

TEST_F(WorkerLifeTest, AHelloListsNoMoreLeasesThanItMay) {
  Join();
  wire::Envelope message;
  message.mutable_deliveries()->set_session(session_number);
  message.mutable_deliveries()->set_first_ordinal(1);
  for (int i = 1; i <= kLeasesPerHelloMax + 1; ++i) {
    wire::Delivery* delivery = message.mutable_deliveries()->add_deliveries();
    delivery->set_token(static_cast<uint64_t>(i));
    delivery->set_queue("q");
    delivery->set_first(1);
    AppendToRun("", delivery->mutable_run());
  }
  OnDoor(message);
  SayHello();
  Join(2);
  EXPECT_EQ(hello.leases_size(), kLeasesPerHelloMax);
}

}  // namespace
}  // namespace whippletree
