// What the broker tells people: status, rates, log lines; and what it checks of itself.
#include <algorithm>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/check.h"
#include "common/version.h"

namespace whippletree::core {

void Broker::Log(LogLevel level, std::string_view event, LogFields fields) {
  effects_->logs.push_back({level, event, std::move(fields)});
}

void Broker::Count(std::string_view name, uint64_t n) {
  auto it = counters_.find(name);
  if (it == counters_.end()) it = counters_.emplace(std::string(name), 0).first;
  it->second += n;
}

uint64_t Broker::counter(std::string_view name) const {
  auto it = counters_.find(name);
  return it == counters_.end() ? 0 : it->second;
}

std::string Broker::GateOf(const Queue& queue) const {
  if (queue.jobs.waiting() == 0) return "";
  if (HeldByOutcomes(queue)) return "outcomes not fetched";
  if (queue.workers.empty()) return "no worker";
  if (!queue.jobs.has_ready()) return "backing off";
  bool active = false;
  for (uint64_t number : queue.workers) {
    const Peer& peer = *peers_.at(number);
    active = active || (peer.connected() && !peer.worker->draining);
  }
  return active ? "" : "no worker";
}

void Broker::Tick() {
  const double elapsed =
      std::max(0.001, std::chrono::duration<double>(now_.mono - next_tick_ + kTick).count());
  const bool summary = now_.mono >= next_summary_;
  for (auto& [name, queue] : queues_) {
    const double smooth = 0.4;
    const auto rate = [&](double old, uint64_t now, uint64_t before) {
      return old + smooth * (static_cast<double>(now - before) / elapsed - old);
    };
    queue->accepted_per_second =
        rate(queue->accepted_per_second, queue->ledger.accepted, queue->last_tick.accepted);
    queue->ended_per_second =
        rate(queue->ended_per_second, queue->ledger.ended(), queue->last_tick.ended());
    queue->last_tick = queue->ledger;
    CountMemory(*queue);
    if (!summary) continue;
    const Ledger& ledger = queue->ledger;
    const Ledger& last = queue->last_summary;
    const bool busy = ledger.accepted != last.accepted || ledger.ended() != last.ended();
    const std::string gate = GateOf(*queue);
    if (busy || !gate.empty()) {
      Log(LogLevel::kInfo, "queue",
          {{"queue", name},
           {"accepted", ledger.accepted},
           {"waiting", ledger.waiting()},
           {"leased", ledger.leased},
           {"completed", ledger.completed},
           {"dead", ledger.dead},
           {"cancelled", ledger.cancelled},
           {"in_per_s", static_cast<uint64_t>(queue->accepted_per_second + 0.5)},
           {"out_per_s", static_cast<uint64_t>(queue->ended_per_second + 0.5)},
           {"workers", static_cast<uint64_t>(queue->workers.size())},
           {"gate", gate}});
    }
    queue->last_summary = ledger;
  }
  if (summary) next_summary_ = now_.mono + kSummaryInterval;
  std::erase_if(expired_names_, [this](const auto& entry) { return entry.second <= now_.mono; });
}

wire::StatusReply Broker::Status() const {
  wire::StatusReply reply;
  reply.set_software(kSoftware);
  reply.set_uptime_ms(static_cast<uint64_t>(ToMilliseconds(now_.mono - start_.mono)));
  reply.set_insecure(config_.insecure);
  reply.set_memory_used_bytes(used_bytes_);
  reply.set_memory_limit_bytes(config_.memory_limit_bytes);
  for (const auto& [name, queue] : queues_) {
    wire::QueueStatus* q = reply.add_queues();
    const Ledger& ledger = queue->ledger;
    q->set_name(name);
    q->set_accepted(ledger.accepted);
    q->set_waiting(ledger.waiting());
    q->set_leased(ledger.leased);
    q->set_completed(ledger.completed);
    q->set_dead(ledger.dead);
    q->set_cancelled(ledger.cancelled);
    q->set_expired(ledger.expired);
    q->set_retries(queue->retries);
    q->set_delayed(queue->jobs.delayed());
    q->set_waiting_bytes(queue->bytes);
    q->set_unacknowledged_outcomes(queue->outcome_jobs);
    q->set_accepted_per_second(queue->accepted_per_second);
    q->set_ended_per_second(queue->ended_per_second);
    q->set_workers(static_cast<uint32_t>(queue->workers.size()));
    q->set_full(!queue->full_streams.empty());
    q->set_durable(queue->policy.durable);
    q->set_gate(GateOf(*queue));
  }
  uint32_t producers = 0;
  for (const auto& [number, peer] : peers_) {
    if (!peer->worker) {
      producers += peer->connected() ? 1 : 0;
      continue;
    }
    const WorkerState& worker = *peer->worker;
    wire::WorkerStatus* w = reply.add_workers();
    w->set_name(peer->name);
    w->set_session(peer->connected() ? peer->session - config_.first_number() : 0);
    w->set_slots(worker.slots);
    w->set_leased(worker.leased);
    w->set_completed(worker.completed);
    w->set_failed(worker.failed);
    w->set_state(!peer->connected() ? "lost" : worker.draining ? "draining" : "active");
    w->set_silent_ms(
        static_cast<uint64_t>(std::max<int64_t>(0, ToMilliseconds(now_.mono - peer->last_heard))));
    for (const WorkerQueue& wq : worker.queues) {
      wire::WorkerQueueStatus* q = w->add_queues();
      q->set_name(wq.queue->name);
      q->set_leased(wq.leased);
      q->set_credit(wq.jobs_limit > wq.delivered ? wq.jobs_limit - wq.delivered : 0);
      q->set_held_max(wq.held_max);
      q->set_service_time_ns(wq.service_time_ns);
    }
  }
  reply.set_producers(producers);
  for (const auto& [name, value] : counters_) {
    wire::Counter* counter = reply.add_counters();
    counter->set_name(name);
    counter->set_value(value);
  }
  return reply;
}

void Broker::CheckInvariants() const {
  std::map<const Queue*, uint64_t> leased;
  std::map<const Queue*, uint64_t> held;
  std::map<uint64_t, uint64_t> leased_by_worker;
  std::map<std::pair<uint64_t, const Queue*>, std::pair<uint64_t, uint64_t>> by_worker_queue;
  std::map<uint64_t, IntervalSet> leased_numbers;  // by stream
  for (const auto& [token, lease] : leases_.all()) {
    WT_CHECK(token == lease.token && !lease.open.empty());
    const Stream& stream = *streams_.at(lease.slice.stream);
    leased[stream.queue] += lease.open.size();
    held[stream.queue] += lease.held();
    leased_by_worker[lease.worker] += lease.open.size();
    by_worker_queue[{lease.worker, stream.queue}].first += lease.open.size();
    by_worker_queue[{lease.worker, stream.queue}].second += lease.held();
    WT_CHECK(peers_.at(lease.worker)->worker->leases.contains(token));
    for (const IntervalSet* set : {&lease.charged, &lease.cancelled, &lease.revoked}) {
      for (const auto& part : set->intervals()) {
        WT_CHECK(lease.open.ContainsAll(part.begin, part.end));
      }
    }
    for (const auto& part : lease.open.intervals()) {
      const uint64_t begin = lease.slice.first + part.begin;
      const uint64_t end = lease.slice.first + part.end;
      IntervalSet& numbers = leased_numbers[stream.number];
      WT_CHECK(numbers.Count(begin, end) == 0);  // one live lease a job
      numbers.Add(begin, end);
      WT_CHECK(stream.open.ContainsAll(begin, end));
    }
  }
  std::map<const Queue*, uint64_t> open;
  std::map<const Queue*, uint64_t> outcome_bytes;
  std::map<const Queue*, uint64_t> outcome_jobs;
  for (const auto& [number, stream] : streams_) {
    open[stream->queue] += stream->open.size();
    for (const auto& part : stream->discarded.intervals()) {
      WT_CHECK(stream->open.ContainsAll(part.begin, part.end));
    }
    outcome_bytes[stream->queue] += stream->outcomes.bytes();
    uint64_t jobs = 0;
    for (const auto& item : stream->outcomes.items()) jobs += item.value.count();
    WT_CHECK(jobs == stream->unacknowledged_jobs);
    outcome_jobs[stream->queue] += jobs;
    WT_CHECK(stream->producer == 0 ||
             peers_.at(stream->producer)->producer->streams.at(stream->queue->name) == number);
    for (const auto& [first, token] : stream->leases) {
      WT_CHECK(leases_.all().at(token).slice.first == first);
    }
  }
  uint64_t used = 0;
  for (const auto& [name, queue] : queues_) {
    const Ledger& ledger = queue->ledger;
    WT_CHECK(ledger.leased == leased[queue.get()]);
    WT_CHECK(queue->held == held[queue.get()]);
    WT_CHECK(queue->jobs.waiting() == ledger.waiting());
    WT_CHECK(queue->open_jobs() == open[queue.get()]);
    WT_CHECK(queue->outcome_bytes == outcome_bytes[queue.get()]);
    WT_CHECK(queue->outcome_jobs == outcome_jobs[queue.get()]);
    WT_CHECK(ledger.accepted == ledger.waiting() + ledger.leased + ledger.completed + ledger.dead +
                                    ledger.cancelled + ledger.expired);
    used += queue->bytes + queue->outcome_bytes + queue->record_bytes;
    for (uint64_t number : queue->ready) WT_CHECK(queue->workers.contains(number));
  }
  for (const auto& [number, peer] : peers_) {
    used += kPeerOverheadBytes;
    WT_CHECK(peer_by_name_.at(peer->name) == number);
    if (peer->connected()) WT_CHECK(peer_by_session_.at(peer->session) == number);
    WT_CHECK(peer->timer == kNever || peer_timers_.contains({peer->timer, number}));
    if (peer->worker) {
      WT_CHECK(peer->worker->leased == leased_by_worker[number]);
      for (const WorkerQueue& wq : peer->worker->queues) {
        uint64_t leased_here = 0;
        uint64_t held_here = 0;
        for (uint64_t token : peer->worker->leases) {
          const Lease& lease = leases_.all().at(token);
          if (streams_.at(lease.slice.stream)->queue != wq.queue) continue;
          leased_here += lease.open.size();
          held_here += lease.held();
        }
        WT_CHECK(wq.leased == leased_here && wq.held == held_here);
      }
    }
    if (peer->producer) {
      uint64_t in_flight = 0;
      for (const auto& [queue, stream] : peer->producer->streams) {
        in_flight += streams_.at(stream)->outcomes.bytes_in_flight();
      }
      WT_CHECK(!peer->connected() || in_flight == peer->producer->outcome_bytes_in_flight);
    }
  }
  WT_CHECK(used == used_bytes_);
  uint64_t outcomes = 0;
  for (const auto& [name, queue] : queues_) outcomes += queue->outcome_bytes;
  WT_CHECK(outcomes == outcome_bytes_);
}

}  // namespace whippletree::core
