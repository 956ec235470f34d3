// How many starts a queue's rate allows now: the generic cell rate algorithm (ITU-T I.371), which
// keeps one time and no counter, so that an idle bucket allows one burst and not more.
//
// In every window of length w at most burst + w · rate starts are allowed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "broker/core/config.h"
#include "common/time.h"

namespace whippletree::core {

class TokenBucket {
 public:
  TokenBucket() = default;
  // Empty at `start`. A burst that would take more than a century to gather is cut to that.
  // REQUIRES: policy.count > 0.
  TokenBucket(const RatePolicy& policy, MonoTime start)
      // Rounded up: never more than the rate.
      : interval_((policy.period + Duration(static_cast<int64_t>(policy.count)) - Duration(1)) /
                  static_cast<int64_t>(policy.count)),
        burst_(std::clamp<uint64_t>(policy.burst, 1, static_cast<uint64_t>(kFillMax / interval_))),
        full_at_(start + interval_ * static_cast<int64_t>(burst_)) {}

  // Changes the rate; what was used up stays so.
  void Reconfigure(const RatePolicy& policy, MonoTime now) {
    const uint64_t tokens = std::min(Available(now), std::max<uint64_t>(1, policy.burst));
    *this = TokenBucket(policy, now);
    full_at_ -= interval_ * static_cast<int64_t>(tokens);
  }

  // As one that was full, or is to be, at `full_at`: never more than full, nor less than empty.
  // REQUIRES: it is empty, and `now` is its start.
  void Restore(MonoTime full_at, MonoTime now) {
    full_at_ = std::min(full_at_, std::max(full_at, now));
  }

  uint64_t burst() const { return burst_; }
  // If nothing is taken.
  MonoTime full_at() const { return full_at_; }

  // Tokens at `now`.
  uint64_t Available(MonoTime now) const {
    if (now >= full_at_) return burst_;
    const Duration missing = full_at_ - now;
    const auto tokens = static_cast<uint64_t>((missing + interval_ - Duration(1)) / interval_);
    return tokens >= burst_ ? 0 : burst_ - tokens;
  }
  // When there are `n` tokens. REQUIRES: n <= burst().
  MonoTime AvailableAt(uint64_t n) const {
    return full_at_ - interval_ * static_cast<int64_t>(burst_ - n);
  }
  // REQUIRES: n <= Available(now).
  void Take(uint64_t n, MonoTime now) {
    full_at_ = std::max(full_at_, now) + interval_ * static_cast<int64_t>(n);
  }

 private:
  static constexpr Duration kFillMax = std::chrono::hours(24 * 365 * 100);

  Duration interval_{1};
  uint64_t burst_ = std::numeric_limits<uint64_t>::max();
  MonoTime full_at_{};  // when the bucket is full, if nothing is taken
};

}  // namespace whippletree::core
