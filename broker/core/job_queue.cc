#include "broker/core/job_queue.h"

#include <algorithm>

#include "broker/core/limits.h"

namespace whippletree::core {

uint32_t MaxAttempts(const Slice& slice, uint32_t default_max_attempts) {
  const uint32_t own = slice.options->max_attempts();
  return std::min(own > 0 ? own : default_max_attempts, kAttemptsMax);
}

JobQueue::Line& JobQueue::LineOf(const Slice& slice) {
  auto [it, is_new] = lines_.try_emplace(slice.options->key());
  if (is_new) turns_.push_back(it);
  return it->second;
}

void JobQueue::Push(Slice slice) {
  Line& line = LineOf(slice);
  ready_ += slice.count();
  ready_bytes_ += slice.bytes();
  if (!line.empty()) {
    Slice& last = line.back();
    const bool belongs = last.stream == slice.stream && last.first + last.count() == slice.first &&
                         last.options == slice.options && last.attempts == slice.attempts &&
                         last.suspect == slice.suspect && last.arrived == slice.arrived;
    // Nobody else may see the run grow.
    const bool may_grow = last.data.use_count() == 1 && last.end == last.data->count() &&
                          last.data->bytes(0, last.end) + slice.bytes() <= kMergedRunBytesMax &&
                          last.end + slice.count() <= kJobsPerRunMax;
    if (belongs && may_grow) {
      last.data->Append(*slice.data, slice.begin, slice.end);
      last.end += slice.count();
      return;
    }
  }
  arrivals_.insert(slice.arrived);
  line.push_back(std::move(slice));
  ++records_;
}

void JobQueue::Return(Slice slice) {
  if (slice.halvings > 0) {
    Seal({std::move(slice)});
    return;
  }
  ready_ += slice.count();
  ready_bytes_ += slice.bytes();
  ++records_;
  arrivals_.insert(slice.arrived);
  LineOf(slice).push_front(std::move(slice));
}

void JobQueue::Seal(std::vector<Slice> batch) {
  for (const Slice& slice : batch) sealed_jobs_ += slice.count();
  records_ += batch.size();
  sealed_.push_back(std::move(batch));
}

void JobQueue::Delay(Slice slice, MonoTime until) {
  delayed_ += slice.count();
  ++records_;
  backing_off_.emplace(std::pair(until, ++delay_count_), std::move(slice));
}

void JobQueue::Schedule(Slice slice, WallTime until) {
  scheduled_ += slice.count();
  ++records_;
  by_wall_time_.emplace(std::pair(until, ++delay_count_), std::move(slice));
}

void JobQueue::ReleaseDue(Instant now) {
  while (!backing_off_.empty() && backing_off_.begin()->first.first <= now.mono) {
    Slice slice = std::move(backing_off_.begin()->second);
    backing_off_.erase(backing_off_.begin());
    delayed_ -= slice.count();
    --records_;
    Return(std::move(slice));
  }
  while (!by_wall_time_.empty() && by_wall_time_.begin()->first.first <= now.wall) {
    Slice slice = std::move(by_wall_time_.begin()->second);
    by_wall_time_.erase(by_wall_time_.begin());
    scheduled_ -= slice.count();
    --records_;
    if (slice.arrived != MonoTime{}) slice.arrived = now.mono;
    Push(std::move(slice));
  }
}

MonoTime JobQueue::next_due() const {
  return backing_off_.empty() ? kNever : backing_off_.begin()->first.first;
}

WallTime JobQueue::next_scheduled() const {
  return by_wall_time_.empty() ? WallTime::max() : by_wall_time_.begin()->first.first;
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
    dropped_bytes_ += slice.data->bytes(slice.begin, slice.begin + skipped);
    next = 1;
  }
  *clean = next < parts.size() ? static_cast<uint32_t>(parts[next].begin - slice.first) - skipped
                               : slice.count() - skipped;
  return skipped;
}

void JobQueue::PopFront(Line* line) {
  arrivals_.erase(arrivals_.find(line->front().arrived));
  line->pop_front();
  --records_;
}

