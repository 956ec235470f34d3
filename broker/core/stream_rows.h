// Which rows the store has of one stream of a durable queue, and what to write when they change.
//
// A run's row stays as it was written until its last job has ended; what became of its jobs
// meanwhile is in small rows beside it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "broker/core/slice.h"
#include "broker/core/stored_row.h"
#include "record.pb.h"

namespace whippletree::core {

class StreamRows {
 public:
  using Writes = std::vector<record::Record>;

  explicit StreamRows(uint64_t stream) : stream_(stream) {}

  // Jobs were accepted; `order` is Run::order. `commit` is the one that writes them.
  void Accept(const Slice& slice, uint64_t order, uint64_t commit, Writes* writes);
  // Jobs [begin, end) have their outcome.
  void End(uint64_t begin, uint64_t end, Writes* writes);
  // The jobs of the slice wait again, in `batch` (0: none), not before a time of the calendar.
  void Return(const Slice& slice, uint64_t batch, uint64_t not_before_ms, Writes* writes);
  // Jobs [begin, end) are leased.
  void Lease(uint64_t begin, uint64_t end, Writes* writes);
  // The producer is to have this outcome.
  void Keep(const wire::OutcomeRange& outcome, Writes* writes);
  // It has all outcomes that were kept of jobs [begin, end).
  void Drop(uint64_t begin, uint64_t end, Writes* writes);

  // The row that has the job. REQUIRES: the job has no outcome.
  StoredRow RowOf(uint64_t number) const;
  // The one that begins with the job; nullopt if there is none (any more).
  std::optional<StoredRow> RowAt(uint64_t first) const;
  size_t rows() const { return runs_.size(); }  // of runs
  // As IntervalSet::EndOf, of runs.
  uint64_t EndOf(uint64_t begin, uint64_t end, uint64_t* most) const {
    auto it = runs_.upper_bound(begin);
    for (; *most > 0 && it != runs_.end() && it->first < end; ++it) --*most;
    return it == runs_.end() ? end : std::min(end, it->first);
  }

  // The store has this row.
  void Restore(const record::Run& row);
  // … of which so many jobs have no outcome.
  void SetOpen(uint64_t first, uint64_t open) { runs_.at(first).open = open; }
  void Restore(const record::Ended& row) { ended_.insert(row.first()); }
  void Restore(const record::Returned& row) { returned_[row.first()] = row; }
  void Restore(const record::Outcome& row) { outcomes_.insert(row.outcome().first()); }

 private:
  struct Run {
    uint64_t end;
    uint64_t open;   // jobs without outcome
    uint64_t bytes;  // of payload, with those that ended
    uint64_t commit;
  };

  void ForgetReturned(uint64_t begin, uint64_t end, Writes* writes);

  const uint64_t stream_;
  std::map<uint64_t, Run> runs_;  // by first number
  std::set<uint64_t> ended_;      // the same
  std::map<uint64_t, record::Returned> returned_;
  std::set<uint64_t> outcomes_;
};

}  // namespace whippletree::core
