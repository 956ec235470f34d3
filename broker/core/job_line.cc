#include "broker/core/job_line.h"

#include <variant>

#include "broker/core/limits.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

void CountRecord(MonoTime arrived, const JobLine::Counts& counts) {
  ++(*counts.arrivals)[arrived];
  ++*counts.records;
}

void UncountRecord(MonoTime arrived, const JobLine::Counts& counts) {
  const auto it = counts.arrivals->find(arrived);
  if (--it->second == 0) counts.arrivals->erase(it);
  --*counts.records;
}

// Small jobs that do not join what is before them, unless they begin the next record of a stream
// that fills one after the other.
bool IsToBePacked(const Slice& slice, const Slice& before) {
  const bool goes_on = before.stream == slice.stream && before.options == slice.options;
  return !goes_on && JobPack::Takes(slice);
}

// Makes `slice` a part of `last` if it goes on where that one ends.
bool Join(const Slice& slice, Slice* last) {
  const bool belongs = last->stream == slice.stream && last->first + last->count() == slice.first &&
                       last->options == slice.options && last->attempts == slice.attempts &&
                       last->suspect == slice.suspect && last->losses == slice.losses &&
                       last->stored() == slice.stored();
  if (!belongs) return false;
  if (slice.stored()) {  // these are as old as the oldest
    if (last->loading || slice.loading || last->count() + slice.count() > kStoredJobsMax) {
      return false;
    }
    last->stored_bytes += slice.stored_bytes;
  } else {
    // Nobody else may see the run grow.
    const bool may_grow = last->arrived == slice.arrived && last->data.use_count() == 1 &&
                          last->end == last->data->count() &&
                          last->data->bytes(0, last->end) + slice.bytes() <= kMergedRunBytesMax &&
                          last->end + slice.count() <= kJobsPerRunMax;
    if (!may_grow) return false;
    last->data->Append(*slice.data, slice.begin, slice.end);
  }
  last->end += slice.count();
  return true;
}

}  // namespace

void JobLine::Append(Slice slice, const Counts& counts) {
  AppendTo(rest_.empty() ? &head_ : &rest_.back(), std::move(slice), counts);
}

JobLine::Segment* JobLine::AppendTo(Segment* segment, Slice slice, const Counts& counts) {
  auto& slices = segment->slices;
  if (!segment->tail) {
    if (!slices.empty() && Join(slice, &slices.back())) return segment;
    const bool begins_tail =
        slices.size() >= kUnpackedRecords && IsToBePacked(slice, slices.back());
    if (!begins_tail) {
      CountRecord(slice.arrived, counts);
      slices.push_back(std::move(slice));
      return segment;
    }
    segment->tail = std::make_unique<Tail>();
  }
  if (!slice.stored()) {
    AppendToTail(segment->tail.get(), std::move(slice), counts);
    return segment;
  }
  const auto is_it = [&](const Segment& other) { return &other == segment; };
  auto behind = rest_.begin();
  if (!rest_.empty() && is_it(rest_.back())) {
    behind = rest_.end();
  } else if (!is_it(head_)) {
    behind = std::next(std::find_if(rest_.begin(), rest_.end(), is_it));
  }
  CountRecord(slice.arrived, counts);
  Segment& added = *rest_.emplace(behind);
  added.sweep = segment->sweep;
  added.slices.push_back(std::move(slice));
  return &added;
}

void JobLine::AppendToTail(Tail* tail, Slice slice, const Counts& counts) {
  tail->jobs += slice.count();
  tail->bytes += slice.bytes();
  Slice* last = tail->parts.empty() ? nullptr : std::get_if<Slice>(&tail->parts.back());
  if (last != nullptr && Join(slice, last)) return;
  if (last == nullptr ? JobPack::Takes(slice) : IsToBePacked(slice, *last)) {
    if (tail->parts.empty() || !std::holds_alternative<JobPack>(tail->parts.back())) {
      tail->parts.emplace_back(std::in_place_type<JobPack>);
    }
    std::get<JobPack>(tail->parts.back()).Add(slice);
    *counts.packed += slice.count();
    return;
  }
  CountRecord(slice.arrived, counts);
  tail->parts.emplace_back(std::move(slice));
}

void JobLine::PushFront(Slice slice, const Counts& counts) {
  CountRecord(slice.arrived, counts);
  head_.slices.push_front(std::move(slice));
}

void JobLine::PutBack(Slice slice, uint32_t sweep, const Counts& counts) {
  if (head_.sweep != sweep && !head_.empty()) rest_.push_front(std::exchange(head_, Segment{}));
  head_.sweep = sweep;
  PushFront(std::move(slice), counts);
}

void JobLine::PopFront(const Counts& counts) {
  UncountRecord(front().arrived, counts);
  head_.slices.pop_front();
  Refill(counts);
}

