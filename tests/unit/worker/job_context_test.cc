#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "common/status.h"
#include "worker/worker.h"

namespace whippletree {
namespace {

JobContext::Job TestJob() {
  return {.id = "7-1", .queue = "q", .attempt = 2, .deadline = MonoTime(seconds(5))};
}

TEST(JobContextTest, TellsAboutTheJob) {
  const JobContext context(TestJob());
  EXPECT_EQ(context.id(), "7-1");
  EXPECT_EQ(context.queue(), "q");
  EXPECT_EQ(context.attempt(), 2u);
  EXPECT_EQ(context.deadline(), MonoTime(seconds(5)));
  EXPECT_TRUE(context.status().ok());
  EXPECT_TRUE(context.worker_failure().ok());
}

TEST(JobContextTest, TheIdIsMadeOfStreamAndNumber) {
  const JobContext context({.queue = "q", .stream = 12, .number = 345});
  EXPECT_EQ(context.id(), "12-345");
  EXPECT_EQ(&context.id(), &context.id());
}

TEST(JobContextTest, FirstEndStands) {
  JobContext context(TestJob());
  context.End(absl::StatusCode::kDeadlineExceeded);
  context.End(absl::StatusCode::kCancelled);
  EXPECT_TRUE(absl::IsDeadlineExceeded(context.status()));
}

TEST(JobContextTest, FirstWorkerFailureStands) {
  JobContext context(TestJob());
  context.FailWorker(absl::FailedPreconditionError("first"));
  context.FailWorker(absl::FailedPreconditionError("second"));
  EXPECT_EQ(context.worker_failure(), absl::FailedPreconditionError("first"));
  EXPECT_TRUE(context.status().ok());
}

TEST(JobContextTest, SleepLastsItsTime) {
  JobContext context(TestJob());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(context.SleepFor(milliseconds(20)).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(20));
  EXPECT_TRUE(context.SleepFor(Duration(-1)).ok());
}

TEST(JobContextTest, EndWakesSleepers) {
  JobContext context(TestJob());
  auto sleep = [&] { return context.SleepFor(Duration::max()); };
  auto first = std::async(std::launch::async, sleep);
  auto second = std::async(std::launch::async, sleep);
  context.End(absl::StatusCode::kCancelled);
  EXPECT_TRUE(absl::IsCancelled(first.get()));
  EXPECT_TRUE(absl::IsCancelled(second.get()));
  EXPECT_TRUE(absl::IsCancelled(sleep()));
}

TEST(JobContextTest, EndCallsWakeOnce) {
  JobContext context(TestJob());
  int calls = 0;
  context.OnEnd([&] {
    ++calls;
    EXPECT_TRUE(absl::IsCancelled(context.status()));
  });
  EXPECT_EQ(calls, 0);
  context.End(absl::StatusCode::kCancelled);
  context.End(absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
}

TEST(JobContextTest, WakeAfterTheEndIsCalledAtOnce) {
  JobContext context(TestJob());
  context.End(absl::StatusCode::kCancelled);
  int calls = 0;
  context.OnEnd([&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(JobContextTest, RemovedOrReplacedWakeIsNotCalled) {
  JobContext context(TestJob());
  int old_calls = 0;
  int calls = 0;
  context.OnEnd([&] { ++old_calls; });
  context.OnEnd([&] { ++calls; });
  context.End(absl::StatusCode::kCancelled);
  EXPECT_EQ(old_calls, 0);
  EXPECT_EQ(calls, 1);

  JobContext other(TestJob());
  other.OnEnd([&] { ++old_calls; });
  other.OnEnd(nullptr);
  other.End(absl::StatusCode::kCancelled);
  EXPECT_EQ(old_calls, 0);
}

TEST(JobContextTest, RemovingWaitsForAWakeUnderWay) {
  JobContext context(TestJob());
  std::promise<void> entered;
  std::atomic<bool> left = false;
  context.OnEnd([&] {
    entered.set_value();
    std::this_thread::sleep_for(milliseconds(50));
    left = true;
  });
  std::thread ender([&] { context.End(absl::StatusCode::kCancelled); });
  entered.get_future().wait();
  context.OnEnd(nullptr);
  EXPECT_TRUE(left);
  ender.join();
}

// What a handler does whose wake-up uses something that dies with the handler's call.
TEST(JobContextTest, WakeNeverOutlivesItsRemoval) {
  for (int i = 0; i < 1000; ++i) {
    JobContext context(TestJob());
    std::thread ender([&] { context.End(absl::StatusCode::kCancelled); });
    {
      std::atomic<int> on_stack = 0;
      context.OnEnd([&] { ++on_stack; });
      context.OnEnd(nullptr);
      const int calls = on_stack.exchange(-1);
      EXPECT_LE(calls, 1);
      EXPECT_EQ(on_stack, -1);
    }
    ender.join();
  }
}

TEST(JobContextTest, FollowOnJobsAreChecked) {
  JobContext context(TestJob());
  const auto is_bad = [&](const std::string& queue, FollowOnOptions options) {
    return absl::IsInvalidArgument(context.Submit(queue, "x", std::move(options)));
  };
  EXPECT_TRUE(is_bad("", {}));
  EXPECT_TRUE(is_bad("two words", {}));
  EXPECT_TRUE(is_bad("\xff", {}));
  EXPECT_TRUE(is_bad("q", {.timeout = Duration(-1)}));
  EXPECT_TRUE(is_bad("q", {.max_attempts = 1001}));
  EXPECT_TRUE(is_bad("q", {.key = std::string(257, 'k')}));
  EXPECT_TRUE(is_bad("q", {.key = "\xff"}));
  EXPECT_TRUE(context.TakeFollowOns().empty());
}

TEST(JobContextTest, FollowOnJobsAreBounded) {
  JobContext many(TestJob());
  for (uint64_t i = 0; i < kFollowOnJobsMax; ++i) ASSERT_TRUE(many.Submit("q", "").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(many.Submit("q", "")));
  EXPECT_EQ(many.TakeFollowOns().at(0).sizes.size(), kFollowOnJobsMax);

  JobContext large(TestJob());
  EXPECT_TRUE(large.Submit("q", std::string(kFollowOnBytesMax, 'x')).ok());
  EXPECT_TRUE(large.Submit("q", "").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(large.Submit("q", "x")));
}

TEST(RetryAfterTest, CarriesItsDelay) {
  const absl::Status status = RetryAfter(milliseconds(1500), "busy");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(status.message(), "busy");
  EXPECT_EQ(RetryAfterOf(status), milliseconds(1500));
  EXPECT_EQ(ToWire(status).retry_after_ms(), 1500u);
  EXPECT_EQ(RetryAfterOf(FromWire(ToWire(status))), milliseconds(1500));
}

TEST(RetryAfterTest, IsWholeMilliseconds) {
  EXPECT_EQ(RetryAfterOf(RetryAfter(Duration(1), "")), milliseconds(1));
  EXPECT_EQ(RetryAfterOf(RetryAfter(Duration(0), "")), Duration(0));
  EXPECT_EQ(RetryAfterOf(RetryAfter(seconds(-1), "")), Duration(0));
  EXPECT_EQ(RetryAfterOf(RetryAfter(Duration::max(), "")), milliseconds(4'294'967'295));
}

TEST(RetryAfterTest, OtherStatusesHaveNone) {
  EXPECT_EQ(RetryAfterOf(absl::ResourceExhaustedError("busy")), Duration(0));
  wire::Status unavailable = ToWire(absl::UnavailableError("no"));
  EXPECT_EQ(unavailable.retry_after_ms(), 0u);
  unavailable.set_retry_after_ms(5);
  EXPECT_EQ(RetryAfterOf(FromWire(unavailable)), Duration(0));
}

}  // namespace
}  // namespace whippletree
