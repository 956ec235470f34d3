// Jobs of stopped streams in a queue: set aside where they are met, and back in their order.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "broker/core/job_queue.h"
#include "tests/unit/core/small_jobs.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kAttempts = 5;
constexpr uint64_t kStopped = 1;
constexpr uint64_t kOther = 2;

// Stream and number of all jobs that can be had, in order.
using Ids = std::vector<std::pair<uint64_t, uint64_t>>;
Ids TakeAll(JobQueue* queue) {
  Ids ids;
  while (auto slice = queue->Take({.jobs = 1000}, false, kAttempts, MonoTime{})) {
    for (uint32_t i = 0; i < slice->count(); ++i) ids.emplace_back(slice->stream, slice->first + i);
  }
  queue->CheckStored();
  return ids;
}

TEST(JobQueueAsideTest, OnlyWhatIsMetIsMoved) {
  JobQueue queue;
  queue.Push(Jobs(kOther, 1));
  queue.Push(Jobs(kStopped, 1, 3));
  queue.Push(Jobs(kOther, 2));
  queue.Stop(kStopped);
  EXPECT_EQ(queue.aside(), 0u);
  EXPECT_EQ(queue.Take({.jobs = 1}, false, kAttempts, MonoTime{})->stream, kOther);
  EXPECT_EQ(queue.aside(), 0u);
  EXPECT_EQ(queue.ready(), 4u);
  EXPECT_EQ(queue.Take({.jobs = 1}, false, kAttempts, MonoTime{})->first, 2u);
  EXPECT_EQ(queue.aside(), 3u);
  EXPECT_EQ(queue.aside_bytes(), 24u);
  EXPECT_EQ(queue.ready(), 0u);
  EXPECT_EQ(queue.ready_bytes(), 0u);
  EXPECT_EQ(queue.waiting(), 3u);
  EXPECT_FALSE(queue.has_ready());
  EXPECT_FALSE(queue.may_start());
  EXPECT_TRUE(queue.waits_for_stopped());
}

TEST(JobQueueAsideTest, TheyComeBackBeforeTheirLineInOrder) {
  JobQueue queue;
  for (uint64_t number = 1; number <= 3; ++number) {
    queue.Push(Jobs(kStopped, number));
    queue.Push(Jobs(kOther, number));
  }
  queue.Stop(kStopped);
  EXPECT_EQ(TakeAll(&queue), (Ids{{kOther, 1}, {kOther, 2}, {kOther, 3}}));
  queue.Push(Jobs(kOther, 4));
  queue.Push(Jobs(kStopped, 4));  // it is not met before the stream goes on
  queue.Return(Jobs(kStopped, 9));
  EXPECT_EQ(queue.aside(), 4u);
  queue.Resume(kStopped);
  EXPECT_EQ(queue.aside(), 0u);
  EXPECT_EQ(queue.ready(), 6u);
  EXPECT_FALSE(queue.waits_for_stopped());
  EXPECT_EQ(
      TakeAll(&queue),
      (Ids{
          {kStopped, 9}, {kStopped, 1}, {kStopped, 2}, {kStopped, 3}, {kOther, 4}, {kStopped, 4}}));
  EXPECT_EQ(queue.records(), 0u);
}

TEST(JobQueueAsideTest, PackedJobsStayPacked) {
  constexpr uint64_t kJobs = 2000;
  const auto one = Options();
  wire::JobOptions attempts;
  attempts.set_max_attempts(3);
  const auto two = std::make_shared<wire::JobOptions>(attempts);
  JobQueue queue;
  Ids expected;
  for (uint64_t number = 1; number <= kJobs; ++number) {  // of which no two join
    queue.Push(Jobs(kStopped, number, 1, number % 2 == 0 ? one : two));
    queue.Push(Jobs(kOther, number, 1, number % 2 == 0 ? two : one));
    expected.emplace_back(kStopped, number);
  }
  const size_t records = queue.records();
  queue.Stop(kStopped);
  for (int pass = 0; pass < 3; ++pass) TakeAll(&queue);
  EXPECT_EQ(queue.aside(), kJobs);
  EXPECT_LE(queue.records(), records / 2 + 20);
  queue.Push(Jobs(kOther, kJobs + 1));
  expected.emplace_back(kOther, kJobs + 1);
  queue.Resume(kStopped);
  EXPECT_GT(queue.packed(), kJobs - 100);
  EXPECT_EQ(TakeAll(&queue), expected);
  EXPECT_EQ(queue.records(), 0u);
}

TEST(JobQueueAsideTest, OneCallMovesSoManyAndTheNextGoesOn) {
  JobQueue queue;
  for (uint64_t number = 1; number <= 2500; ++number) queue.Push(Jobs(kStopped, 2 * number));
  queue.Push(Jobs(kOther, 1));
  queue.Stop(kStopped);
  const MonoTime now(seconds(5));
  EXPECT_FALSE(queue.Take({.jobs = 1}, false, kAttempts, now).has_value());
  EXPECT_EQ(queue.aside(), 1000u);
  EXPECT_EQ(queue.next_due(), now);  // at once
  queue.ReleaseDue({now, {}});
  EXPECT_EQ(queue.next_due(), kNever);
  EXPECT_FALSE(queue.Take({.jobs = 1}, false, kAttempts, now).has_value());
  queue.ReleaseDue({now, {}});
  EXPECT_EQ(queue.Take({.jobs = 1}, false, kAttempts, now)->stream, kOther);
  EXPECT_EQ(queue.aside(), 2500u);
}

