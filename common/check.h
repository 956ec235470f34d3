// CHECK: broken internal state ends the process, in every build. Never for remote input.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace whippletree {

// For tests: called instead of ending the process. Must not return.
inline void (*check_failed_handler)(const char* condition, const char* file, int line) = nullptr;

[[noreturn]] inline void CheckFailed(const char* condition, const char* file, int line) {
  if (check_failed_handler != nullptr) check_failed_handler(condition, file, line);
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace whippletree

#define WT_CHECK(condition)                                       \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      ::whippletree::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (false)
