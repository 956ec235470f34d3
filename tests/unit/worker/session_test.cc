// Deliveries, reports, start marks, credit.
#include "worker/session.h"

#include <gtest/gtest.h>

#include "tests/unit/worker/session_harness.h"

namespace whippletree {
namespace {

using Tokens = std::vector<uint64_t>;

class WorkerReportTest : public WorkerSessionTest {};
class WorkerCreditTest : public WorkerSessionTest {
 protected:
  // Two jobs of 1 µs come, with this ordinal and token, and are reported.
  void RunQuickJobs(uint64_t number, uint32_t started, const std::string& queue = "q") {
    Deliver(number, number, 2, started, queue);
    Finish(number, 0, microseconds(1));
    Finish(number, 1, microseconds(1));
    Poll();
    TakeItems();
  }
  // Of both queues so many of them that the window of each is 32 jobs.
  void LearnQuickJobs() {
    for (uint64_t number = 1; number <= 8; ++number) {
      RunQuickJobs(number, 2, number % 2 == 0 ? "q" : "other");
    }
  }
};

TEST_F(WorkerReportTest, JoinsWithItsSlotsAndQueues) {
  Join(7);
  EXPECT_EQ(hello.role(), wire::WORKER);
  EXPECT_EQ(hello.slots(), 2u);
  ASSERT_EQ(hello.credits_size(), 2);
  EXPECT_EQ(CreditIn(hello).jobs_limit(), 2u);
  EXPECT_EQ(CreditIn(hello).held_max(), 0u);
  EXPECT_EQ(hello.leases_size(), 0);
  EXPECT_TRUE(session.connected());
  EXPECT_EQ(session.result_bytes_max(), 100u);
}

TEST_F(WorkerReportTest, DeliveriesAreTakenOnce) {
  Join();
  Deliver(1, 11, 1, 1);
  Deliver(1, 11, 1, 1);
  EXPECT_EQ(TakeStarted(), Tokens{11});
  EXPECT_EQ(session.held_jobs(), 1u);
}

TEST_F(WorkerReportTest, DeliveriesMayComeInAnyOrder) {
  Join();
  TakeItems();
  Deliver(3, 13, 1, 1);
  Deliver(2, 12, 1, 1);
  EXPECT_EQ(TakeStarted(), (Tokens{13, 12}));
  Run(milliseconds(200));
  TakeItems();
  EXPECT_EQ(report.deliveries_next(), 1u);
  Deliver(1, 11, 1, 1);
  EXPECT_EQ(TakeStarted(), Tokens{11});
  Run(milliseconds(200));  // told before the broker would send them again
  TakeItems();
  EXPECT_EQ(report.deliveries_next(), 4u);
}

TEST_F(WorkerReportTest, EmptyDeliveriesAndUnknownQueuesAreOnlyCounted) {
  Join();
  Deliver(1, 0, 0, 0);
  Deliver(2, 12, 1, 1, "nobody serves it");
  EXPECT_TRUE(TakeStarted().empty());
  Run(milliseconds(200));
  TakeItems();
  EXPECT_EQ(report.deliveries_next(), 3u);
}

TEST_F(WorkerReportTest, FramesOfAnotherSessionAreDropped) {
  Join(1);
  session_number = 2;
  Deliver(1, 11, 1, 1);
  EXPECT_TRUE(TakeStarted().empty());
}

TEST_F(WorkerReportTest, ResultsAreReportedAtOnce) {
  Join();
  Deliver(1, 11, 2, 2);
  TakeItems();
  Finish(11, 0);
  session.OnFinished(11, 1, absl::NotFoundError("no"), seconds(1));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}, {Item::FAILED, 11, 1, 1}}));
  EXPECT_EQ(report.first_ordinal(), 1u);
  EXPECT_EQ(report.items(0).results().block(), "result");
  EXPECT_EQ(report.items(1).status().code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_EQ(report.deliveries_next(), 2u);
}

TEST_F(WorkerReportTest, CompletionsOfALeaseAreGathered) {
  Join();
  Deliver(1, 11, 4, 2);
  TakeItems();
  for (uint32_t i = 0; i < 3; ++i) Finish(11, i);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 3}}));
  EXPECT_EQ(report.items(0).results().sizes_size(), 3);
}

