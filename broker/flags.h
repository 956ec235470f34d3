// The command line of whippletree-broker.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "broker/client.h"
#include "broker/serve_options.h"

namespace whippletree {

struct BrokerFlags {
  enum class Command {
    kServe,
    kStatus,
    kLedger,
    kPause,
    kResume,
    kDropQueue,
    kJobs,  // and those of dead jobs
    kCheckConfig,
    kShowConfig,
    kRunningConfig,
    kCheckStore,
  };

  Command command = Command::kServe;
  ServeOptions serve;
  ClientOptions client;
  bool json = false;
  std::string queue;  // to pause, to resume or to drop: a valid name
  std::string file;
  std::string data_dir;
  PolicyOptions shown;
  // Of kJobs: does it, and returns the exit code.
  std::function<int()> run_jobs;
};

// Takes the arguments, without the program's name. Nullopt: go on. Else what to exit with, as of
// ParseCommandLine().
std::optional<int> ParseBrokerFlags(std::vector<std::string> args, BrokerFlags* flags);

}  // namespace whippletree
