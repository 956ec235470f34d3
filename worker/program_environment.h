// The environment of a program: what this process's environment gives to it.
#pragma once

#include <string>
#include <vector>

namespace whippletree {

struct EnvironmentOptions {
  // Only PATH, HOME, LANG and `keep` are inherited; else all is, but for variables of Whippletree.
  bool clean = false;
  std::vector<std::string> keep{};  // names
  // Its WHIPPLETREE_BROKER, unless empty: a program may submit jobs itself. Of the others of that
  // kind none is inherited: a worker's name, say, would be that of a producer in its program.
  std::string broker{};
};

// As NAME=VALUE. Reads this process's environment: not while another thread changes it.
std::vector<std::string> ProgramEnvironment(const EnvironmentOptions& options);

// Why `name` cannot be one of `keep`; empty: it can.
std::string KeptNameError(const std::string& name);

}  // namespace whippletree
