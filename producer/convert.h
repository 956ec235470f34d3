// The library's types from and to those of the wire. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "common/run.h"
#include "producer/producer.h"
#include "producer/settled.h"
#include "wire.pb.h"

namespace whippletree {

// REQUIRES: CheckOptions() is OK.
wire::JobOptions ToWire(const JobOptions& options);

// INVALID_ARGUMENT if no job can have them.
absl::Status CheckOptions(const JobOptions& options);
// Of jobs that are submitted together: of the queue's name and the number of names, too.
absl::Status CheckJobs(const std::string& queue, size_t jobs,
                       std::span<const std::string_view> names, const JobOptions& options);

// INVALID_ARGUMENT if one is larger than the broker takes.
absl::Status CheckSizes(std::span<const std::string_view> payloads, uint64_t bytes_max);

// INVALID_ARGUMENT if no job can have this name.
absl::Status CheckName(std::string_view name);

// Adds payloads[begin] and those that follow to an empty run, as many as one should have, and their
// names, if there are any. Returns the index of the first that was not added.
size_t FillRun(std::span<const std::string_view> payloads, std::span<const std::string_view> names,
               size_t begin, RunData* run, RunData* run_names);

GroupEnd FromWire(const wire::GroupEnd& end);

// Makes the outcomes of single jobs out of `jobs`, which it takes the results of, and which must
// outlive it.
class OutcomeMaker {
 public:
  explicit OutcomeMaker(SettledJobs* jobs);
  // Valid until the next call; it may be moved from. REQUIRES: `number` is in the range, and was
  // not asked for before.
  Outcome& Make(uint64_t number);

 private:
  const SettledJobs& jobs_;
  std::optional<RunData> results_;
  Outcome outcome_;
};

}  // namespace whippletree
