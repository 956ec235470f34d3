// Makes any program a handler: one process for each job or batch.
//
// The payload is the program's standard input, its result is what it wrote to standard output
// before it ended, byte for byte. No shell takes part. It need not read its input.
//
// For a batch it gets one job a line and writes one result a line (or NUL-ended pieces instead), or
// nothing at all: then all results are empty. Another number of lines: all jobs are dead at once,
// since what the program did for them it would do again. A payload with the separator in it fails
// alone, with INVALID_ARGUMENT; the program gets the rest.
//
//   exit code 0            completed
//   65 (EX_DATAERR)        INVALID_ARGUMENT: dead at once
//   75 (EX_TEMPFAIL)       UNAVAILABLE: tried again. With a line `retry-after: 2s` near the end of
//                          standard error: RESOURCE_EXHAUSTED, the whole queue waits so long, at
//                          most 1h
//   others, or a signal    UNKNOWN: by the queue's retry policy
//
// A program that cannot be started, and never was, is a fault of this machine: the worker stops,
// its jobs go to others. Where that may pass (it was started before; no process, memory or
// descriptor is left; its file is being written) it is tried for two seconds, then the jobs go
// back, uncharged.
//
// The message has the end of what it wrote to standard error. WHIPPLETREE_JOB_ID,
// WHIPPLETREE_JOB_QUEUE, WHIPPLETREE_JOB_ATTEMPT, WHIPPLETREE_BATCH_SIZE (1 for a job by itself)
// and WHIPPLETREE_FOLLOW_ON_FD are added to its environment; in a batch id and attempt are those of
// the first job, and WHIPPLETREE_JOB_IDS_FD is a file with the ids of all, one a line.
//
// Follow-on jobs are lines QUEUE<TAB>PAYLOAD on file descriptor 3; those of a batch belong to its
// first job. A bad line fails that job with INVALID_ARGUMENT.
//
// Each program is the first of a session, without a terminal, and of its process group. The group
// is killed when the job times out, is cancelled or writes too much, when the worker dies, and also
// when the program has ended: what it leaves running in the background goes with it, and what those
// still write is not read. Only processes that move to another group or session (setsid) escape.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/time.h"
#include "worker/handler_call.h"
#include "worker/process_guard.h"
#include "worker/program_environment.h"
#include "worker/worker.h"

namespace whippletree {

struct ExecOptions {
  // The program, looked up in PATH if it has no '/', and its arguments.
  std::vector<std::string> argv;
  // More output than this ends the job as dead (OUT_OF_RANGE). The broker's own limit is checked
  // by the library; this one keeps a program gone wild from filling the worker's memory.
  uint64_t result_bytes_max = 64u << 20;
  // Between SIGTERM and SIGKILL at timeout and cancel; zero: SIGKILL at once.
  Duration kill_grace{0};
  // What ends each payload and each result of a batch: '\n' or '\0'.
  char separator = '\n';
  // A batch with a wrong number of results is tried again, in halves: for a program that does
  // nothing but answer.
  bool retry_wrong_count = false;
  EnvironmentOptions environment{};
  // Gets why the program cannot be started now; from any thread.
  std::function<void(const absl::Status& why)> on_not_started{};
  // Gets what a program of the queue said and does not count as it stands; from any thread.
  std::function<void(const std::string& queue, const std::string& warning)> on_odd_line{};
};

// From now on this process ignores SIGPIPE (its programs do not). `guard` may be nullptr, then
// background processes of a program outlive a worker killed with -9; else it outlives the handler.
// The handlers are thread-safe. REQUIRES: !options.argv.empty(), and that 0, 1 and 2 are open.
QueueHandlers MakeExecHandlers(ExecOptions options, ProcessGuard* guard);

}  // namespace whippletree
