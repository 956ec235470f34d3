// One target is one way in for bytes that nobody wrote. A file NAME_fuzz.cc has one, which
// registers itself; libFuzzer calls it with one input after the other, and the test fuzz_corpus
// with those that are kept in corpus/NAME.
//
// An input is bad only for what it does to the program: a CHECK that fails, a sanitizer's finding,
// no end, no end of memory. So targets check nothing but what always holds, and depend on nothing
// but the input: the same bytes do the same again.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

namespace whippletree::fuzz {

using Target = void (*)(std::string_view input);

// By name.
inline std::map<std::string, Target>& Targets() {
  static std::map<std::string, Target> targets;
  return targets;
}

struct RegisterTarget {
  RegisterTarget(const char* name, Target target) { Targets()[name] = target; }
};

// What targets are there to bring about, and how often their inputs have. The test fuzz_corpus
// says where that is never: what reaches nothing finds nothing.
inline std::map<std::string_view, uint64_t>& Reached() {
  static std::map<std::string_view, uint64_t> reached;
  return reached;
}

// For promises that hold whatever comes in.
inline void Require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace whippletree::fuzz
