// Stops a queue whose jobs keep failing, and lets a few probes find out when they work again.
// From M. Nygard, "Release It!", 2007.
//
// Results are fed in the order in which they are recorded. Those of starts from before the last
// transition say nothing about the present state and are ignored.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "broker/core/config.h"
#include "common/time.h"

namespace whippletree::core {

class CircuitBreaker {
 public:
  enum class State { kClosed, kOpen, kHalfOpen };

  CircuitBreaker() = default;
  explicit CircuitBreaker(const BreakerPolicy& policy) : policy_(policy) {}

  // Closed, with another policy. What was started before says nothing.
  void Reconfigure(const BreakerPolicy& policy) {
    const uint64_t generation = generation_ + 1;
    const uint64_t times_opened = times_opened_;
    *this = CircuitBreaker(policy);
    generation_ = generation;
    times_opened_ = times_opened;
  }

  bool enabled() const { return policy_.enabled(); }
  State state() const { return state_; }
  // "closed", "open", "half-open".
  std::string_view name() const;
  // Counts transitions: names the state in which something was started.
  uint64_t generation() const { return generation_; }
  // When an open breaker becomes half-open.
  MonoTime half_open_at() const { return half_open_at_; }
  uint64_t times_opened() const { return times_opened_; }

  // Open becomes half-open when it is time. True: it did.
  bool Poll(MonoTime now);
  // Starts that pass now.
  uint64_t Allowed() const;
  void OnStart();
  // A start of `generation` ended: `failed` jobs counted as failures, `succeeded` did not.
  // True: the state changed.
  bool OnResult(uint64_t generation, uint64_t failed, uint64_t succeeded, MonoTime now);
  // A start of `generation` ended without any result (handed back, cancelled).
  void OnNoResult(uint64_t generation);

 private:
  static constexpr size_t kParts = 10;  // of the window
  struct Part {
    int64_t number = -1;
    uint64_t failed = 0;
    uint64_t succeeded = 0;
  };

  void Open(MonoTime now);
  bool RatioReached(MonoTime now) const;
  int64_t PartNumber(MonoTime now) const;

  BreakerPolicy policy_;
  State state_ = State::kClosed;
  uint64_t generation_ = 1;
  uint64_t failures_ = 0;  // in a row
  uint64_t probes_ = 0;    // under way
  uint64_t probes_passed_ = 0;
  uint64_t times_opened_ = 0;
  MonoTime half_open_at_ = kNever;
  std::array<Part, kParts> parts_{};
};

}  // namespace whippletree::core
