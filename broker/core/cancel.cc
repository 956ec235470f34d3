// Jobs that end before they run: cancelled by their producer, or with their group, or expired.
#include <algorithm>
#include <set>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/outcome_ranges.h"

namespace whippletree::core {

namespace {

// Calls each(part, number) for those of `jobs` of the stream that the lease has: their indexes, and
// the number of the first.
template <typename Each>
void ForEachOpen(const Lease& lease, uint64_t stream, const IntervalSet& jobs, Each&& each) {
  uint64_t base = 0;
  for (const Slice& slice : lease.slices) {
    if (slice.stream == stream) {
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

bool Broker::OnCancel(Peer& peer, wire::Cancel& cancel) {
  auto it = peer.producer->streams.find(cancel.queue());
  if (it == peer.producer->streams.end()) return true;
  Stream& stream = *streams_.at(it->second);
  IntervalSet jobs;
  const auto part = static_cast<int>(
      std::min<uint64_t>(static_cast<uint64_t>(cancel.firsts_size()), config_.step_work_max));
  Work(static_cast<uint64_t>(part));
  for (int i = 0; i < part; ++i) {
    const uint64_t first = cancel.firsts(i);
    if (first >= stream.next) continue;
    jobs.Add(first, first + std::min(cancel.counts(i), stream.next - first));
  }
  CancelJobs(stream, jobs);
  cancel.mutable_firsts()->ExtractSubrange(0, part, nullptr);
  cancel.mutable_counts()->ExtractSubrange(0, part, nullptr);
  return cancel.firsts().empty();
}

// What waits ends now; what is leased when its worker has answered.
void Broker::CancelJobs(Stream& stream, const IntervalSet& jobs) {
  if (jobs.empty()) return;
  const IntervalSet waiting = WaitingOf(stream, jobs);
  std::set<uint64_t> tokens;
  for (auto it = stream.leases.begin(); it != stream.leases.lower_bound(jobs.end()); ++it) {
    tokens.insert(it->second);
  }
  for (uint64_t token : tokens) {
    Lease& lease = *leases_.Find(token);
    bool ask = false;
    ForEachOpen(lease, stream.number, jobs, [&](const IntervalSet::Interval& part, uint64_t) {
      if (lease.cancelled.ContainsAll(part.begin, part.end)) return;
      lease.cancelled.Add(part.begin, part.end);
      ask = true;
    });
    if (!ask) continue;
    NoteLease(lease);
    Ask(lease);
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
  for (auto it = stream.leases.begin(); it != stream.leases.lower_bound(open.end()); ++it) {
    if (!tokens.insert(it->second).second) continue;
    ForEachOpen(leases_.all().at(it->second), stream.number, open,
                [&](const IntervalSet::Interval& part, uint64_t number) {
                  waiting.Remove(number, number + part.end - part.begin);
                });
  }
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
  load_queues_.insert(queue.number);  // others are next
  Wake(queue);                        // which may have waited for these: of their key, or batch
}

}  // namespace whippletree::core
