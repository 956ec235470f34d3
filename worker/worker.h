// The worker library: runs jobs of queues with handlers of yours.
//
//   whippletree::Worker worker({.broker = "127.0.0.1:7711", .slots = 4});
//   worker.Handle("square", [](whippletree::JobContext&, std::string_view payload)
//                               -> absl::StatusOr<std::string> { return …; });
//   absl::Status status = worker.Run();  // until SIGTERM or SIGINT
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/time.h"

namespace whippletree {

// Options of a follow-on job.
struct FollowOnOptions {
  Duration timeout{0};        // of an attempt; zero: the queue's own policy
  uint32_t max_attempts = 0;  // at most 1000; 0: the queue's own policy
  std::string key{};          // the line inside the queue; at most 256 bytes of UTF-8

  friend bool operator==(const FollowOnOptions&, const FollowOnOptions&) = default;
};

// Consecutive follow-on jobs of one job, for one queue, with the same options. Payloads lie end to
// end in `block`.
struct FollowOnRun {
  size_t job;  // whose they are: its index in the handler's call
  std::string queue;
  FollowOnOptions options;
  std::vector<uint32_t> sizes;
  std::string block;
};

// Of one handler call.
inline constexpr uint64_t kFollowOnJobsMax = 65'536;
inline constexpr uint64_t kFollowOnBytesMax = 64u << 20;

// What the contexts of a job and of a batch share: the ear for the end of a handler's call.
// Thread-safe. Lives as long as the call.
class CallContext {
 public:
  CallContext(const CallContext&) = delete;
  CallContext& operator=(const CallContext&) = delete;

  const std::string& queue() const { return queue_; }
  // When this attempt times out, on the clock of ReadMonoClock(). kNever: no limit.
  MonoTime deadline() const { return deadline_; }
  // How long it has until then; 0: it has timed out. Duration::max(): no limit.
  Duration time_left() const;

  // OK while the call should go on. CANCELLED once its jobs were cancelled by their producers or
  // the worker stops at once; DEADLINE_EXCEEDED once the timeout passed. Cheap enough for an inner
  // loop.
  absl::Status status() const;

  // Blocks for `duration`, or until status() is no longer OK. Returns status().
  absl::Status SleepFor(Duration duration);

  // Calls `wake` once when status() stops being OK (at once if it has), from another thread; it
  // must be quick. Handlers that wait in a system call of their own use it. Nullptr removes it:
  // once this returns the old one is neither running nor called again.
  void OnEnd(std::function<void()> wake);

  // For a fault that no job can be run with (say, a program that does not exist): Run() stops
  // and returns `why`, and the jobs that this worker holds go to other workers.
  void FailWorker(absl::Status why);

  // For a fault of this machine that may pass: the jobs of this call go back to their queue, as if
  // they had not been started, whatever the handler returns. They may come again at once: return
  // late where that would go round in circles. Of a batch whose jobs are run in turn, the job fails
  // with UNAVAILABLE instead.
  void HandBack();

  // For the executor.
  bool handed_back() const { return handed_back_.load(std::memory_order_acquire); }
  void End(absl::StatusCode code);
  absl::Status worker_failure() const;
  std::vector<FollowOnRun> TakeFollowOns();

 protected:
  CallContext(std::string queue, MonoTime deadline)
      : queue_(std::move(queue)), deadline_(deadline) {}
  ~CallContext() = default;
  absl::Status AddFollowOn(size_t job, std::string queue, std::string_view payload,
                           FollowOnOptions options);

 private:
  const std::string queue_;
  const MonoTime deadline_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::atomic<int> code_{0};
  std::function<void()> wake_;
  std::atomic<bool> asked_{false};  // FailWorker or AddFollowOn was called: most calls do neither
  std::atomic<bool> handed_back_{false};
  absl::Status worker_failure_;
  std::vector<FollowOnRun> follow_ons_;
  uint64_t follow_on_jobs_ = 0;
  uint64_t follow_on_bytes_ = 0;
};

// What a handler is told about the job it runs.
class JobContext : public CallContext {
 public:
  struct Job {
    std::string id{};  // "<stream>-<number>": the same at each attempt
    std::string queue;
    uint32_t attempt = 1;        // from 1
    MonoTime deadline = kNever;  // when this attempt times out
    // Instead of `id`, which is then made of these when it is asked for.
    uint64_t stream = 0;
    uint64_t number = 0;
  };

  explicit JobContext(Job job)
      : CallContext(std::move(job.queue), job.deadline),
        stream_(job.stream),
        number_(job.number),
        attempt_(job.attempt),
        id_(std::move(job.id)) {}

  const std::string& id() const;
  uint32_t attempt() const { return attempt_; }

