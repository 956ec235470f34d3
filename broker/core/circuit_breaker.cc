#include "broker/core/circuit_breaker.h"

#include <algorithm>
#include <limits>

#include "common/check.h"

namespace whippletree::core {

std::string_view CircuitBreaker::name() const {
  constexpr std::string_view kNames[] = {"closed", "open", "half-open"};
  return kNames[static_cast<int>(state_)];
}

bool CircuitBreaker::Poll(MonoTime now) {
  if (state_ != State::kOpen || now < half_open_at_) return false;
  state_ = State::kHalfOpen;
  half_open_at_ = kNever;
  ++generation_;
  probes_ = probes_passed_ = 0;
  return true;
}

uint64_t CircuitBreaker::Allowed() const {
  switch (state_) {
    case State::kOpen:
      return 0;
    case State::kHalfOpen: {
      const uint64_t used = probes_ + probes_passed_;
      return policy_.probes > used ? policy_.probes - used : 0;
    }
    default:
      return std::numeric_limits<uint64_t>::max();
  }
}

void CircuitBreaker::OnStart() {
  if (state_ == State::kHalfOpen) ++probes_;
}

void CircuitBreaker::OnNoResult(uint64_t generation) {
  if (generation != generation_ || state_ != State::kHalfOpen) return;
  WT_CHECK(probes_ > 0);
  --probes_;
}

bool CircuitBreaker::OnResult(uint64_t generation, uint64_t failed, uint64_t succeeded,
                              MonoTime now) {
  if (!enabled() || generation != generation_ || state_ == State::kOpen) return false;
  if (state_ == State::kHalfOpen) {
    WT_CHECK(probes_ > 0);
    --probes_;
    if (failed > 0) {
      Open(now);
      return true;
    }
    if (++probes_passed_ < policy_.probes) return false;
    state_ = State::kClosed;
    ++generation_;
    failures_ = 0;
    parts_ = {};
    return true;
  }
  failures_ = succeeded > 0 ? 0 : failures_ + failed;
  Part& part = parts_[static_cast<size_t>(PartNumber(now)) % kParts];
  if (part.number != PartNumber(now)) part = {PartNumber(now), 0, 0};
  part.failed += failed;
  part.succeeded += succeeded;
  if ((policy_.failures > 0 && failures_ >= policy_.failures) || RatioReached(now)) {
    Open(now);
    return true;
  }
  return false;
}

void CircuitBreaker::Open(MonoTime now) {
  state_ = State::kOpen;
  ++generation_;
  ++times_opened_;
  half_open_at_ = now + policy_.open;
}

int64_t CircuitBreaker::PartNumber(MonoTime now) const {
  const Duration part = std::max(Duration(1), policy_.window / static_cast<int64_t>(kParts));
  return now.time_since_epoch() / part;
}

bool CircuitBreaker::RatioReached(MonoTime now) const {
  if (policy_.ratio <= 0) return false;
  uint64_t failed = 0;
  uint64_t all = 0;
  for (const Part& part : parts_) {
    if (part.number < 0 || part.number + static_cast<int64_t>(kParts) <= PartNumber(now)) continue;
    failed += part.failed;
    all += part.failed + part.succeeded;
  }
  return all >= policy_.min_jobs &&
         static_cast<double>(failed) >= policy_.ratio * static_cast<double>(all);
}

}  // namespace whippletree::core
