// A start under a rate: what is available, and taking it.
#include <benchmark/benchmark.h>

#include "broker/core/token_bucket.h"

namespace whippletree::core {
namespace {

void BM_TokenBucket(benchmark::State& state) {
  RatePolicy policy;
  policy.count = 1'000'000;
  policy.period = seconds(1);
  policy.burst = 100;
  MonoTime now{};
  TokenBucket bucket(policy, now);
  for (auto _ : state) {
    now += microseconds(1);
    if (bucket.Available(now) > 0) bucket.Take(1, now);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TokenBucket);

}  // namespace
}  // namespace whippletree::core
