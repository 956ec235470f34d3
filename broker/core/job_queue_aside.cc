// The part of JobQueue about jobs of stopped streams.
//
// Nothing looks for them: a record goes aside when it is met where jobs are taken, so each is moved
// once for a stop, and once more when its stream goes on.
#include <algorithm>
#include <utility>

#include "broker/core/job_queue.h"

namespace whippletree::core {

bool JobQueue::HasStopped(const std::vector<Slice>& batch) const {
  return std::any_of(batch.begin(), batch.end(),
                     [this](const Slice& slice) { return IsStopped(slice); });
}

void JobQueue::Stop(uint64_t stream) {
  if (!stopped_.insert(stream).second) return;
  sealed_apart_ = 0;
  for (std::vector<Slice>& batch : std::exchange(sealed_, {})) {
    const bool stops = HasStopped(batch);
    for (const Slice& slice : batch) {
      if (!stops) break;
      UncountStored(slice, true);
      CountStored(slice, false);
    }
    if (stops) {
      stopped_sealed_.push_back(std::move(batch));
    } else {
      AddSealed(std::move(batch));
    }
  }
}

void JobQueue::Resume(uint64_t stream) {
  if (stopped_.erase(stream) == 0) return;
  BringBack(stream);
  RetryBehind(stream);
  for (std::vector<Slice>& batch : std::exchange(stopped_sealed_, {})) {
    const bool stays = HasStopped(batch);
    for (const Slice& slice : batch) {
      if (stays) break;
      UncountStored(slice, false);
      CountStored(slice, true);
    }
    if (stays) {
      stopped_sealed_.push_back(std::move(batch));
    } else {
      sweep_wanted_ = sweep_wanted_ || HasCancelled(batch);  // one under way may have passed it
      AddSealed(std::move(batch));
    }
  }
}

void JobQueue::RetryBehind(uint64_t stream) {
  const auto behind = lines_behind_.extract(stream);
  if (behind.empty()) return;
  for (const std::string& key : behind.mapped()) TakeTurnOf(key);
}

bool JobQueue::PassStopped(Lines::iterator line_it) {
  Line& line = line_it->second;
  Slice& front = line.jobs.front();
  DropCancelledHead(&front);
  if (front.count() == 0) {
    line.jobs.PopFront(counts());
    return !line.jobs.empty();
  }
  if (IsOrdered(line_it->first)) {
    lines_behind_[front.stream].insert(line_it->first);
    return false;
  }
  UncountReady(front);
  Slice slice = front;
  line.jobs.PopFront(counts());
  SetAside(std::move(slice), false);
  return !line.jobs.empty();
}

bool JobQueue::ClearFront(uint64_t most, MonoTime now) {
  uint64_t jobs = 0;
  uint64_t looks = most + kPassedMax;
  for (auto turn = turns_.begin(); turn != turns_.end() && jobs < most;) {
    const Lines::iterator line = *turn++;
    const uint64_t wanted = std::min(most - jobs, keys_.Allowed(line->first, now));
    if (wanted == 0) {
      Park(line, now);
      continue;
    }
    bool goes_on = true;
    jobs += std::min(wanted, ClearFrontOf(line, wanted, &looks, &goes_on));
    if (line->second.jobs.empty()) {
      EraseLine(line);
    } else if (!goes_on) {
      LeaveTurns(&line->second);
    }
    if (looks == 0 && jobs < most) {
      pass_again_at_ = now;
      return false;
    }
  }
  return true;
}

uint64_t JobQueue::ClearFrontOf(Lines::iterator line, uint64_t most, uint64_t* looks,
                                bool* goes_on) {
  JobLine& jobs = line->second.jobs;
  uint64_t found = 0;
  std::vector<Slice> others;
  while (found<most&& * looks> 0 && !jobs.empty()) {
    --*looks;
    Slice& front = jobs.front();
    if (IsStopped(front) && !front.loading) {
      if (PassStopped(line)) continue;
      *goes_on = jobs.empty();
      break;
    }
    DropCancelledHead(&front);
    if (front.count() > 0) {
      const uint32_t clean = CleanHead(front);
      found += clean;
      if (IsOrdered(line->first)) break;  // the others wait for this one
      others.push_back(front.stored() ? front : front.Part(0, clean));
      front = front.Part(others.back().count(), front.count() - others.back().count());
    }
    if (front.count() == 0) jobs.PopFront(counts());
  }
  // Without what was cancelled, so that a sweep need not look at them: else it would not get on
  // where this is done between each two of its steps.
  for (auto other = others.rbegin(); other != others.rend(); ++other) {
    const uint32_t sweep = HasCancelled(*other) ? 0 : sweep_.number;
    jobs.PutBack(std::move(*other), sweep, counts());
  }
  return found;
}

void JobQueue::CountAside(const Slice& slice, Aside* aside) {
  const uint64_t bytes = slice.bytes();
  aside->jobs += slice.count();
  aside->bytes += bytes;
  aside->stored_jobs += slice.stored() ? slice.count() : 0;
  aside->stored_bytes += slice.stored_bytes;
  aside_jobs_ += slice.count();
  aside_bytes_ += bytes + slice.stored_bytes;
  CountStored(slice, false);
}

void JobQueue::UncountAside(const Slice& slice, Aside* aside) {
  const uint64_t bytes = slice.bytes();
  aside->jobs -= slice.count();
  aside->bytes -= bytes;
  aside->stored_jobs -= slice.stored() ? slice.count() : 0;
  aside->stored_bytes -= slice.stored_bytes;
  aside_jobs_ -= slice.count();
  aside_bytes_ -= bytes + slice.stored_bytes;
  UncountStored(slice, false);
}

void JobQueue::SetAside(Slice slice, bool at_front) {
  Aside& aside = aside_[slice.stream][slice.options->key()];
  if (aside.line.empty()) line_bytes_ += BytesOfLine(slice.options->key());
  CountAside(slice, &aside);
  if (at_front) {
    aside.line.PushFront(std::move(slice), counts(&aside));
  } else {
    aside.line.Append(std::move(slice), counts(&aside));
  }
}

void JobQueue::BringBack(uint64_t stream) {
  const auto lines = aside_.extract(stream);
  if (lines.empty()) return;
  for (auto& [key, aside] : lines.mapped()) {
    ready_ += aside.jobs;
    ready_bytes_ += aside.bytes;
    stored_ready_ += aside.stored_jobs;
    aside_jobs_ -= aside.jobs;
    aside_bytes_ -= aside.bytes + aside.stored_bytes;
    line_bytes_ -= BytesOfLine(key);
    for (const auto& [arrived, records] : aside.arrivals) arrivals_[arrived] += records;
    LineOf(key)->second.jobs.PutBefore(std::move(aside.line));
  }
}

}  // namespace whippletree::core
