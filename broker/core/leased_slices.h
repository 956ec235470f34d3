// Which leases have jobs of a stream, to be asked for jobs by number.
//
// Slices of a lease that ended in part may overlap those of a later one, which got its jobs again.
// They are kept by size: those of one size that can have a job begin shortly before it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>

#include "common/check.h"
#include "common/interval_set.h"

namespace whippletree::core {

class LeasedSlices {
 public:
  bool empty() const { return by_size_.empty(); }

  // The lease has jobs [first, first + count). REQUIRES: count > 0.
  void Add(uint64_t first, uint64_t count, uint64_t token) {
    by_size_[std::bit_width(count)].emplace(first, Part{first + count, token});
  }
  // REQUIRES: was added.
  void Remove(uint64_t first, uint64_t count, uint64_t token) {
    const auto size = by_size_.find(std::bit_width(count));
    WT_CHECK(size != by_size_.end());
    auto [it, last] = size->second.equal_range(first);
    while (it != last && it->second.token != token) ++it;
    WT_CHECK(it != last);
    size->second.erase(it);
    if (size->second.empty()) by_size_.erase(size);
  }

  // Calls each(token) for all slices that have some of `jobs`; more than once for a slice, or for a
  // lease with several. Costs what it finds, and a look for each interval of `jobs`.
  template <typename Each>
  void ForEachWith(const IntervalSet& jobs, Each&& each) const {
    for (const auto& [size, parts] : by_size_) {
      const uint64_t count_max = (uint64_t{1} << size) - 1;
      for (const IntervalSet::Interval& wanted : jobs.intervals()) {
        const uint64_t from = wanted.begin - std::min(wanted.begin, count_max - 1);
        for (auto it = parts.lower_bound(from); it != parts.end() && it->first < wanted.end; ++it) {
          if (it->second.end > wanted.begin) each(it->second.token);
        }
      }
    }
  }

  // `end`, or a lower number if more than `*most` slices of one size begin behind `begin` and
  // before it. Takes those from `*most` that do.
  uint64_t EndOf(uint64_t begin, uint64_t end, uint64_t* most) const {
    uint64_t least = *most;
    for (const auto& [size, parts] : by_size_) {
      uint64_t left = *most;
      auto it = parts.upper_bound(begin);
      for (; left > 0 && it != parts.end() && it->first < end; ++it) --left;
      if (it != parts.end()) end = std::min(end, it->first);
      least = std::min(least, left);
    }
    *most = least;
    return end;
  }

  // Calls each(first, token) for all slices.
  template <typename Each>
  void ForEach(Each&& each) const {
    for (const auto& [size, parts] : by_size_) {
      for (const auto& [first, part] : parts) each(first, part.token);
    }
  }

 private:
  struct Part {
    uint64_t end;
    uint64_t token;
  };
  std::map<int, std::multimap<uint64_t, Part>> by_size_;  // by bit width, then first number
};

}  // namespace whippletree::core
