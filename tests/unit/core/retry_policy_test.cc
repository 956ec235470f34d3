#include "broker/core/retry_policy.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace whippletree::core {
namespace {

struct Range {
  Duration low = Duration::max();
  Duration high = Duration(0);
};

// The least and the greatest of many delays.
Range DelaysAfter(const QueuePolicy& policy, uint32_t attempts) {
  Prng prng(42);
  Range range;
  for (int i = 0; i < 2000; ++i) {
    const Duration delay = BackoffDelay(policy, attempts, &prng);
    range.low = std::min(range.low, delay);
    range.high = std::max(range.high, delay);
  }
  return range;
}

TEST(RetryPolicyTest, DelaysAreSpreadOverAllOfADoublingBound) {
  QueuePolicy policy;
  policy.backoff_min = milliseconds(100);
  policy.backoff_max = seconds(60);
  Duration bound = milliseconds(100);
  for (uint32_t attempts = 1; attempts <= 6; ++attempts, bound *= 2) {
    const Range range = DelaysAfter(policy, attempts);
    EXPECT_GE(range.low, Duration(0));
    EXPECT_LT(range.low, bound / 20);
    EXPECT_LE(range.high, bound);
    EXPECT_GT(range.high, bound - bound / 20);
  }
}

TEST(RetryPolicyTest, TheBoundStopsAtItsMaximum) {
  QueuePolicy policy;
  policy.backoff_min = seconds(1);
  policy.backoff_max = seconds(5);
  EXPECT_LE(DelaysAfter(policy, 10).high, seconds(5));
  EXPECT_GT(DelaysAfter(policy, 10).high, milliseconds(4500));
  EXPECT_LE(DelaysAfter(policy, 1000).high, seconds(5));
}

TEST(RetryPolicyTest, ABoundOfZeroMeansAtOnce) {
  QueuePolicy policy;
  policy.backoff_min = policy.backoff_max = Duration(0);
  EXPECT_EQ(DelaysAfter(policy, 3).high, Duration(0));
}

}  // namespace
}  // namespace whippletree::core
