// The command line of whippletree-worker.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/log.h"
#include "common/time.h"
#include "worker/worker.h"

namespace whippletree {

struct WorkerFlags {
  std::vector<std::string> queues;
  std::string handler;
  std::vector<std::string> exec;  // the command and its arguments
  bool list_handlers = false;
  Duration kill_grace{0};
  bool nul = false;
  std::string lines = "fail";
  std::vector<std::string> environment;
  std::string follow_on;
  WorkerOptions worker;
  LogOptions log;
};

// Takes the arguments, without the program's name. Nullopt: go on. Else what to exit with, as of
// ParseCommandLine().
std::optional<int> ParseWorkerFlags(std::vector<std::string> args, WorkerFlags* flags);

// Prints what is wrong with them, and returns the exit code.
int WorkerUsageError(std::string_view message);

}  // namespace whippletree
