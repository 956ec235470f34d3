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
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/interval_set.h"
#include "common/run.h"
#include "common/time.h"
#include "wire.pb.h"
#include "worker/handler_call.h"
#include "worker/job_events.h"
#include "worker/session.h"
#include "worker/worker.h"

namespace whippletree {

class Executor {
 public:
  // `notify` is called from any slot's thread when TakeEvents has something new.
  // Each queue has a handler for jobs, for batches or for both.
  Executor(uint32_t slots, std::map<std::string, QueueHandlers> handlers,
           std::function<void()> notify);
  // Ends running jobs and waits for their handlers to return.
  ~Executor();

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
    // Those not sent to a free slot; and the jobs of batches that are run one after the other.
    std::vector<StartedJobs> started;
    std::vector<CompletedJobs> completed;
    std::vector<Finished> finished;  // the others, of jobs by themselves
    size_t jobs = 0;                 // in these two
    std::vector<FinishedBatch> finished_batches;
    std::vector<std::pair<uint64_t, uint32_t>> recalled;
    absl::Status worker_failure;  // a handler called FailWorker

    // Keeps the memory.
    void Clear();
  };
  // Replaces `events` by what happened since the last call. Whoever passes the same object again
  // spares the allocations.
  void TakeEvents(Events* events);

  void Run(wire::Delivery delivery);
  // Takes back jobs of the range that have not been started.
  void Recall(const wire::JobRange& range);
  // The same, and ends those that run with CANCELLED; a call that runs a batch only when all its
  // jobs are cancelled.
  void Cancel(const wire::JobRange& range);
  // Forgets the lease; its running jobs are ended.
  void Drop(uint64_t token);
  // Ends all running jobs; what fails from now on is UNAVAILABLE.
  void StopAll();

  // Ends jobs whose timeout has passed. Returns when to call again, and TakeEvents, at the latest.
  MonoTime CheckDeadlines(MonoTime now);

 private:
  // A delivery whose jobs are being started.
  struct Lease {
    wire::Delivery delivery;
    RunData run;
    const QueueHandlers* handlers;
    std::deque<uint32_t> waiting;  // positions in run
  };
  // A thread, and what it runs: a job or a batch.
  struct Slot {
    // When it was last seen to be free: calls that follow each other share one reading.
    MonoTime now{};
    uint64_t token = 0;                   // of what it runs; 0: nothing
    std::span<const uint32_t> indexes{};  // of the jobs of the handler's call, ascending
    CallContext* context = nullptr;       // of the call, while there is one
    IntervalSet cancelled{};              // indexes
    bool handed_back = false;             // the handler's call did that

    void Take(uint64_t token, std::span<const uint32_t> indexes);
    bool AllCancelled() const;
  };

  void RunSlot(Slot* slot);
  // These run what `slot` took from `lease`. REQUIRES: `lock` holds mutex_; it is released
  // meanwhile.
  void RunJob(Slot* slot, const Lease& lease, uint32_t position,
              std::unique_lock<std::mutex>& lock);
  void RunBatch(Slot* slot, const Lease& lease, std::unique_lock<std::mutex>& lock);
  BatchResults RunWhole(Slot* slot, const Lease& lease, std::vector<wire::FollowOn>* follow_ons,
                        std::unique_lock<std::mutex>& lock);
  BatchResults RunInTurn(Slot* slot, const Lease& lease, std::vector<wire::FollowOn>* follow_ons,
                         std::unique_lock<std::mutex>& lock);
  // A job in a call of its own, by either handler.
  absl::StatusOr<std::string> RunOne(Slot* slot, const Lease& lease, uint32_t position,
                                     const DeliveredJob& job,
                                     std::vector<wire::FollowOn>* follow_ons,
                                     std::unique_lock<std::mutex>& lock);
  absl::StatusOr<std::string> RunBatchOfOne(Slot* slot, const Lease& lease, uint32_t position,
                                            const DeliveredJob& job,
                                            std::vector<wire::FollowOn>* follow_ons,
                                            std::unique_lock<std::mutex>& lock);
  // Calls `call` with mutex_ released, `context` being that of what runs, and takes its follow-on
  // jobs. Then says what its end means for the result, or results: a timeout or a stop of the
  // worker overrides them.
  template <typename Result, typename Call>
  Result InCall(Slot* slot, CallContext* context, uint32_t timeout_ms,
                std::vector<wire::FollowOn>* follow_ons, std::unique_lock<std::mutex>& lock,
                const Call& call);
  void TakeBack(Lease& lease, const wire::JobRange& range);
  void HandBack(const Slot& slot);
  // Ends what runs of the lease, as far as all of a call is cancelled.
  void CancelRunning(uint64_t token, uint64_t begin, uint64_t end);
  // Something is to be taken now.
  void AddEvent();
  // Something is to be taken soon, if quick jobs follow each other; else now.
  void AddQuickEvent();
  void AddFinished(Events::Finished finished);

  const std::map<std::string, QueueHandlers> handlers_;
  const std::function<void()> notify_;

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::shared_ptr<Lease>> leases_;  // with waiting jobs, in order
  std::vector<Slot> slots_;
  Events events_;
  bool notified_ = false;
  bool quick_ = false;    // jobs that follow each other are told of together
  bool stopped_ = false;  // StopAll was called
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace whippletree
