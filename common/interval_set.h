// A set of numbers kept as disjoint half-open intervals [begin, end), in order.
// Cheap while the set has few intervals, whatever their length; with n of them each change costs
// log n, wherever in the set it is, and reading what it touches.
#pragma once

#include <absl/container/btree_set.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
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

 private:
  struct ByBegin {
    using is_transparent = void;
    bool operator()(const Interval& a, const Interval& b) const { return a.begin < b.begin; }
    bool operator()(const Interval& a, uint64_t begin) const { return a.begin < begin; }
    bool operator()(uint64_t begin, const Interval& b) const { return begin < b.begin; }
  };
  using Intervals = absl::btree_set<Interval, ByBegin>;

 public:
  IntervalSet() = default;
  IntervalSet(uint64_t begin, uint64_t end) { Add(begin, end); }

  bool empty() const { return intervals_.empty(); }
  // How many numbers are in the set.
  uint64_t size() const { return size_; }
  // Ascending; none touches the next.
  const Intervals& intervals() const { return intervals_; }
  // The lowest number. REQUIRES: !empty().
  uint64_t front() const { return intervals_.begin()->begin; }
  // Above the highest number. REQUIRES: !empty().
  uint64_t end() const { return intervals_.rbegin()->end; }
  // The lowest number not below `x` that is not in the set.
  uint64_t FirstMissing(uint64_t x) const {
    const auto it = FirstEndingAfter(x);
    return it != intervals_.end() && it->begin <= x ? it->end : x;
  }

  bool Contains(uint64_t x) const {
    const auto it = FirstEndingAfter(x);
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

  // `end`, or a lower number if more than `*most` intervals begin behind `begin` and before it.
  // Takes those from `*most` that do.
  uint64_t EndOf(uint64_t begin, uint64_t end, uint64_t* most) const {
    auto it = intervals_.upper_bound(begin);
    for (; *most > 0 && it != intervals_.end() && it->begin < end; ++it) --*most;
    return it == intervals_.end() ? end : std::min(end, it->begin);
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
    if (!intervals_.empty() && intervals_.rbegin()->end == begin) {  // the common case: appending
      SetEnd(std::prev(intervals_.end()), end);
      size_ += end - begin;
      return;
    }
    // Everything that touches [begin, end) becomes one interval.
    auto it = FirstEndingAfter(begin == 0 ? 0 : begin - 1);
    uint64_t there = 0;
    const uint64_t wanted = end - begin;
    const uint64_t from = begin;
    const uint64_t to = end;
    while (it != intervals_.end() && it->begin <= to) {
      const uint64_t low = std::max(from, it->begin);
      const uint64_t high = std::min(to, it->end);
      if (low < high) there += high - low;
      begin = std::min(begin, it->begin);
      end = std::max(end, it->end);
      it = intervals_.erase(it);
    }
    intervals_.insert(it, Interval{begin, end});
    size_ += wanted - there;
  }

  // Returns how many numbers were removed.
  uint64_t Remove(uint64_t begin, uint64_t end) {
    if (begin >= end) return 0;
    auto it = FirstEndingAfter(begin);
    uint64_t removed = 0;
    while (it != intervals_.end() && it->begin < end) {
      const Interval whole = *it;
      removed += std::min(end, whole.end) - std::max(begin, whole.begin);
      if (whole.begin < begin) {
        SetEnd(it, begin);
        ++it;
      } else if (whole.end <= end) {
        it = intervals_.erase(it);
        continue;
      } else {
        SetBegin(it, end);
        break;
      }
      if (whole.end > end) {  // a hole in the middle
        intervals_.insert(it, Interval{end, whole.end});
        break;
      }
    }
    size_ -= removed;
    return removed;
  }

 private:
  // These leave the order of the intervals as it is.
  static void SetBegin(Intervals::iterator it, uint64_t begin) {
    const_cast<Interval&>(*it).begin = begin;
  }
  static void SetEnd(Intervals::iterator it, uint64_t end) { const_cast<Interval&>(*it).end = end; }

  Intervals::const_iterator FirstEndingAfter(uint64_t x) const {
    auto it = intervals_.upper_bound(x);
    if (it != intervals_.begin() && std::prev(it)->end > x) --it;
    return it;
  }
  Intervals::iterator FirstEndingAfter(uint64_t x) {
    auto it = intervals_.upper_bound(x);
    if (it != intervals_.begin() && std::prev(it)->end > x) --it;
    return it;
  }

  Intervals intervals_;  // disjoint, not touching
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
