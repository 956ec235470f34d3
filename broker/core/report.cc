// What the broker tells people: status, rates, log lines.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/check.h"
#include "common/version.h"

namespace whippletree::core {
namespace {

// An idle queue has next to none on the wire, and is as much work as another.
constexpr uint64_t kStatusLineBytes = 256;

}  // namespace

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
  if (!queue.jobs.may_start() && queue.jobs.waits_for_stopped()) return "outcomes not fetched";
  if (queue.workers.empty()) return "no worker";
  const std::string_view closed = ClosedGate(queue);
  if (!closed.empty()) return std::string(closed);
  bool stuck = false;
  for (uint64_t number : queue.workers) {
    const Peer& peer = *peers_.at(number);
    if (!peer.connected() || peer.worker->draining) continue;
    if (peer.worker->stuck == Stuck::kNo) return "";
    stuck = true;
  }
  return stuck ? "workers stuck" : "no worker";
}

// Looks at each queue, in as many steps as it takes.
void Broker::Tick() {
  const bool summary = now_.mono >= next_summary_;
  auto it = queues_.upper_bound(ticked_);
  for (uint64_t n = 0; it != queues_.end() && n < config_.step_work_max; n += 2) {
    Queue& queue = *it->second;
    ticked_ = it->first;
    ++it;
    TickOf(queue, summary);
    if (IsUnused(queue)) DropQueue(queue);
  }
  if (it != queues_.end()) {
    is_left_ = true;
    return;
  }
  ticked_.clear();
  if (summary) next_summary_ = now_.mono + kSummaryInterval;
  DropExpiredNames();
  next_tick_ = now_.mono + kTick;
}

void Broker::TickOf(Queue& queue, bool summary) {
  const double elapsed =
      std::max(0.001, std::chrono::duration<double>(now_.mono - next_tick_ + kTick).count());
  const double smooth = 0.4;
  const auto rate = [&](double old, uint64_t now, uint64_t before) {
    return old + smooth * (static_cast<double>(now - before) / elapsed - old);
  };
  queue.accepted_per_second =
      rate(queue.accepted_per_second, queue.ledger.accepted, queue.last_tick.accepted);
  queue.ended_per_second =
      rate(queue.ended_per_second, queue.ledger.ended(), queue.last_tick.ended());
  queue.last_tick = queue.ledger;
  CountMemory(queue);
  queue.PruneExpiries();
  SetWallTimer(queue);
  if (!summary) return;
  const Ledger& ledger = queue.ledger;
  const Ledger last = std::exchange(queue.last_summary, ledger);
  const bool busy = ledger.accepted != last.accepted || ledger.ended() != last.ended();
  const std::string gate = GateOf(queue);
  if (!busy && gate.empty()) return;
  Log(LogLevel::kInfo, "queue",
      {{"queue", queue.name},
       {"accepted", ledger.accepted},
       {"waiting", ledger.waiting()},
       {"leased", ledger.leased},
       {"completed", ledger.completed},
       {"dead", ledger.dead},
       {"cancelled", ledger.cancelled},
       {"in_per_s", static_cast<uint64_t>(queue.accepted_per_second + 0.5)},
       {"out_per_s", static_cast<uint64_t>(queue.ended_per_second + 0.5)},
       {"workers", static_cast<uint64_t>(queue.workers.size())},
       {"gate", gate}});
}

wire::StatusReply Broker::Status(const wire::StatusCursor& after, uint64_t bytes_max) const {
  wire::StatusReply reply;
  reply.set_software(kSoftware);
  reply.set_uptime_ms(static_cast<uint64_t>(ToMilliseconds(now_.mono - start_.mono)));
  reply.set_insecure(config_.insecure);
  reply.set_memory_used_bytes(used_bytes_);
  reply.set_memory_limit_bytes(config_.memory_limit_bytes);
  if (disk_.reserve_bytes() > 0) {
    reply.set_disk(std::string(NameOf(disk_.state())));
    reply.set_disk_free_bytes(disk_.free_bytes());
    reply.set_disk_reserve_bytes(disk_.reserve_bytes());
  }
  if (dropped_.all.accepted > 0 || dropped_.queues > 0) {
    reply.set_dropped_queues(dropped_.queues);
    wire::QueueStatus* dropped = reply.mutable_dropped();
    dropped->set_accepted(dropped_.all.accepted);
    dropped->set_completed(dropped_.all.completed);
    dropped->set_dead(dropped_.all.dead);
    dropped->set_cancelled(dropped_.all.cancelled);
    dropped->set_expired(dropped_.all.expired);
  }
  uint32_t producers = 0;
  for (const auto& [number, peer] : peers_) producers += peer->producer && peer->connected();
  reply.set_producers(producers);
  for (const auto& [name, value] : counters_) {
    wire::Counter* counter = reply.add_counters();
    counter->set_name(name);
    counter->set_value(value);
  }
  wire::StatusCursor told = after;
  uint64_t bytes = 0;
  for (auto it = queues_.upper_bound(after.queue()); it != queues_.end(); ++it) {
    if (bytes >= bytes_max) {
      *reply.mutable_next() = std::move(told);
      return reply;
    }
    FillStatus(*it->second, reply.add_queues());
    bytes += reply.queues().rbegin()->ByteSizeLong() + kStatusLineBytes;
    told.set_queue(it->first);
  }
  for (auto it = peers_.upper_bound(after.worker()); it != peers_.end(); ++it) {
    if (!it->second->worker) continue;
    if (bytes >= bytes_max) {
      *reply.mutable_next() = std::move(told);
      return reply;
    }
    FillStatus(*it->second, reply.add_workers());
    bytes += reply.workers().rbegin()->ByteSizeLong() + kStatusLineBytes;
    told.set_worker(it->first);
  }
  return reply;
}

