// How a run ends that shows a fault: thrown by a check, caught where runs are started.
#pragma once

#include <stdexcept>
#include <string>

namespace whippletree::sim {

enum class FailureKind { kCrash, kLiveness, kCorrectness };

struct Failure : std::runtime_error {
  // `check`: the invariant's number in docs/simulation, or a name ("crash").
  Failure(FailureKind k, std::string c, const std::string& what)
      : std::runtime_error(c + ": " + what), kind(k), check(std::move(c)) {}
  FailureKind kind;
  std::string check;
};

[[noreturn]] inline void Violation(const std::string& check, const std::string& what) {
  throw Failure(FailureKind::kCorrectness, check, what);
}

}  // namespace whippletree::sim
