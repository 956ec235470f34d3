// What an executor tells of single jobs, joined where they come one after the other: a lease of a
// thousand quick jobs is told in a few pieces.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/run.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// Jobs [first, first + count) of a lease, by index, were started.
struct StartedJobs {
  uint64_t token;
  uint32_t first;
  uint32_t count;
};

// Jobs of a lease from `first` on were completed, one for each of `results`, without follow-on
// jobs.
struct CompletedJobs {
  uint64_t token;
  uint32_t first;
  Duration run_time;  // of all together
  wire::Run results;
  uint32_t count() const { return static_cast<uint32_t>(results.sizes_size()); }
};

// Larger results are told by themselves.
inline constexpr size_t kJoinedResultBytesMax = 1024;

inline void AddStarted(uint64_t token, uint32_t index, std::vector<StartedJobs>* all) {
  if (!all->empty() && all->back().token == token &&
      all->back().first + all->back().count == index) {
    ++all->back().count;
  } else {
    all->push_back({token, index, 1});
  }
}

// REQUIRES: result.size() <= kJoinedResultBytesMax.
inline void AddCompleted(uint64_t token, uint32_t index, std::string result, Duration run_time,
                         std::vector<CompletedJobs>* all) {
  constexpr size_t kBytesMax = 32 << 10;  // of one piece, about
  constexpr uint32_t kJobsMax = 4096;     // the same
  if (all->empty() || all->back().token != token ||
      all->back().first + all->back().count() != index ||
      all->back().results.block().size() >= kBytesMax || all->back().count() >= kJobsMax) {
    all->push_back({token, index, Duration(0), {}});
  }
  all->back().run_time += run_time;
  AppendToRun(std::move(result), &all->back().results);
}

}  // namespace whippletree
