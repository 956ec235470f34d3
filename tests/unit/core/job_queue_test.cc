#include "broker/core/job_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "broker/core/limits.h"
#include "tests/unit/core/small_jobs.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kAttempts = 5;

// The stream is the same in most of these.
Slice Jobs(uint64_t first, uint32_t count, std::shared_ptr<const wire::JobOptions> options,
           uint64_t stream = 1) {
  return core::Jobs(stream, first, count, std::move(options));
}

// Numbers of all jobs that can be had, in order.
std::vector<uint64_t> TakeAll(JobQueue* queue, uint32_t most = 1000, bool to_hold = false) {
  std::vector<uint64_t> numbers;
  while (auto slice = queue->Take({.jobs = most}, to_hold, kAttempts, MonoTime{})) {
    for (uint32_t i = 0; i < slice->count(); ++i) numbers.push_back(slice->first + i);
  }
  return numbers;
}

TEST(JobQueueTest, AMillionJobsInRunsAreFewRecords) {
  JobQueue queue;
  const auto options = Options();
  for (uint64_t first = 1; first <= 1'000'000; first += 1000)
    queue.Push(Jobs(first, 1000, options));
  EXPECT_EQ(queue.waiting(), 1'000'000u);
  EXPECT_LE(queue.records(), 1'000'000 * 8 / kMergedRunBytesMax + 5);
}

TEST(JobQueueTest, AMillionJobsOneByOneAreFewRecords) {
  JobQueue queue;
  const auto options = Options();
  for (uint64_t number = 1; number <= 1'000'000; ++number) queue.Push(Jobs(number, 1, options));
  EXPECT_EQ(queue.waiting(), 1'000'000u);
  EXPECT_LE(queue.records(), 1'000'000 * 8 / kMergedRunBytesMax + 5);
  uint64_t next = 1;
  while (auto slice = queue.Take({.jobs = 1000}, false, kAttempts, MonoTime{})) {
    EXPECT_EQ(slice->first, next);
    next += slice->count();
  }
  EXPECT_EQ(next, 1'000'001u);
  EXPECT_EQ(queue.records(), 0u);
}

TEST(JobQueueTest, RunsDoNotGrowBeyondTheirBound) {
  JobQueue queue;
  const auto options = Options();
  const uint64_t bytes = 3 * kMergedRunBytesMax;
  for (uint64_t i = 0; i * 8192 < bytes; ++i) {
    Slice slice = Jobs(i + 1, 1, options);
    slice.data = std::make_shared<RunData>();
    slice.data->Append(std::string(8192, 'x'));
    queue.Push(std::move(slice));
  }
  EXPECT_EQ(queue.records(), 3u);
}

TEST(JobQueueTest, JobsOfOtherStreamsAndOptionsAreNotMerged) {
  JobQueue queue;
  const auto options = Options();
  queue.Push(Jobs(1, 10, options, 1));
  queue.Push(Jobs(11, 10, options, 2));    // another stream
  queue.Push(Jobs(21, 10, Options(), 2));  // other options
  queue.Push(Jobs(99, 10, options, 2));    // not the next number
  EXPECT_EQ(queue.records(), 4u);
}

TEST(JobQueueTest, ARunThatSomebodyReadsDoesNotGrow) {
  JobQueue queue;
  const auto options = Options();
  queue.Push(Jobs(1, 2, options));
  const auto leased = queue.Take({.jobs = 1}, false, kAttempts, MonoTime{});
  queue.Push(Jobs(3, 1, options));
  EXPECT_EQ(leased->data->count(), 2u);
  EXPECT_EQ(TakeAll(&queue), (std::vector<uint64_t>{2, 3}));
}

TEST(JobQueueTest, APortionIsBoundedInBytesButHasOneJob) {
  JobQueue queue;
  Slice slice = Jobs(1, 4, Options());
  slice.data = std::make_shared<RunData>();
  for (int i = 0; i < 4; ++i) slice.data->Append("1234567890");
  queue.Push(std::move(slice));
  EXPECT_EQ(queue.Take({.jobs = 9, .bytes = 29}, false, kAttempts, MonoTime{})->count(), 2u);
  EXPECT_EQ(queue.Take({.jobs = 9, .bytes = 3}, false, kAttempts, MonoTime{})->count(), 1u);
  EXPECT_EQ(queue.Take({.jobs = 9, .bytes = 10}, false, kAttempts, MonoTime{})->count(), 1u);
}

TEST(JobQueueTest, LinesTakeTurns) {
  JobQueue queue;
  const auto a = Options("a");
  const auto b = Options("b");
  queue.Push(Jobs(1, 3, a));
  queue.Push(Jobs(11, 3, b));
  EXPECT_EQ(TakeAll(&queue, 1), (std::vector<uint64_t>{1, 11, 2, 12, 3, 13}));
  // A line that was empty begins anew, behind the others.
  queue.Push(Jobs(14, 2, b));
  queue.Push(Jobs(4, 2, a));
  EXPECT_EQ(TakeAll(&queue, 1), (std::vector<uint64_t>{14, 4, 15, 5}));
}

TEST(JobQueueTest, ReturnGoesToTheFront) {
  JobQueue queue;
  const auto options = Options();
  queue.Push(Jobs(1, 3, options));
  auto taken = queue.Take({.jobs = 1}, false, kAttempts, MonoTime{});
  queue.Return(*std::move(taken));
  EXPECT_EQ(queue.waiting(), 3u);
  EXPECT_EQ(TakeAll(&queue), (std::vector<uint64_t>{1, 2, 3}));
}

