// Batches are one start and one report; follow-on jobs go with the completion.
#include <gtest/gtest.h>

#include <numeric>

#include "common/status.h"
#include "tests/unit/worker/session_harness.h"

namespace whippletree {
namespace {

class WorkerBatchTest : public WorkerSessionTest {
 protected:
  using Results = std::vector<absl::StatusOr<std::string>>;

  void FinishBatch(uint64_t token, Results results, std::vector<wire::FollowOn> follow_ons = {}) {
    BatchOutcome outcome;
    outcome.indexes.resize(results.size());
    std::iota(outcome.indexes.begin(), outcome.indexes.end(), 0);
    outcome.results = std::move(results);
    outcome.follow_ons = std::move(follow_ons);
    session.OnBatchFinished(token, std::move(outcome), seconds(1));
  }
  void FailBatch(uint64_t token, std::vector<uint32_t> indexes, absl::Status status) {
    BatchOutcome outcome;
    outcome.indexes = std::move(indexes);
    outcome.status = std::move(status);
    session.OnBatchFinished(token, std::move(outcome), seconds(1));
  }
};

TEST_F(WorkerBatchTest, CountsAsOneStart) {
  Join();
  DeliverBatch(1, 11, 10);
  EXPECT_EQ(TakeStarted(), std::vector<uint64_t>{11});
  EXPECT_EQ(session.held_jobs(), 1u);
  Run(milliseconds(200));
  TakeItems();
  EXPECT_EQ(CreditIn(report, "q").jobs_limit(), 0u);  // unchanged: two starts, one is left
  FinishBatch(11, Results(10, "r"));
  EXPECT_EQ(session.held_jobs(), 0u);
  Poll();
  TakeItems();
  EXPECT_EQ(CreditIn(report).jobs_limit(), 3u);
}

TEST_F(WorkerBatchTest, ACompletedOneIsOneItem) {
  Join();
  DeliverBatch(1, 11, 3);
  TakeItems();
  FinishBatch(11, {"a", "bb", ""});
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 3}}));
  EXPECT_EQ(report.items(0).results().block(), "abb");
  EXPECT_EQ(report.items(0).results().sizes_size(), 3);
}

TEST_F(WorkerBatchTest, OfJobsThatAreRunInTurnTheLastStartIsMarked) {
  Join();
  DeliverBatch(1, 11, 4);
  TakeItems();
  session.OnStarted(11, 0);
  session.OnStarted(11, 1, 2);
  Run(milliseconds(5));
  EXPECT_EQ(TakeItems(), (Items{{Item::STARTED, 11, 2, 1}}));
  session.OnStarted(11, 3);
  FinishBatch(11, Results(4, "r"));
  Run(milliseconds(5));
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 4}}));
  session.OnStarted(11, 3);  // too late
  Run(milliseconds(5));
  EXPECT_TRUE(TakeItems().empty());
}

TEST_F(WorkerBatchTest, OneStatusOfTheWholeIsMarked) {
  Join();
  DeliverBatch(1, 11, 3);
  DeliverBatch(2, 12, 3, {0, 1, 5});
  TakeItems();
  FailBatch(11, {0, 1, 2}, absl::UnavailableError("no"));
  FailBatch(12, {0, 1, 5}, absl::UnavailableError("no"));
  Poll();
  EXPECT_EQ(TakeItems(),
            (Items{{Item::FAILED, 11, 0, 3}, {Item::FAILED, 12, 0, 2}, {Item::FAILED, 12, 5, 1}}));
  for (const Item& item : report.items()) {
    EXPECT_TRUE(item.whole_batch());
    EXPECT_EQ(item.status().code(), 14);
  }
}

TEST_F(WorkerBatchTest, EachJobMayHaveItsOwnEnd) {
  Join();
  DeliverBatch(1, 11, 4);
  TakeItems();
  FinishBatch(11, {"a", absl::NotFoundError("no"), std::string(101, 'x'), "b"});
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1},
                                {Item::FAILED, 11, 1, 1},
                                {Item::FAILED, 11, 2, 1},
                                {Item::COMPLETED, 11, 3, 1}}));
  EXPECT_FALSE(report.items(1).whole_batch());
  EXPECT_EQ(report.items(2).status().code(), 11);
}

