// The part of JobQueue about cancelled jobs.
//
// They are noted, and dropped when they are met. Only those that are in the way of others, and what
// is too many, are looked for.
#include <algorithm>
#include <set>
#include <utility>

#include "broker/core/job_queue.h"

namespace whippletree::core {

void JobQueue::Cancel(uint64_t stream, const IntervalSet& jobs) {
  IntervalSet& cancelled = cancelled_[stream];
  for (const auto& part : jobs.intervals()) cancelled.Add(part.begin, part.end);
  cancelled_count_ += jobs.size();
  // Each sweep is paid for by at least half of the jobs it looks at.
  const bool many = cancelled_count_ > waiting();
  if (many) Sweep();
  // Those that keep places or hold back their key must not do so any longer.
  if (keys_.limits() && sealed_jobs_ + delayed_ > 0) is_held_dirty_ = true;
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

void JobQueue::SweepHeld() {
  is_held_dirty_ = false;
  std::set<std::string> keys;  // whose jobs may go on
  for (auto* batches : {&sealed_, &stopped_sealed_}) {
    const bool ready = batches == &sealed_;
    for (std::vector<Slice>& batch : std::exchange(*batches, {})) {
      const bool stays = std::none_of(batch.begin(), batch.end(),
                                      [this](const Slice& slice) { return HasCancelled(slice); });
      if (stays) {
        batches->push_back(std::move(batch));
        continue;
      }
      std::vector<Slice> kept;
      records_ -= batch.size();
      for (Slice& slice : batch) {
        sealed_jobs_ -= slice.count();
        UncountStored(slice, ready);
        keys_.Leave(slice.options->key(), slice.count());
        keys.insert(slice.options->key());
        for (Slice& part : Cleaned(std::move(slice))) kept.push_back(std::move(part));
      }
      if (!kept.empty()) Seal(std::move(kept));
    }
  }
  for (auto it = backing_off_.begin(); it != backing_off_.end();) {
    if (!HasCancelled(it->second)) {
      ++it;
      continue;
    }
    const MonoTime until = it->first.first;
    Slice slice = std::move(it->second);
    it = backing_off_.erase(it);
    delayed_ -= slice.count();
    --records_;
    UncountStored(slice, false);
    keys_.LetGo(slice.options->key(), slice.count());
    if (slice.halvings > 0) keys_.Leave(slice.options->key(), slice.count());
    keys.insert(slice.options->key());
    for (Slice& part : Cleaned(std::move(slice))) Delay(std::move(part), until);
  }
  for (const std::string& key : keys) {
    if (const auto line = lines_.find(key); line != lines_.end()) TakeTurn(line);
  }
}

void JobQueue::Sweep() {
  is_held_dirty_ = false;
  for (auto& [key, line] : lines_) {
    Unpack(&line);
  }
  for (auto& [stream, lines] : aside_) {
    for (auto& [key, aside] : lines) Unpack(&aside.line);
  }
  ready_ = ready_bytes_ = sealed_jobs_ = delayed_ = scheduled_ = records_ = 0;
  stored_jobs_ = stored_bytes_ = stored_ready_ = 0;
  arrivals_.clear();
  for (auto& [key, line] : lines_) {
    for (Slice& slice : std::exchange(line.slices, {})) {
      for (Slice& part : Cleaned(std::move(slice))) {
        CountReady(part);
        Append(&line, std::move(part));
      }
    }
  }
  EraseEmptyLines();
  SweepAside();
  for (auto* batches : {&sealed_, &stopped_sealed_}) {
    for (std::vector<Slice>& batch : std::exchange(*batches, {})) {
      std::vector<Slice> kept;
      for (Slice& slice : batch) {
        keys_.Leave(slice.options->key(), slice.count());
        for (Slice& part : Cleaned(std::move(slice))) kept.push_back(std::move(part));
      }
      if (!kept.empty()) Seal(std::move(kept));
    }
  }
  for (auto& [key, slice] : std::exchange(backing_off_, {})) {
    keys_.LetGo(slice.options->key(), slice.count());
    if (slice.halvings > 0) keys_.Leave(slice.options->key(), slice.count());
    for (Slice& part : Cleaned(std::move(slice))) Delay(std::move(part), key.first);
  }
  for (auto& [key, slice] : std::exchange(by_wall_time_, {})) {
    for (Slice& part : Cleaned(std::move(slice))) Schedule(std::move(part), key.first);
  }
  // Those that kept back their key may be gone.
  for (auto it = lines_.begin(); it != lines_.end(); ++it) TakeTurn(it);
}

}  // namespace whippletree::core
