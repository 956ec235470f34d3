#include "broker/core/job_pack.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "broker/core/job_queue.h"
#include "common/prng.h"

namespace whippletree::core {
namespace {

using Options = std::shared_ptr<const wire::JobOptions>;

Slice Jobs(uint64_t stream, uint64_t first, const Options& options,
           const std::vector<std::string>& payloads) {
  Slice slice;
  slice.data = std::make_shared<RunData>();
  for (const std::string& payload : payloads) slice.data->Append(payload);
  slice.end = slice.data->count();
  slice.stream = stream;
  slice.first = first;
  slice.options = options;
  return slice;
}

// A job, and all that is known of it.
struct Job {
  uint64_t stream;
  uint64_t number;
  std::string payload;
  const wire::JobOptions* options;
  friend bool operator==(const Job&, const Job&) = default;
};

void AddTo(const Slice& slice, std::vector<Job>* jobs) {
  for (uint32_t i = slice.begin; i < slice.end; ++i) {
    jobs->push_back({slice.stream, slice.first + i - slice.begin,
                     std::string(slice.data->payload(i)), slice.options.get()});
  }
}

std::vector<Job> Read(const JobPack& pack) {
  std::vector<Job> jobs;
  pack.ForEach([&](const Slice& slice) {
    AddTo(slice, &jobs);
    return true;
  });
  return jobs;
}

std::vector<Job> TakeAll(JobPack* pack) {
  std::vector<Job> jobs;
  while (!pack->empty()) AddTo(pack->TakeFirst(), &jobs);
  return jobs;
}

TEST(JobPackTest, JobsComeOutAsTheyWentIn) {
  const Options options[] = {std::make_shared<wire::JobOptions>(),
                             std::make_shared<wire::JobOptions>()};
  JobPack pack;
  std::vector<Job> in;
  Prng prng(1);
  std::vector<uint64_t> next(30, 1);
  for (int i = 0; i < 20'000; ++i) {  // chunks begin, and jobs are taken meanwhile
    const uint64_t stream = prng.Below(next.size());
    if (prng.Chance(20)) next[stream] += 1 + prng.Below(5);  // some are elsewhere
    std::vector<std::string> payloads;
    for (uint64_t n = prng.Between(1, 3); n > 0; --n) {
      payloads.emplace_back(prng.Below(200), static_cast<char>('a' + i % 26));
    }
    const Slice slice = Jobs(stream, next[stream], options[prng.Below(2)], payloads);
    next[stream] += slice.count();
    ASSERT_TRUE(JobPack::Takes(slice));
    pack.Add(slice);
    AddTo(slice, &in);
    if (!prng.Chance(300)) continue;
    std::vector<Job> out;
    AddTo(pack.TakeFirst(), &out);
    ASSERT_TRUE(std::equal(out.begin(), out.end(), in.begin()));
    in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(out.size()));
  }
  EXPECT_EQ(pack.jobs(), in.size());
  EXPECT_EQ(Read(pack), in);
  EXPECT_EQ(TakeAll(&pack), in);
}

TEST(JobPackTest, GoesOnAfterItWasEmpty) {
  const auto options = std::make_shared<wire::JobOptions>();
  JobPack pack;
  for (uint64_t number = 1; number <= 3; ++number) {
    pack.Add(Jobs(7, number, options, {std::to_string(number)}));
    const Slice slice = pack.TakeFirst();
    EXPECT_EQ(slice.first, number);
    EXPECT_EQ(slice.data->payload(0), std::to_string(number));
    EXPECT_TRUE(pack.empty());
  }
}

TEST(JobPackTest, NeighboursOfAStreamAreOneSlice) {
  const auto options = std::make_shared<wire::JobOptions>();
  JobPack pack;
  pack.Add(Jobs(1, 1, options, {"a", "b"}));
  pack.Add(Jobs(1, 3, options, {"c"}));
  pack.Add(Jobs(2, 1, options, {"d"}));
  EXPECT_EQ(pack.TakeFirst().count(), 3u);
  EXPECT_EQ(pack.TakeFirst().count(), 1u);
}

TEST(JobPackTest, WhatIsSpecialIsNotTaken) {
  const auto options = std::make_shared<wire::JobOptions>();
  const Slice good = Jobs(1, 1, options, {"x"});
  EXPECT_TRUE(JobPack::Takes(good));
  Slice slice = good;
  slice.attempts = 1;
  EXPECT_FALSE(JobPack::Takes(slice));
  slice = good;
  slice.suspect = true;
  EXPECT_FALSE(JobPack::Takes(slice));
  slice = good;
  slice.halvings = 1;
  EXPECT_FALSE(JobPack::Takes(slice));
  slice = good;
  slice.arrived = MonoTime{seconds(1)};
  EXPECT_FALSE(JobPack::Takes(slice));
  slice = good;
  slice.KeepStored();
  EXPECT_FALSE(JobPack::Takes(slice));
  EXPECT_FALSE(JobPack::Takes(Jobs(1, 1, options, {std::string(10'000, 'x')})));
}

// ---- In a queue.

struct PackedQueue {
  // A job of each stream in turn, `rounds` times.
  explicit PackedQueue(uint64_t rounds, uint64_t streams = 10) {
    for (uint64_t round = 1; round <= rounds; ++round) {
      for (uint64_t stream = 1; stream <= streams; ++stream) Push(stream, round);
    }
  }
  void Push(uint64_t stream, uint64_t first, uint32_t count = 1, size_t bytes = 8) {
    auto& own = options[stream];
    if (!own) own = std::make_shared<wire::JobOptions>();
    const Slice slice =
        Jobs(stream, first, own, std::vector<std::string>(count, std::string(bytes, 'x')));
    queue.Push(slice);
    AddTo(slice, &in);
  }
  std::vector<Job> TakeAll() {
    std::vector<Job> jobs;
    while (auto slice = queue.Take({.jobs = 100}, false, 5, MonoTime{})) AddTo(*slice, &jobs);
    return jobs;
  }
  std::map<uint64_t, Options> options;
  JobQueue queue;
  std::vector<Job> in;
};

TEST(JobPackTest, AQueueOfManyProducersIsSmall) {
  PackedQueue p(1000);
  EXPECT_EQ(p.queue.waiting(), 10'000u);
  EXPECT_EQ(p.queue.ready_bytes(), 80'000u);
  EXPECT_LE(p.queue.records(), 16u + 10'000 / 16);
  p.queue.CheckStored();
  std::vector<Job> seen;
  p.queue.ForEach([&](const Slice& slice, const JobQueue::Until&) {
    AddTo(slice, &seen);
    return true;
  });
  EXPECT_EQ(seen, p.in);
  EXPECT_EQ(p.TakeAll(), p.in);
  EXPECT_EQ(p.queue.records(), 0u);
  EXPECT_EQ(p.queue.ready_bytes(), 0u);
}

TEST(JobPackTest, JobsOfOneProducerFillRecordsAndAreNotPacked) {
  PackedQueue p(2);
  for (uint64_t first = 3; first <= 40; ++first) p.Push(1, first, 100, 1000);
  const size_t records = p.queue.records();
  for (uint64_t number = 10'000; number < 20'000; ++number) p.Push(1, number);
  EXPECT_LE(p.queue.records(), records + 2);
  EXPECT_LE(p.queue.packed(), 20u);
}

TEST(JobPackTest, LargerRunsKeepTheirPlaceBehindSmallOnes) {
  PackedQueue p(10);
  p.Push(1, 11, 100, 100);
  p.Push(2, 11);
  p.queue.CheckStored();
  EXPECT_EQ(p.TakeAll(), p.in);
}

TEST(JobPackTest, PackedJobsAreCancelled) {
  PackedQueue p(100);
  p.queue.Cancel(3, IntervalSet(50, 60));
  EXPECT_EQ(p.queue.waiting(), 990u);
  EXPECT_EQ(p.TakeAll().size(), 990u);
  EXPECT_EQ(p.queue.TakeDroppedBytes(), 80u);

  PackedQueue most(100);
  for (uint64_t stream = 1; stream <= 9; ++stream) most.queue.Cancel(stream, IntervalSet(1, 101));
  EXPECT_EQ(most.queue.waiting(), 100u);
  most.queue.ReleaseDue({});
  EXPECT_EQ(most.queue.ready(), 100u);  // they were swept out
  most.queue.CheckStored();
  std::erase_if(most.in, [](const Job& job) { return job.stream != 10; });
  EXPECT_EQ(most.TakeAll(), most.in);
}

TEST(JobPackTest, PackedJobsCountAsStartable) {
  PackedQueue p(100);
  KeyPolicy policy;
  policy.concurrency = 1000;
  p.queue.SetKeyPolicy(policy, MonoTime{}, MonoTime{});
  EXPECT_EQ(p.queue.Startable(500, MonoTime{}), 500u);
}

}  // namespace
}  // namespace whippletree::core
