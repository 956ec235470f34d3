// Jobs with a time of the calendar: not before one, and expiring at one.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "broker/core/outcome_ranges.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {

void Broker::Enqueue(Stream& stream, Slice slice) {
  Queue& queue = *stream.queue;
  WatchExpiry(queue, slice);
  if (queue.policy.batches() && queue.policy.batch.linger > Duration(0)) {
    slice.arrived = now_.mono;
  }
  const WallTime not_before = FromMilliseconds(slice.options->not_before_ms());
  if (not_before > now_.wall && !Planted("start_early")) {
    queue.jobs.Schedule(std::move(slice), not_before);
    SetWallTimer(queue);
  } else {
    queue.jobs.Push(std::move(slice));
  }
  Wake(queue);
}

void Broker::WatchExpiry(Queue& queue, const Slice& slice) {
  if (slice.options->expires_at_ms() == 0 || Planted("forget_expires_at")) return;
  queue.expiries.Watch(FromMilliseconds(slice.options->expires_at_ms()),
                       {slice.stream, slice.first, slice.first + slice.count()});
  SetWallTimer(queue);
}

bool Broker::IsExpired(const Slice& slice) const {
  const uint64_t expires_at = slice.options->expires_at_ms();
  return expires_at > 0 && FromMilliseconds(expires_at) <= now_.wall &&
         !Planted("forget_expires_at");
}

void Broker::SetWallTimer(Queue& queue) {
  WallTime at = std::min(queue.jobs.next_scheduled(), queue.next_name_expiry());
  at = std::min(at, queue.expiries.is_pruning() ? now_.wall : queue.expiries.next());
  if (at == queue.wall_timer) return;
  if (queue.wall_timer != WallTime::max()) wall_timers_.erase({queue.wall_timer, queue.number});
  queue.wall_timer = at;
  if (at != WallTime::max()) wall_timers_.emplace(at, queue.number);
}

void Broker::FireWallTimers() {
  while (!wall_timers_.empty() && wall_timers_.begin()->first <= now_.wall) {
    Queue& queue = *queue_by_number_[wall_timers_.begin()->second];
    Work(1 + queue.jobs.ReleaseDue(now_, config_.step_work_max));
    bool first = true;  // each kind of work gets on in each step
    while (queue.expires_now(now_.wall) && (std::exchange(first, false) || !IsExhausted())) {
      ExpireWaiting(queue, queue.expiries.TakeFirst());
      Work();
    }
    queue.PruneExpiries();
    Work(queue.expiries.Prune(config_.step_work_max, [&](const Expiry& expiry) {
      if (queue.ledger.waiting() == 0) return false;  // what returns from a lease is watched anew
      const auto stream = streams_.find(expiry.stream);
      return stream != streams_.end() && stream->second->open.Count(expiry.begin, expiry.end) > 0;
    }));
    CountMemory(queue);
    ExpireNames(queue);
    SetWallTimer(queue);
    Wake(queue);
    if (IsExhausted()) break;
  }
}

void Broker::ExpireWaiting(Queue& queue, const Expiry& expiry) {
  const auto it = streams_.find(expiry.stream);
  if (it == streams_.end()) return;
  Stream& stream = *it->second;
  const IntervalSet waiting = WaitingOf(stream, IntervalSet(expiry.begin, expiry.end));
  if (waiting.empty()) return;
  Log(LogLevel::kInfo, "jobs_expired",
      {{"queue", queue.name},
       {"jobs", waiting.size()},
       {"first", JobIdText(stream.number, waiting.front())}});
  EndWaiting(stream, waiting, ExpiredOutcome(0));
}

}  // namespace whippletree::core
