// Time as the state machines see it: given to them, never read by them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace whippletree {

using Duration = std::chrono::nanoseconds;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Tags the time of a clock that never jumps. Nothing can be read from it: see common/clock.h.
struct MonotonicClock {
  using duration = Duration;
  using rep = Duration::rep;
  using period = Duration::period;
  using time_point = std::chrono::time_point<MonotonicClock, Duration>;
  static constexpr bool is_steady = true;
};

// For leases, linger, back-off, rates, breaker.
using MonoTime = MonotonicClock::time_point;
// For not-before and expiry: the calendar's time, which may jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

struct Instant {
  MonoTime mono;
  WallTime wall;
};

inline constexpr MonoTime kNever = MonoTime::max();

inline int64_t ToMilliseconds(Duration d) {
  return std::chrono::duration_cast<milliseconds>(d).count();
}

// Milliseconds since 1970; a time that is too far is one that is far enough, and nothing that is
// added to it overflows.
inline WallTime FromMilliseconds(uint64_t ms) {
  constexpr uint64_t kMost = 9'000'000'000'000;
  return WallTime(milliseconds(static_cast<int64_t>(std::min(ms, kMost))));
}

}  // namespace whippletree
