#include "broker/core/token_bucket.h"

#include <gtest/gtest.h>

#include <deque>

#include "common/prng.h"

namespace whippletree::core {
namespace {

const MonoTime kStart{std::chrono::hours(1)};

TEST(TokenBucketTest, IsEmptyAtTheStart) {
  const TokenBucket bucket({.count = 10, .burst = 3}, kStart);
  EXPECT_EQ(bucket.Available(kStart), 0u);
  EXPECT_EQ(bucket.AvailableAt(1), kStart + milliseconds(100));
  EXPECT_EQ(bucket.Available(kStart + milliseconds(99)), 0u);
  EXPECT_EQ(bucket.Available(kStart + milliseconds(100)), 1u);
}

// Three in a second: no whole number of nanoseconds each.
TEST(TokenBucketTest, AFractionOfAnIntervalIsRoundedUp) {
  const TokenBucket bucket({.count = 3, .burst = 3}, kStart);
  EXPECT_EQ(bucket.Available(kStart + seconds(1)), 2u);
  EXPECT_EQ(bucket.AvailableAt(3), kStart + seconds(1) + Duration(2));
}

// Envoy's trap: a bucket that refills on demand may allow twice its burst after idling.
TEST(TokenBucketTest, IdleWhileFullAllowsOnlyOneBurst) {
  TokenBucket bucket({.count = 10, .burst = 3}, kStart);
  const MonoTime later = kStart + std::chrono::hours(5);
  EXPECT_EQ(bucket.Available(later), 3u);
  bucket.Take(3, later);
  EXPECT_EQ(bucket.Available(later), 0u);
  EXPECT_EQ(bucket.AvailableAt(1), later + milliseconds(100));
  EXPECT_EQ(bucket.Available(later + milliseconds(150)), 1u);
}

TEST(TokenBucketTest, NoWindowHasMoreThanBurstAndRate) {
  const RatePolicy policy{.count = 7, .burst = 4};
  TokenBucket bucket(policy, kStart);
  Prng prng(1);
  MonoTime now = kStart;
  std::deque<MonoTime> starts;
  for (int i = 0; i < 5000; ++i) {
    now += milliseconds(prng.Between(0, 120));
    if (prng.Between(0, 99) == 0) now += seconds(prng.Between(0, 20));
    const uint64_t n = prng.Between(0, bucket.Available(now));
    if (n > 0) bucket.Take(n, now);
    for (uint64_t k = 0; k < n; ++k) starts.push_back(now);
  }
  for (size_t i = 0; i < starts.size(); ++i) {
    for (size_t j = i; j < std::min(starts.size(), i + 50); ++j) {
      const double window = std::chrono::duration<double>(starts[j] - starts[i]).count();
      EXPECT_LE(static_cast<double>(j - i + 1), 4 + 7 * window + 1e-6);
    }
  }
}

TEST(TokenBucketTest, NothingIsGivenByAChange) {
  TokenBucket bucket({.count = 10, .burst = 3}, kStart);
  const MonoTime later = kStart + seconds(10);
  bucket.Take(2, later);
  bucket.Reconfigure({.count = 1, .burst = 8}, later);
  EXPECT_EQ(bucket.burst(), 8u);
  EXPECT_EQ(bucket.Available(later), 1u);
  EXPECT_EQ(bucket.Available(later + seconds(1)), 2u);
}

}  // namespace
}  // namespace whippletree::core
