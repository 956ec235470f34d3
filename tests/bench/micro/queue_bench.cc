// Runs through a queue of the core, from the end of a line to its front, with none and with ten
// million jobs waiting.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "broker/core/job_queue.h"

namespace whippletree::core {
namespace {

Slice Run(uint64_t first, uint32_t jobs, const std::shared_ptr<const wire::JobOptions>& options) {
  const std::string payload(100, 'x');
  Slice slice;
  slice.data = std::make_shared<RunData>();
  for (uint32_t i = 0; i < jobs; ++i) slice.data->Append(payload);
  slice.end = jobs;
  slice.stream = 1;
  slice.first = first;
  slice.options = options;
  return slice;
}

// range(0): jobs in a run; range(1): waiting jobs.
void BM_Queue(benchmark::State& state) {
  const auto jobs = static_cast<uint32_t>(state.range(0));
  const auto options = std::make_shared<const wire::JobOptions>();
  JobQueue queue;
  uint64_t next = 1;
  for (; next <= static_cast<uint64_t>(state.range(1)); next += 1000) {
    queue.Push(Run(next, 1000, options));
  }
  for (auto _ : state) {
    queue.Push(Run(next, jobs, options));
    next += jobs;
    for (uint32_t taken = 0; taken < jobs;) {
      const auto slice = queue.Take({.jobs = jobs - taken}, false, 5, MonoTime{});
      taken += slice->count();
      queue.Leave(*slice);
    }
  }
  state.SetItemsProcessed(state.iterations() * jobs);
}
BENCHMARK(BM_Queue)->Args({1, 0})->Args({500, 0})->Args({500, 10'000'000});

}  // namespace
}  // namespace whippletree::core
