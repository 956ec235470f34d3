// Checks each lease that the core grants against the policy of its queue, with formulas of its own:
// concurrency (I12), rate (I13), batch (I14), breaker (I18), times of the calendar (I11); and for
// each key: order (I10), concurrency (I12), rate (I13).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
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
  // Breakers and the order of keys begin anew; rates do not.
  void OnBrokerUp(MonoTime now) {
    breakers_.clear();
    ordered_.clear();
    up_since_ = now;
  }

 private:
  static constexpr size_t kStartsKept = 100;

  struct Breaker {
    core::CircuitBreaker::State state = core::CircuitBreaker::State::kClosed;
    uint64_t generation = 0;
  };

  // A key of one queue; the key "" stands for the queue itself.
  using Key = std::pair<std::string, std::string>;
  using JobId = std::pair<uint64_t, uint64_t>;  // stream, number
  struct Ordered {
    JobId last{};                         // the job that was leased last
    std::set<JobId> before;               // those leased before it
    std::map<uint64_t, uint64_t> leased;  // by stream: the highest number
  };

  void CheckTimes(const core::Lease& lease, Instant now) const;
  void CheckBatch(const core::Lease& lease, const core::QueuePolicy& policy) const;
  void CheckRate(const Key& key, const core::RatePolicy& rate, MonoTime now, uint64_t starts);
  void CheckKeys(const std::string& queue, const core::Lease& lease, const core::KeyPolicy& policy,
                 MonoTime now);
  void CheckOrder(const std::string& queue, const core::Slice& slice);
  void CheckLive(const core::Broker& core, const std::map<std::string, uint64_t>& granted);
  void CheckLiveKeys(const core::Broker& core) const;
  void CheckNoneIsForgotten(const core::Broker& core, const core::Queue& queue, MonoTime now) const;

  const Options* const options_;
  Situations* const situations_;
  uint64_t last_token_ = 0;
  std::map<Key, std::deque<std::pair<MonoTime, uint64_t>>> starts_;
  std::map<Key, Ordered> ordered_;
  std::map<std::string, MonoTime> last_keyed_start_;  // by queue
  std::map<std::string, Breaker> breakers_;           // after the last step
  MonoTime up_since_{};
};

}  // namespace whippletree::sim
