// What was read of the store so far, until all of it is there. Payloads stay there, except those of
// leased jobs: no more than were in memory before, and a job that dies at once is kept with its
// own.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "broker/core/broker.h"
#include "common/run.h"

namespace whippletree::core {

inline absl::Status Damaged(const std::string& what) {
  return absl::DataLossError("the store is damaged: " + what);
}

struct Broker::Restoring {
  struct Run {
    uint64_t order = 0;
    std::shared_ptr<const wire::JobOptions> options;
    uint64_t end = 0;
    uint64_t bytes = 0;             // of payload
    std::shared_ptr<RunData> data;  // if some of it is leased
  };
  struct StreamData {
    std::map<uint64_t, Run> runs;  // by first number
    IntervalSet ended;
    IntervalSet taken;      // returned ones, and those of leases
    IntervalSet settled;    // those with an outcome that waits for the producer
    IntervalSet attempted;  // those with attempts
    std::vector<record::Returned> returned;
  };

  // Calls each(first number, run) for the runs that have some of jobs [begin, end), in order.
  template <typename Each>
  void ForEachRun(uint64_t stream, uint64_t begin, uint64_t end, Each&& each) const {
    const auto found = streams.find(stream);
    if (found == streams.end()) return;
    const std::map<uint64_t, Run>& runs = found->second.runs;
    auto run = runs.upper_bound(begin);
    if (run != runs.begin()) --run;
    for (; run != runs.end() && run->first < end; ++run) {
      if (run->second.end > begin) each(run->first, run->second);
    }
  }
  // What rows cannot be beside each other, once all of them are there.
  absl::Status Check(const Broker& broker) const;
  absl::Status AddReturned(const record::Returned& row);
  // Runs of jobs [begin, end) that are there have the same options, as jobs of one slice do.
  bool ShareOptions(uint64_t stream, uint64_t begin, uint64_t end) const;
  // Jobs of one or several runs, stored.
  Slice StoredSlice(uint64_t stream, uint64_t first, uint64_t count) const;
  // With the payloads; those of jobs that are gone are empty.
  Slice LeasedSlice(const record::LeasePart& part) const;

  std::map<std::string, uint64_t> buckets_full_at_ms;  // by queue
  std::map<uint64_t, StreamData> streams;
  std::vector<record::Lease> leases;       // they come before the runs
  std::map<uint64_t, IntervalSet> leased;  // by stream
};

}  // namespace whippletree::core
