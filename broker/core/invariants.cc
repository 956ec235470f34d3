// What the broker checks of itself, in tests.
#include <algorithm>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

uint64_t UnreadBytes(const Stream& stream) {
  return stream.outcomes.bytes() + stream.stored_outcomes.size() * kStoredOutcomeBytes;
}

}  // namespace

void Broker::CheckInvariants() const {
  std::map<const Queue*, uint64_t> leased;
  std::map<const Queue*, uint64_t> held;
  std::map<const Queue*, uint64_t> starts;
  std::map<uint64_t, uint64_t> starts_by_worker;
  std::map<uint64_t, IntervalSet> leased_numbers;  // by stream
  std::map<std::pair<const Queue*, std::string>, uint64_t> leased_keys;
  for (const auto& [token, lease] : leases_.all()) {
    WT_CHECK(token == lease.token && !lease.open.empty());
    const Queue* queue = lease.queue;
    leased[queue] += lease.open.size();
    starts[queue] += lease.starts();
    held[queue] += lease.held();
    starts_by_worker[lease.worker] += lease.starts();
    WT_CHECK(lease.batch || lease.slices.size() == 1);
    WT_CHECK(!lease.batch || lease.held() == 0);
    WT_CHECK(peers_.at(lease.worker)->worker->leases.contains(token));
    for (const IntervalSet* set :
         {&lease.charged, &lease.cancelled, &lease.revoked, &lease.awaited}) {
      for (const auto& part : set->intervals()) {
        WT_CHECK(lease.open.ContainsAll(part.begin, part.end));
      }
    }
    for (const auto& part : lease.open.intervals()) {
      lease.ForEach(part, [&](const Slice& slice, uint64_t) {
        const Stream& stream = *streams_.at(slice.stream);
        WT_CHECK(stream.queue == queue);
        const uint64_t begin = slice.first;
        const uint64_t end = begin + slice.count();
        IntervalSet& numbers = leased_numbers[stream.number];
        WT_CHECK(numbers.Count(begin, end) == 0);  // one live lease a job
        numbers.Add(begin, end);
        WT_CHECK(stream.open.ContainsAll(begin, end));
        leased_keys[{queue, slice.options->key()}] += slice.count();
      });
    }
  }
  std::map<const Queue*, uint64_t> open;
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> group_open;  // by producer and group
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> group_unacknowledged;
  std::map<const Queue*, uint64_t> outcome_bytes;
  std::map<const Queue*, uint64_t> outcome_jobs;
  std::map<const Queue*, uint64_t> rows;
  uint64_t loading = 0;  // outcomes
  for (const auto& [number, stream] : streams_) {
    open[stream->queue] += stream->open.size();
    if (stream->rows) rows[stream->queue] += stream->rows->rows();
    for (const auto& part : stream->discarded.intervals()) {
      WT_CHECK(stream->open.ContainsAll(part.begin, part.end));
    }
    outcome_bytes[stream->queue] += UnreadBytes(*stream);
    uint64_t jobs = 0;
    for (const auto& item : stream->outcomes.items()) jobs += item.value.count();
    for (const auto* stored : {&stream->stored_outcomes.waiting, &stream->stored_outcomes.asked}) {
      for (const auto& [first, outcome] : *stored) {
        jobs += outcome.jobs;
        if (stored == &stream->stored_outcomes.asked) loading += outcome.bytes;
        if (outcome.group == 0) continue;
        group_unacknowledged[{stream->producer, outcome.group}] += outcome.jobs;
      }
    }
    WT_CHECK(jobs == stream->unacknowledged_jobs);
    outcome_jobs[stream->queue] += jobs;
    if (stream->producer != 0) {
      const ProducerState& producer = *peers_.at(stream->producer)->producer;
      const auto& streams = stream->follow_on ? producer.follow_on_streams : producer.streams;
      WT_CHECK(streams.at(stream->queue->name) == number);
    }
    stream->leases.ForEach([&, of = number](uint64_t first, uint64_t token) {
      const std::vector<Slice>& slices = leases_.all().at(token).slices;
      WT_CHECK(std::any_of(slices.begin(), slices.end(), [&](const Slice& slice) {
        return slice.stream == of && slice.first == first;
      }));
    });
    for (const auto& [first, range] : stream->groups) {
      WT_CHECK(stream->open.ContainsAll(first, range.end));
      group_open[{stream->producer, range.group}] += range.end - first;
    }
    for (const auto& item : stream->outcomes.items()) {
      if (item.value.group() == 0) continue;
      group_unacknowledged[{stream->producer, item.value.group()}] += item.value.count();
    }
  }
  uint64_t used = attempts_.bytes() + dead_.bytes() + options_.bytes();
  uint64_t tables = queues_.size() * kQueueOverheadBytes + streams_.size() * kStreamOverheadBytes;
  for (const auto& [token, lease] : leases_.all()) tables += lease.memory_bytes();
  uint64_t names = 0;
  for (const auto& [name, queue] : queues_) {
    const Ledger& ledger = queue->ledger;
    WT_CHECK(ledger.leased == leased[queue.get()]);
    WT_CHECK(queue->held == held[queue.get()]);
    WT_CHECK(queue->starts == starts[queue.get()]);
    WT_CHECK(queue->jobs.waiting() == ledger.waiting());
    WT_CHECK(queue->rows == rows[queue.get()]);
    WT_CHECK(queue->jobs.stored_jobs() == 0 || queue->policy.durable);
    queue->jobs.CheckStored();
    WT_CHECK(queue->open_jobs() == open[queue.get()]);
    WT_CHECK(queue->outcome_bytes == outcome_bytes[queue.get()]);
    WT_CHECK(queue->outcome_jobs == outcome_jobs[queue.get()]);
    WT_CHECK(ledger.accepted == ledger.waiting() + ledger.leased + ledger.completed + ledger.dead +
                                    ledger.cancelled + ledger.expired);
    for (const auto& [key, jobs] : queue->jobs.SealedByKey()) {
      leased_keys[{queue.get(), key}] += jobs;  // these keep their places
    }
    used += queue->bytes + queue->outcome_bytes + queue->record_bytes + queue->names.bytes();
    names += queue->names.bytes();
    WT_CHECK(dead_.count(name) <= queue->policy.dead_jobs_max);
    WT_CHECK(dead_.bytes(name) <= queue->policy.dead_bytes_max);
    for (uint64_t number : queue->ready) WT_CHECK(queue->workers.contains(number));
    for (uint64_t number : queue->ready_to_hold) WT_CHECK(queue->workers.contains(number));
  }
  for (const auto& [at, jobs] : leased_keys) {
    WT_CHECK(at.second.empty() || at.first->jobs.keys().inside(at.second) == jobs);
  }
  uint64_t unread_producers = 0;
  for (const auto& [number, peer] : peers_) {
    tables += peer->counted_bytes;
    WT_CHECK(peer_by_name_.at(peer->name) == number);
    if (peer->connected()) WT_CHECK(peer_by_session_.at(peer->session) == number);
    uint64_t outbox_bytes = 0;
    for (const Send& send : peer->outbox) outbox_bytes += send.bytes;
    WT_CHECK(outbox_bytes == peer->outbox_bytes);
    WT_CHECK(peer->timer == kNever || peer_timers_.contains({peer->timer, number}));
    if (peer->worker) {
      WT_CHECK(peer->worker->leased == starts_by_worker[number]);
      for (const WorkerQueue& wq : peer->worker->queues) {
        WT_CHECK(peer->worker->Find(*wq.queue) == &wq);
        WT_CHECK(wq.queue->ready.contains(number) == wq.is_ready);
        WT_CHECK(wq.queue->ready_to_hold.contains(number) == wq.is_ready_to_hold);
        uint64_t leased_here = 0;
        uint64_t held_here = 0;
        for (uint64_t token : peer->worker->leases) {
          const Lease& lease = leases_.all().at(token);
          if (lease.queue != wq.queue) continue;
          leased_here += lease.starts();
          held_here += lease.held();
        }
        WT_CHECK(wq.leased == leased_here && wq.held == held_here);
      }
    }
    if (peer->producer) {
      uint64_t in_flight = 0;
      uint64_t unread = 0;
      uint64_t stored = 0;
      for (const auto* streams : {&peer->producer->streams, &peer->producer->follow_on_streams}) {
        for (const auto& [queue, stream] : *streams) {
          in_flight += streams_.at(stream)->outcomes.bytes_in_flight();
          const Stream& with_outcomes = *streams_.at(stream);
          unread += UnreadBytes(with_outcomes);
          stored += with_outcomes.stored_outcomes.size();
          const bool is_read = peer->producer->stored_streams.contains(stream);
          WT_CHECK(is_read ==
                   (with_outcomes.claimed && !with_outcomes.stored_outcomes.waiting.empty()));
          WT_CHECK(queues_.at(queue)->jobs.stops(stream) == peer->producer->stopped);
        }
      }
      WT_CHECK(unread == peer->producer->outcome_bytes);
      WT_CHECK(stored == peer->producer->stored_outcomes);
      unread_producers += unread > 0 ? 1 : 0;
      for (const auto& [group_number, group] : peer->producer->groups) {
        const std::pair key(number, group_number);
        WT_CHECK(group.open == group_open[key]);
        WT_CHECK(group.unacknowledged == group_unacknowledged[key]);
        WT_CHECK(!group.ended || group.open == 0);
        tables += group.counted_bytes;
        uint64_t missing = 0;
        for (const auto& [queue, jobs] : group.expected) missing += group.IsMissing(queue) ? 1 : 0;
        WT_CHECK(group.missing == missing);
      }
      WT_CHECK(!peer->connected() || in_flight == peer->producer->outcome_bytes_in_flight);
    }
  }
  overdue_.Check();
  WT_CHECK(names == name_bytes_);
  WT_CHECK(unread_producers == unread_producers_);
  unwritten_.Check();
  WT_CHECK(loading == stored_outcomes_.loading_bytes());
  tables += overdue_.bytes();
  WT_CHECK(tables == table_bytes_);
  WT_CHECK(used + tables + unwritten_.bytes() + loading + outgoing_.bytes() == used_bytes_);
  uint64_t outcomes = 0;
  for (const auto& [name, queue] : queues_) outcomes += queue->outcome_bytes;
  WT_CHECK(outcomes == outcome_bytes_);
}

}  // namespace whippletree::core