wire::StatusReply Broker::StatusOfQueue(const std::string& name) const {
  wire::StatusReply reply;
  const auto serves = [this](uint64_t number) {
    const Peer& peer = *peers_.at(number);
    return peer.connected() && !peer.worker->draining;
  };
  const auto is_served = [&](const Queue& queue) {
    return std::any_of(queue.workers.begin(), queue.workers.end(), serves);
  };
  if (const auto it = queues_.find(name); it != queues_.end()) {
    FillStatus(*it->second, reply.add_queues());
    if (is_served(*it->second)) return reply;
    reply.mutable_queues(0)->set_workers(0);
  }
  size_t bytes = 0;
  int looked_at = 0;
  for (const auto& [other, queue] : queues_) {
    if (!is_served(*queue)) {
      reply.set_more_served(++looked_at == kServedLookedAt);
    } else if (bytes += other.size(); reply.served_size() < kServedTold && bytes <= kServedBytes) {
      reply.add_served(other);
    } else {
      reply.set_more_served(true);
    }
    if (reply.more_served()) break;
  }
  return reply;
}

void Broker::FillStatus(const Queue& queue, wire::QueueStatus* q) const {
  const Ledger& ledger = queue.ledger;
  q->set_name(queue.name);
  q->set_accepted(ledger.accepted);
  q->set_waiting(queue.jobs.waiting());  // counted apart from the ledger, which it is to balance
  q->set_leased(ledger.leased);
  q->set_completed(ledger.completed);
  q->set_dead(ledger.dead);
  q->set_cancelled(ledger.cancelled);
  q->set_expired(ledger.expired);
  q->set_retries(queue.retries);
  q->set_delayed(queue.jobs.delayed());
  q->set_waiting_bytes(queue.payload_bytes());
  q->set_set_aside(queue.jobs.aside_at_least());
  q->set_stored_jobs(std::min(queue.jobs.stored_jobs(), q->waiting()));
  q->set_stored_bytes(queue.jobs.stored_bytes());
  q->set_unacknowledged_outcomes(queue.outcome_jobs);
  q->set_accepted_per_second(queue.accepted_per_second);
  q->set_ended_per_second(queue.ended_per_second);
  q->set_workers(static_cast<uint32_t>(queue.workers.size()));
  q->set_full(!queue.full_streams.empty());
  q->set_full_by_disk(q->full() &&
                      streams_.at(queue.full_streams.front())->full_bytes >= DiskRoom(queue));
  q->set_durable(queue.policy.durable);
  q->set_durable_kept(queue.durable_kept);
  q->set_gate(GateOf(queue));
  q->set_scheduled(queue.jobs.scheduled());
  q->set_paused(queue.paused);
  if (queue.breaker.enabled()) q->set_breaker(std::string(queue.breaker.name()));
  q->set_breaker_opened(queue.breaker.times_opened());
  q->set_batches_by_size(queue.batches_by[static_cast<int>(BatchReason::kSize)]);
  q->set_batches_by_bytes(queue.batches_by[static_cast<int>(BatchReason::kBytes)]);
  q->set_batches_by_linger(queue.batches_by[static_cast<int>(BatchReason::kLinger)]);
  q->set_batches_by_drain(queue.batches_by[static_cast<int>(BatchReason::kDrain)]);
  q->set_batches_halved(queue.batches_by[static_cast<int>(BatchReason::kHalved)]);
  uint64_t batches = 0;
  for (const uint64_t count : queue.batches_by) batches += count;
  q->set_batches(batches);
  q->set_rate_pauses(queue.rate_pauses);
  q->set_follow_ons(queue.follow_ons);
  q->set_dead_kept(dead_.count(queue.name));
  q->set_job_names(queue.names.count());
}

// REQUIRES: it is a worker.
void Broker::FillStatus(const Peer& peer, wire::WorkerStatus* w) const {
  const WorkerState& worker = *peer.worker;
  w->set_name(peer.name);
  w->set_session(peer.connected() ? peer.session - config_.first_number() : 0);
  w->set_slots(worker.slots);
  w->set_leased(worker.leased);
  w->set_completed(worker.completed);
  w->set_failed(worker.failed);
  w->set_state(!peer.connected()            ? "lost"
               : worker.stuck != Stuck::kNo ? "stuck"
               : worker.draining            ? "draining"
                                            : "active");
  w->set_silent_ms(
      static_cast<uint64_t>(std::max<int64_t>(0, ToMilliseconds(now_.mono - peer.last_heard))));
  for (const WorkerQueue& wq : worker.queues) {
    wire::WorkerQueueStatus* q = w->add_queues();
    q->set_name(wq.queue->name);
    q->set_leased(wq.leased);
    q->set_credit(wq.jobs_limit > wq.delivered ? wq.jobs_limit - wq.delivered : 0);
    q->set_held_max(wq.held_max);
    q->set_service_time_ns(wq.service_time_ns);
  }
}

}  // namespace whippletree::core