void JobLine::PutBefore(JobLine before) {
  if (!empty()) rest_.push_front(std::exchange(head_, Segment{}));
  head_ = std::move(before.head_);
  rest_.splice(rest_.begin(), before.rest_);
}

uint64_t JobLine::packed() const {
  uint64_t jobs = 0;
  const auto add = [&](const Segment& segment) {
    if (!segment.tail) return;
    for (const auto& part : segment.tail->parts) {
      const JobPack* pack = std::get_if<JobPack>(&part);
      jobs += pack != nullptr ? pack->jobs() : 0;
    }
  };
  add(head_);
  std::for_each(rest_.begin(), rest_.end(), add);
  return jobs;
}

uint64_t JobLine::JobsUpTo(uint64_t most) const {
  uint64_t jobs = 0;
  const auto count = [&](const Segment& segment) {
    for (const Slice& slice : segment.slices) {
      jobs += slice.count();
      if (jobs >= most) return false;
    }
    if (segment.tail) jobs += segment.tail->jobs;
    return jobs < most;
  };
  if (count(head_)) std::all_of(rest_.begin(), rest_.end(), count);
  return std::min(jobs, most);
}

std::list<JobLine::Segment>::iterator JobLine::Unswept(uint32_t sweep) {
  if (head_.sweep != sweep && !head_.empty()) rest_.push_front(std::exchange(head_, Segment{}));
  head_.sweep = sweep;
  return std::find_if(rest_.begin(), rest_.end(),
                      [&](const Segment& segment) { return segment.sweep != sweep; });
}

Slice JobLine::Segment::TakeFirst(const Counts& counts) {
  if (slices.empty()) {
    Slice slice = TakeFromTail(counts);
    UncountRecord(slice.arrived, counts);
    return slice;
  }
  Slice slice = std::move(slices.front());
  slices.pop_front();
  UncountRecord(slice.arrived, counts);
  return slice;
}

void JobLine::Segment::PutFirst(Slice slice, const Counts& counts) {
  CountRecord(slice.arrived, counts);
  slices.push_front(std::move(slice));
}

// A record of its own then.
Slice JobLine::Segment::TakeFromTail(const Counts& counts) {
  auto& parts = tail->parts;
  Slice slice;
  if (Slice* record = std::get_if<Slice>(&parts.front())) {
    slice = std::move(*record);
    parts.pop_front();
  } else {
    JobPack& pack = std::get<JobPack>(parts.front());
    slice = pack.TakeFirst();
    *counts.packed -= slice.count();
    CountRecord(slice.arrived, counts);
    if (pack.empty()) parts.pop_front();
  }
  tail->jobs -= slice.count();
  tail->bytes -= slice.bytes();
  if (parts.empty()) tail.reset();
  return slice;
}

void JobLine::Refill(const Counts& counts) {
  while (head_.slices.empty()) {
    if (head_.tail) {
      for (size_t i = 0; head_.tail && i < kUnpackedRecords; ++i) {
        head_.slices.push_back(head_.TakeFromTail(counts));
      }
      return;
    }
    if (rest_.empty()) return;
    head_ = std::move(rest_.front());
    rest_.pop_front();
  }
}

// ---- A way through the line.

JobLine::Cursor::Cursor(JobLine* line)
    : line_(line), segment_(&line->head_), next_(line->rest_.begin()) {
  Settle();
}

// Behind the last of a segment is its tail, and then the next segment.
void JobLine::Cursor::Settle() {
  while (segment_ != nullptr && at_ >= segment_->slices.size() + (segment_->tail ? 1 : 0)) {
    at_ = 0;
    segment_ = next_ == line_->rest_.end() ? nullptr : &*next_++;
  }
}

Slice* JobLine::Cursor::slice() const {
  return at_ < segment_->slices.size() ? &segment_->slices[at_] : nullptr;
}

uint64_t JobLine::Cursor::packed_jobs() const { return segment_->tail->jobs; }
uint64_t JobLine::Cursor::packed_bytes() const { return segment_->tail->bytes; }

void JobLine::Cursor::Next() {
  ++at_;
  Settle();
}

void JobLine::Cursor::Replace(std::vector<Slice> parts, const Counts& counts) {
  WT_CHECK(slice() != nullptr);
  auto& slices = segment_->slices;
  const auto at = slices.begin() + static_cast<std::ptrdiff_t>(at_);
  UncountRecord(at->arrived, counts);
  for (const Slice& part : parts) CountRecord(part.arrived, counts);
  if (!parts.empty()) {
    *at = std::move(parts.front());
    slices.insert(at + 1, std::make_move_iterator(parts.begin() + 1),
                  std::make_move_iterator(parts.end()));
    return;
  }
  slices.erase(at);
  if (segment_ == &line_->head_) {
    line_->Refill(counts);
    next_ = line_->rest_.begin();
    Settle();
  } else {
    const auto here = std::prev(next_);
    Settle();
    if (here->empty()) line_->rest_.erase(here);
  }
}

}  // namespace whippletree::core
