// Checks each lease that the core grants against the policy of its queue, with formulas of its own:
// concurrency (I12), rate (I13), batch (I14), breaker (I18), times of the calendar (I11).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "broker/core/broker.h"
#include "tests/sim/options.h"
#include "tests/sim/situations.h"

namespace whippletree::sim {

class PolicyChecker {
 public:
  PolicyChecker(const Options* options, Situations* situations)
      : options_(options), situations_(situations) {}

  // Before each step of a broker that was not paused.
  void BeforeStep(const core::Broker& core, Instant now) const;
  // After each step of the broker.
  void AfterStep(const core::Broker& core, Instant now);
  // The breakers of the next life begin anew.
  void OnBrokerUp() { breakers_.clear(); }

 private:
  static constexpr size_t kStartsKept = 100;

  struct Breaker {
    core::CircuitBreaker::State state = core::CircuitBreaker::State::kClosed;
    uint64_t generation = 0;
  };

  void CheckTimes(const core::Lease& lease, Instant now) const;
  void CheckBatch(const core::Lease& lease, const core::QueuePolicy& policy) const;
  void CheckRate(const std::string& queue, const core::RatePolicy& rate, MonoTime now,
                 uint64_t starts);
  void CheckLive(const core::Broker& core, const std::map<std::string, uint64_t>& granted);

  const Options* const options_;
  Situations* const situations_;
  uint64_t last_token_ = 0;
  std::map<std::string, std::deque<std::pair<MonoTime, uint64_t>>> starts_;  // by queue
  std::map<std::string, Breaker> breakers_;                                  // after the last step
};

}  // namespace whippletree::sim