TEST_F(WorkerReportTest, JobsThatWereCompletedTogetherAreOneItem) {
  Join();
  Deliver(1, 11, 5, 5);
  TakeItems();
  std::vector<CompletedJobs> jobs;
  for (uint32_t i = 1; i < 4; ++i) {
    AddCompleted(11, i, "r" + std::to_string(i), milliseconds(1), &jobs);
  }
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].run_time, milliseconds(3));
  session.OnCompleted(std::move(jobs[0]));
  Poll();
  EXPECT_EQ(session.held_jobs(), 2u);
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 1, 3}}));
  EXPECT_EQ(report.items(0).results().block(), "r1r2r3");
  EXPECT_EQ(report.items(0).results().sizes_size(), 3);
}

TEST_F(WorkerReportTest, OfJobsThatWereCompletedTogetherThoseThatAreOpenCount) {
  Join();
  Deliver(1, 11, 4, 4);
  Finish(11, 1);
  Poll();
  TakeItems();
  std::vector<CompletedJobs> jobs;
  for (uint32_t i = 0; i < 3; ++i) AddCompleted(11, i, "r", milliseconds(1), &jobs);
  session.OnCompleted(std::move(jobs[0]));
  Poll();
  EXPECT_EQ(session.held_jobs(), 1u);
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}, {Item::COMPLETED, 11, 2, 1}}));
}

TEST_F(WorkerReportTest, ATooLargeResultAmongOthersIsAFailure) {
  Join();
  Deliver(1, 11, 2, 2);
  TakeItems();
  std::vector<CompletedJobs> jobs;
  AddCompleted(11, 0, "r", milliseconds(1), &jobs);
  AddCompleted(11, 1, std::string(101, 'x'), milliseconds(1), &jobs);
  session.OnCompleted(std::move(jobs[0]));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}, {Item::FAILED, 11, 1, 1}}));
}

TEST_F(WorkerReportTest, ReportsAreSentAgainUntilAcknowledged) {
  Join();
  Deliver(1, 11, 2, 2);
  Finish(11, 0);
  Poll();
  TakeItems();
  Run(milliseconds(1000));
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}}));
  EXPECT_EQ(report.first_ordinal(), 1u);
  AckReports(9);  // never sent
  AckReports(2);
  Run(seconds(10));
  EXPECT_TRUE(TakeItems().empty());
  Finish(11, 1);
  Poll();
  TakeItems();
  EXPECT_EQ(report.first_ordinal(), 2u);
}

TEST_F(WorkerReportTest, LeaveWithinTheWindow) {
  window_bytes = 100;
  Join();
  for (uint64_t token = 1; token <= 3; ++token) Deliver(token, token, 1, 1);
  TakeItems();
  for (uint64_t token = 1; token <= 3; ++token) Finish(token, 0);  // 38 bytes each
  Poll();
  EXPECT_EQ(TakeItems().size(), 2u);
  Run(milliseconds(900));
  EXPECT_TRUE(TakeItems().empty());
  AckReports(2);
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 3, 0, 1}}));
  // One that is larger than the window goes alone.
  AckReports(4);
  Deliver(4, 4, 1, 1);
  Deliver(5, 5, 1, 1);
  session.OnFinished(4, 0, absl::InternalError(std::string(200, 'x')), seconds(1));
  Finish(5, 0);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::FAILED, 4, 0, 1}}));
}

TEST_F(WorkerReportTest, ManyBytesThatArrivedAreToldAtOnce) {
  window_bytes = 100;
  Join();
  TakeItems();
  Deliver(1, 1, 2, 2);  // 14 bytes
  EXPECT_TRUE(out.complete.empty());
  Deliver(2, 2, 2, 2);
  ASSERT_EQ(out.complete.size(), 1u);
  EXPECT_EQ(out.complete[0].report().deliveries_next(), 3u);
}

TEST_F(WorkerReportTest, WhatWasSentDoesNotGrow) {
  Join();
  Deliver(1, 11, 2, 2);
  Finish(11, 0);
  Poll();
  now.mono += seconds(1);  // due to be sent again
  Finish(11, 1);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1},
                                {Item::COMPLETED, 11, 0, 1},
                                {Item::COMPLETED, 11, 1, 1}}));
}

