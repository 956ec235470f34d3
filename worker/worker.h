// The worker library: runs jobs of queues with handlers of yours.
//
//   whippletree::Worker worker({.broker = "127.0.0.1:7711", .slots = 4});
//   worker.Handle("square", [](whippletree::JobContext&, std::string_view payload)
//                               -> absl::StatusOr<std::string> { return …; });
//   absl::Status status = worker.Run();
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "common/time.h"

namespace whippletree {

// What a handler is told about the job it runs, and its ear for the end of it.
// Thread-safe. Lives as long as the handler's call.
class JobContext {
 public:
  struct Job {
    std::string id;  // "<stream>-<number>": the same at each attempt
    std::string queue;
    uint32_t attempt = 1;        // from 1
    MonoTime deadline = kNever;  // when this attempt times out
  };

  explicit JobContext(Job job) : job_(std::move(job)) {}

  const std::string& id() const { return job_.id; }
  const std::string& queue() const { return job_.queue; }
  uint32_t attempt() const { return job_.attempt; }
  // kNever: no limit.
  MonoTime deadline() const { return job_.deadline; }

  // OK while the job should go on. CANCELLED once its producer cancelled it or the worker stops
  // at once; DEADLINE_EXCEEDED once its timeout passed. Cheap enough for an inner loop.
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

  // For the executor.
  void End(absl::StatusCode code);
  absl::Status worker_failure() const;

 private:
  const Job job_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::atomic<int> code_{0};
  std::function<void()> wake_;
  absl::Status worker_failure_;
};

// Returns the result, or why there is none. The status code decides what follows: INVALID_ARGUMENT
// and its like end the job as dead, UNAVAILABLE and its like let it be tried again
// (docs/protocol.md has the list). Called by several threads at a time when there are several
// slots. An exception that leaves it counts as INTERNAL.
using Handler =
    std::function<absl::StatusOr<std::string>(JobContext& context, std::string_view payload)>;

struct WorkerOptions {
  std::string broker = "127.0.0.1:7711";  // the door
  // Shown in logs and in status; made unique by the library.
  std::string name{};
  // Handler calls at a time.
  uint32_t slots = 1;
  // How long Run() tries to reach the broker at first; zero: for ever.
  Duration connect_timeout{0};
  // Gets what happens to the connection, one line each; from Run()'s thread.
  std::function<void(std::string_view line)> log{};
};

// Not thread-safe, except Drain() and Stop(), which are async-signal-safe too.
class Worker {
 public:
  explicit Worker(WorkerOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Runs jobs of `queue` with `handler`. REQUIRES: Run() has not been called.
  void Handle(std::string queue, Handler handler);

  // Runs jobs until Drain() or Stop() has taken effect; reconnects by itself.
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
