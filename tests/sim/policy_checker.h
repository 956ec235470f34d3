// Checks each lease that the core grants against the policy of its queue, with formulas of its own:
// concurrency (I12), rate (I13), batch (I14), breaker (I18), times of the calendar (I11); and for
// each key: order (I10), concurrency (I12), rate (I13). And nothing of a paused queue starts
// ("pause"), nor of a stopped producer, while jobs of others do ("unread").
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
  using Policies = std::map<std::string, core::QueuePolicy>;

  PolicyChecker(const Options& options, Situations* situations)
      : policies_(options.broker.queues), situations_(situations) {}

  // Before each step of a broker that was not paused.
  void BeforeStep(const core::Broker& core, Instant now) const;
  // After each step of the broker.
  void AfterStep(const core::Broker& core, Instant now);
  // The broker starts with these. Breakers and the order of keys begin anew; rates do not.
  void OnBrokerUp(const Policies& policies, uint64_t last_commit, MonoTime now);
  // From now on these hold, of the same queues.
  void OnPolicies(const Policies& policies, MonoTime now);
  // An admin was told that the queue is paused, or asks for its end.
  void OnPaused(const std::string& queue) { paused_.insert(queue); }
  void OnResume(const std::string& queue) { paused_.erase(queue); }

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
  using QueueCounts = std::vector<uint64_t>;  // by the queue's number
  void CheckApart(const core::Broker& core, const core::Lease& lease);
  void CheckLive(const core::Broker& core, const QueueCounts& granted);
  void CheckCapacity(const core::Broker& core);
  void CheckOthersGoOn(const core::Broker& core, Instant now) const;
  void CheckLiveKeys(const core::Broker& core, const std::set<Key>& granted) const;
  void CheckNoneIsForgotten(const core::Broker& core, const core::Queue& queue, MonoTime now) const;

  Policies policies_;  // in force
  Situations* const situations_;
  uint64_t last_token_ = 0;
  uint64_t commit_ = 0;  // of the last step that wrote
  struct Starts {
    MonoTime at;
    uint64_t count;
    uint64_t commit;  // that writes them, if the queue is durable
  };
  std::map<Key, std::deque<Starts>> starts_;
  std::map<Key, Ordered> ordered_;
  std::map<std::string, MonoTime> last_keyed_start_;  // by queue
  std::map<std::string, Breaker> breakers_;           // after the last step
  struct Accepted {
    uint64_t jobs;  // follow-on jobs among them
    uint64_t follow_ons;
    uint64_t aside;
  };
  std::map<std::string, Accepted> accepted_;  // the same
  MonoTime up_since_{};
  std::set<std::string> paused_;
  std::map<std::string, MonoTime> changed_at_;  // the policy of a queue
  // Queues whose limit of concurrency was lowered some time: theirs, and that of their keys.
  std::set<std::string> lowered_;
  std::set<std::string> keys_lowered_;
};

}  // namespace whippletree::sim
