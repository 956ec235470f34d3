// What the demo submits and what it expects back. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace whippletree {

// One of demo/texts, which are part of the program.
struct DemoText {
  std::string_view name;
  std::string_view text;
};
std::span<const DemoText> DemoTexts();

// `first` to `last`, times `factor`.
std::vector<std::string> DemoNumbers(int64_t first, int64_t last, int64_t factor = 1);
// The 25 sentences of fan-out.
std::vector<std::string> DemoSentences();
// The 11 operations of the circuit breaker: 1 fails.
std::vector<std::string> DemoOperations();
// The 10 durations of timeout: every other one is longer than an attempt may take.
std::vector<std::string> DemoDurations();

// What a pattern's run must come to, line by line, in the order of its jobs; the same as in
// tests/golden. Of the circuit breaker only the outcomes, not what it becomes in between.
// REQUIRES: there is such a pattern.
std::vector<std::string> ExpectedLines(std::string_view pattern);
// How often the circuit breaker opens.
inline constexpr uint64_t kBreakerOpenings = 2;

}  // namespace whippletree
