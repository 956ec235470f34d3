// `--name value` pairs of the drivers' command lines, which only tests/bench/run writes.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace whippletree::bench {

class Flags {
 public:
  // An argument that is no pair, or a number that is none, ends the process.
  Flags(int argc, char** argv);

  std::string Text(const std::string& name, const std::string& otherwise);
  uint64_t Number(const std::string& name, uint64_t otherwise);
  double Real(const std::string& name, double otherwise);
  // Ends the process if a flag was given that nobody asked for.
  void Done() const;

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace whippletree::bench
