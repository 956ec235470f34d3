#include "broker/core/leased_slices.h"

#include <gtest/gtest.h>

#include <set>

#include "common/prng.h"

namespace whippletree::core {
namespace {

std::set<uint64_t> TokensWith(const LeasedSlices& slices, const IntervalSet& jobs) {
  std::set<uint64_t> tokens;
  slices.ForEachWith(jobs, [&](uint64_t token) { tokens.insert(token); });
  return tokens;
}

TEST(LeasedSlicesTest, ThoseWithSomeOfTheJobsAreFound) {
  LeasedSlices slices;
  slices.Add(1, 100, 7);
  slices.Add(101, 1, 8);
  slices.Add(102, 50, 9);
  EXPECT_EQ(TokensWith(slices, {100, 101}), std::set<uint64_t>{7});
  EXPECT_EQ(TokensWith(slices, {101, 102}), std::set<uint64_t>{8});
  EXPECT_EQ(TokensWith(slices, {100, 103}), (std::set<uint64_t>{7, 8, 9}));
  EXPECT_EQ(TokensWith(slices, {152, 1000}), std::set<uint64_t>{});
  slices.Remove(1, 100, 7);
  slices.Remove(101, 1, 8);
  EXPECT_EQ(TokensWith(slices, {1, 1000}), std::set<uint64_t>{9});
  slices.Remove(102, 50, 9);
  EXPECT_TRUE(slices.empty());
}

TEST(LeasedSlicesTest, OneThatBeganLongBeforeIsFoundBehindALaterOne) {
  LeasedSlices slices;
  slices.Add(1, 65'536, 1);
  slices.Add(50'000, 1, 2);  // it was given back by the first
  EXPECT_EQ(TokensWith(slices, {60'000, 60'001}), std::set<uint64_t>{1});
  EXPECT_EQ(TokensWith(slices, {50'000, 50'001}), (std::set<uint64_t>{1, 2}));
}

TEST(LeasedSlicesTest, FindsWhatALookAtAllFinds) {
  struct Slice {
    uint64_t first;
    uint64_t count;
  };
  Prng prng(1);
  LeasedSlices slices;
  std::vector<Slice> all;
  for (uint64_t token = 0; token < 200; ++token) {
    all.push_back({1 + prng.Below(2'000), 1 + prng.Below(uint64_t{1} << prng.Below(10))});
    slices.Add(all.back().first, all.back().count, token);
  }
  for (int i = 0; i < 500; ++i) {
    IntervalSet jobs;
    for (uint64_t parts = 1 + prng.Below(3); parts > 0; --parts) {
      const uint64_t begin = prng.Below(2'500);
      jobs.Add(begin, begin + 1 + prng.Below(20));
    }
    std::set<uint64_t> expected;
    for (uint64_t token = 0; token < all.size(); ++token) {
      if (jobs.Count(all[token].first, all[token].first + all[token].count) > 0) {
        expected.insert(token);
      }
    }
    EXPECT_EQ(TokensWith(slices, jobs), expected);
  }
}

TEST(LeasedSlicesTest, TheEndIsWhereThereAreTooMany) {
  LeasedSlices slices;
  for (uint64_t i = 0; i < 10; ++i) slices.Add(10 * i, 1, i);
  uint64_t most = 3;
  EXPECT_EQ(slices.EndOf(0, 1000, &most), 40u);  // those at 10, 20 and 30 are before it
  EXPECT_EQ(most, 0u);
  most = 3;
  EXPECT_EQ(slices.EndOf(80, 1000, &most), 1000u);
  EXPECT_EQ(most, 2u);
  most = 0;
  EXPECT_EQ(slices.EndOf(0, 1000, &most), 10u);  // there is always progress
  most = 3;
  EXPECT_EQ(slices.EndOf(0, 15, &most), 15u);
  EXPECT_EQ(most, 2u);
}

}  // namespace
}  // namespace whippletree::core