TEST_F(WorkerBatchTest, IsReportedInOneMessageHoweverLarge) {
  constexpr uint32_t kJobs = 400;
  window_bytes = 1000;
  Join();
  Deliver(1, 9, 1, 1);
  DeliverBatch(2, 11, kJobs);
  Deliver(3, 12, 1, 1);
  TakeItems();
  Finish(9, 0);
  Results results(kJobs, std::string(90, 'x'));
  for (uint32_t i = 1; i < kJobs; i += 2) {
    results[i] = absl::NotFoundError(std::string(400, 'y'));
  }
  FinishBatch(11, std::move(results));
  Finish(12, 0);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 9, 0, 1}}));  // the window is full for the batch
  AckReports(2);
  EXPECT_EQ(out.complete.size(), 1u);
  EXPECT_EQ(TakeItems().size(), size_t{kJobs});
  Run(seconds(1));  // sent again, and what comes after it waits
  EXPECT_EQ(out.complete.size(), 1u);
  EXPECT_EQ(TakeItems().size(), size_t{kJobs});
  AckReports(2 + kJobs);
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 12, 0, 1}}));
}

TEST_F(WorkerBatchTest, ResultsBeyondAFrameFailTheWhole) {
  constexpr uint32_t kJobs = 1000;
  Join();
  DeliverBatch(1, 11, kJobs);
  TakeItems();
  FinishBatch(11, Results(kJobs, absl::NotFoundError(std::string(400, 'x'))));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::FAILED, 11, 0, kJobs}}));
  EXPECT_TRUE(report.items(0).whole_batch());
  EXPECT_EQ(report.items(0).status().message(),
            "the results of a batch of 1000 jobs have 432000 bytes; one report takes 262244");
}

TEST_F(WorkerBatchTest, IsHandedBackInOneItem) {
  constexpr uint32_t kJobs = 20'000;
  Join();
  DeliverBatch(1, 11, kJobs);
  session.Drain(&out);
  ASSERT_EQ(out.recall.size(), 1u);
  Poll();
  TakeItems();
  for (uint32_t i = 0; i < kJobs; ++i) session.OnRecalled(11, i);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::HANDED_BACK, 11, 0, kJobs}}));
  EXPECT_FALSE(session.done());
  AckReports(2);
  EXPECT_TRUE(session.done());
}

TEST_F(WorkerBatchTest, ThatCrossesADrainIsRecalled) {
  Join();
  Deliver(1, 9, 1, 1);
  session.Drain(&out);
  Poll();
  out.Clear();
  DeliverBatch(2, 11, 2);
  ASSERT_EQ(out.recall.size(), 1u);
  EXPECT_EQ(out.recall[0].token(), 11u);
  // The executor had begun it.
  FinishBatch(11, {"a", "b"});
  Finish(9, 0);
  Poll();
  EXPECT_EQ(TakeItems().size(), 2u);
}

TEST_F(WorkerBatchTest, MayLoseJobsBeforeItsStart) {
  Join();
  DeliverBatch(1, 11, 3);
  TakeItems();
  session.OnRecalled(11, 1);
  EXPECT_EQ(session.held_jobs(), 1u);
  BatchOutcome outcome;
  outcome.indexes = {0, 2};
  outcome.results = {"a", "c"};
  session.OnBatchFinished(11, std::move(outcome), seconds(1));
  EXPECT_EQ(session.held_jobs(), 0u);
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::HANDED_BACK, 11, 1, 1},
                                {Item::COMPLETED, 11, 0, 1},
                                {Item::COMPLETED, 11, 2, 1}}));
}

TEST_F(WorkerBatchTest, GoesOnOverAReconnect) {
  Join();
  DeliverBatch(1, 11, 3);
  DeliverBatch(2, 12, 3);
  out.Clear();
  SayHello();
  Join(2, {12});
  EXPECT_EQ(hello.leases_size(), 2);
  EXPECT_EQ(CreditIn(hello).jobs_limit(), 0u);  // both slots are taken
  EXPECT_EQ(out.drop, std::vector<uint64_t>{11});
  EXPECT_EQ(session.held_jobs(), 1u);
  TakeItems();
  FinishBatch(11, {"a", "b", "c"});  // void
  FailBatch(12, {0, 1, 2}, absl::InternalError("no"));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::FAILED, 12, 0, 3}}));
  EXPECT_EQ(session.held_jobs(), 0u);
}

TEST_F(WorkerBatchTest, AFinishedOneIsReportedAgainInANewSession) {
  Join();
  DeliverBatch(1, 11, 2);
  FinishBatch(11, {"a", absl::NotFoundError("no")});
  Poll();
  out.Clear();
  SayHello();
  Join(2, {11});
  EXPECT_EQ(out.complete.size(), 1u);
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 1}, {Item::FAILED, 11, 1, 1}}));
  AckReports(3);
  out.Clear();
  SayHello();
  Join(3);
  EXPECT_EQ(hello.leases_size(), 0);
}

