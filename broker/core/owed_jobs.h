// Started jobs that a worker never answered for: their part of the lease has ended, but as far as
// anybody knows they still take a slot. A late report frees it.
#pragma once

#include <cstdint>
#include <map>

#include "common/interval_set.h"

namespace whippletree::core {

class OwedJobs {
 public:
  // Slots that they take: a batch takes one.
  uint64_t starts() const { return starts_; }
  bool empty() const { return leases_.empty(); }
  // Of which these are.
  size_t leases() const { return leases_.size(); }

  // Jobs of a lease, by index; all of them if it is a batch.
  void Add(uint64_t token, IntervalSet::Interval part, bool batch) {
    Owed& owed = leases_[token];
    starts_ -= owed.starts();
    owed.batch = batch;
    owed.jobs.Add(part.begin, part.end);
    starts_ += owed.starts();
  }
  // The worker says what became of them.
  void Remove(uint64_t token, IntervalSet::Interval part) {
    const auto it = leases_.find(token);
    if (it == leases_.end()) return;
    starts_ -= it->second.starts();
    it->second.jobs.Remove(part.begin, part.end);
    starts_ += it->second.starts();
    if (it->second.jobs.empty()) leases_.erase(it);
  }
  // Of leases for which gone(token): the worker was told to end them.
  template <typename Gone>
  void RemoveIf(Gone&& gone) {
    std::erase_if(leases_, [&](const auto& entry) {
      if (!gone(entry.first)) return false;
      starts_ -= entry.second.starts();
      return true;
    });
  }

 private:
  struct Owed {
    IntervalSet jobs;
    bool batch = false;
    uint64_t starts() const { return batch && !jobs.empty() ? 1 : jobs.size(); }
  };
  std::map<uint64_t, Owed> leases_;  // by token
  uint64_t starts_ = 0;
};

}  // namespace whippletree::core
