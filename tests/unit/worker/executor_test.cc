#include "worker/executor.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/unit/worker/executor_harness.h"

namespace whippletree {
namespace {

absl::StatusOr<std::string> Echo(JobContext&, std::string_view payload) {
  return std::string(payload);
}

// Runs until it is ended.
absl::StatusOr<std::string> Endless(JobContext& context, std::string_view) {
  return context.SleepFor(std::chrono::hours(1));
}

TEST_F(ExecutorTest, RunsJobsInOrder) {
  Start(1, Echo);
  executor_->Run(Jobs(1, {"a", "b"}, 1));
  executor_->Run(Jobs(2, {"c"}, 0));
  WaitForFinished(3);
  std::string results;
  for (const auto& finished : finished_) results += *finished.result;
  EXPECT_EQ(results, "abc");
  EXPECT_EQ(finished_[1].token, 1u);
  EXPECT_EQ(finished_[1].index, 1u);
  EXPECT_GE(finished_[0].run_time, Duration(0));
  // Those that were not sent to a free slot are told when they start.
  EXPECT_EQ(started_, (JobList{{1, 1}, {2, 0}}));
}

TEST_F(ExecutorTest, QuickJobsAreToldOfThoughTheNextOneTakesLong) {
  std::promise<void> go_on;
  std::shared_future<void> may_go_on = go_on.get_future().share();
  Start(1, [may_go_on](JobContext&, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload == "long") may_go_on.wait();
    return "";
  });
  std::vector<std::string> payloads(3000, "quick");
  payloads.insert(payloads.end(), {"long", "last"});
  executor_->Run(Jobs(1, payloads, 1));
  WaitForFinished(3000);
  EXPECT_EQ(finished_.size(), 3000u);
  go_on.set_value();
  WaitForFinished(3002);
  EXPECT_EQ(started_.size(), 3001u);
}

TEST_F(ExecutorTest, TellsTheHandlerWhatItRuns) {
  std::promise<std::string> told;
  Start(1, [&](JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
    told.set_value(context.id() + " " + context.queue() + " " + std::to_string(context.attempt()));
    return "";
  });
  wire::Delivery delivery = Jobs(1, {"x"}, 1);
  delivery.add_indexes(5);
  executor_->Run(std::move(delivery));
  WaitForFinished(1);
  EXPECT_EQ(told.get_future().get(), "7-105 q 3");
  EXPECT_EQ(finished_[0].index, 5u);
}

TEST_F(ExecutorTest, SlotsRunSideBySide) {
  std::mutex mutex;
  std::condition_variable all_here;
  int here = 0;
  Start(3, [&](JobContext&, std::string_view) -> absl::StatusOr<std::string> {
    std::unique_lock lock(mutex);
    ++here;
    all_here.notify_all();
    const bool together = all_here.wait_for(lock, seconds(60), [&] { return here == 3; });
    return together ? "together" : "alone";
  });
  executor_->Run(Jobs(1, {"a", "b", "c"}, 3));
  WaitForFinished(3);
  for (const auto& finished : finished_) EXPECT_EQ(*finished.result, "together");
}

TEST_F(ExecutorTest, FailuresAndExceptionsAreStatuses) {
  Start(1, [](JobContext&, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload == "throw") throw std::runtime_error("oops");
    if (payload == "throw a number") throw 42;
    return absl::NotFoundError("not here");
  });
  executor_->Run(Jobs(1, {"fail", "throw", "throw a number"}, 3));
  WaitForFinished(3);
  EXPECT_EQ(finished_[0].result.status(), absl::NotFoundError("not here"));
  EXPECT_EQ(finished_[1].result.status(), absl::InternalError("the handler threw: oops"));
  EXPECT_EQ(finished_[2].result.status(), absl::InternalError("the handler threw"));
}

TEST_F(ExecutorTest, RecallTakesBackOnlyWhatWasNotStarted) {
  Start(1, Endless);
  executor_->Run(Jobs(1, {"a", "b", "c", "d"}, 1));
  wire::Delivery later = Jobs(2, {"e"}, 0);
  executor_->Run(std::move(later));
  // Whether "a" has begun is for the slot's thread to say; "b" cannot have.
  executor_->Recall(Range(1, 1, 2));
  executor_->Recall(Range(99, 0, 10));
  WaitUntil([&] { return recalled_.size() == 2; });
  EXPECT_EQ(recalled_, (JobList{{1, 1}, {1, 2}}));
  executor_->Recall(Range(1, 0, kJobsPerRunMax));
  executor_->Recall(Range(2, 0, kJobsPerRunMax));
  executor_->Cancel(Range(1, 0, 1));
  WaitUntil([&] { return recalled_.size() + finished_.size() == 5; });
}

TEST_F(ExecutorTest, CancelEndsWhatRuns) {
  std::promise<void> running;
  Start(1, [&](JobContext& context, std::string_view payload) {
    running.set_value();
    return Endless(context, payload);
  });
  executor_->Run(Jobs(1, {"a", "b"}, 1));
  running.get_future().wait();
  executor_->Cancel(Range(1, 0, 2));
  WaitForFinished(1);
  EXPECT_TRUE(absl::IsCancelled(finished_[0].result.status()));
  EXPECT_EQ(recalled_, (JobList{{1, 1}}));
}

