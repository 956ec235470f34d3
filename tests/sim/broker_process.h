// The simulated broker process: the real core, the shell's loop (broker/shell.cc) by hand, and a
// store that takes its time.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "broker/core/broker.h"
#include "broker/store/map_store.h"
#include "tests/sim/commit_checker.h"
#include "tests/sim/dead_checker.h"
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

  // An admin asks, and the file of policies changes. Nothing happens while the broker is down.
  void PauseQueue(const std::string& queue, bool paused);
  void Reload(std::map<std::string, core::QueuePolicy> policies);
  // Of the jobs: requeues or drops some dead ones; cancels one.
  void TendDeadJobs();
  void CancelJob();
  // Somebody says what he was never told (forger.cc).
  void Forge();
  const DeadChecker& dead() const { return dead_; }
  // Nothing becomes durable for a while.
  void StallStore(Duration duration);
  // What others leave of the disk; a broker that is started later finds it so.
  void SetDisk(core::DiskState state);
  // Called when the store has failed and the broker has ended by that.
  void OnStopped(std::function<void()> stopped) { stopped_ = std::move(stopped); }

  bool up() const { return core_ != nullptr; }
  bool paused() const { return paused_; }
  const core::Broker& core() const { return *core_; }
  const std::map<std::string, core::QueuePolicy>& policies() const { return queues_; }
  // Adds what the core counted.
  void CollectCounters();
  // From now on the store is quick and does not fail, and the disk has room.
  void Heal();

 private:
  static constexpr int kFramesPerTurn = 512;

  void OnFrame(core::Channel channel, const std::string& route, std::string frame);
  void WakeAt(MonoTime at);
  void Step();
  void Take(core::Channel channel);
  void Carry(core::Effects& effects);
  void Restore(const core::Config& config);
  void NoteRow(const record::Record& row);
  void Commit(core::Effects& effects);
  void OnStoreFailed(const absl::Status& status);
  void Note(const core::Input& input);
  void NoteSend(const core::Send& send);
  static constexpr char kAdmin[] = "admin ";  // admins' routes begin so
  void NoteAdminReply(const std::string& route, const wire::AdminReply& reply);
  // Returns the number of the request.
  uint64_t AskAsAdmin(wire::AdminRequest request);
  // Reads a row by and by.
  void Load(const core::Load& load);
  void OnLoaded(const RowKey& key, absl::StatusOr<record::Record> row);
  void CheckLoads() const;
  void Check();

  struct Frame {
    std::string route;
    std::string bytes;
  };

  World* const world_;
  Prng prng_;
  std::unique_ptr<core::Broker> core_;
  std::unique_ptr<CommitChecker> checker_;
  std::map<std::string, core::QueuePolicy> queues_;  // in the file
  PolicyChecker policies_;
  DeadChecker dead_;
  std::function<void()> stopped_;
  uint32_t epoch_ = 0;
  bool healed_ = false;
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
  core::Disk free_disk_;
  Duration store_delay_mean_;
  MonoTime store_free_{};
  uint64_t durable_ = 0;
  uint64_t durable_told_ = 0;
  uint64_t commits_until_failure_ = 0;  // 0: none
  bool failing_ = false;                // the store has failed: nothing leaves any more
  uint64_t loads_under_way_ = 0;        // and answers that no step has seen
  // For situations.
  std::map<std::string, std::string> name_by_route_;
  std::map<std::pair<uint64_t, uint32_t>, bool> revoked_;  // jobs asked back, by token and index
  std::map<std::string, uint64_t> counted_;
  std::set<uint64_t> restored_leases_;   // tokens
  std::set<uint64_t> unclaimed_leases_;  // of these: their workers did not come back yet
  struct PauseAsked {
    uint64_t request = 0;
    bool paused = false;
  };
  std::map<std::string, PauseAsked> pauses_asked_;  // by queue, the last one
  uint64_t last_admin_request_ = 0;
};

}  // namespace whippletree::sim
