// A lease on a range of a run: granted, found by its token, closed piece by piece, erased; with
// none and with many others in the table.
#include <benchmark/benchmark.h>

#include <vector>

#include "broker/core/lease.h"

namespace whippletree::core {
namespace {

// range(0): jobs in the lease; range(1): other leases.
void BM_Lease(benchmark::State& state) {
  const auto jobs = static_cast<uint32_t>(state.range(0));
  Slice slice;
  slice.data = std::make_shared<RunData>();
  for (uint32_t i = 0; i < jobs; ++i) slice.data->Append("payload");
  slice.end = jobs;
  LeaseTable table(0);
  for (int64_t i = 0; i < state.range(1); ++i) {
    table.Grant(1, nullptr, {slice}, true, MonoTime{});
  }
  for (auto _ : state) {
    const uint64_t token = table.Grant(1, nullptr, {slice}, true, MonoTime{})->token;
    Lease* lease = table.Find(token);
    lease->Close(0, jobs / 2);
    lease->Close(jobs / 2, jobs);
    table.Erase(token);
  }
  state.SetItemsProcessed(state.iterations() * jobs);
}
BENCHMARK(BM_Lease)->Args({2, 0})->Args({500, 0})->Args({500, 10'000});

}  // namespace
}  // namespace whippletree::core