  // Adds a follow-on job: one for another queue, accepted together with this job's result. If this
  // job does not complete, its follow-on jobs are forgotten.
  // INVALID_ARGUMENT: a bad queue name or option. RESOURCE_EXHAUSTED: more than kFollowOnJobsMax
  // or kFollowOnBytesMax. Nothing is added then.
  absl::Status Submit(std::string queue, std::string_view payload, FollowOnOptions options = {}) {
    return AddFollowOn(0, std::move(queue), payload, std::move(options));
  }

 private:
  const uint64_t stream_;
  const uint64_t number_;
  const uint32_t attempt_;
  mutable std::once_flag id_made_;
  mutable std::string id_;
};

// What a batch handler is told about the jobs it runs; `i` counts them from 0.
class BatchContext : public CallContext {
 public:
  struct Job {
    std::string id;
    uint32_t attempt = 1;
  };

  // `deadline` is that of the job with the shortest timeout.
  BatchContext(std::string queue, std::vector<Job> jobs, MonoTime deadline = kNever)
      : CallContext(std::move(queue), deadline), jobs_(std::move(jobs)) {}

  size_t size() const { return jobs_.size(); }
  // REQUIRES: i < size().
  const std::string& id(size_t i) const { return jobs_.at(i).id; }
  uint32_t attempt(size_t i) const { return jobs_.at(i).attempt; }

  // As JobContext::Submit; the follow-on job is one of job `i`. REQUIRES: i < size().
  absl::Status Submit(std::string queue, std::string_view payload, FollowOnOptions options = {},
                      size_t i = 0);

 private:
  const std::vector<Job> jobs_;
};

// Returns the result, or why there is none. The status code decides what follows: INVALID_ARGUMENT
// and its like end the job as dead, UNAVAILABLE and its like let it be tried again
// (docs/protocol.md has the list). Called by several threads at a time when there are several
// slots. An exception that leaves it counts as INTERNAL.
using Handler =
    std::function<absl::StatusOr<std::string>(JobContext& context, std::string_view payload)>;

// One result or status for each job, in their order; or one status for the whole batch. Another
// number of results fails the whole batch with INTERNAL, and so does an exception.
using BatchResults = absl::StatusOr<std::vector<absl::StatusOr<std::string>>>;
using BatchHandler =
    std::function<BatchResults(BatchContext& context, std::span<const std::string_view> payloads)>;

// For a batch handler that gives no results: all `n` jobs are completed, with empty ones.
BatchResults CompletedAll(size_t n);

// RESOURCE_EXHAUSTED: the job is tried again, and no job of its queue is started before `delay` has
// passed. For a handler whose service asks it to come back later.
absl::Status RetryAfter(Duration delay, std::string_view message);

struct WorkerOptions {
  std::string broker = "127.0.0.1:7711";  // the door
  // Shown in logs and in status; made unique by the library.
  std::string name{};
  // Handler calls at a time.
  uint32_t slots = 1;
  // How long a handler may need to return when its job's timeout has passed, and seconds are not
  // enough: the broker waits so much longer before it gives the job to somebody else.
  Duration end_grace{0};
  // How long Run() tries to reach the broker at first; zero: for ever.
  Duration connect_timeout{0};
  // Gets what happens to the connection, one line each; from Run()'s thread.
  std::function<void(std::string_view line)> log{};
  // While Run() runs, the first SIGTERM or SIGINT does what Drain() does, and a second one what
  // Stop() does. Where the program handles or ignores one of them, that one is left alone; false:
  // both are.
  bool handle_signals = true;
};

// Not thread-safe, except Drain() and Stop(), which are async-signal-safe too.
class Worker {
 public:
  explicit Worker(WorkerOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Runs jobs of `queue` with `handler`; those of a batch in turn, in one slot.
  // REQUIRES: Run() has not been called.
  void Handle(std::string queue, Handler handler);
  // Runs batches of `queue` with `handler`. A job that does not come in a batch is a batch of one,
  // unless the queue has a handler by Handle() too, which runs it then.
  // REQUIRES: Run() has not been called.
  void HandleBatch(std::string queue, BatchHandler handler);

  // Runs jobs until Drain(), Stop() or a signal has taken effect; reconnects by itself.
  // Returns OK after these; else why it cannot go on: UNAVAILABLE (no broker within
  // connect_timeout), FAILED_PRECONDITION (refused by the broker, or no handler), or what a
  // handler gave to FailWorker.
  absl::Status Run();

  // Takes no new jobs, finishes the running ones, has them confirmed, and lets Run() return.
  void Drain();
  // The same at once: ends the running jobs with an error, so that they are tried again elsewhere
  // if they have attempts left.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace whippletree
