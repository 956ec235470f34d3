// Cancelled jobs are swept out some at a time, and nothing else is different meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/job_queue.h"
#include "common/prng.h"
#include "tests/unit/core/small_jobs.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kAttempts = 5;
using Id = std::pair<uint64_t, uint64_t>;  // stream and number
using Ids = std::vector<Id>;

Ids TakeAll(JobQueue* queue) {
  Ids ids;
  while (auto slice = queue->Take({.jobs = 1000}, false, kAttempts, MonoTime{})) {
    for (uint32_t i = 0; i < slice->count(); ++i) ids.emplace_back(slice->stream, slice->first + i);
  }
  return ids;
}

// How many calls that look at so many records there are until nothing is due.
int SweepUp(JobQueue* queue, uint64_t most) {
  int calls = 0;
  for (; queue->next_due() == MonoTime{}; ++calls) {
    EXPECT_LE(queue->ReleaseDue({}, most), most);
    queue->CheckStored();
  }
  return calls;
}

TEST(JobQueueSweepTest, OneCallLooksAtSoManyAndTheNextGoesOn) {
  JobQueue queue;
  Ids expected;
  for (uint64_t number = 1; number <= 1000; ++number) {
    Slice slice = Jobs(1, number);
    slice.attempts = 1;  // it is not packed
    queue.Push(std::move(slice));
    if (number > 600) expected.emplace_back(1, number);
  }
  queue.Cancel(1, IntervalSet(1, 601));
  EXPECT_EQ(queue.waiting(), 400u);
  EXPECT_EQ(queue.records(), 1000u);
  queue.ReleaseDue({}, 100);
  EXPECT_EQ(queue.records(), 900u);
  EXPECT_EQ(SweepUp(&queue, 100), 9);
  EXPECT_EQ(queue.records(), 400u);
  EXPECT_EQ(queue.TakeDroppedBytes(), 600u * 8);
  EXPECT_EQ(TakeAll(&queue), expected);
  EXPECT_EQ(queue.records(), 0u);
}

TEST(JobQueueSweepTest, JobsAreTakenAndCameInTheMiddleOfIt) {
  JobQueue queue;
  for (uint64_t number = 1; number <= 100; ++number) queue.Push(Jobs(1, number));
  queue.Cancel(1, IntervalSet(30, 90));
  queue.ReleaseDue({}, 10);
  EXPECT_EQ(queue.Take({.jobs = 9}, false, kAttempts, MonoTime{})->first, 1u);
  queue.Push(Jobs(1, 101));
  queue.Return(Jobs(1, 1));
  queue.ReleaseDue({}, 10);
  for (uint64_t number = 1; number <= 25; ++number) {
    EXPECT_EQ(queue.Take({.jobs = 9}, false, kAttempts, MonoTime{})->first, number);
  }
  SweepUp(&queue, 10);
  EXPECT_EQ(queue.records(), queue.waiting());
  EXPECT_EQ(TakeAll(&queue).back(), Id(1, 101));
}

TEST(JobQueueSweepTest, StoredJobsKeepTheirPlaceBehindPackedOnes) {
  JobQueue queue;
  Ids expected;
  uint64_t number = 0;
  for (int block = 0; block < 3; ++block) {
    for (int i = 0; i < 40; ++i) {
      for (uint64_t stream = 1; stream <= 2; ++stream) queue.Push(Jobs(stream, number));
      expected.insert(expected.end(), {{1, number}, {2, number}});
      ++number;
    }
    Slice stored = Jobs(3, block);
    stored.KeepStored();
    queue.Push(std::move(stored));
    expected.emplace_back(3, block);
  }
  queue.CheckStored();
  EXPECT_GT(queue.packed(), 100u);
  Ids waiting;
  const auto list = [&] {
    waiting.clear();
    queue.ForEach([&](const Slice& slice, const JobQueue::Until&) {
      for (uint32_t i = 0; i < slice.count(); ++i)
        waiting.emplace_back(slice.stream, slice.first + i);
      return true;
    });
  };
  list();
  EXPECT_EQ(waiting, expected);
  queue.Cancel(2, IntervalSet(0, number));
  queue.Cancel(1, IntervalSet(1, number));
  SweepUp(&queue, 7);
  list();
  EXPECT_EQ(waiting, (Ids{{1, 0}, {3, 0}, {3, 1}, {3, 2}}));
}

TEST(JobQueueSweepTest, ManyCancelledJobsBeforeTheNextAreNotPassedAtOnce) {
  JobQueue queue;
  for (uint64_t number = 1; number <= 5000; ++number) queue.Push(Jobs(1, number));
  queue.Cancel(1, IntervalSet(1, 2400));  // too few to be swept out
  const MonoTime now(seconds(5));
  int calls = 1;
  while (!queue.Take({.jobs = 1}, false, kAttempts, now)) {
    ++calls;
    EXPECT_EQ(queue.next_due(), now);
    queue.ReleaseDue({now, {}});
  }
  EXPECT_EQ(calls, 3);
}