std::optional<Slice> JobQueue::Take(Portion most, bool to_hold, uint32_t default_max_attempts) {
  while (!turns_.empty()) {
    auto line_it = turns_.front();
    Line& line = line_it->second;
    Slice& front = line.front();
    uint32_t clean = 0;
    const uint32_t skipped = SkipCancelled(front, &clean);
    ready_ -= skipped;
    ready_bytes_ -= front.data->bytes(front.begin, front.begin + skipped);
    front.begin += skipped;
    front.first += skipped;
    std::optional<Slice> taken;
    if (clean > 0) {
      const bool never_held = front.suspect || !front.options->key().empty() ||
                              front.options->expires_at_ms() > 0 ||
                              front.attempts + 1 >= MaxAttempts(front, default_max_attempts);
      if (to_hold && never_held) return std::nullopt;
      uint32_t n = std::min(most.jobs, clean);
      if (front.Part(0, n).bytes() > most.bytes) {
        n = front.Fitting(most.bytes);
        if (n == 0 && most.exactly) return std::nullopt;
        n = std::max(1u, n);
      }
      taken = front.Part(0, n);
      front.begin += n;
      front.first += n;
      ready_ -= n;
      ready_bytes_ -= taken->bytes();
    }
    if (front.count() == 0) PopFront(&line);
    if (line.empty()) {
      turns_.pop_front();
      lines_.erase(line_it);
    } else if (taken && turns_.size() > 1) {
      turns_.pop_front();
      turns_.push_back(line_it);
    }
    if (taken) return taken;
  }
  return std::nullopt;
}

std::vector<Slice> JobQueue::TakeSealed() {
  while (!sealed_.empty()) {
    std::vector<Slice> batch = std::move(sealed_.front());
    sealed_.pop_front();
    records_ -= batch.size();
    std::vector<Slice> kept;
    for (Slice& slice : batch) {
      sealed_jobs_ -= slice.count();
      for (Slice& part : Cleaned(std::move(slice))) kept.push_back(std::move(part));
    }
    if (!kept.empty()) return kept;
  }
  return {};
}

void JobQueue::Cancel(uint64_t stream, uint64_t begin, uint64_t end) {
  cancelled_[stream].Add(begin, end);
  cancelled_count_ += end - begin;
  // Each sweep is paid for by at least half of the jobs it looks at.
  if (cancelled_count_ * 2 > ready_ + sealed_jobs_ + delayed_ + scheduled_) Sweep();
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

void JobQueue::Sweep() {
  ready_ = ready_bytes_ = sealed_jobs_ = delayed_ = scheduled_ = records_ = 0;
  arrivals_.clear();
  for (auto it = turns_.begin(); it != turns_.end();) {
    Line& line = (*it)->second;
    Line kept;
    for (Slice& slice : line) {
      for (Slice& part : Cleaned(std::move(slice))) {
        ready_ += part.count();
        ready_bytes_ += part.bytes();
        arrivals_.insert(part.arrived);
        kept.push_back(std::move(part));
      }
    }
    records_ += kept.size();
    line = std::move(kept);
    if (line.empty()) {
      lines_.erase(*it);
      it = turns_.erase(it);
    } else {
      ++it;
    }
  }
  for (std::vector<Slice>& batch : std::exchange(sealed_, {})) {
    std::vector<Slice> kept;
    for (Slice& slice : batch) {
      for (Slice& part : Cleaned(std::move(slice))) kept.push_back(std::move(part));
    }
    if (!kept.empty()) Seal(std::move(kept));
  }
  for (auto& [key, slice] : std::exchange(backing_off_, {})) {
    for (Slice& part : Cleaned(std::move(slice))) Delay(std::move(part), key.first);
  }
  for (auto& [key, slice] : std::exchange(by_wall_time_, {})) {
    for (Slice& part : Cleaned(std::move(slice))) Schedule(std::move(part), key.first);
  }
}

}  // namespace whippletree::core
