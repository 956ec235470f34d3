// Runs jobs in threads, one for each slot, and tells what became of them. All decisions are the
// session's; all calls come from its thread.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/run.h"
#include "common/time.h"
#include "wire.pb.h"
#include "worker/worker.h"

namespace whippletree {

class Executor {
 public:
  // `notify` is called from any slot's thread when TakeEvents has something new.
  Executor(uint32_t slots, std::map<std::string, Handler> handlers, std::function<void()> notify);
  // Ends running jobs and waits for their handlers to return.
  ~Executor();

  struct Events {
    struct Finished {
      uint64_t token;
      uint32_t index;
      absl::StatusOr<std::string> result;
      Duration run_time;
    };
    std::vector<std::pair<uint64_t, uint32_t>> started;  // those not sent to a free slot
    std::vector<Finished> finished;
    std::vector<std::pair<uint64_t, uint32_t>> recalled;
    absl::Status worker_failure;  // a handler called FailWorker
  };
  // Moves what happened since the last call into `events`.
  void TakeEvents(Events* events);

  void Run(wire::Delivery delivery);
  // Takes back jobs of the range that have not been started.
  void Recall(const wire::JobRange& range);
  // The same, and ends those that run with CANCELLED.
  void Cancel(const wire::JobRange& range);
  // Forgets the lease; its running jobs are ended.
  void Drop(uint64_t token);
  // Ends all running jobs; what fails from now on is UNAVAILABLE.
  void StopAll();

  // Ends jobs whose timeout has passed. Returns when to call again.
  MonoTime CheckDeadlines(MonoTime now);

 private:
  // A delivery whose jobs are being started.
  struct Lease {
    wire::Delivery delivery;
    RunData run;
    std::deque<uint32_t> waiting;  // positions in run
    uint32_t IndexOf(uint32_t position) const {
      return delivery.indexes_size() > 0 ? delivery.indexes(static_cast<int>(position)) : position;
    }
  };
  struct Running {
    uint64_t token;
    uint32_t index;
    JobContext* context;
  };

  void RunSlot();
  void TakeBack(Lease& lease, const wire::JobRange& range);
  void AddEvent();

  const std::map<std::string, Handler> handlers_;
  const std::function<void()> notify_;

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::shared_ptr<Lease>> leases_;  // with waiting jobs, in order
  std::vector<Running> running_;
  Events events_;
  bool notified_ = false;
  bool stopped_ = false;  // StopAll was called
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace whippletree
