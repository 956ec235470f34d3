#include "common/prng.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

// Reference values of SplitMix64 with the seed 1234567 (Vigna's splitmix64.c).
TEST(PrngTest, IsSplitMix64) {
  Prng prng(1234567);
  EXPECT_EQ(prng.Next(), 6457827717110365317u);
  EXPECT_EQ(prng.Next(), 3203168211198807973u);
  EXPECT_EQ(prng.Next(), 9817491932198370423u);
}

TEST(PrngTest, StaysWithinItsBounds) {
  Prng prng(1);
  uint64_t low = 100;
  uint64_t high = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t x = prng.Between(3, 7);
    low = std::min(low, x);
    high = std::max(high, x);
    EXPECT_EQ(prng.Below(1), 0u);
    EXPECT_FALSE(prng.Chance(0));
    EXPECT_TRUE(prng.Chance(1000));
  }
  EXPECT_EQ(low, 3u);
  EXPECT_EQ(high, 7u);
}

TEST(PrngTest, AForkHasASequenceOfItsOwn) {
  Prng a(1);
  Prng b(1);
  Prng fork = a.Fork();
  b.Fork();
  EXPECT_NE(fork.Next(), Prng(1).Next());
  EXPECT_EQ(a.Next(), b.Next());  // whatever the fork drew
}

}  // namespace
}  // namespace whippletree
