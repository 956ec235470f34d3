// A line of waiting jobs: records in order. The first are as they came, for whoever takes them
// soon; small ones far behind are packed (job_pack.h). Stored records are never packed.
//
// A line is a chain of segments, so that two are joined, and one is swept, without a look at each
// record: a sweep takes the records of a segment one by one, some at a time, and what is left of
// them goes to the end of one before it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "broker/core/job_pack.h"
#include "broker/core/slice.h"
#include "common/time.h"

namespace whippletree::core {

class JobLine {
 public:
  using Arrivals = std::map<MonoTime, size_t>;  // of records: how many
  // The sums that lines are counted in.
  struct Counts {
    size_t* records;
    uint64_t* packed;  // jobs in packs
    Arrivals* arrivals;
  };

  bool empty() const { return head_.slices.empty(); }
  Slice& front() { return head_.slices.front(); }  // REQUIRES: !empty()
  const Slice& front() const { return head_.slices.front(); }

  // At the end. Joins the record before when it belongs to it.
  void Append(Slice slice, const Counts& counts);
  void PushFront(Slice slice, const Counts& counts);
  // Puts back what was at the front. A sweep of this number leaves it out; 0: none does.
  void PutBack(Slice slice, uint32_t sweep, const Counts& counts);
  // REQUIRES: !empty().
  void PopFront(const Counts& counts);
  // `before` is counted in the same sums. REQUIRES: it is not empty.
  void PutBefore(JobLine before);
  // How many jobs there are, counted up to `most`.
  uint64_t JobsUpTo(uint64_t most) const;

  // Replaces records by what clean(&record, looks), a list of them, makes of each; what is left of
  // the record stays. At most `*looks`, which become fewer. Returns whether all are done that were
  // there when it was first called with this `sweep`, a number above 0.
  template <typename Clean>
  bool Sweep(uint32_t sweep, uint64_t* looks, const Counts& counts, Clean&& clean) {
    while (*looks > 0) {
      const auto source = Unswept(sweep);
      if (source == rest_.end()) break;
      Segment* swept = source == rest_.begin() ? &head_ : &*std::prev(source);
      Slice slice = source->TakeFirst(counts);
      --*looks;
      for (Slice& part : clean(&slice, looks)) swept = AppendTo(swept, std::move(part), counts);
      if (slice.count() > 0) source->PutFirst(std::move(slice), counts);
      if (source->empty()) rest_.erase(source);
    }
    const bool done = Unswept(sweep) == rest_.end();
    Refill(counts);
    return done;
  }

  // For tests.
  uint64_t packed() const;

  // Calls each(slice) for all until it returns false; then returns false.
  template <typename Each>
  bool ForEach(Each&& each) const {
    const auto of = [&](const Segment& segment) { return segment.ForEach(each); };
    return of(head_) && std::all_of(rest_.begin(), rest_.end(), of);
  }
  // The same of the records that are not packed, which may be changed.
  template <typename Each>
  void ForEachRecord(Each&& each) {
    if (!head_.ForEachRecord(each)) return;
    for (Segment& segment : rest_) {
      if (!segment.ForEachRecord(each)) return;
    }
  }

 private:
  struct Segment;

 public:
  // A way through the line: records, and between them jobs that are packed.
  class Cursor {
   public:
    explicit Cursor(JobLine* line);
    // Nothing comes any more.
    bool at_end() const { return segment_ == nullptr; }
    // nullptr: packed jobs.
    Slice* slice() const;
    uint64_t packed_jobs() const;
    uint64_t packed_bytes() const;
    bool is_first() const { return segment_ == &line_->head_ && at_ == 0; }
    void Next();
    // `parts` instead of the record here, which is where it is then. REQUIRES: slice().
    void Replace(std::vector<Slice> parts, const Counts& counts);

   private:
    void Settle();

    JobLine* line_;
    Segment* segment_;  // nullptr: at the end
    std::list<Segment>::iterator next_;
    size_t at_ = 0;
  };

 private:
  static constexpr size_t kUnpackedRecords = 16;

  // The later jobs of a long segment. Nothing here is stored.
  struct Tail {
    std::deque<std::variant<Slice, JobPack>> parts;  // none is empty
    uint64_t jobs = 0;
    uint64_t bytes = 0;
  };
  struct Segment {
    std::deque<Slice> slices;
    std::unique_ptr<Tail> tail;  // what comes after these; nullptr: nothing
    uint32_t sweep = 0;          // the last one that has looked at it

    bool empty() const { return slices.empty() && !tail; }
    // The first record, or what is packed in one. REQUIRES: !empty().
    Slice TakeFirst(const Counts& counts);
    void PutFirst(Slice slice, const Counts& counts);
    Slice TakeFromTail(const Counts& counts);
    template <typename Each>
    bool ForEach(Each&& each) const {
      if (!std::all_of(slices.begin(), slices.end(), each)) return false;
      if (!tail) return true;
      for (const auto& part : tail->parts) {
        const Slice* slice = std::get_if<Slice>(&part);
        if (!(slice != nullptr ? each(*slice) : std::get<JobPack>(part).ForEach(each))) {
          return false;
        }
      }
      return true;
    }
    template <typename Each>
    bool ForEachRecord(Each&& each) {
      return std::all_of(slices.begin(), slices.end(), each);
    }
  };

  // At the end of this segment, or of a new one behind it; returns which.
  Segment* AppendTo(Segment* segment, Slice slice, const Counts& counts);
  static void AppendToTail(Tail* tail, Slice slice, const Counts& counts);
  // The first segment that this sweep has not looked at, with one before it that it has; end():
  // there is none.
  std::list<Segment>::iterator Unswept(uint32_t sweep);
  // The line is empty, or its first jobs are a record.
  void Refill(const Counts& counts);

  Segment head_;
  std::list<Segment> rest_;
};

}  // namespace whippletree::core
