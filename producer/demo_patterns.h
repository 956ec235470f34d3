// The patterns that the demo shows.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "producer/demo_stage.h"

namespace whippletree {

// What a pattern's run came to.
struct DemoResult {
  std::map<OutcomeKind, uint64_t> outcomes;
  std::vector<std::string> lines;  // to be compared with ExpectedLines()
  std::string problem;             // what else is wrong; empty: nothing

  void Count(const std::vector<Outcome>& ended);
  uint64_t jobs() const;
};

struct DemoPattern {
  std::string_view name;
  std::string_view watch;  // a sentence: what there is to see
  // Plays it. An error ends the pattern, and `result` is what there was until then.
  absl::Status (*run)(DemoStage& stage, DemoResult* result);
};

// In the order in which they are shown.
std::span<const DemoPattern> DemoPatterns();

// demo_pools.cc
absl::Status RunProducerConsumer(DemoStage& stage, DemoResult* result);
absl::Status RunWorkerPool(DemoStage& stage, DemoResult* result);
absl::Status RunBatch(DemoStage& stage, DemoResult* result);
absl::Status RunFan(DemoStage& stage, DemoResult* result);
// demo_failures.cc
absl::Status RunCircuitBreaker(DemoStage& stage, DemoResult* result);
absl::Status RunErrors(DemoStage& stage, DemoResult* result);
absl::Status RunTimeout(DemoStage& stage, DemoResult* result);
// demo_pipelines.cc
absl::Status RunMapReducePattern(DemoStage& stage, DemoResult* result);
absl::Status RunComposition(DemoStage& stage, DemoResult* result);

}  // namespace whippletree