TEST(JobQueueSweepTest, WhatIsCancelledIsNoPartOfWhatABatchCanHave) {
  JobQueue queue;
  queue.Push(Jobs(1, 1, 10));
  queue.Push(Jobs(2, 1, 10));
  for (uint64_t number = 1; number <= 100; ++number) queue.Push(Jobs(3, number));
  queue.Cancel(1, IntervalSet(3, 9));
  queue.Cancel(2, IntervalSet(1, 11));
  EXPECT_GE(queue.Startable(104, MonoTime{}), 104u);
  EXPECT_EQ(queue.Startable(105, MonoTime{}), 104u);
  EXPECT_EQ(queue.ready(), 104u);
  EXPECT_EQ(TakeAll(&queue).size(), 104u);
}

TEST(JobQueueSweepTest, ALargeRecordIsTakenApartSomeAtATime) {
  JobQueue queue;
  Slice stored = Jobs(1, 1, 60'000);
  stored.KeepStored();
  queue.Push(std::move(stored));
  IntervalSet jobs;
  for (uint64_t number = 1; number <= 60'000; ++number) {
    if (number % 4 != 0) jobs.Add(number, number + 1);
  }
  queue.Cancel(1, jobs);
  EXPECT_GE(SweepUp(&queue, 1000), 15);
  EXPECT_EQ(queue.records(), 15'000u);
  EXPECT_EQ(queue.ready(), 15'000u);
}

// A batch that is still waited for is looked at between any two steps of a sweep.
TEST(JobQueueSweepTest, GetsOnWhereTheFrontIsClearedMeanwhile) {
  JobQueue queue;
  for (uint64_t i = 1; i <= 10; ++i) queue.Push(Jobs(1 + i % 2, i));
  for (uint64_t i = 1; i <= 40; ++i) queue.Push(Jobs(3 + i % 2, i));
  IntervalSet even;
  IntervalSet odd;
  for (uint64_t i = 1; i <= 40; ++i) (i % 2 == 0 ? even : odd).Add(i, i + 1);
  queue.Cancel(3, even);
  queue.Cancel(4, odd);
  constexpr uint64_t kBatch = 5;
  int steps = 0;
  for (; queue.next_due() <= MonoTime{} && steps < 1000; ++steps) {
    queue.ReleaseDue({MonoTime{}, {}}, 1);
    EXPECT_GE(queue.Startable(kBatch, MonoTime{}), kBatch);
  }
  EXPECT_LT(steps, 1000);
  EXPECT_GT(steps, 20);
}

// What is in the way of nobody is not looked for: a step that finds no batch is not repeated at
// once.
TEST(JobQueueSweepTest, WhatKeysKeepBackDoesNotHideTheRest) {
  KeyPolicy policy;
  policy.concurrency = 1;
  JobQueue queue;
  queue.SetKeyPolicy(policy, MonoTime{}, MonoTime{});
  constexpr uint64_t kBatch = 100;
  const std::vector<std::shared_ptr<const wire::JobOptions>> keys = {Options("a"), Options("b"),
                                                                     Options("c")};
  for (uint64_t i = 0; i < 3 * 2000; ++i) queue.Push(Jobs(1, i, 1, keys[i % 3]));
  queue.Cancel(1, IntervalSet(5900, 5901));
  EXPECT_EQ(queue.Startable(kBatch, MonoTime{}), 3u);
  EXPECT_EQ(queue.next_due(), kNever);
  // The same where keys let nothing pass.
  const auto taken = queue.Take({.jobs = 1}, false, kAttempts, MonoTime{});
  EXPECT_EQ(queue.Startable(kBatch, MonoTime{}), 2u);
  EXPECT_EQ(queue.next_due(), kNever);
}

// Whatever happens in whatever order, what waits is what should, and each line keeps its order.
class JobQueueModel {
 public:
  explicit JobQueueModel(uint64_t seed) : prng_(seed) {}

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      Act();
      if (i % 8 == 0) queue_.CheckStored();
      ASSERT_EQ(queue_.waiting(), waiting_.size());
    }
    for (uint64_t stream = 1; stream <= kStreams; ++stream) queue_.Resume(stream);
    now_.mono += seconds(1000);
    now_.wall += seconds(1000);
    queue_.ReleaseDue(now_);
    while (!waiting_.empty()) {
      const size_t before = waiting_.size();
      Take(1000);
      TakeSealed(true);
      queue_.ReleaseDue(now_);
      ASSERT_LT(waiting_.size(), before);
    }
    EXPECT_EQ(queue_.records(), 0u);
    EXPECT_EQ(queue_.ready_bytes(), 0u);
    EXPECT_EQ(queue_.packed(), 0u);
  }

 private:
  static constexpr uint64_t kStreams = 4;

  void Act() {
    now_.mono += milliseconds(prng_.Between(0, 20));
    now_.wall += milliseconds(prng_.Between(0, 20));
    const uint64_t stream = prng_.Between(1, kStreams);
    switch (prng_.Between(0, 11)) {
      case 0:
      case 1:
      case 2:
        return Push(stream);
      case 3:
        return Cancel(stream);
      case 4:
        return Take(static_cast<uint32_t>(prng_.Between(1, 30)));
      case 5:
        return TakeSealed(prng_.Chance(700));
      case 6:
        return queue_.Stop(stream);
      case 7:
        return queue_.Resume(stream);
      case 8:
        queue_.Startable(prng_.Between(1, 50), now_.mono);
        return;
      default:
        queue_.ReleaseDue(now_, prng_.Between(1, 20));
    }
  }

  void Push(uint64_t stream) {
    const uint64_t count = prng_.Between(1, 60);
    const bool joined = prng_.Between(0, 1) == 0;
    auto options = Options(Key());
    for (uint64_t i = 0; i < count; ++i) {
      if (!joined) options = Options(options->key());
      const Slice slice = Jobs(stream, ++next_[stream], 1, options);
      waiting_.insert({stream, slice.first});
      const uint64_t where = i % 10 == 9 ? prng_.Between(0, 3) : 4;
      if (where == 0) {
        queue_.Delay(slice, now_.mono + milliseconds(prng_.Between(0, 200)));
      } else if (where == 1) {
        queue_.Schedule(slice, now_.wall + milliseconds(prng_.Between(0, 200)));
      } else if (where == 2) {
        Slice other = Jobs(stream, ++next_[stream], 1, Options(Key()));
        waiting_.insert({stream, other.first});
        other.losses = prng_.Between(0, 2) == 0 ? kLossesApart : 0;
        queue_.Seal({slice, std::move(other)});
      } else {
        queue_.Push(slice);
        order_[{stream, options->key()}].push_back(slice.first);
      }
    }
  }
  std::string Key() { return std::string(prng_.Between(0, 2), 'k'); }

  void Cancel(uint64_t stream) {
    const uint64_t first = prng_.Between(1, next_[stream] + 1);
    const uint64_t end = first + prng_.Between(1, 200);
    IntervalSet jobs;
    for (uint64_t number = first; number < end; ++number) {
      if (waiting_.erase({stream, number}) > 0) jobs.Add(number, number + 1);
    }
    if (!jobs.empty()) queue_.Cancel(stream, jobs);
  }

  void Take(uint32_t jobs) {
    for (int i = 0; i < 20; ++i) {
      const auto slice = queue_.Take({.jobs = jobs}, false, kAttempts, now_.mono);
      if (!slice) return;
      EXPECT_FALSE(queue_.IsStopped(*slice));
      for (uint32_t job = 0; job < slice->count(); ++job) Taken(*slice, slice->first + job);
      if (prng_.Between(0, 9) == 0) Return(*slice);
      queue_.Leave(*slice);
    }
  }
  // Jobs that were pushed into one line come in that order.
  void Taken(const Slice& slice, uint64_t number) {
    EXPECT_EQ(waiting_.erase({slice.stream, number}), 1u) << slice.stream << " " << number;
    auto& order = order_[{slice.stream, slice.options->key()}];
    const auto it = std::find(order.begin(), order.end(), number);
    if (it == order.end()) return;
    for (auto before = order.begin(); before != it; ++before) {
      EXPECT_FALSE(waiting_.contains({slice.stream, *before})) << *before << " before " << number;
    }
    order.erase(order.begin(), it + 1);
  }
  void Return(Slice slice) {
    for (uint32_t i = 0; i < slice.count(); ++i) waiting_.insert({slice.stream, slice.first + i});
    queue_.Return(std::move(slice));
  }

  void TakeSealed(bool apart) {
    for (const Slice& slice : queue_.TakeSealed(1000, apart, now_.mono)) {
      for (uint32_t i = 0; i < slice.count(); ++i) {
        EXPECT_EQ(waiting_.erase({slice.stream, slice.first + i}), 1u);
      }
      queue_.Leave(slice);
    }
  }

  Prng prng_;
  JobQueue queue_;
  Instant now_;
  std::map<uint64_t, uint64_t> next_;  // by stream: the number of its last job
  std::set<Id> waiting_;
  std::map<std::pair<uint64_t, std::string>, std::deque<uint64_t>> order_;
};

TEST(JobQueueSweepTest, NothingIsLostOrPassedWhateverHappens) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    JobQueueModel(seed).Run(300);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace whippletree::core
