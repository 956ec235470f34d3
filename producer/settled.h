// Outcomes as a session hands them out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/interval_set.h"
#include "wire.pb.h"

namespace whippletree {

// The outcome of consecutive jobs, each reported once. Kind UNSPECIFIED: it is unknown, as
// `range.status` says.
struct SettledJobs {
  std::string queue;
  uint64_t stream = 0;  // number of the stream: the first half of a job id
  wire::OutcomeRange range;
  bool follow_on = false;  // numbers are the broker's
};

// Adds what `jobs` says of `parts` of its range, which are disjoint.
void AppendSettled(SettledJobs jobs, const std::vector<IntervalSet::Interval>& parts,
                   std::vector<SettledJobs>* settled);

}  // namespace whippletree
