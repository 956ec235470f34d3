// A set of numbers kept as disjoint half-open intervals [begin, end), in order.
// Cheap while the set has few intervals, whatever their length.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/check.h"

namespace whippletree {

class IntervalSet {
 public:
  struct Interval {
    uint64_t begin;
    uint64_t end;
    friend bool operator==(const Interval&, const Interval&) = default;
  };

  IntervalSet() = default;
  IntervalSet(uint64_t begin, uint64_t end) { Add(begin, end); }

  bool empty() const { return intervals_.empty(); }
  // How many numbers are in the set.
  uint64_t size() const { return size_; }
  const std::vector<Interval>& intervals() const { return intervals_; }
  // REQUIRES: !empty().
  uint64_t front() const { return intervals_.front().begin; }

  bool Contains(uint64_t x) const {
    auto it = FirstEndingAfter(x);
    return it != intervals_.end() && it->begin <= x;
  }

  // The parts of [begin, end) that are in the set.
  std::vector<Interval> Intersect(uint64_t begin, uint64_t end) const {
    std::vector<Interval> parts;
    for (auto it = FirstEndingAfter(begin); it != intervals_.end() && it->begin < end; ++it) {
      parts.push_back({std::max(begin, it->begin), std::min(end, it->end)});
    }
    return parts;
  }

  uint64_t Count(uint64_t begin, uint64_t end) const {
    uint64_t n = 0;
    for (auto it = FirstEndingAfter(begin); it != intervals_.end() && it->begin < end; ++it) {
      n += std::min(end, it->end) - std::max(begin, it->begin);
    }
    return n;
  }

  bool ContainsAll(uint64_t begin, uint64_t end) const { return Count(begin, end) == end - begin; }

  void Add(uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    if (!intervals_.empty() && intervals_.back().end == begin) {  // the common case: appending
      intervals_.back().end = end;
      size_ += end - begin;
      return;
    }
    size_ += (end - begin) - Count(begin, end);
    // Everything that touches [begin, end) becomes one interval.
    auto first = std::lower_bound(intervals_.begin(), intervals_.end(), begin,
                                  [](const Interval& i, uint64_t b) { return i.end < b; });
    auto last = first;
    while (last != intervals_.end() && last->begin <= end) {
      begin = std::min(begin, last->begin);
      end = std::max(end, last->end);
      ++last;
    }
    first = intervals_.erase(first, last);
    intervals_.insert(first, {begin, end});
  }

  // Returns how many numbers were removed.
  uint64_t Remove(uint64_t begin, uint64_t end) {
    if (begin >= end) return 0;
    const uint64_t removed = Count(begin, end);
    if (removed == 0) return 0;
    size_ -= removed;
    auto it = intervals_.begin() + (FirstEndingAfter(begin) - intervals_.begin());
    if (it->begin < begin && it->end > end) {  // a hole in the middle
      const Interval tail{end, it->end};
      it->end = begin;
      intervals_.insert(it + 1, tail);
      return removed;
    }
    if (it->begin < begin) {
      it->end = begin;
      ++it;
    }
    auto last = it;
    while (last != intervals_.end() && last->end <= end) ++last;
    it = intervals_.erase(it, last);
    if (it != intervals_.end() && it->begin < end) it->begin = end;
    return removed;
  }

 private:
  std::vector<Interval>::const_iterator FirstEndingAfter(uint64_t x) const {
    return std::upper_bound(intervals_.begin(), intervals_.end(), x,
                            [](uint64_t value, const Interval& i) { return value < i.end; });
  }

  std::vector<Interval> intervals_;  // disjoint, not touching, ascending
  uint64_t size_ = 0;
};

// Splits `part` into the pieces inside and outside of `set` and calls piece(interval, inside) for
// each, in order. `piece` may change the set.
template <typename Piece>
void SplitBy(const IntervalSet& set, IntervalSet::Interval part, Piece&& piece) {
  const std::vector<IntervalSet::Interval> insides = set.Intersect(part.begin, part.end);
  uint64_t at = part.begin;
  for (const IntervalSet::Interval& inside : insides) {
    if (at < inside.begin) piece(IntervalSet::Interval{at, inside.begin}, false);
    piece(inside, true);
    at = inside.end;
  }
  if (at < part.end) piece(IntervalSet::Interval{at, part.end}, false);
}

}  // namespace whippletree
