// Jobs with a time of the calendar: not before one, and expiring at one.
#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>
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
  std::vector<Expiry>& expiries = queue.expiries[FromMilliseconds(slice.options->expires_at_ms())];
  const uint64_t end = slice.first + slice.count();
  if (!expiries.empty() && expiries.back().stream == slice.stream &&
      expiries.back().end == slice.first) {
    expiries.back().end = end;
  } else {
    expiries.push_back({slice.stream, slice.first, end});
    ++queue.expiry_records;
  }
  SetWallTimer(queue);
}

bool Broker::IsExpired(const Slice& slice) const {
  const uint64_t expires_at = slice.options->expires_at_ms();
  return expires_at > 0 && FromMilliseconds(expires_at) <= now_.wall &&
         !Planted("forget_expires_at");
}

void Broker::SetWallTimer(Queue& queue) {
  WallTime at = std::min(queue.jobs.next_scheduled(), queue.next_name_expiry());
  if (!queue.expiries.empty()) at = std::min(at, queue.expiries.begin()->first);
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
    while (!queue.expiries.empty() && queue.expiries.begin()->first <= now_.wall &&
           (std::exchange(first, false) || !IsExhausted())) {
      std::vector<Expiry>& expiries = queue.expiries.begin()->second;
      const Expiry expiry = expiries.back();
      expiries.pop_back();
      if (expiries.empty()) queue.expiries.erase(queue.expiries.begin());
      ExpireWaiting(queue, expiry);
      Work();
    }
    PruneExpiries(queue);
    ExpireNames(queue);
    SetWallTimer(queue);
    Wake(queue);
    if (IsExhausted()) break;
  }
}

void Broker::PruneExpiries(Queue& queue) {
  if (queue.ledger.waiting() == 0) {  // what returns from a lease is watched anew
    queue.expiries.clear();
    queue.expiry_records = 0;
    return;
  }
  // Each look at all of them is paid for by as many that were added.
  if (queue.expiry_records <= 2 * queue.open_jobs() + 1000) return;
  queue.expiry_records = 0;
  std::set<std::tuple<uint64_t, uint64_t, uint64_t>> seen;  // those that came back are named again
  for (auto it = queue.expiries.begin(); it != queue.expiries.end();) {
    std::erase_if(it->second, [&](const Expiry& expiry) {
      const auto stream = streams_.find(expiry.stream);
      return stream == streams_.end() ||
             stream->second->open.Count(expiry.begin, expiry.end) == 0 ||
             !seen.emplace(expiry.stream, expiry.begin, expiry.end).second;
    });
    queue.expiry_records += it->second.size();
    it = it->second.empty() ? queue.expiries.erase(it) : std::next(it);
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
