#include "broker/core/job_queue.h"

#include <algorithm>
#include <map>
#include <utility>

#include "broker/core/limits.h"
#include "broker/core/planted.h"

namespace whippletree::core {

uint32_t MaxAttempts(const Slice& slice, uint32_t default_max_attempts) {
  const uint32_t own = slice.options->max_attempts();
  return std::min(own > 0 ? own : default_max_attempts, kAttemptsMax);
}

bool IsLastAttempt(const Slice& slice, uint32_t default_max_attempts) {
  return slice.attempts + 1 >= MaxAttempts(slice, default_max_attempts);
}

JobQueue::Lines::iterator JobQueue::LineOf(const std::string& key) {
  const auto [it, is_new] = lines_.try_emplace(key);
  if (is_new) line_bytes_ += BytesOfLine(key);
  TakeTurn(it);
  return it;
}

uint64_t JobQueue::BytesOfLine(const std::string& key) {
  return kLineOverheadBytes + 2 * key.size();
}

void JobQueue::EraseLine(Lines::iterator line) {
  LeaveTurns(&line->second);
  line_bytes_ -= BytesOfLine(line->first);
  lines_.erase(line);
}

void JobQueue::TakeTurn(Lines::iterator line) {
  if (std::exchange(line->second.in_turns, true)) return;
  line->second.turn = turns_.insert(turns_.end(), line);
}

void JobQueue::TakeTurnOf(const std::string& key) {
  if (const auto it = lines_.find(key); it != lines_.end()) TakeTurn(it);
}

void JobQueue::LeaveTurns(Line* line) {
  if (std::exchange(line->in_turns, false)) turns_.erase(line->turn);
}

void JobQueue::Park(Lines::iterator line, MonoTime now) {
  LeaveTurns(&line->second);
  const MonoTime at = keys_.TokensAt(line->first, 1, now);
  if (at != kNever) parked_.emplace(at, line->first);
}

void JobQueue::Leave(const Slice& slice) {
  const std::string& key = slice.options->key();
  if (key.empty()) return;
  keys_.Leave(key, slice.count());
  TakeTurnOf(key);
}

void JobQueue::SetKeyPolicy(const KeyPolicy& policy, MonoTime start, MonoTime now) {
  keys_.SetPolicy(policy, start, now);
  parked_.clear();
  while (!aside_.empty()) BringBack(aside_.begin()->first);  // another order may hold
  lines_behind_.clear();
  for (auto it = lines_.begin(); it != lines_.end(); ++it) TakeTurn(it);
}

uint64_t JobQueue::Startable(uint64_t most, MonoTime now) {
  if ((cancelled_count_ > 0 || !stopped_.empty()) && !ClearFront(most, now)) return 0;
  if (!keys_.limits()) return ready_;
  uint64_t startable = 0;
  for (auto turn = turns_.begin(); turn != turns_.end() && startable < most;) {
    const Lines::iterator line = *turn++;
    const uint64_t allowed = std::min(most, keys_.Allowed(line->first, now));
    if (allowed == 0) {
      Park(line, now);
    } else {
      startable += line->second.jobs.JobsUpTo(allowed);
    }
  }
  return startable;
}

void JobQueue::CountReady(const Slice& slice) {
  ready_ += slice.count();
  ready_bytes_ += slice.bytes();
  CountStored(slice, true);
}

void JobQueue::UncountReady(const Slice& slice) {
  ready_ -= slice.count();
  ready_bytes_ -= slice.bytes();
  UncountStored(slice, true);
}

void JobQueue::Push(Slice slice) {
  CountReady(slice);
  Line& line = LineOf(slice.options->key())->second;
  line.jobs.Append(std::move(slice), counts());
}

void JobQueue::Return(Slice slice) {
  if (slice.is_sealed()) {
    Seal({std::move(slice)});
    return;
  }
  if (!stopped_.empty() && IsStopped(slice) && !IsOrdered(slice.options->key())) {
    SetAside(std::move(slice), true);
    return;
  }
  CountReady(slice);
  Line& line = LineOf(slice.options->key())->second;
  line.jobs.PushFront(std::move(slice), counts());
}

void JobQueue::Seal(std::vector<Slice> batch) {
  const bool stopped = HasStopped(batch);
  for (const Slice& slice : batch) {
    sealed_jobs_ += slice.count();
    keys_.Enter(slice.options->key(), slice.count());
    CountStored(slice, !stopped);
  }
  records_ += batch.size();
  if (stopped) {
    stopped_sealed_.push_back(std::move(batch));
  } else {
    AddSealed(std::move(batch));
  }
}

bool JobQueue::IsApart(const std::vector<Slice>& batch) {
  return std::any_of(batch.begin(), batch.end(), [](const Slice& slice) { return slice.apart(); });
}

void JobQueue::AddSealed(std::vector<Slice> batch) {
  sealed_apart_ += IsApart(batch) ? 1 : 0;
  sealed_.push_back(std::move(batch));
}

std::vector<Slice> JobQueue::ExtractSealed(std::deque<std::vector<Slice>>::iterator it) {
  std::vector<Slice> batch = std::move(*it);
  sealed_apart_ -= IsApart(batch) ? 1 : 0;
  sealed_.erase(it);
  return batch;
}

void JobQueue::CountDelayed(const Slice& slice) {
  delayed_ += slice.count();
  ++records_;
  CountStored(slice, false);
  keys_.HoldBack(slice.options->key(), slice.count());
  if (slice.is_sealed()) keys_.Enter(slice.options->key(), slice.count());
}

void JobQueue::UncountDelayed(const Slice& slice) {
  delayed_ -= slice.count();
  --records_;
  UncountStored(slice, false);
  keys_.LetGo(slice.options->key(), slice.count());
  if (slice.is_sealed()) keys_.Leave(slice.options->key(), slice.count());
}

void JobQueue::Delay(Slice slice, MonoTime until) {
  CountDelayed(slice);
  backing_off_.emplace(std::pair(until, ++delay_count_), std::move(slice));
}

void JobQueue::CountScheduled(const Slice& slice) {
  scheduled_ += slice.count();
  ++records_;
  CountStored(slice, false);
}

void JobQueue::UncountScheduled(const Slice& slice) {
  scheduled_ -= slice.count();
  --records_;
  UncountStored(slice, false);
}

void JobQueue::Schedule(Slice slice, WallTime until) {
  CountScheduled(slice);
  by_wall_time_.emplace(std::pair(until, ++delay_count_), std::move(slice));
}

uint64_t JobQueue::ReleaseDue(Instant now, uint64_t most) {
  pass_again_at_ = kNever;
  uint64_t released = 0;
  for (; released < most && !backing_off_.empty() && backing_off_.begin()->first.first <= now.mono;
       ++released) {
    Slice slice = std::move(backing_off_.begin()->second);
    backing_off_.erase(backing_off_.begin());
    UncountDelayed(slice);
    const auto options = slice.options;
    for (Slice& part : Cleaned(std::move(slice))) Return(std::move(part));
    TakeTurnOf(options->key());
  }
  for (; released < most && !parked_.empty() && parked_.begin()->first <= now.mono; ++released) {
    const auto line = lines_.find(parked_.begin()->second);
    parked_.erase(parked_.begin());
    if (line != lines_.end()) TakeTurn(line);
  }
  for (;
       released < most && !by_wall_time_.empty() && by_wall_time_.begin()->first.first <= now.wall;
       ++released) {
    Slice slice = std::move(by_wall_time_.begin()->second);
    by_wall_time_.erase(by_wall_time_.begin());
    UncountScheduled(slice);
    if (slice.arrived != MonoTime{}) slice.arrived = now.mono;
    Push(std::move(slice));
  }
  return released + Sweep(most - released);
}

MonoTime JobQueue::next_due() const {
  if (is_sweeping()) return MonoTime{};
  MonoTime due = pass_again_at_;
  if (!parked_.empty()) due = std::min(due, parked_.begin()->first);
  if (!backing_off_.empty()) due = std::min(due, backing_off_.begin()->first.first);
  return due;
}

WallTime JobQueue::next_scheduled() const {
  return by_wall_time_.empty() ? WallTime::max() : by_wall_time_.begin()->first.first;
}

std::optional<Slice> JobQueue::Take(Portion most, bool to_hold, uint32_t default_max_attempts,
                                    MonoTime now) {
  uint64_t passed = 0;
  while (!turns_.empty()) {
    const Lines::iterator line_it = turns_.front();
    Line& line = line_it->second;
    const uint64_t allowed = keys_.Allowed(line_it->first, now);
    if (allowed == 0) {
      Park(line_it, now);
      continue;
    }
    Slice& front = line.jobs.front();
    if (!stopped_.empty() && IsStopped(front) && !front.loading && !Planted("take_stopped")) {
      if (++passed > kPassedMax) {
        pass_again_at_ = now;
        return std::nullopt;
      }
      if (PassStopped(line_it)) continue;
      LeaveTurns(&line);
      if (line.jobs.empty()) EraseLine(line_it);
      continue;
    }
    uint32_t clean = 0;
    if (front.stored()) {
      DropCancelledHead(&front);
      if (front.count() > 0) return std::nullopt;
    }
    const uint32_t skipped = front.stored() ? 0 : SkipCancelled(front, &clean);
    ready_ -= skipped;
    ready_bytes_ -= front.bytes(0, skipped);
    front.begin += skipped;
    front.first += skipped;
    std::optional<Slice> taken;
    if (clean > 0) {
      const bool never_held = front.suspect || !front.options->key().empty() ||
                              front.options->expires_at_ms() > 0 ||
                              IsLastAttempt(front, default_max_attempts);
      if (to_hold && never_held) return std::nullopt;
      auto n = static_cast<uint32_t>(std::min<uint64_t>({most.jobs, clean, allowed}));
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
      keys_.Enter(line_it->first, n);
      keys_.UseTokens(line_it->first, n, now);
    }
    if (front.count() == 0) line.jobs.PopFront(counts());
    if (line.jobs.empty()) {
      EraseLine(line_it);
    } else if (taken) {
      turns_.splice(turns_.end(), turns_, turns_.begin());
    }
    if (taken) return taken;
    if (++passed > kPassedMax) {
      pass_again_at_ = now;
      return std::nullopt;
    }
  }
  return std::nullopt;
}

// A batch that is tried again has its places, but needs new tokens.
bool JobQueue::MayGo(const std::vector<Slice>& batch, MonoTime now) {
  if (!keys_.limits()) return true;
  std::map<std::string, uint64_t> jobs;
  for (const Slice& slice : batch) jobs[slice.options->key()] += slice.count();
  for (const auto& [key, n] : jobs) {
    const MonoTime at = keys_.TokensAt(key, n, now);
    if (at == kNever) continue;
    parked_.emplace(at, key);
    return false;
  }
  return true;
}

std::vector<Slice> JobQueue::TakeSealed(uint64_t most, bool apart, MonoTime now) {
  if (!apart && sealed_.size() == sealed_apart_) return {};
  for (size_t i = 0; i < sealed_.size();) {
    uint64_t jobs = 0;
    bool stays = !apart && IsApart(sealed_[i]);
    for (const Slice& slice : sealed_[i]) {
      jobs += slice.count();
      stays = stays || slice.stored();
    }
    if (stays || jobs > most || !MayGo(sealed_[i], now)) {
      ++i;
      continue;
    }
    std::vector<Slice> batch = ExtractSealed(sealed_.begin() + static_cast<std::ptrdiff_t>(i));
    records_ -= batch.size();
    std::vector<Slice> kept;
    for (Slice& slice : batch) {
      const uint32_t count = slice.count();
      const auto options = slice.options;
      sealed_jobs_ -= count;
      uint32_t left = 0;
      for (Slice& part : Cleaned(std::move(slice))) {
        left += part.count();
        kept.push_back(std::move(part));
      }
      keys_.UseTokens(options->key(), left, now);
      keys_.Leave(options->key(), count - left);
    }
    if (!kept.empty()) return kept;
  }
  return {};
}

std::map<std::string, uint64_t> JobQueue::SealedByKey() const {
  std::map<std::string, uint64_t> jobs;
  for (const auto& [at, slice] : backing_off_) {
    if (slice.is_sealed()) jobs[slice.options->key()] += slice.count();
  }
  for (const auto* batches : {&sealed_, &stopped_sealed_}) {
    for (const std::vector<Slice>& batch : *batches) {
      for (const Slice& slice : batch) jobs[slice.options->key()] += slice.count();
    }
  }
  return jobs;
}

}  // namespace whippletree::core
