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
  std::deque<std::vector<Slice>> going_on;
  for (std::vector<Slice>& batch : sealed_) {
    const bool stops = HasStopped(batch);
    for (const Slice& slice : batch) {
      if (!stops) break;
      UncountStored(slice, true);
      CountStored(slice, false);
    }
    (stops ? stopped_sealed_ : going_on).push_back(std::move(batch));
  }
  sealed_ = std::move(going_on);
}

void JobQueue::Resume(uint64_t stream) {
  if (stopped_.erase(stream) == 0) return;
  BringBack(stream);
  RetryBehind(stream);
  std::deque<std::vector<Slice>> stopped;
  for (std::vector<Slice>& batch : stopped_sealed_) {
    const bool stays = HasStopped(batch);
    for (const Slice& slice : batch) {
      if (stays) break;
      UncountStored(slice, false);
      CountStored(slice, true);
    }
    (stays ? stopped : sealed_).push_back(std::move(batch));
  }
  stopped_sealed_ = std::move(stopped);
}

void JobQueue::RetryBehind(uint64_t stream) {
  const auto behind = lines_behind_.extract(stream);
  if (behind.empty()) return;
  for (const std::string& key : behind.mapped()) {
    if (const auto line = lines_.find(key); line != lines_.end()) TakeTurn(line);
  }
}

bool JobQueue::PassStopped(Lines::iterator line_it) {
  Line& line = line_it->second;
  Slice& front = line.slices.front();
  DropCancelledHead(&front);
  if (front.count() == 0) {
    PopFront(&line);
    return !line.slices.empty();
  }
  if (IsOrdered(line_it->first)) {
    line.in_turns = false;
    lines_behind_[front.stream].insert(line_it->first);
    return false;
  }
  ready_ -= front.count();
  ready_bytes_ -= front.bytes();
  UncountStored(front, true);
  Slice slice = front;
  PopFront(&line);
  SetAside(std::move(slice), false);
  return !line.slices.empty();
}

bool JobQueue::PassStopped(uint64_t most, MonoTime now) {
  uint64_t jobs = 0;
  uint64_t looks = most + kPassedMax;
  for (size_t i = 0; i < turns_.size() && jobs < most;) {
    const Lines::iterator line = turns_[i];
    const uint64_t found = PassStoppedOf(line, most - jobs, &looks);
    if (looks == 0) {
      pass_again_at_ = now;
      return false;
    }
    jobs += std::min(found, keys_.Allowed(line->first, now));
    if (line->second.in_turns && !line->second.slices.empty()) {
      ++i;
      continue;
    }
    turns_.erase(turns_.begin() + static_cast<std::ptrdiff_t>(i));
    if (line->second.slices.empty()) EraseLine(line);
  }
  return true;
}

uint64_t JobQueue::PassStoppedOf(Lines::iterator line_it, uint64_t most, uint64_t* looks) {
  Line& line = line_it->second;
  uint64_t jobs = 0;
  std::vector<Slice> others;
  while (jobs<most&& * looks> 0 && !line.slices.empty()) {
    --*looks;
    const Slice& front = line.slices.front();
    if (IsStopped(front) && !front.loading) {
      if (!PassStopped(line_it)) break;
      continue;
    }
    jobs += front.count();
    if (IsOrdered(line_it->first)) break;  // the others wait for this one
    others.push_back(front);
    PopFront(&line);
  }
  for (auto other = others.rbegin(); other != others.rend(); ++other) {
    CountRecord(other->arrived);
    line.slices.push_front(std::move(*other));
  }
  return jobs;
}

void JobQueue::SetAside(Slice slice, bool at_front) {
  Aside& aside = aside_[slice.stream][slice.options->key()];
  Line& line = aside.line;
  const uint64_t bytes = slice.bytes();
  if (line.slices.empty()) line_bytes_ += BytesOfLine(slice.options->key());
  aside.jobs += slice.count();
  aside.bytes += bytes;
  aside.stored_jobs += slice.stored() ? slice.count() : 0;
  aside.stored_bytes += slice.stored_bytes;
  aside_jobs_ += slice.count();
  aside_bytes_ += bytes + slice.stored_bytes;
  CountStored(slice, false);
  if (at_front) {
    ++records_;
    line.slices.push_front(std::move(slice));
    return;
  }
  if (!line.tail && !line.slices.empty() && Join(slice, &line.slices.back())) return;
  const bool packs = line.slices.size() >= kUnpackedRecords && JobPack::Takes(slice);
  if (!line.tail && !packs) {
    ++records_;
    line.slices.push_back(std::move(slice));
    return;
  }
  if (!line.tail) line.tail = std::make_unique<Tail>();
  if (AppendToTail(line.tail.get(), std::move(slice))) ++records_;
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
    PutBefore(&LineOf(key)->second, std::move(aside.line));
  }
}

void JobQueue::PutBefore(Line* line, Line before) {
  for (const Slice& slice : before.slices) ++arrivals_[slice.arrived];
  if (before.tail) {
    for (const auto& part : before.tail->parts) {
      if (const Slice* slice = std::get_if<Slice>(&part)) ++arrivals_[slice->arrived];
    }
    if (stored_jobs_ > 0) Unpack(&before);  // no tail has stored jobs
  }
  if (!before.tail) {
    for (auto slice = before.slices.rbegin(); slice != before.slices.rend(); ++slice) {
      line->slices.push_front(std::move(*slice));
    }
    return;
  }
  // What is packed stays so, and all of the line is behind it.
  Tail& tail = *before.tail;
  for (Slice& slice : line->slices) {
    tail.jobs += slice.count();
    tail.parts.emplace_back(std::move(slice));
  }
  if (line->tail) {
    tail.jobs += line->tail->jobs;
    for (auto& part : line->tail->parts) tail.parts.push_back(std::move(part));
  }
  line->slices = std::move(before.slices);
  line->tail = std::move(before.tail);
}

// What was packed is unpacked, and nothing of it is counted.
void JobQueue::SweepAside() {
  aside_jobs_ = aside_bytes_ = 0;
  for (auto& [stream, lines] : std::exchange(aside_, {})) {
    for (auto& [key, aside] : lines) {
      line_bytes_ -= BytesOfLine(key);
      for (Slice& slice : aside.line.slices) {
        for (Slice& part : Cleaned(std::move(slice))) SetAside(std::move(part), false);
      }
    }
  }
}

}  // namespace whippletree::core
