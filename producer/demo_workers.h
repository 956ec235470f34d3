// Worker processes of the demo: programs beside this one, which never outlive it.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/time.h"

namespace whippletree {

// The path of a program of ours: in the folder of this process's program, else just `name`, for
// PATH.
std::string SiblingProgram(const std::string& name);

// Runs a program to its end, and returns what it wrote to stdout. UNAVAILABLE: it cannot be
// started, or it failed; the message has what it wrote to stderr.
absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& argv);

// Not thread-safe. Processes are killed when the thread that started them ends.
class DemoWorkers {
 public:
  explicit DemoWorkers(std::string broker) : broker_(std::move(broker)) {}
  // SIGTERM to all, and SIGKILL to those that do not end within 5 s.
  ~DemoWorkers();
  DemoWorkers(const DemoWorkers&) = delete;
  DemoWorkers& operator=(const DemoWorkers&) = delete;

  // Starts `count` workers with `args` besides --broker and --name. Their names are `name`-1,
  // `name`-2, … and go on where an earlier start ended.
  // UNAVAILABLE: the program cannot be started.
  absl::Status Start(const std::string& name, int count, const std::vector<std::string>& args);

  // True when all have reached the broker. UNAVAILABLE: one has ended, with what it said.
  absl::StatusOr<bool> Connected();

  // Stops a worker without a word, so that it keeps what it is given: SIGSTOP.
  // REQUIRES: it was started and not killed.
  void Freeze(const std::string& name);
  // kill -9. Returns its process id. REQUIRES: as for Freeze.
  pid_t Kill(const std::string& name);

  // What the workers wrote to stderr, with their names: the last lines of each.
  std::string Output() const;

 private:
  struct Worker {
    std::string name;
    pid_t pid = 0;   // 0: has ended
    int output = 0;  // its stderr: a file without a name, in memory
    bool connected = false;
  };

  Worker& Find(const std::string& name);

  const std::string broker_;
  std::vector<Worker> workers_;
  std::map<std::string, int> started_;  // by name
};

}  // namespace whippletree
