// The part of JobQueue about cancelled jobs.
//
// They are noted, and dropped when they are met. Only those that are in the way of others, and what
// is too many, are looked for: by a sweep, which goes through everything once, some at a time.
#include <algorithm>
#include <iterator>
#include <utility>

#include "broker/core/job_queue.h"

namespace whippletree::core {
namespace {

// The first part of [begin, end) that is in the set; it begins at `end` if there is none.
IntervalSet::Interval FirstPart(const IntervalSet& set, uint64_t begin, uint64_t end) {
  uint64_t none = 0;
  const uint64_t at = set.Contains(begin) ? begin : set.EndOf(begin, end, &none);
  return at >= end ? IntervalSet::Interval{end, end}
                   : IntervalSet::Interval{at, std::min(end, set.FirstMissing(at))};
}

}  // namespace

void JobQueue::Cancel(uint64_t stream, const IntervalSet& jobs) {
  IntervalSet& cancelled = cancelled_[stream];
  for (const auto& part : jobs.intervals()) cancelled.Add(part.begin, part.end);
  cancelled_count_ += jobs.size();
  // Each whole sweep is paid for by at least half of the jobs it looks at. Those that keep places
  // or hold back their key must not do so any longer.
  const bool many = cancelled_count_ > waiting();
  if (many || sealed_jobs_ > 0 || (keys_.limits() && delayed_ > 0)) sweep_wanted_ = true;
  RetryBehind(stream);
}

uint32_t JobQueue::SkipCancelled(const Slice& slice, uint32_t* clean) {
  *clean = slice.count();
  auto it = cancelled_.find(slice.stream);
  if (it == cancelled_.end()) return 0;
  const uint64_t end = slice.first + slice.count();
  const IntervalSet::Interval part = FirstPart(it->second, slice.first, end);
  *clean = static_cast<uint32_t>(part.begin - slice.first);
  if (part.begin > slice.first) return 0;
  const auto skipped = static_cast<uint32_t>(part.end - slice.first);
  *clean = static_cast<uint32_t>(FirstPart(it->second, part.end, end).begin - part.end);
  it->second.Remove(part.begin, part.end);
  if (it->second.empty()) cancelled_.erase(it);
  cancelled_count_ -= skipped;
  dropped_bytes_ += slice.bytes(0, skipped);
  return skipped;
}

uint32_t JobQueue::CleanHead(const Slice& slice) const {
  const auto it = cancelled_.find(slice.stream);
  if (it == cancelled_.end()) return slice.count();
  const uint64_t end = slice.first + slice.count();
  return static_cast<uint32_t>(FirstPart(it->second, slice.first, end).begin - slice.first);
}

std::deque<Slice> JobQueue::CleanedPart(Slice* slice, uint64_t* looks) {
  const auto it = cancelled_.find(slice->stream);
  const uint64_t begin = slice->first;
  uint64_t end = begin + slice->count();
  if (it != cancelled_.end()) {
    const uint64_t most = std::max<uint64_t>(1, *looks);
    uint64_t left = most;
    end = it->second.EndOf(begin, end, &left);
    *looks -= std::min(*looks, most - left);
  }
  const auto n = static_cast<uint32_t>(end - begin);
  Slice part = slice->Part(0, n);
  *slice = slice->Part(n, slice->count() - n);
  return Cleaned(std::move(part));
}

std::deque<Slice> JobQueue::Cleaned(Slice slice) {
  std::deque<Slice> parts;
  while (slice.count() > 0) {
    uint32_t clean = 0;
    const uint32_t skipped = SkipCancelled(slice, &clean);
    if (clean > 0) parts.push_back(slice.Part(skipped, clean));
    slice = slice.Part(skipped + clean, slice.count() - skipped - clean);
  }
  return parts;
}

bool JobQueue::HasCancelled(const Slice& slice) const { return CleanHead(slice) < slice.count(); }

bool JobQueue::HasCancelled(const std::vector<Slice>& batch) const {
  return std::any_of(batch.begin(), batch.end(),
                     [this](const Slice& slice) { return HasCancelled(slice); });
}

uint64_t JobQueue::Sweep(uint64_t most) {
  uint64_t looks = most;
  while (looks > 0 && is_sweeping()) {
    if (sweep_.at == SweepAt::kNowhere) {
      sweep_wanted_ = false;
      sweep_ = {.at = SweepAt::kSealed,
                .number = std::max(1u, sweep_.number + 1),
                .whole = cancelled_count_ > waiting(),
                .batches = sealed_.size()};
    }
    if (!SweepPart(&looks)) continue;
    const SweepAt last = sweep_.whole ? SweepAt::kAside : SweepAt::kBackingOff;
    const bool is_over = sweep_.at == last || cancelled_count_ == 0;
    sweep_.at = is_over ? SweepAt::kNowhere : SweepAt(static_cast<int>(sweep_.at) + 1);
    if (sweep_.at == SweepAt::kStoppedSealed) sweep_.batches = stopped_sealed_.size();
    sweep_.key.clear();
  }
  return most - looks;
}

bool JobQueue::SweepPart(uint64_t* looks) {
  switch (sweep_.at) {
    case SweepAt::kNowhere:
      return true;
    case SweepAt::kSealed:
      return SweepBatches(&sealed_, looks);
    case SweepAt::kStoppedSealed:
      return SweepBatches(&stopped_sealed_, looks);
    case SweepAt::kBackingOff:
      return SweepHeld(
          &backing_off_, &sweep_.backing_off, looks,
          [this](const Slice& slice) { UncountDelayed(slice); },
          [this](const Slice& slice) { CountDelayed(slice); });
    case SweepAt::kScheduled:
      return SweepHeld(
          &by_wall_time_, &sweep_.scheduled, looks,
          [this](const Slice& slice) { UncountScheduled(slice); },
          [this](const Slice& slice) { CountScheduled(slice); });
    case SweepAt::kLines:
      return SweepLines(looks);
    case SweepAt::kAside:
      return SweepAside(looks);
  }
  return true;
}

// Each goes behind the others, so that all are in the order in which they were.
bool JobQueue::SweepBatches(std::deque<std::vector<Slice>>* batches, uint64_t* looks) {
  while (*looks > 0 && sweep_.batches > 0 && !batches->empty()) {
    --sweep_.batches;
    const bool ready = batches == &sealed_;
    std::vector<Slice> batch = std::move(batches->front());
    batches->pop_front();
    *looks -= std::min<uint64_t>(*looks, batch.size());
    if (HasCancelled(batch)) {
      sealed_apart_ -= ready && IsApart(batch) ? 1 : 0;
      SealCleaned(std::move(batch), ready);
    } else {
      batches->push_back(std::move(batch));
    }
  }
  return sweep_.batches == 0 || batches->empty();
}

void JobQueue::SealCleaned(std::vector<Slice> batch, bool ready) {
  std::vector<Slice> kept;
  records_ -= batch.size();
  for (Slice& slice : batch) {
    const auto options = slice.options;
    sealed_jobs_ -= slice.count();
    UncountStored(slice, ready);
    keys_.Leave(options->key(), slice.count());
    for (Slice& part : Cleaned(std::move(slice))) kept.push_back(std::move(part));
    TakeTurnOf(options->key());
  }
  if (!kept.empty()) Seal(std::move(kept));
}

template <typename Held, typename Uncount, typename Count>
bool JobQueue::SweepHeld(Held* held, typename Held::key_type* next, uint64_t* looks,
                         Uncount&& uncount, Count&& count) {
  auto it = held->lower_bound(*next);
  while (*looks > 0 && it != held->end()) {
    --*looks;
    if (!HasCancelled(it->second)) {
      ++it;
      continue;
    }
    const auto until = it->first;
    Slice slice = std::move(it->second);
    const auto options = slice.options;
    it = held->erase(it);
    uncount(slice);
    for (Slice& part : CleanedPart(&slice, looks)) {
      count(part);
      held->emplace_hint(it, until, std::move(part));
    }
    if (slice.count() > 0) {
      count(slice);
      it = held->emplace_hint(it, until, std::move(slice));
    }
    TakeTurnOf(options->key());
  }
  if (it == held->end()) return true;
  *next = it->first;
  return false;
}

bool JobQueue::SweepLines(uint64_t* looks) {
  const auto clean = [this](Slice* slice, uint64_t* left) {
    UncountReady(*slice);
    std::deque<Slice> parts = CleanedPart(slice, left);
    for (const Slice& part : parts) CountReady(part);
    CountReady(*slice);
    return parts;
  };
  auto it = lines_.lower_bound(sweep_.key);
  while (*looks > 0 && it != lines_.end()) {
    const auto line = it;
    if (line->second.jobs.Sweep(sweep_.number, looks, counts(), clean)) ++it;
    if (line->second.jobs.empty()) EraseLine(line);
  }
  if (it == lines_.end()) return true;
  sweep_.key = it->first;
  return false;
}

bool JobQueue::SweepAside(uint64_t* looks) {
  auto lines = aside_.lower_bound(sweep_.stream);
  while (*looks > 0 && lines != aside_.end()) {
    if (lines->first != sweep_.stream) sweep_.key.clear();
    sweep_.stream = lines->first;
    const auto it = lines->second.lower_bound(sweep_.key);
    if (it == lines->second.end()) {
      ++lines;
      continue;
    }
    Aside& aside = it->second;
    sweep_.key = it->first;
    const bool done =
        aside.line.Sweep(sweep_.number, looks, counts(&aside), [&](Slice* slice, uint64_t* left) {
          UncountAside(*slice, &aside);
          std::deque<Slice> parts = CleanedPart(slice, left);
          for (const Slice& part : parts) CountAside(part, &aside);
          CountAside(*slice, &aside);
          return parts;
        });
    if (aside.line.empty()) {
      line_bytes_ -= BytesOfLine(it->first);
      lines->second.erase(it);
    } else if (done) {
      sweep_.key.push_back('\0');  // the next one
    }
    if (lines->second.empty()) lines = aside_.erase(lines);
  }
  return lines == aside_.end();
}

}  // namespace whippletree::core
