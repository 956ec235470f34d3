// Runs a started program to its end: feeds it, reads what it writes, kills it when told to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/time.h"
#include "worker/child_process.h"
#include "worker/process_guard.h"

namespace whippletree {

struct ChildRunOptions {
  std::string_view input;
  // More output than this: the process group is killed.
  uint64_t output_bytes_max = 0;
  // The same of what it writes to descriptor 3.
  uint64_t follow_on_bytes_max = 0;
  // When this descriptor becomes readable, the process group is told to end; -1: never.
  int end_fd = -1;
  // Between SIGTERM and SIGKILL then; zero: SIGKILL at once.
  Duration kill_grace{0};
};

struct ChildRunResult {
  std::string output;
  std::string follow_ons;  // what it wrote to descriptor 3
  // The end of what it wrote to standard error, fit for people; empty if there is nothing to see.
  std::string errors;
  // As waitpid() gives it.
  int wait_status = 0;
  // Why it was killed from here, if it was.
  bool wrote_too_much = false;
  bool wrote_too_many_follow_ons = false;
  bool was_told_to_end = false;
};

// Returns once the program has ended, its process group is killed, and it has been waited for.
// Sizes do not matter, nor which stream is used first; the program need not read its input.
// Output counts that is written before the program itself ends: nobody waits for a process that has
// escaped the group and holds the streams open. Writes to a closed pipe: REQUIRES that SIGPIPE is
// ignored.
ChildRunResult RunToEnd(ChildProcess child, ProcessGuard::Entry* entry,
                        const ChildRunOptions& options);

}  // namespace whippletree
