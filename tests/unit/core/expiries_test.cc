#include "broker/core/expiries.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

namespace whippletree::core {
namespace {

using Jobs = std::tuple<uint64_t, uint64_t, uint64_t>;  // stream, begin, end

WallTime At(int second) { return WallTime(seconds(second)); }

std::vector<Jobs> TakeAll(Expiries* expiries) {
  std::vector<Jobs> all;
  while (expiries->next() != WallTime::max()) {
    const Expiry expiry = expiries->TakeFirst();
    all.emplace_back(expiry.stream, expiry.begin, expiry.end);
  }
  return all;
}

TEST(ExpiriesTest, WhatExpiresFirstComesFirst) {
  Expiries expiries;
  EXPECT_EQ(expiries.next(), WallTime::max());
  expiries.Watch(At(9), {1, 10, 20});
  expiries.Watch(At(5), {2, 1, 2});
  expiries.Watch(At(5), {1, 30, 31});
  EXPECT_EQ(expiries.next(), At(5));
  EXPECT_EQ(TakeAll(&expiries), (std::vector<Jobs>{{1, 30, 31}, {2, 1, 2}, {1, 10, 20}}));
}

TEST(ExpiriesTest, JobsThatAreNamedAgainAreKnown) {
  Expiries expiries;
  expiries.Watch(At(5), {1, 1, 100});
  expiries.Watch(At(5), {1, 40, 50});
  EXPECT_EQ(expiries.records(), 1u);
  expiries.Watch(At(5), {1, 100, 120});  // goes on
  expiries.Watch(At(5), {2, 120, 130});  // another stream
  expiries.Watch(At(6), {1, 120, 130});  // another time
  EXPECT_EQ(expiries.records(), 3u);
  EXPECT_EQ(TakeAll(&expiries), (std::vector<Jobs>{{1, 1, 120}, {2, 120, 130}, {1, 120, 130}}));
}

TEST(ExpiriesTest, RecordsHaveNoJobInCommon) {
  Expiries expiries;
  for (uint64_t begin : {50u, 30u, 10u}) expiries.Watch(At(5), {1, begin, begin + 10});
  EXPECT_EQ(expiries.records(), 3u);
  expiries.Watch(At(5), {1, 15, 55});
  EXPECT_EQ(TakeAll(&expiries), (std::vector<Jobs>{{1, 10, 60}}));
}

TEST(ExpiriesTest, PruningDropsSomeAtATime) {
  Expiries expiries;
  for (uint64_t begin = 0; begin < 100; begin += 2) expiries.Watch(At(5), {1, begin, begin + 1});
  const auto keep = [](const Expiry& expiry) { return expiry.begin % 10 == 0; };
  EXPECT_EQ(expiries.Prune(10, keep), 0u);  // nobody asked for it
  expiries.StartPruning();
  EXPECT_EQ(expiries.Prune(20, keep), 20u);
  EXPECT_EQ(expiries.records(), 50u - 16);
  expiries.StartPruning();                 // it goes on
  expiries.Watch(At(5), {1, 1000, 1001});  // and meets what is new
  expiries.TakeFirst();
  EXPECT_EQ(expiries.Prune(1000, keep), 31u);
  EXPECT_FALSE(expiries.is_pruning());
  EXPECT_EQ(expiries.records(), 10u);
}

}  // namespace
}  // namespace whippletree::core