TEST_F(WorkerBatchTest, ARepeatedDeliveryIsTakenOnce) {
  Join();
  DeliverBatch(1, 11, 3);
  DeliverBatch(1, 11, 3);
  DeliverBatch(2, 11, 3);
  EXPECT_EQ(TakeStarted(), std::vector<uint64_t>{11});
  EXPECT_EQ(session.held_jobs(), 1u);
}

TEST_F(WorkerBatchTest, PartsThatDoNotAddUpAreNotRun) {
  Join();
  out.Clear();
  wire::Envelope message;
  message.mutable_deliveries()->set_session(1);
  message.mutable_deliveries()->set_first_ordinal(1);
  wire::Delivery* delivery = message.mutable_deliveries()->add_deliveries();
  delivery->set_token(11);
  delivery->set_queue("q");
  delivery->set_batch(true);
  delivery->add_parts()->set_count(2);
  AppendToRun("x", delivery->mutable_run());
  OnDoor(message);
  EXPECT_TRUE(TakeStarted().empty());
  EXPECT_EQ(out.log.size(), 1u);
  EXPECT_EQ(session.held_jobs(), 0u);
}

class WorkerFollowOnTest : public WorkerBatchTest {};

TEST_F(WorkerFollowOnTest, GoWithTheCompletion) {
  Join();
  Deliver(1, 11, 3, 3);
  TakeItems();
  session.OnFinished(11, 0, "a", seconds(1), {MakeFollowOn(0, "x")});
  session.OnFinished(11, 1, "b", seconds(1), {MakeFollowOn(1, "y"), MakeFollowOn(1, "z")});
  session.OnFinished(11, 2, absl::InternalError("no"), seconds(1), {MakeFollowOn(2, "w")});
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::COMPLETED, 11, 0, 2}, {Item::FAILED, 11, 2, 1}}));
  ASSERT_EQ(report.items(0).follow_ons_size(), 3);
  EXPECT_EQ(report.items(0).follow_ons(0).index(), 0u);
  EXPECT_EQ(report.items(0).follow_ons(2).index(), 1u);
  EXPECT_EQ(report.items(0).follow_ons(2).run().block(), "z");
  EXPECT_EQ(report.items(1).follow_ons_size(), 0);
}

TEST_F(WorkerFollowOnTest, OfABatchAreThoseOfItsCompletedJobs) {
  Join();
  DeliverBatch(1, 11, 3);
  TakeItems();
  FinishBatch(11, {"a", absl::InternalError("no"), "c"},
              {MakeFollowOn(0, "x"), MakeFollowOn(1, "y"), MakeFollowOn(2, "z")});
  Poll();
  TakeItems();
  ASSERT_EQ(report.items_size(), 3);
  EXPECT_EQ(report.items(0).follow_ons(0).run().block(), "x");
  EXPECT_EQ(report.items(1).follow_ons_size(), 0);
  EXPECT_EQ(report.items(2).follow_ons(0).run().block(), "z");
}

TEST_F(WorkerFollowOnTest, TooLargeAPayloadFailsItsJob) {
  Join();
  Deliver(1, 11, 1, 1);
  TakeItems();
  session.OnFinished(11, 0, "a", seconds(1), {MakeFollowOn(0, std::string(51, 'x'))});
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::FAILED, 11, 0, 1}}));
  EXPECT_EQ(report.items(0).status().message(),
            "follow-on job of 51 bytes for queue next; at most 50 are taken");
}

TEST_F(WorkerFollowOnTest, MoreThanAFrameTakesFailTheirJob) {
  Join();
  Deliver(1, 11, 1, 1);
  TakeItems();
  session.OnFinished(11, 0, "a", seconds(1),
                     std::vector<wire::FollowOn>(5000, MakeFollowOn(0, std::string(50, 'x'))));
  Poll();
  EXPECT_EQ(TakeItems(), (Items{{Item::FAILED, 11, 0, 1}}));
  EXPECT_EQ(report.items(0).status().code(), 11);
}

TEST_F(WorkerFollowOnTest, ARetryAfterTravelsWithTheFailure) {
  Join();
  Deliver(1, 11, 1, 1);
  TakeItems();
  session.OnFinished(11, 0, RetryAfterStatus(seconds(2), "busy"), seconds(1));
  Poll();
  TakeItems();
  EXPECT_EQ(report.items(0).status().retry_after_ms(), 2000u);
}

}  // namespace
}  // namespace whippletree