TEST_F(WorkerReportTest, ATooLargeResultIsAFailure) {
  Join();
  Deliver(1, 11, 2, 2);
  TakeItems();
  session.OnFinished(11, 0, std::string(100, 'x'), seconds(1));
  session.OnFinished(11, 1, std::string(101, 'x'), seconds(1));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}, {Item::FAILED, 11, 1, 1}}));
  EXPECT_EQ(report.items(1).status().message(), "result of 101 bytes; at most 100 are taken");
}

TEST_F(WorkerReportTest, AStartIsMarkedWhenItLasts) {
  Join();
  Deliver(1, 11, 4, 2);
  TakeItems();
  Finish(11, 0);
  Poll();
  TakeItems();
  session.OnStarted(11, 2);  // a held one
  Run(milliseconds(1) - Duration(1));
  EXPECT_TRUE(TakeItems().empty());
  Run(Duration(1));
  EXPECT_EQ(TakeItems(), (Items{{Item::STARTED, 11, 2, 1}}));
  Finish(11, 2);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 2, 1}}));
}

TEST_F(WorkerReportTest, AQuickJobNeedsNoMark) {
  Join();
  Deliver(1, 11, 4, 2);
  Finish(11, 0);
  Poll();
  TakeItems();
  session.OnStarted(11, 2);
  Finish(11, 2);
  Run(milliseconds(5));
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 2, 1}}));
}

TEST_F(WorkerReportTest, StartsAreMarkedInTheOrderOfTheirLeases) {
  Join();
  Deliver(1, 11, 4, 1);
  Deliver(2, 12, 2, 0);
  TakeItems();
  session.OnStarted(12, 1);
  session.OnStarted(11, 3);
  session.OnStarted(11, 1);
  session.OnStarted(11, 2);
  session.OnStarted(11, 1);  // again
  Finish(11, 2);
  Run(milliseconds(5));
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 2, 1},
                                {Item::STARTED, 11, 1, 1},
                                {Item::STARTED, 11, 3, 1},
                                {Item::STARTED, 12, 1, 1}}));
}

TEST_F(WorkerReportTest, JobsForFreeSlotsNeedNoMark) {
  Join();
  Deliver(1, 11, 2, 2);
  session.OnStarted(11, 0);
  session.OnStarted(99, 0);  // no such lease
  Run(milliseconds(5));
  EXPECT_TRUE(TakeItems().empty());
}

TEST_F(WorkerReportTest, ARevokedJobThatWasNotStartedIsHandedBack) {
  Join();
  Deliver(1, 11, 4, 2);
  TakeItems();
  wire::Envelope message;
  message.mutable_revoke()->set_session(1);
  for (uint64_t token : {11, 99}) {
    wire::JobRange* range = message.mutable_revoke()->add_ranges();
    range->set_token(token);
    range->set_first(2);
    range->set_count(2);
  }
  OnDoor(message);
  ASSERT_EQ(out.recall.size(), 1u);
  EXPECT_EQ(out.recall[0].token(), 11u);
  session.OnRecalled(11, 2);
  session.OnRecalled(11, 3);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::HANDED_BACK, 11, 2, 2}}));
  EXPECT_EQ(session.held_jobs(), 2u);
}

TEST_F(WorkerReportTest, ACancelledJobIsEndedByTheExecutor) {
  Join();
  Deliver(1, 11, 2, 2);
  TakeItems();
  wire::Envelope message;
  message.mutable_cancel_jobs()->set_session(1);
  message.mutable_cancel_jobs()->add_ranges()->set_token(11);
  message.mutable_cancel_jobs()->add_ranges()->set_token(99);
  OnDoor(message);
  ASSERT_EQ(out.cancel.size(), 1u);
  session.OnFinished(11, 0, absl::CancelledError("cancelled"), seconds(1));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::FAILED, 11, 0, 1}}));
}

TEST_F(WorkerReportTest, AJobIsReportedOnce) {
  Join();
  Deliver(1, 11, 1, 1);
  TakeItems();
  Finish(11, 0);
  Finish(11, 0);
  session.OnRecalled(11, 0);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}}));
}

