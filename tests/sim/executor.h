// Stands for worker/executor.h: the same calls with the same meaning, in virtual time. The
// handlers are those of job_spec.h.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/prng.h"
#include "common/run.h"
#include "tests/sim/event_loop.h"
#include "tests/sim/history.h"
#include "tests/sim/options.h"
#include "wire.pb.h"
#include "worker/session.h"

namespace whippletree::sim {

class SimExecutor {
 public:
  struct Hooks {
    std::function<void()> notify;  // TakeEvents has something new
    std::function<void()> die;     // a job kills the process
  };
  SimExecutor(EventLoop* loop, History* history, std::string worker, uint32_t slots, uint64_t seed,
              Hooks hooks);
  ~SimExecutor();

  struct Events {
    struct Finished {
      uint64_t token;
      uint32_t index;
      absl::StatusOr<std::string> result;
      Duration run_time;
      std::vector<wire::FollowOn> follow_ons;
    };
    struct FinishedBatch {
      uint64_t token;
      BatchOutcome outcome;
      Duration run_time;
    };
    std::vector<std::pair<uint64_t, uint32_t>> started;
    std::vector<Finished> finished;
    std::vector<FinishedBatch> batches;
    std::vector<std::pair<uint64_t, uint32_t>> recalled;
  };
  void TakeEvents(Events* events) { *events = std::exchange(events_, Events{}); }

  void Run(wire::Delivery delivery);
  void Recall(const wire::JobRange& range);
  void Cancel(const wire::JobRange& range);
  void Drop(uint64_t token);
  void StopAll();
  // While it does, its handlers ignore their end, and some take long.
  void Hoard(bool hoards) { hoards_ = hoards; }
  // From now on no handler takes long.
  void Hurry() { hurry_ = true; }

  // The process stands still until Resume.
  void Pause() { paused_ = true; }
  void Resume();
  size_t running() const { return running_.size(); }

 private:
  static constexpr Duration kServiceMax = milliseconds(20);  // of those in a hurry

  struct Lease {
    wire::Delivery delivery;
    RunData run;
    std::deque<uint32_t> waiting;  // positions in run
    uint32_t IndexOf(uint32_t position) const {
      return delivery.indexes_size() > 0 ? delivery.indexes(static_cast<int>(position)) : position;
    }
  };
  struct RunningJob {
    uint32_t index;
    uint32_t attempt;
    JobSpec spec;
    std::string payload;
  };
  // One call of a handler: several jobs if it is a batch.
  struct Running {
    std::shared_ptr<Lease> lease;
    std::vector<RunningJob> jobs;
    bool ignores_cancel = false;
    MonoTime begin;
    MonoTime end;
    absl::StatusCode ended = absl::StatusCode::kOk;  // why its context ended
  };

  void Start();
  void Plan(uint64_t id);
  void End(Running* running, uint64_t id, absl::StatusCode code);
  void Finish(uint64_t id);
  absl::StatusOr<std::string> ResultFor(const RunningJob& job) const;
  void FinishJob(const Running& running);
  void FinishBatch(const Running& running);
  std::vector<wire::FollowOn> FollowOnsOf(const RunningJob& job);

  EventLoop* const loop_;
  History* const history_;
  const std::string worker_;
  const uint32_t slots_;
  Prng prng_;
  const Hooks hooks_;
  std::deque<std::shared_ptr<Lease>> leases_;  // with waiting jobs, in order
  std::map<uint64_t, Running> running_;        // by the number of the start
  uint64_t last_start_ = 0;
  Events events_;
  bool paused_ = false;
  bool stopped_ = false;
  bool hurry_ = false;
  bool hoards_ = false;
  // Events of the loop outlive us.
  std::shared_ptr<SimExecutor*> self_ = std::make_shared<SimExecutor*>(this);
};

}  // namespace whippletree::sim
