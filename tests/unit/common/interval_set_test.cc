#include "common/interval_set.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "common/prng.h"

namespace whippletree {
namespace {

using Interval = IntervalSet::Interval;
using Intervals = std::vector<Interval>;

Intervals List(const IntervalSet& set) { return {set.intervals().begin(), set.intervals().end()}; }

TEST(IntervalSetTest, TouchingIntervalsBecomeOne) {
  IntervalSet set(1, 3);
  set.Add(5, 7);
  EXPECT_EQ(List(set), (Intervals{{1, 3}, {5, 7}}));
  set.Add(3, 5);
  EXPECT_EQ(List(set), (Intervals{{1, 7}}));
  EXPECT_EQ(set.size(), 6u);
}

TEST(IntervalSetTest, AddingWhatIsThereChangesNothing) {
  IntervalSet set(1, 10);
  set.Add(3, 5);
  set.Add(1, 10);
  set.Add(4, 4);
  EXPECT_EQ(List(set), (Intervals{{1, 10}}));
  EXPECT_EQ(set.size(), 9u);
}

TEST(IntervalSetTest, RemovingFromTheMiddleLeavesTwo) {
  IntervalSet set(1, 10);
  EXPECT_EQ(set.Remove(4, 6), 2u);
  EXPECT_EQ(List(set), (Intervals{{1, 4}, {6, 10}}));
  EXPECT_EQ(set.Remove(3, 7), 2u);
  EXPECT_EQ(List(set), (Intervals{{1, 3}, {7, 10}}));
  EXPECT_EQ(set.Remove(20, 30), 0u);
  EXPECT_EQ(set.Remove(0, 100), 5u);
  EXPECT_TRUE(set.empty());
}

TEST(IntervalSetTest, Intersects) {
  IntervalSet set(1, 4);
  set.Add(6, 9);
  EXPECT_EQ(set.Intersect(3, 7), (Intervals{{3, 4}, {6, 7}}));
  EXPECT_TRUE(set.Intersect(4, 6).empty());
  EXPECT_EQ(set.Count(0, 100), 6u);
  EXPECT_TRUE(set.ContainsAll(6, 9));
  EXPECT_FALSE(set.ContainsAll(3, 7));
  EXPECT_TRUE(set.ContainsAll(5, 5));
}

TEST(IntervalSetTest, SplitByTellsInsideAndOutsideInOrder) {
  IntervalSet set(3, 5);
  set.Add(8, 20);
  std::vector<std::tuple<uint64_t, uint64_t, bool>> pieces;
  SplitBy(set, {1, 10}, [&](Interval piece, bool inside) {
    pieces.emplace_back(piece.begin, piece.end, inside);
    set.Remove(piece.begin, piece.end);  // it may change the set
  });
  EXPECT_EQ(pieces, (std::vector<std::tuple<uint64_t, uint64_t, bool>>{
                        {1, 3, false}, {3, 5, true}, {5, 8, false}, {8, 10, true}}));
}

// A set that moves all later intervals at each change takes hours for this.
TEST(IntervalSetTest, ManyIntervalsChangeAnywhere) {
  constexpr uint64_t kIntervals = 300'000;
  IntervalSet set;
  for (uint64_t i = kIntervals; i > 0; --i) set.Add(4 * i, 4 * i + 2);
  EXPECT_EQ(set.intervals().size(), kIntervals);
  for (uint64_t i = 1; i <= kIntervals; i += 2) EXPECT_EQ(set.Remove(4 * i, 4 * i + 3), 2u);
  for (uint64_t i = kIntervals; i > 1; i -= 2) set.Remove(4 * i, 4 * i + 1);
  EXPECT_EQ(set.size(), kIntervals / 2);
}

TEST(IntervalSetTest, BehavesLikeASetOfNumbers) {
  Prng prng(7);
  IntervalSet set;
  std::set<uint64_t> model;
  for (int i = 0; i < 5000; ++i) {
    const uint64_t begin = prng.Below(60);
    const uint64_t end = begin + prng.Below(12);
    if (prng.Chance(500)) {
      set.Add(begin, end);
      for (uint64_t x = begin; x < end; ++x) model.insert(x);
    } else {
      uint64_t removed = 0;
      for (uint64_t x = begin; x < end; ++x) removed += model.erase(x);
      ASSERT_EQ(set.Remove(begin, end), removed);
    }
    ASSERT_EQ(set.size(), model.size());
    ASSERT_EQ(set.empty(), model.empty());
    if (!model.empty()) {
      ASSERT_EQ(set.front(), *model.begin());
    }
    uint64_t last_end = 0;
    for (const Interval& interval : set.intervals()) {  // ascending, none touches the next
      ASSERT_LT(interval.begin, interval.end);
      ASSERT_TRUE(last_end == 0 || last_end < interval.begin);
      last_end = interval.end;
    }
    for (uint64_t x = 0; x < 72; ++x) ASSERT_EQ(set.Contains(x), model.contains(x));
    const auto count = std::distance(model.lower_bound(begin), model.lower_bound(end));
    ASSERT_EQ(set.Count(begin, end), static_cast<uint64_t>(count));
  }
}

TEST(IntervalSetTest, TheEndIsWhereThereAreTooMany) {
  IntervalSet set;
  for (uint64_t i = 0; i < 10; ++i) set.Add(10 * i, 10 * i + 5);
  uint64_t most = 3;
  EXPECT_EQ(set.EndOf(0, 1000, &most), 40u);  // those at 10, 20 and 30 are before it
  EXPECT_EQ(most, 0u);
  most = 3;
  EXPECT_EQ(set.EndOf(82, 1000, &most), 1000u);
  EXPECT_EQ(most, 2u);
  most = 0;
  EXPECT_EQ(set.EndOf(0, 1000, &most), 10u);  // there is always progress
}

}  // namespace
}  // namespace whippletree
