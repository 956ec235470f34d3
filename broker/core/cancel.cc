// Jobs that end before they run: cancelled by their producer, or with their group, or expired.
#include <algorithm>
#include <set>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/outcome_ranges.h"

namespace whippletree::core {

namespace {

// Calls each(part, number) for those of `jobs` of the stream that the lease has: their indexes, and
// the number of the first. REQUIRES: !jobs.empty().
template <typename Each>
void ForEachOpen(const Lease& lease, uint64_t stream, const IntervalSet& jobs, Each&& each) {
  uint64_t base = 0;
  for (const Slice& slice : lease.slices) {
    const bool is_near = slice.first < jobs.end() && slice.first + slice.count() > jobs.front();
    if (slice.stream == stream && is_near) {
      for (const auto& wanted : jobs.Intersect(slice.first, slice.first + slice.count())) {
        const uint64_t begin = base + wanted.begin - slice.first;
        const uint64_t end = base + wanted.end - slice.first;
        for (const auto& part : lease.open.Intersect(begin, end)) {
          each(part, slice.first + part.begin - base);
        }
      }
    }
    base += slice.count();
  }
}

}  // namespace

// Each lease that has some of them, each outcome and each row is work.
uint64_t Broker::CancelEnd(const Stream& stream, uint64_t first, uint64_t end) {
  const uint64_t left = config_.step_work_max - std::min(config_.step_work_max, work_);
  uint64_t most = 0;
  const auto bound = [&](const auto& parts) {
    uint64_t n = left;
    end = parts.EndOf(first, end, &n);
    most = std::max(most, left - n);
  };
  bound(stream.leases);
  bound(stream.open);
  bound(stream.discarded);
  uint64_t groups = left;
  auto group = stream.groups.upper_bound(first);
  for (; groups > 0 && group != stream.groups.end() && group->first < end; ++group) --groups;
  if (group != stream.groups.end()) end = std::min(end, group->first);
  most = std::max(most, left - groups);
  if (stream.rows != nullptr) bound(*stream.rows);
  if (stream.queue->names.count() > 0) {  // each of them may have one, which is free then
    end = std::min(end, first + std::max<uint64_t>(left, 1));
    most = std::max(most, end - first);
  }
  Work(most);
  return end;
}

bool Broker::OnCancel(Peer& peer, wire::Cancel& cancel) {
  auto it = peer.producer->streams.find(cancel.queue());
  if (it == peer.producer->streams.end()) return true;
  Stream& stream = *streams_.at(it->second);
  // Each may have an outcome of its own, for which there is no room before those are read that are
  // there. The producer asks again.
  if (IsStopped(stream) && outcome_bytes_ > config_.budget_bytes() / 2) {
    Count("full_cancels");
    return true;
  }
  IntervalSet jobs;
  int done = 0;
  for (; done < cancel.firsts_size() && !IsExhausted(); ++done) {
    Work(2);
    const uint64_t first = cancel.firsts(done);
    if (first >= stream.next) continue;
    const uint64_t end = first + std::min(cancel.counts(done), stream.next - first);
    const uint64_t part_end = CancelEnd(stream, first, end);
    jobs.Add(first, part_end);
    if (part_end == end) continue;
    cancel.set_firsts(done, part_end);
    cancel.set_counts(done, end - part_end);
    break;
  }
  CancelJobs(stream, jobs);
  cancel.mutable_firsts()->ExtractSubrange(0, done, nullptr);
  cancel.mutable_counts()->ExtractSubrange(0, done, nullptr);
  return cancel.firsts().empty();
}

// What waits ends now; what is leased when its worker has answered.
void Broker::CancelJobs(Stream& stream, const IntervalSet& jobs) {
  if (jobs.empty()) return;
  const IntervalSet waiting = WaitingOf(stream, jobs);
  std::set<uint64_t> tokens;
  stream.leases.ForEachWith(jobs, [&](uint64_t token) { tokens.insert(token); });
  for (uint64_t token : tokens) {
    Lease& lease = *leases_.Find(token);
    IntervalSet fresh;  // what is asked for again is named by time, not for each message
    ForEachOpen(lease, stream.number, jobs, [&](const IntervalSet::Interval& part, uint64_t) {
      SplitBy(lease.cancelled, part, [&](const IntervalSet::Interval& piece, bool known) {
        if (!known) fresh.Add(piece.begin, piece.end);
      });
    });
    if (fresh.empty()) continue;
    for (const auto& part : fresh.intervals()) lease.cancelled.Add(part.begin, part.end);
    NoteLease(lease);
    AskFor(lease, fresh, {});
  }
  EndWaiting(stream, waiting, CancelledOutcome(0));
}

// Those of `jobs` that wait: accepted, without outcome, not leased.
IntervalSet Broker::WaitingOf(const Stream& stream, const IntervalSet& jobs) const {
  IntervalSet waiting;
  for (const auto& wanted : jobs.intervals()) {
    for (const auto& part : stream.open.Intersect(wanted.begin, wanted.end)) {
      waiting.Add(part.begin, part.end);
    }
  }
  if (waiting.empty()) return waiting;
  const IntervalSet open = waiting;
  std::set<uint64_t> tokens;  // a batch has several slices of the stream
  stream.leases.ForEachWith(open, [&](uint64_t token) {
    if (!tokens.insert(token).second) return;
    ForEachOpen(leases_.all().at(token), stream.number, open,
                [&](const IntervalSet::Interval& part, uint64_t number) {
                  waiting.Remove(number, number + part.end - part.begin);
                });
  });
  return waiting;
}

void Broker::EndWaiting(Stream& stream, const IntervalSet& waiting,
                        const wire::OutcomeRange& outcome) {
  if (waiting.empty()) return;
  Queue& queue = *stream.queue;
  queue.jobs.Cancel(stream.number, waiting);
  for (const auto& part : waiting.intervals()) {
    SplitBy(stream.discarded, part, [&](IntervalSet::Interval piece, bool discarded) {
      const bool keep = !discarded;
      uint64_t at = piece.begin;
      while (at < piece.end) {
        const uint64_t end = std::min(piece.end, stream.GroupEndOf(at));
        wire::OutcomeRange range = outcome;
        range.set_first(at);
        range.set_count(end - at);
        EndJobs(stream, std::move(range), keep);
        at = end;
      }
    });
  }
  CountMemory(queue);
  SetTimer(queue, queue.jobs.next_due());  // to sweep
  load_queues_.insert(queue.number);       // others are next
  Wake(queue);  // which may have waited for these: of their key, or batch
}

}  // namespace whippletree::core
