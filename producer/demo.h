// `whippletree-producer demo`: shows patterns at work. What it promises to its user is the manual
// in flags.cc.
#pragma once

#include <string>
#include <vector>

namespace whippletree {

struct DemoOptions {
  std::string broker;
  std::vector<std::string> patterns;  // names; "all": every one
  bool list = false;                  // only say which there are
};

// Empty: these patterns exist. Else what is wrong with them, for people.
std::string DemoPatternsError(const std::vector<std::string>& patterns);

// Runs the command and returns the exit code. Takes over SIGINT and SIGTERM of the process; at most
// once in a process. REQUIRES: DemoPatternsError(options.patterns) is empty.
int RunDemo(const DemoOptions& options);

}  // namespace whippletree