TEST_F(ExecutorTest, DropForgetsTheLease) {
  std::promise<void> running;
  Start(1, [&](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload == "next") return "ran";
    running.set_value();
    return Endless(context, payload);
  });
  executor_->Run(Jobs(1, {"a", "b"}, 1));
  running.get_future().wait();
  executor_->Drop(1);
  executor_->Run(Jobs(2, {"next"}, 1));
  WaitForFinished(2);
  EXPECT_TRUE(absl::IsCancelled(finished_[0].result.status()));
  EXPECT_EQ(finished_[1].token, 2u);
  EXPECT_TRUE(recalled_.empty());
}

TEST_F(ExecutorTest, ACancelDoesNotReachTheNextJobOfTheSlot) {
  std::promise<void> running;
  Start(1, [&](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload == "next") return context.status().ok() ? "ran" : "was ended";
    running.set_value();
    return Endless(context, payload);
  });
  executor_->Run(Jobs(1, {"a"}, 1));
  running.get_future().wait();
  executor_->Cancel(Range(1, 0, 1));
  executor_->Cancel(Range(2, 0, 1));  // not here yet
  executor_->Run(Jobs(2, {"next"}, 1));
  WaitForFinished(2);
  EXPECT_TRUE(absl::IsCancelled(finished_[0].result.status()));
  EXPECT_EQ(finished_[1].result.value(), "ran");
}

TEST_F(ExecutorTest, ATimeoutEndsTheAttempt) {
  std::promise<MonoTime> deadline;
  Start(1, [&](JobContext& context, std::string_view payload) {
    deadline.set_value(context.deadline());
    return Endless(context, payload);
  });
  EXPECT_EQ(executor_->CheckDeadlines(MonoTime()), kNever);
  executor_->Run(Jobs(1, {"a"}, 1, 60'000));
  const MonoTime at = deadline.get_future().get();
  EXPECT_EQ(executor_->CheckDeadlines(at - Duration(1)), at);
  EXPECT_EQ(executor_->CheckDeadlines(at), kNever);
  WaitForFinished(1);
  EXPECT_EQ(finished_[0].result.status(), absl::DeadlineExceededError("timed out after 60000 ms"));
}

TEST_F(ExecutorTest, WhatFailsAfterStopAllIsUnavailable) {
  std::promise<void> running;
  Start(1, [&](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload == "quick") return "done";
    running.set_value();
    return Endless(context, payload);
  });
  executor_->Run(Jobs(1, {"a", "quick"}, 2));
  running.get_future().wait();
  executor_->StopAll();
  WaitForFinished(2);
  EXPECT_TRUE(absl::IsUnavailable(finished_[0].result.status()));
  EXPECT_EQ(*finished_[1].result, "done");
}

TEST_F(ExecutorTest, AHandlerMayEndTheWorker) {
  Start(1, [](JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
    context.FailWorker(absl::FailedPreconditionError("no such program"));
    return absl::InternalError("failed");
  });
  executor_->Run(Jobs(1, {"a"}, 1));
  WaitForFinished(1);
  EXPECT_EQ(worker_failure_, absl::FailedPreconditionError("no such program"));
}

TEST_F(ExecutorTest, AHandlerMayHandItsJobBack) {
  Start(1, [](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload == "back") context.HandBack();
    return std::string(payload);
  });
  executor_->Run(Jobs(1, {"a", "back", "b"}, 3));
  WaitUntil([&] { return finished_.size() == 2 && recalled_.size() == 1; });
  EXPECT_EQ(*finished_[0].result, "a");
  EXPECT_EQ(*finished_[1].result, "b");
  EXPECT_EQ(recalled_[0], (std::pair<uint64_t, uint32_t>(1, 1)));
}

TEST_F(ExecutorTest, ManyJobsOnManySlotsAllFinishOnce) {
  Start(8, Echo);
  constexpr uint32_t kLeases = 50;
  constexpr uint32_t kJobs = 40;
  for (uint64_t token = 1; token <= kLeases; ++token) {
    executor_->Run(Jobs(token, std::vector<std::string>(kJobs, "x"), 8));
    if (token % 7 == 0) executor_->Recall(Range(token, 20, 10));
  }
  WaitUntil([&] { return finished_.size() + recalled_.size() == kLeases * kJobs; });
  std::set<std::pair<uint64_t, uint32_t>> seen(recalled_.begin(), recalled_.end());
  for (const auto& finished : finished_) seen.emplace(finished.token, finished.index);
  EXPECT_EQ(seen.size(), kLeases * kJobs);
}

TEST_F(ExecutorTest, ItsEndEndsWhatRuns) {
  std::promise<void> running;
  Start(2, [&](JobContext& context, std::string_view payload) {
    running.set_value();
    return Endless(context, payload);
  });
  executor_->Run(Jobs(1, {"a"}, 1));
  running.get_future().wait();
  executor_.reset();
}

}  // namespace
}  // namespace whippletree
