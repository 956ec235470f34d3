// The broker's shell: moves frames between sockets and the core, writes between the core and the
// store, and decides nothing. One thread runs it; Stop, Snapshot and SetPolicies may come from
// others.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "broker/connection_guard.h"
#include "broker/core/broker.h"
#include "broker/disk_watch.h"
#include "broker/store/store.h"
#include "common/log_throttle.h"
#include "common/socket.h"

namespace whippletree {

class BrokerShell {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    // 0: each port is chosen by the system. Else submit and complete get the next two.
    uint32_t port = 7711;
    // Connections that take the process beyond so many descriptors are ended; 0: none is.
    int descriptors_max = 0;
    core::Config core{};
    // Opens the store of durable queues; empty: there are none.
    std::function<absl::StatusOr<std::unique_ptr<Store>>(StoreCallbacks)> open_store{};
    // The disk of that store.
    std::optional<DiskWatch::Options> disk{};
  };

  // Binds the sockets, opens the store and takes over what it has. Errors as Socket::Bind, naming
  // the address; those of open_store; DATA_LOSS: what is in the store does not fit together.
  static absl::StatusOr<std::unique_ptr<BrokerShell>> Start(Options options);

  uint32_t door_port() const { return door_port_; }
  uint32_t submit_port() const { return submit_port_; }
  uint32_t complete_port() const { return complete_port_; }

  // Until Stop().
  void Run();
  // Thread-safe and async-signal-safe.
  void Stop();
  // The status as the core has it now; null: only whether the core answers. False: it did not
  // within two seconds. Thread-safe.
  bool Snapshot(wire::StatusReply* status);
  // From now on queues are treated so. Thread-safe.
  void SetPolicies(core::Policies policies);
  // Why Run() returned by itself: the store does not work any more. REQUIRES: Run() has returned.
  const absl::Status& failure() const { return failure_; }
  // The same: the store works, but has less than what a peer was told of. Says what.
  const absl::Status& lost_commits() const { return lost_commits_; }
  std::string store() const { return store_->Describe(); }
  // For the last words. REQUIRES: Run() has returned.
  wire::StatusReply FinalStatus() const { return core_->Status(); }

 private:
  // Read from one socket before the next one has its turn.
  static constexpr int kFramesPerTurn = 512;
  static constexpr size_t kBytesPerTurn = 1 << 20;

  // A snapshot of many queues is made in several turns.
  struct SnapshotPart {
    uint64_t made = 0;  // snapshots_made_ when it is whole
    wire::StatusReply status;
  };

  BrokerShell() = default;
  absl::Status OpenStore(const Options& options);
  void Receive(Socket& socket, core::Channel channel);
  // To what the core counts.
  void AddCounters(wire::StatusReply* status) const;
  Socket::SendResult SendAtDoor(const std::string& route, wire::Envelope* message);
  // Answers what the core does not know: how policies are written.
  void AnswerPolicies(const std::string& route, const wire::AdminRequest& request);
  void Carry();  // the effects of a step
  void WriteLogs(const std::vector<LogEvent>& events);
  void WatchDisk();
  void AnswerSnapshots();
  // Adds the next queues or workers to it. True: it is whole.
  bool GoOn(wire::StatusReply* status) const;

  SocketContext context_;
  std::unique_ptr<Socket> door_;
  std::unique_ptr<Socket> submit_;
  std::unique_ptr<Socket> complete_;
  std::optional<ConnectionGuard> guard_;  // goes before the sockets
  uint32_t door_port_ = 0;
  uint32_t submit_port_ = 0;
  uint32_t complete_port_ = 0;
  std::unique_ptr<core::Broker> core_;
  LogThrottle throttle_;
  MonoTime next_summaries_{};
  // From each socket: fewer where they are more work than a step does. What others send is then
  // read sooner, and whoever sends much work gets no more than a turn.
  int frames_per_turn_ = kFramesPerTurn;
  std::vector<core::Input> inputs_;
  core::Effects effects_;
  std::string policies_;  // in force, as a configuration file
  absl::Status lost_commits_;
  std::optional<DiskWatch> disk_watch_;
  core::DiskState disk_told_ = core::DiskState::kOk;  // to the store

  WakeEvent wake_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable answered_;
  uint64_t durable_ = 0;              // of the store; guarded by mutex_
  absl::Status failure_;              // the same
  std::vector<core::Loaded> loaded_;  // the same
  uint64_t durable_told_ = 0;
  uint64_t snapshots_wanted_ = 0;                  // guarded by mutex_
  uint64_t snapshots_made_ = 0;                    // guarded by mutex_
  uint64_t statuses_wanted_ = 0;                   // the last of them with a status; the same
  wire::StatusReply snapshot_;                     // guarded by mutex_
  std::optional<SnapshotPart> snapshot_part_;      // of the next one; only the thread of Run()
  std::optional<core::Policies> policies_wanted_;  // guarded by mutex_
  std::string policies_wanted_text_;               // guarded by mutex_
  std::unique_ptr<Store> store_;                   // goes first: its thread calls back
};

}  // namespace whippletree
