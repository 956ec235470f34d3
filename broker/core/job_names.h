// The names of a queue's jobs, by which a job that is submitted again is known, whoever submits it.
// They are kept by the time of acceptance, whatever becomes of the jobs.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>

#include "common/run.h"
#include "common/time.h"

namespace whippletree::core {

inline constexpr size_t kJobNameBytesMax = 256;

class JobNames {
 public:
  struct Job {
    uint64_t stream = 0;
    uint64_t number = 0;
  };
  // Names of consecutive jobs that were accepted together.
  struct Batch {
    uint64_t stream = 0;
    uint64_t first = 0;
    WallTime accepted;
    RunData names;  // empty: that job has none
  };

  // Jobs [first, first + names.count()) of a stream have these names from now on. Where another job
  // has one of them, the later one counts.
  void Keep(uint64_t stream, uint64_t first, WallTime accepted, RunData names);
  // The job that has the name, if it was accepted after `since`.
  std::optional<Job> Find(std::string_view name, WallTime since) const;
  // What was accepted first; nullptr: there are no names.
  const Batch* oldest() const { return batches_.empty() ? nullptr : &batches_.begin()->second; }
  // REQUIRES: there is one.
  void DropOldest();

  uint64_t count() const { return jobs_.size(); }
  // What all of this takes of the memory.
  uint64_t bytes() const { return bytes_; }

 private:
  struct Place {
    const Batch* batch;
    uint32_t index;
  };

  static uint64_t BytesOf(const Batch& batch);

  // By time of acceptance and first job. Views of names are into these.
  std::map<std::tuple<WallTime, uint64_t, uint64_t>, Batch> batches_;
  absl::flat_hash_map<std::string_view, Place> jobs_;  // never iterated
  uint64_t bytes_ = 0;
};

}  // namespace whippletree::core
