// When jobs of a queue expire: of those that wait, or did so. Jobs that end are not taken out one
// by one; a pruning drops their records, some at a time.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <tuple>

#include "common/time.h"

namespace whippletree::core {

// Jobs of one stream that expire at the same time.
struct Expiry {
  uint64_t stream;
  uint64_t begin;
  uint64_t end;
};

class Expiries {
 public:
  // Jobs that are known to expire then may be among them.
  void Watch(WallTime at, const Expiry& jobs);
  // WallTime::max(): none.
  WallTime next() const { return by_time_.empty() ? WallTime::max() : by_time_.begin()->first.at; }
  // Takes out what expires first. REQUIRES: there is something.
  Expiry TakeFirst();
  // How much memory they take. No two records have a job in common.
  uint64_t records() const { return by_time_.size(); }

  // All are to be looked at, if that is not under way.
  void StartPruning() {
    if (!prune_from_) prune_from_ = Key{};
  }
  bool is_pruning() const { return prune_from_.has_value(); }
  // Looks at up to `most` records and drops those for which keep(expiry) is false. Returns how many
  // it has looked at.
  template <typename Keep>
  uint64_t Prune(uint64_t most, Keep&& keep) {
    if (!is_pruning()) return 0;
    uint64_t looks = 0;
    auto it = by_time_.lower_bound(*prune_from_);
    for (; looks < most && it != by_time_.end(); ++looks) {
      it = keep(Expiry{it->first.stream, it->first.begin, it->second}) ? std::next(it)
                                                                       : by_time_.erase(it);
    }
    prune_from_ = it == by_time_.end() ? std::nullopt : std::optional(it->first);
    return looks;
  }

 private:
  struct Key {
    WallTime at{};
    uint64_t stream = 0;
    uint64_t begin = 0;

    friend bool operator<(const Key& a, const Key& b) {
      return std::tie(a.at, a.stream, a.begin) < std::tie(b.at, b.stream, b.begin);
    }
  };
  std::map<Key, uint64_t> by_time_;  // the end of the jobs
  std::optional<Key> prune_from_;
};

}  // namespace whippletree::core
