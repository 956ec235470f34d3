#include "broker/core/circuit_breaker.h"

#include <gtest/gtest.h>

namespace whippletree::core {
namespace {

using State = CircuitBreaker::State;
const MonoTime kStart{std::chrono::hours(1)};

BreakerPolicy Policy() { return {.failures = 3, .open = milliseconds(200), .probes = 1}; }

TEST(CircuitBreakerTest, OpensAfterFailuresInARow) {
  CircuitBreaker breaker(Policy());
  const uint64_t generation = breaker.generation();
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_FALSE(breaker.OnResult(generation, 0, 1, kStart));  // begins anew
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_TRUE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_EQ(breaker.state(), State::kOpen);
  EXPECT_EQ(breaker.Allowed(), 0u);
}

// Faults of the original: half-open was never entered, and a failure there did not open again.
TEST(CircuitBreakerTest, HalfOpenIsEnteredAndAFailureThereOpensAgain) {
  CircuitBreaker breaker(Policy());
  for (int i = 0; i < 3; ++i) breaker.OnResult(breaker.generation(), 1, 0, kStart);
  EXPECT_FALSE(breaker.Poll(kStart + milliseconds(199)));
  EXPECT_TRUE(breaker.Poll(kStart + milliseconds(200)));
  EXPECT_EQ(breaker.state(), State::kHalfOpen);
  EXPECT_EQ(breaker.Allowed(), 1u);
  breaker.OnStart();
  EXPECT_EQ(breaker.Allowed(), 0u);
  EXPECT_TRUE(breaker.OnResult(breaker.generation(), 1, 0, kStart + milliseconds(250)));
  EXPECT_EQ(breaker.state(), State::kOpen);
  EXPECT_EQ(breaker.half_open_at(), kStart + milliseconds(450));
  EXPECT_TRUE(breaker.Poll(kStart + milliseconds(450)));
  breaker.OnStart();
  EXPECT_TRUE(breaker.OnResult(breaker.generation(), 0, 1, kStart + milliseconds(460)));
  EXPECT_EQ(breaker.state(), State::kClosed);
  EXPECT_EQ(breaker.times_opened(), 2u);
}

TEST(CircuitBreakerTest, ResultsOfStartsFromBeforeSayNothing) {
  CircuitBreaker breaker(Policy());
  const uint64_t before = breaker.generation();
  for (int i = 0; i < 3; ++i) breaker.OnResult(before, 1, 0, kStart);
  EXPECT_FALSE(breaker.OnResult(before, 0, 1, kStart));
  EXPECT_EQ(breaker.state(), State::kOpen);
  breaker.Poll(kStart + seconds(1));
  EXPECT_FALSE(breaker.OnResult(before, 1, 0, kStart + seconds(1)));
  EXPECT_EQ(breaker.state(), State::kHalfOpen);
  EXPECT_EQ(breaker.Allowed(), 1u);
}

TEST(CircuitBreakerTest, AProbeWithoutAResultIsReplaced) {
  CircuitBreaker breaker(Policy());
  for (int i = 0; i < 3; ++i) breaker.OnResult(breaker.generation(), 1, 0, kStart);
  breaker.Poll(kStart + seconds(1));
  breaker.OnStart();
  breaker.OnNoResult(breaker.generation());
  EXPECT_EQ(breaker.Allowed(), 1u);
}

TEST(CircuitBreakerTest, AllProbesMustPass) {
  BreakerPolicy policy = Policy();
  policy.probes = 2;
  CircuitBreaker breaker(policy);
  for (int i = 0; i < 3; ++i) breaker.OnResult(breaker.generation(), 1, 0, kStart);
  breaker.Poll(kStart + seconds(1));
  EXPECT_EQ(breaker.Allowed(), 2u);
  breaker.OnStart();
  EXPECT_FALSE(breaker.OnResult(breaker.generation(), 0, 1, kStart + seconds(1)));
  EXPECT_EQ(breaker.Allowed(), 1u);
  breaker.OnStart();
  EXPECT_TRUE(breaker.OnResult(breaker.generation(), 0, 1, kStart + seconds(1)));
  EXPECT_EQ(breaker.state(), State::kClosed);
}

TEST(CircuitBreakerTest, OpensByTheShareOfAWindow) {
  CircuitBreaker breaker({.ratio = 0.5, .window = seconds(10), .min_jobs = 4});
  const uint64_t generation = breaker.generation();
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart));
  EXPECT_FALSE(breaker.OnResult(generation, 0, 1, kStart));  // three are too few
  // Those have left the window by then.
  EXPECT_FALSE(breaker.OnResult(generation, 0, 1, kStart + seconds(11)));
  EXPECT_FALSE(breaker.OnResult(generation, 0, 1, kStart + seconds(12)));
  EXPECT_FALSE(breaker.OnResult(generation, 1, 0, kStart + seconds(13)));
  EXPECT_TRUE(breaker.OnResult(generation, 1, 0, kStart + seconds(14)));
  EXPECT_EQ(breaker.state(), State::kOpen);
}

}  // namespace
}  // namespace whippletree::core
