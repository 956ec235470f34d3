// The names of a queue's jobs, by which a job that is submitted again is known, whoever submits it.
// They are kept by the time of acceptance, until their jobs end in a way that frees them.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "common/run.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

inline constexpr size_t kJobNameBytesMax = 256;

// What became of a job that has a name, as far as it matters to one that is to have the same. As
// record::JobNames has it.
enum class NameEnd : char {
  kNone = 0,     // it is under way, or has completed
  kDead = 1,     // and the name stays until somebody drops or requeues it
  kExpired = 2,  // after it had been started
  kFree = 3,     // nothing of it is to be known: it was cancelled, never started, or dropped
};
// Of a job, by its number.
using NameEnds = std::function<NameEnd(uint64_t number)>;

class JobNames {
 public:
  struct Job {
    uint64_t stream = 0;
    uint64_t number = 0;
    NameEnd end = NameEnd::kNone;
  };
  // Names of consecutive jobs that were accepted together.
  struct Batch {
    uint64_t stream = 0;
    uint64_t first = 0;
    WallTime accepted;
    RunData names;     // empty: that job has none
    std::string ends;  // of each job, a NameEnd; empty: all kNone
  };

  // Jobs [first, first + names.count()) of a stream have these names from now on. Where another job
  // has one of them, the later one counts.
  void Keep(uint64_t stream, uint64_t first, WallTime accepted, RunData names);
  // The job that has the name, if it was accepted after `since`.
  std::optional<Job> Find(std::string_view name, WallTime since) const;
  // The name of a job that has it now; empty: it has none.
  std::string NameOf(uint64_t stream, uint64_t number) const;
  // Jobs [begin, end) of a stream ended so; none of them needs to have a name. Adds those whose row
  // is another now to `changed`.
  void SetEnds(uint64_t stream, uint64_t begin, uint64_t end, const NameEnds& ends,
               std::vector<const Batch*>* changed);
  // Those that were kept as [first, …) of a stream; nullptr: they are not there any more.
  const Batch* FindBatch(uint64_t stream, uint64_t first) const;
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

  using Id = std::pair<uint64_t, uint64_t>;  // stream and first job

  static uint64_t BytesOf(const Batch& batch);
  bool Has(std::string_view name, const Batch& batch, uint32_t index) const;

  // By time of acceptance and first job. Views of names are into these.
  std::map<std::tuple<WallTime, uint64_t, uint64_t>, Batch> batches_;
  std::map<Id, Batch*> by_job_;
  absl::flat_hash_map<std::string_view, Place> jobs_;  // never iterated
  uint64_t bytes_ = 0;
};

// Those of jobs [begin, end) of the message; none if none of them has a name.
RunData NamesOf(const wire::Submit& submit, uint32_t begin, uint32_t end);

}  // namespace whippletree::core
