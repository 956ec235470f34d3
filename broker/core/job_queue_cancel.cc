// The part of JobQueue about cancelled jobs.
//
// They are noted, and dropped when they are met. Only those that are in the way of others, and what
// is too many, are looked for: by a sweep, which goes through everything once, some at a time.
#include <algorithm>
#include <iterator>
#include <utility>

#include "broker/core/job_queue.h"

namespace whippletree::core {

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
  const auto parts = it->second.Intersect(slice.first, slice.first + slice.count());
  if (parts.empty()) return 0;
  uint32_t skipped = 0;
  size_t next = 0;
  if (parts[0].begin == slice.first) {
    skipped = static_cast<uint32_t>(parts[0].end - parts[0].begin);
    it->second.Remove(parts[0].begin, parts[0].end);
    if (it->second.empty()) cancelled_.erase(it);
    cancelled_count_ -= skipped;
    dropped_bytes_ += slice.bytes(0, skipped);
    next = 1;
  }
  *clean = next < parts.size() ? static_cast<uint32_t>(parts[next].begin - slice.first) - skipped
                               : slice.count() - skipped;
  return skipped;
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

bool JobQueue::HasCancelled(const Slice& slice) const {
  const auto it = cancelled_.find(slice.stream);
  return it != cancelled_.end() &&
         !it->second.Intersect(slice.first, slice.first + slice.count()).empty();
}

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
      return SweepBackingOff(looks);
    case SweepAt::kScheduled:
      return SweepScheduled(looks);
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

bool JobQueue::SweepBackingOff(uint64_t* looks) {
  auto it = backing_off_.lower_bound(sweep_.backing_off);
  for (; *looks > 0 && it != backing_off_.end(); --*looks) {
    if (!HasCancelled(it->second)) {
      ++it;
      continue;
    }
    const MonoTime until = it->first.first;
    Slice slice = std::move(it->second);
    const auto options = slice.options;
    it = backing_off_.erase(it);
    delayed_ -= slice.count();
    --records_;
    UncountStored(slice, false);
    keys_.LetGo(options->key(), slice.count());
    if (slice.is_sealed()) keys_.Leave(options->key(), slice.count());
    for (Slice& part : Cleaned(std::move(slice))) Delay(std::move(part), until);
    TakeTurnOf(options->key());
  }
  if (it == backing_off_.end()) return true;
  sweep_.backing_off = it->first;
  return false;
}

bool JobQueue::SweepScheduled(uint64_t* looks) {
  auto it = by_wall_time_.lower_bound(sweep_.scheduled);
  for (; *looks > 0 && it != by_wall_time_.end(); --*looks) {
    if (!HasCancelled(it->second)) {
      ++it;
      continue;
    }
    const WallTime until = it->first.first;
    Slice slice = std::move(it->second);
    it = by_wall_time_.erase(it);
    scheduled_ -= slice.count();
    --records_;
    UncountStored(slice, false);
    for (Slice& part : Cleaned(std::move(slice))) Schedule(std::move(part), until);
  }
  if (it == by_wall_time_.end()) return true;
  sweep_.scheduled = it->first;
  return false;
}

bool JobQueue::SweepLines(uint64_t* looks) {
  const auto clean = [this](Slice slice) {
    UncountReady(slice);
    std::deque<Slice> parts = Cleaned(std::move(slice));
    for (const Slice& part : parts) CountReady(part);
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
    const bool done = aside.line.Sweep(sweep_.number, looks, counts(&aside), [&](Slice slice) {
      UncountAside(slice, &aside);
      std::deque<Slice> parts = Cleaned(std::move(slice));
      for (const Slice& part : parts) CountAside(part, &aside);
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
