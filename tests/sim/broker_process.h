// The simulated broker process: the real core, the shell's loop (broker/shell.cc) by hand, and a
// store that takes its time.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "broker/core/broker.h"
#include "broker/store/map_store.h"
#include "tests/sim/commit_checker.h"
#include "tests/sim/policy_checker.h"
#include "tests/sim/world.h"

namespace whippletree::sim {

class BrokerProcess {
 public:
  explicit BrokerProcess(World* world);

  void Start();
  // kill -9 or power loss; what was in memory is gone, and of the commits under way perhaps some.
  void Crash();
  void Pause() { paused_ = true; }
  void Resume();

  bool up() const { return core_ != nullptr; }
  bool paused() const { return paused_; }
  const core::Broker& core() const { return *core_; }
  // Adds what the core counted.
  void CollectCounters();
  // From now on the store is quick.
  void Heal() { store_delay_mean_ = microseconds(20); }

 private:
  static constexpr int kFramesPerTurn = 512;

  void OnFrame(core::Channel channel, const std::string& route, std::string frame);
  void WakeAt(MonoTime at);
  void Step();
  void Take(core::Channel channel);
  void Carry(core::Effects& effects);
  void Restore(const core::Config& config);
  void Commit(core::Effects& effects);
  void Note(const core::Input& input);
  void NoteSend(const core::Send& send);
  void Check();

  struct Frame {
    std::string route;
    std::string bytes;
  };

  World* const world_;
  Prng prng_;
  std::unique_ptr<core::Broker> core_;
  std::unique_ptr<CommitChecker> checker_;
  PolicyChecker policies_;
  uint32_t epoch_ = 0;
  bool paused_ = false;
  bool was_paused_ = false;  // there was no step since
  MonoTime wake_at_ = kNever;
  std::deque<Frame> frames_[3];  // by channel
  std::vector<core::Input> inputs_;
  uint64_t steps_ = 0;
  uint64_t leased_max_ = 0;
  // The store. What is on the disk outlives the broker.
  MapDisk disk_;
  MapDisk backup_;  // as it was some commits ago, for a planted fault
  std::unique_ptr<MapStore> store_;
  Duration store_delay_mean_;
  MonoTime store_free_{};
  uint64_t durable_ = 0;
  uint64_t durable_told_ = 0;
  // For situations.
  std::map<std::string, std::string> name_by_route_;
  std::map<std::pair<uint64_t, uint32_t>, bool> revoked_;  // jobs asked back, by token and index
  std::map<std::string, uint64_t> counted_;
  std::set<uint64_t> restored_leases_;  // tokens
};

}  // namespace whippletree::sim
