// Batches: one call in one slot.
#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/unit/worker/executor_harness.h"

namespace whippletree {
namespace {

class ExecutorBatchTest : public ExecutorTest {
 protected:
  using Indexes = std::vector<uint32_t>;
  void StartBatches(uint32_t slots, BatchHandler handler) {
    Start(slots, QueueHandlers{nullptr, std::move(handler)});
  }
  const BatchOutcome& outcome() const { return batches_.back().outcome; }
  std::string Results() const {
    std::string text;
    for (const auto& result : outcome().results) {
      text += (result.ok() ? *result : std::string(result.status().message())) + " ";
    }
    return text;
  }
};

BatchResults EchoAll(BatchContext&, std::span<const std::string_view> payloads) {
  std::vector<absl::StatusOr<std::string>> results;
  for (const std::string_view payload : payloads) results.push_back(std::string(payload));
  return results;
}

// For a handler that runs until it is ended.
BatchResults SleepLong(BatchContext& context) { return context.SleepFor(std::chrono::hours(1)); }

TEST_F(ExecutorBatchTest, IsOneCallOfAllItsJobs) {
  std::promise<std::string> told;
  StartBatches(2, [&](BatchContext& context, std::span<const std::string_view> payloads) {
    std::string text = context.queue();
    for (size_t i = 0; i < context.size(); ++i) {
      text += " " + context.id(i) + "/" + std::to_string(context.attempt(i));
    }
    told.set_value(text);
    return EchoAll(context, payloads);
  });
  executor_->Run(Batch(1, {"a", "b", "c"}));
  WaitForBatches(1);
  EXPECT_EQ(told.get_future().get(), "q 7-700/1 8-800/2 8-801/2");
  EXPECT_EQ(batches_[0].token, 1u);
  EXPECT_EQ(outcome().indexes, (Indexes{0, 1, 2}));
  EXPECT_EQ(Results(), "a b c ");
  EXPECT_TRUE(started_.empty());
  EXPECT_TRUE(finished_.empty());
}

TEST_F(ExecutorBatchTest, ARestWithHolesKeepsItsIndexes) {
  StartBatches(1, [](BatchContext& context, std::span<const std::string_view>) -> BatchResults {
    EXPECT_TRUE(context.Submit("next", "x", {}, 1).ok());
    return CompletedAll(context.size());
  });
  wire::Delivery delivery = Batch(1, {"a", "b"});
  delivery.add_indexes(3);
  delivery.add_indexes(9);
  executor_->Run(std::move(delivery));
  WaitForBatches(1);
  EXPECT_EQ(outcome().indexes, (Indexes{3, 9}));
  ASSERT_EQ(outcome().follow_ons.size(), 1u);
  EXPECT_EQ(outcome().follow_ons[0].index(), 9u);
}

TEST_F(ExecutorBatchTest, AnotherNumberOfResultsFailsTheWhole) {
  StartBatches(1, [](BatchContext&, std::span<const std::string_view>) { return CompletedAll(2); });
  executor_->Run(Batch(1, {"a", "b", "c"}));
  WaitForBatches(1);
  EXPECT_EQ(outcome().status, absl::InternalError("the batch handler gave 2 results for 3 jobs"));
}

TEST_F(ExecutorBatchTest, AnExceptionOrAStatusIsForTheWhole) {
  StartBatches(1, [](BatchContext&, std::span<const std::string_view> payloads) -> BatchResults {
    if (payloads[0] == "throw") throw std::runtime_error("oops");
    return absl::UnavailableError("later");
  });
  executor_->Run(Batch(1, {"throw", "b"}));
  executor_->Run(Batch(2, {"a", "b"}));
  WaitForBatches(2);
  EXPECT_EQ(batches_[0].outcome.status, absl::InternalError("the handler threw: oops"));
  EXPECT_EQ(batches_[1].outcome.status, absl::UnavailableError("later"));
}

TEST_F(ExecutorBatchTest, TheShortestTimeoutIsThatOfTheWhole) {
  std::promise<MonoTime> deadline;
  StartBatches(1, [&](BatchContext& context, std::span<const std::string_view>) {
    deadline.set_value(context.deadline());
    return SleepLong(context);
  });
  wire::Delivery delivery = Batch(1, {"a", "b"});
  delivery.mutable_parts(0)->mutable_options()->set_timeout_ms(90'000);
  delivery.mutable_parts(1)->mutable_options()->set_timeout_ms(60'000);
  executor_->Run(std::move(delivery));
  const MonoTime at = deadline.get_future().get();
  EXPECT_EQ(executor_->CheckDeadlines(at - Duration(1)), at);
  executor_->CheckDeadlines(at);
  WaitForBatches(1);
  EXPECT_EQ(outcome().status, absl::DeadlineExceededError("timed out after 60000 ms"));
}

TEST_F(ExecutorBatchTest, IsEndedWhenAllOfItIsCancelled) {
  std::promise<BatchContext*> running;
  StartBatches(1, [&](BatchContext& context, std::span<const std::string_view>) {
    running.set_value(&context);
    return SleepLong(context);
  });
  executor_->Run(Batch(1, {"a", "b", "c"}));
  BatchContext* const context = running.get_future().get();
  executor_->Cancel(Range(1, 0, 2));
  EXPECT_TRUE(context->status().ok());  // one of its jobs is wanted still
  executor_->Cancel(Range(1, 2, 1));
  WaitForBatches(1);
  EXPECT_TRUE(absl::IsCancelled(outcome().status));
  EXPECT_TRUE(recalled_.empty());
}

TEST_F(ExecutorBatchTest, WhatIsCancelledBeforeItsStartIsTakenOut) {
  std::promise<void> running;
  std::promise<void> go;
  StartBatches(1, [&](BatchContext& context, std::span<const std::string_view> payloads) {
    if (payloads[0] == "first") {
      running.set_value();
      go.get_future().wait();
    } else {
      EXPECT_EQ(context.id(1), "8-801");
    }
    return EchoAll(context, payloads);
  });
  executor_->Run(Batch(1, {"first", "x"}));
  running.get_future().wait();
  executor_->Run(Batch(2, {"a", "b", "c"}));
  executor_->Run(Batch(3, {"d", "e"}));
  executor_->Cancel(Range(2, 1, 1));
  executor_->Recall(Range(3, 0, kJobsPerRunMax));  // all of it
  go.set_value();
  WaitForBatches(2);
  EXPECT_EQ(recalled_, (JobList{{2, 1}, {3, 0}, {3, 1}}));
  EXPECT_EQ(outcome().indexes, (Indexes{0, 2}));
  EXPECT_EQ(Results(), "a c ");
}

TEST_F(ExecutorBatchTest, AJobHandlerRunsItsJobsInTurn) {
  std::promise<void> done;
  Start(4, [](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
    EXPECT_TRUE(context.Submit("next", payload).ok());
    if (payload == "bad") return absl::InvalidArgumentError("no");
    if (payload == "throw") throw 42;
    return context.id();
  });
  executor_->Run(Batch(1, {"a", "bad", "throw", "b"}));
  WaitForBatches(1);
  EXPECT_TRUE(outcome().status.ok());
  EXPECT_EQ(Results(), "7-700 no the handler threw 8-802 ");
  ASSERT_EQ(outcome().follow_ons.size(), 4u);
  EXPECT_EQ(outcome().follow_ons[3].index(), 3u);
}

TEST_F(ExecutorBatchTest, InTurnEachStartIsToldIfAnyHasATimeout) {
  Start(1, [](JobContext&, std::string_view) -> absl::StatusOr<std::string> { return "ran"; });
  executor_->Run(Batch(1, {"a", "b"}));
  wire::Delivery timed = Batch(2, {"a", "b", "c"});
  timed.mutable_parts(1)->mutable_options()->set_timeout_ms(60'000);
  executor_->Run(std::move(timed));
  WaitForBatches(2);
  EXPECT_EQ(started_, (JobList{{2, 0}, {2, 1}, {2, 2}}));
}

TEST_F(ExecutorBatchTest, InTurnEachJobIsCancelledByItself) {
  std::promise<void> running;
  Start(1, [&](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
    if (payload != "long") return "ran";
    running.set_value();
    return context.SleepFor(std::chrono::hours(1));
  });
  executor_->Run(Batch(1, {"long", "b", "c"}));
  running.get_future().wait();
  executor_->Cancel(Range(1, 0, 2));
  WaitForBatches(1);
  EXPECT_TRUE(absl::IsCancelled(outcome().results[0].status()));
  EXPECT_EQ(outcome().results[1].status(), absl::CancelledError("the job was cancelled"));
  EXPECT_EQ(*outcome().results[2], "ran");
}

TEST_F(ExecutorBatchTest, InTurnNoneIsStartedAfterStopAll) {
  std::promise<void> running;
  Start(1, [&](JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
    running.set_value();  // once: a second call would throw
    return context.SleepFor(std::chrono::hours(1));
  });
  executor_->Run(Batch(1, {"a", "b"}));
  running.get_future().wait();
  executor_->StopAll();
  WaitForBatches(1);
  EXPECT_EQ(Results(), "its worker was stopped its worker was stopped ");
}

TEST_F(ExecutorBatchTest, AJobByItselfIsABatchOfOne) {
  StartBatches(1, [](BatchContext& context, std::span<const std::string_view> payloads) {
    EXPECT_EQ(payloads.size(), 1u);
    if (payloads[0] == "bad") return BatchResults(absl::NotFoundError("no"));
    EXPECT_TRUE(context.Submit("next", "x").ok());
    return EchoAll(context, payloads);
  });
  executor_->Run(Jobs(1, {"a", "bad"}, 2));
  WaitForFinished(2);
  EXPECT_EQ(*finished_[0].result, "a");
  EXPECT_EQ(finished_[0].follow_ons.size(), 1u);
  EXPECT_EQ(finished_[1].result.status(), absl::NotFoundError("no"));
  EXPECT_TRUE(batches_.empty());
}

TEST_F(ExecutorBatchTest, AQueueMayHaveAHandlerForEach) {
  Start(1, QueueHandlers{[](JobContext&, std::string_view) { return std::string("job"); },
                         [](BatchContext& context, std::span<const std::string_view>) {
                           return CompletedAll(context.size());
                         }});
  executor_->Run(Jobs(1, {"a"}, 1));
  executor_->Run(Batch(2, {"a"}));
  WaitUntil([&] { return finished_.size() + batches_.size() == 2; });
  EXPECT_EQ(*finished_.at(0).result, "job");
  EXPECT_EQ(*outcome().results.at(0), "");
}

TEST_F(ExecutorBatchTest, FollowOnJobsTravelInRuns) {
  Start(1, [](JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
    EXPECT_TRUE(context.Submit("a", "one").ok());
    EXPECT_TRUE(context.Submit("a", "two").ok());
    EXPECT_TRUE(
        context.Submit("a", "three", {.timeout = microseconds(1500), .max_attempts = 3, .key = "k"})
            .ok());
    EXPECT_TRUE(context.Submit("b", "four").ok());
    return "";
  });
  wire::Delivery delivery = Jobs(1, {"x"}, 1);
  delivery.add_indexes(5);
  executor_->Run(std::move(delivery));
  WaitForFinished(1);
  const auto& follow_ons = finished_[0].follow_ons;
  ASSERT_EQ(follow_ons.size(), 3u);
  EXPECT_EQ(follow_ons[0].index(), 5u);
  EXPECT_EQ(follow_ons[0].queue(), "a");
  EXPECT_EQ(follow_ons[0].run().block(), "onetwo");
  EXPECT_EQ(follow_ons[0].run().sizes_size(), 2);
  EXPECT_EQ(follow_ons[1].options().timeout_ms(), 2u);
  EXPECT_EQ(follow_ons[1].options().max_attempts(), 3u);
  EXPECT_EQ(follow_ons[1].options().key(), "k");
  EXPECT_EQ(follow_ons[2].queue(), "b");
}

}  // namespace
}  // namespace whippletree