TEST_F(WorkerCreditTest, IsCumulative) {
  Join();
  Deliver(1, 11, 2, 2);
  Run(milliseconds(200));
  TakeItems();
  Finish(11, 0);
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report).jobs_limit(), 3u);  // two are used up, a slot is free
  Finish(11, 1);
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report).jobs_limit(), 4u);
}

TEST_F(WorkerCreditTest, IsToldOnlyWhenItChanges) {
  Join();
  TakeItems();
  Deliver(1, 11, 2, 2);
  session.OnFinished(11, 0, absl::InternalError("no"), seconds(1));
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report).jobs_limit(), 3u);
  AckReports(2);
  Run(milliseconds(300));
  for (const wire::Envelope& message : out.complete) {
    EXPECT_EQ(message.report().credits_size(), 0);
  }
}

TEST_F(WorkerCreditTest, GrowsWithQuickJobsAndFallsWithSlowOnes) {
  Join();
  uint32_t held_max = 0;
  for (uint64_t number = 1; number <= 4; ++number) {
    RunQuickJobs(number, 2);
    EXPECT_GT(CreditIn(report).held_max(), held_max);
    held_max = CreditIn(report).held_max();
  }
  EXPECT_EQ(held_max, 30u);  // 2, 4, 8, 16, 32 jobs with those in the slots
  EXPECT_EQ(CreditIn(report).jobs_limit(), 8u + 32);
  Deliver(5, 9, 1, 1);
  Finish(9, 0, seconds(10));
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report).held_max(), 0u);
  EXPECT_EQ(CreditIn(report).jobs_limit(), 8u + 32);  // what is granted stays granted
}

TEST_F(WorkerCreditTest, JobsOfOneQueueTakeUpTheRoomOfTheOthers) {
  Join();
  Deliver(1, 11, 2, 2);
  Run(milliseconds(200));
  TakeItems();
  Finish(11, 0);
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report, "other").jobs_limit(), 0u);  // unchanged: two were granted
  Run(seconds(2));
  ASSERT_FALSE(out.door.empty());
  EXPECT_EQ(CreditIn(out.door[0].heartbeat(), "other").jobs_limit(), 2u);
}

TEST_F(WorkerCreditTest, JobsThatAreKnownToBeQuickTakeUpTheirTimeOnly) {
  Join();
  LearnQuickJobs();
  Deliver(9, 9, 20, 2, "q");
  RunQuickJobs(10, 0, "other");
  EXPECT_EQ(CreditIn(report, "other").held_max(), 62u);
  EXPECT_EQ(CreditIn(report, "other").jobs_limit(), 10u + 64);
}

TEST_F(WorkerCreditTest, JobsThatMayTakeLongTakeUpTheRoomOfQuickOnes) {
  Join();
  LearnQuickJobs();
  Deliver(9, 9, 1, 1, "q");
  Finish(9, 0, seconds(1));  // some do
  Deliver(10, 10, 20, 2, "q");
  RunQuickJobs(11, 0, "other");
  EXPECT_EQ(CreditIn(report, "other").jobs_limit(), 10u + 64 - 20);
}

// Else a queue of long jobs would get none as long as others keep the worker busy.
TEST_F(WorkerCreditTest, AQueueMayHaveAllSlotsWhateverElseIsHere) {
  Join();
  Deliver(1, 11, 1, 1, "other");
  Deliver(2, 12, 20, 1, "q");
  Finish(11, 0);
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report, "other").jobs_limit(), 1u + 2);
  EXPECT_EQ(CreditIn(report, "other").held_max(), 0u);
}

TEST_F(WorkerCreditTest, HeartbeatsRepeatWhatMattersMost) {
  Join();
  Deliver(1, 11, 1, 1);
  Run(seconds(2));
  ASSERT_EQ(out.door.size(), 1u);
  const wire::Heartbeat& heartbeat = out.door[0].heartbeat();
  EXPECT_EQ(heartbeat.session(), 1u);
  EXPECT_EQ(heartbeat.deliveries_next(), 2u);
  EXPECT_EQ(heartbeat.credits_size(), 2);
  EXPECT_FALSE(heartbeat.draining());
}

}  // namespace
}  // namespace whippletree