TEST(JobQueueTest, DelayedJobsComeBackWhenDue) {
  JobQueue queue;
  const auto options = Options();
  const MonoTime start{};
  queue.Delay(Jobs(1, 1, options), start + seconds(2));
  queue.Delay(Jobs(2, 1, options), start + seconds(1));
  queue.Push(Jobs(3, 1, options));
  EXPECT_EQ(queue.waiting(), 3u);
  EXPECT_EQ(queue.delayed(), 2u);
  EXPECT_EQ(queue.next_due(), start + seconds(1));
  queue.ReleaseDue({start + milliseconds(999), {}});
  EXPECT_EQ(TakeAll(&queue), std::vector<uint64_t>{3});
  queue.ReleaseDue({start + seconds(1), {}});
  EXPECT_EQ(TakeAll(&queue), std::vector<uint64_t>{2});
  EXPECT_EQ(queue.next_due(), start + seconds(2));
  queue.ReleaseDue({start + seconds(5), {}});
  EXPECT_EQ(TakeAll(&queue), std::vector<uint64_t>{1});
  EXPECT_EQ(queue.next_due(), kNever);
  EXPECT_EQ(queue.waiting(), 0u);
}

TEST(JobQueueTest, CancelledJobsAreSkipped) {
  JobQueue queue;
  queue.Push(Jobs(1, 10, Options()));
  queue.Cancel(1, IntervalSet(1, 3));
  queue.Cancel(1, IntervalSet(5, 6));
  queue.Cancel(1, IntervalSet(10, 11));
  EXPECT_EQ(queue.waiting(), 6u);
  EXPECT_EQ(TakeAll(&queue), (std::vector<uint64_t>{3, 4, 6, 7, 8, 9}));
  EXPECT_EQ(queue.TakeDroppedBytes(), 4u * 8);
  EXPECT_EQ(queue.TakeDroppedBytes(), 0u);
  EXPECT_EQ(queue.waiting(), 0u);
  EXPECT_EQ(queue.records(), 0u);
}

TEST(JobQueueTest, CancellingMostJobsSweepsThemAway) {
  JobQueue queue;
  const auto options = Options();
  queue.Push(Jobs(1, 6, Options("a")));
  queue.Push(Jobs(7, 2, Options("b")));
  queue.Delay(Jobs(9, 2, options), MonoTime(seconds(1)));
  queue.Cancel(1, IntervalSet(2, 10));      // 1 and 10 stay
  EXPECT_EQ(queue.next_due(), MonoTime{});  // at once
  queue.ReleaseDue({});
  EXPECT_EQ(queue.next_due(), MonoTime(seconds(1)));
  EXPECT_EQ(queue.ready(), 1u);
  EXPECT_EQ(queue.delayed(), 1u);
  EXPECT_EQ(queue.records(), 2u);
  EXPECT_EQ(queue.TakeDroppedBytes(), 8u * 8);
  EXPECT_EQ(TakeAll(&queue), std::vector<uint64_t>{1});
  queue.ReleaseDue({MonoTime(seconds(1)), {}});
  EXPECT_EQ(TakeAll(&queue), std::vector<uint64_t>{10});
}

TEST(JobQueueTest, CancelOfAllLeavesNothingReady) {
  JobQueue queue;
  queue.Push(Jobs(1, 100, Options()));
  queue.Cancel(1, IntervalSet(1, 101));
  queue.ReleaseDue({});
  EXPECT_FALSE(queue.has_ready());
  EXPECT_EQ(queue.records(), 0u);
  EXPECT_FALSE(queue.Take({.jobs = 1}, false, kAttempts, MonoTime{}).has_value());
}

TEST(JobQueueTest, SuspectsAreNeverHeld) {
  JobQueue queue;
  Slice slice = Jobs(1, 2, Options());
  slice.suspect = true;
  queue.Push(std::move(slice));
  EXPECT_TRUE(TakeAll(&queue, 1, true).empty());
  EXPECT_EQ(TakeAll(&queue, 1, false), (std::vector<uint64_t>{1, 2}));
}

TEST(JobQueueTest, LastAttemptsAreNeverHeld) {
  JobQueue queue;
  Slice slice = Jobs(1, 1, Options("", 3));
  slice.attempts = 1;
  queue.Push(slice);
  EXPECT_EQ(TakeAll(&queue, 1, true), std::vector<uint64_t>{1});
  slice.attempts = 2;
  queue.Push(slice);
  EXPECT_TRUE(TakeAll(&queue, 1, true).empty());
  EXPECT_EQ(TakeAll(&queue, 1, false), std::vector<uint64_t>{1});
  queue.Push(Jobs(2, 1, Options("", 1)));
  EXPECT_TRUE(TakeAll(&queue, 1, true).empty());
}

TEST(JobQueueTest, AttemptsHaveAnUpperBound) {
  EXPECT_EQ(MaxAttempts(Jobs(1, 1, Options()), 7), 7u);
  EXPECT_EQ(MaxAttempts(Jobs(1, 1, Options("", 3)), 7), 3u);
  EXPECT_EQ(MaxAttempts(Jobs(1, 1, Options("", 4'000'000'000)), 7), kAttemptsMax);
}

}  // namespace
}  // namespace whippletree::core