TEST(JobQueueAsideTest, WhatCanBeTakenIsCountedWithoutThem) {
  JobQueue queue;
  for (uint64_t number = 1; number <= 3; ++number) {
    queue.Push(Jobs(kOther, number));
    queue.Push(Jobs(kStopped, number, 5));
  }
  queue.Stop(kStopped);
  EXPECT_GE(queue.Startable(2, MonoTime{}), 2u);
  EXPECT_EQ(queue.aside(), 5u);  // what was between the first two
  EXPECT_EQ(queue.Startable(4, MonoTime{}), 3u);
  EXPECT_EQ(queue.aside(), 15u);
  EXPECT_EQ(TakeAll(&queue), (Ids{{kOther, 1}, {kOther, 2}, {kOther, 3}}));
}

TEST(JobQueueAsideTest, CancelledJobsAreDroppedWhereTheyAre) {
  JobQueue queue;
  queue.Push(Jobs(kStopped, 1, 10));
  queue.Stop(kStopped);
  EXPECT_TRUE(TakeAll(&queue).empty());
  queue.Cancel(kStopped, IntervalSet(2, 4));
  EXPECT_EQ(queue.waiting(), 8u);
  EXPECT_EQ(queue.aside_at_least(), 8u);
  EXPECT_EQ(queue.aside(), 10u);
  queue.Cancel(kStopped, IntervalSet(4, 8));  // most of them: they are swept out
  queue.ReleaseDue({});
  EXPECT_EQ(queue.aside(), 4u);
  EXPECT_EQ(queue.TakeDroppedBytes(), 48u);
  queue.CheckStored();
  queue.Resume(kStopped);
  EXPECT_EQ(TakeAll(&queue).size(), 4u);
  queue.Push(Jobs(kStopped, 20, 3));
  queue.Stop(kStopped);
  EXPECT_TRUE(TakeAll(&queue).empty());
  queue.Cancel(kStopped, IntervalSet(20, 23));
  queue.ReleaseDue({});
  EXPECT_EQ(queue.waiting(), 0u);
  EXPECT_EQ(queue.aside(), 0u);
  EXPECT_EQ(queue.records(), 0u);
}

TEST(JobQueueAsideTest, LinesOfOtherKeysAndOfTheSameGoOn) {
  JobQueue queue;
  const auto a = Options("a");
  const auto b = Options("b");
  queue.Push(Jobs(kStopped, 1, 2, a));
  queue.Push(Jobs(kOther, 1, 1, a));
  queue.Push(Jobs(kStopped, 3, 1, b));
  queue.Push(Jobs(kOther, 2, 1, b));
  queue.Stop(kStopped);
  EXPECT_EQ(TakeAll(&queue), (Ids{{kOther, 1}, {kOther, 2}}));
  queue.Resume(kStopped);
  EXPECT_EQ(TakeAll(&queue).size(), 3u);
}

TEST(JobQueueAsideTest, AnotherOrderHoldsForThemToo) {
  KeyPolicy ordered;
  ordered.ordered = true;
  JobQueue queue;
  const auto key = Options("a");
  queue.Push(Jobs(kStopped, 1, 1, key));
  queue.Stop(kStopped);
  EXPECT_TRUE(TakeAll(&queue).empty());
  EXPECT_EQ(queue.aside(), 1u);
  queue.Push(Jobs(kOther, 1, 1, key));
  queue.SetKeyPolicy(ordered, MonoTime{}, MonoTime{});
  EXPECT_TRUE(TakeAll(&queue).empty());  // it waits behind the first
  EXPECT_EQ(queue.aside(), 0u);
  EXPECT_TRUE(queue.waits_for_stopped());
  queue.Resume(kStopped);
  EXPECT_EQ(TakeAll(&queue), (Ids{{kStopped, 1}}));
}

TEST(JobQueueAsideTest, SealedBatchesWaitAsAWhole) {
  JobQueue queue;
  queue.Seal({Jobs(kStopped, 1), Jobs(kOther, 1)});
  queue.Seal({Jobs(kOther, 2), Jobs(kOther, 3)});
  queue.Stop(kStopped);
  EXPECT_EQ(queue.sealed(), 1u);
  EXPECT_EQ(queue.TakeSealed(1000, true, MonoTime{}).size(), 2u);
  queue.Seal({Jobs(kStopped, 4)});
  EXPECT_FALSE(queue.has_ready());
  EXPECT_TRUE(queue.waits_for_stopped());
  EXPECT_EQ(queue.waiting(), 3u);
  queue.CheckStored();
  queue.Resume(kStopped);
  EXPECT_EQ(queue.sealed(), 2u);
  EXPECT_EQ(queue.TakeSealed(1000, true, MonoTime{}).front().first, 1u);
}

}  // namespace
}  // namespace whippletree::core
