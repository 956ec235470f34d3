// Who gets what. First the free slots of all workers, evenly; then what workers may hold beyond
// them. Queues of one worker take turns.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {

uint32_t Broker::Room(const WorkerState& worker, const WorkerQueue& wq, bool to_hold) const {
  if (worker.deliveries.bytes() >= config_.window_bytes()) return 0;
  const uint64_t credit = wq.jobs_limit > wq.delivered ? wq.jobs_limit - wq.delivered : 0;
  if (!to_hold) {
    const uint64_t free = worker.slots > worker.leased ? worker.slots - worker.leased : 0;
    return static_cast<uint32_t>(std::min(credit, free));
  }
  // Behind the jobs of other queues nothing is held: they may take long.
  if (worker.leased - wq.leased >= worker.slots) return 0;
  const uint64_t held = worker.leased > worker.slots ? worker.leased - worker.slots : 0;
  const uint64_t room = wq.held_max > held ? wq.held_max - held : 0;
  return static_cast<uint32_t>(std::min(credit, room));
}

void Broker::UpdateReady(Peer& peer) {
  const WorkerState& worker = *peer.worker;
  const bool takes = peer.writable() && !worker.draining;
  for (const WorkerQueue& wq : worker.queues) {
    if (takes && (Room(worker, wq, false) > 0 || Room(worker, wq, true) > 0)) {
      wq.queue->ready.insert(peer.number);
    } else {
      wq.queue->ready.erase(peer.number);
    }
  }
}

void Broker::Dispatch() {
  for (uint64_t number : woken_workers_) {
    auto it = peers_.find(number);
    if (it != peers_.end()) UpdateReady(*it->second);
  }
  for (uint64_t number : woken_queues_) {
    const Queue& queue = *queue_by_number_[number];
    if (queue.jobs.has_ready()) woken_workers_.insert(queue.ready.begin(), queue.ready.end());
  }
  while (DispatchPass(false)) {
  }
  while (DispatchPass(true)) {
  }
  for (uint64_t number : woken_workers_) {
    auto it = peers_.find(number);
    if (it == peers_.end() || it->second->worker->leased >= it->second->worker->slots) continue;
    for (const WorkerQueue& wq : it->second->worker->queues) Wake(*wq.queue);
  }
  for (uint64_t number : woken_queues_) {
    Queue& queue = *queue_by_number_[number];
    if (queue.held > 0 && !queue.jobs.has_ready()) RevokeForIdle(queue);
  }
  woken_queues_.clear();
  woken_workers_.clear();
}

bool Broker::DispatchPass(bool to_hold) {
  for (uint64_t number : woken_workers_) {
    auto it = peers_.find(number);
    if (it == peers_.end()) continue;
    for (const WorkerQueue& wq : it->second->worker->queues) {
      const uint64_t takers = std::max<uint64_t>(1, wq.queue->ready.size());
      wq.queue->share = (wq.queue->jobs.ready() + takers - 1) / takers;
    }
  }
  bool any = false;
  for (uint64_t number : woken_workers_) {
    auto it = peers_.find(number);
    if (it != peers_.end() && Serve(*it->second, to_hold)) any = true;
  }
  return any;
}

bool Broker::Serve(Peer& peer, bool to_hold) {
  WorkerState& worker = *peer.worker;
  if (!peer.writable() || worker.draining) return false;
  const size_t n = worker.queues.size();
  for (size_t i = 0; i < n; ++i) {
    const size_t at = (worker.turn + i) % n;
    WorkerQueue& wq = worker.queues[at];
    if (!wq.queue->jobs.has_ready() || HeldByOutcomes(*wq.queue)) continue;
    const uint64_t room = std::min<uint64_t>(Room(worker, wq, to_hold), wq.queue->share);
    if (room == 0) continue;
    if (Grant(peer, wq, static_cast<uint32_t>(room), to_hold) > 0) {
      worker.turn = (at + 1) % n;
      return true;
    }
  }
  return false;
}

uint32_t Broker::Grant(Peer& peer, WorkerQueue& wq, uint32_t jobs, bool to_hold) {
  WorkerState& worker = *peer.worker;
  Queue& queue = *wq.queue;
  uint32_t granted = 0;
  while (granted < jobs) {
    const uint64_t under_way = worker.deliveries.bytes();
    if (under_way >= config_.window_bytes()) break;
    std::optional<Slice> slice =
        queue.jobs.Take({.jobs = jobs - granted, .bytes = config_.window_bytes() - under_way},
                        to_hold, queue.policy.max_attempts);
    if (!slice) break;
    const uint32_t n = slice->count();
    const uint64_t bytes = slice->bytes();
    Stream& stream = *streams_.at(slice->stream);
    Lease* lease = leases_.Grant(peer.number, std::move(*slice), to_hold ? 0 : n, now_.mono);
    stream.leases.emplace(lease->slice.first, lease->token);
    worker.leases.insert(lease->token);
    worker.leased += n;
    wq.leased += n;
    wq.delivered += n;
    queue.ledger.leased += n;
    if (to_hold) {
      wq.held += n;
      queue.held += n;
      Count("jobs_prefetched", n);
    }
    if (queue.policy.durable) {
      record::Leased* leased = Write()->mutable_leased();
      leased->set_token(lease->token);
      leased->set_worker(peer.name);
      leased->set_stream(stream.number);
      leased->set_first(lease->slice.first);
      leased->set_count(n);
      leased->set_attempts(lease->slice.attempts);
      leased->set_charged(to_hold ? 0 : n);
      stream.commit = ThisCommit();
    }
    worker.deliveries.Push(lease->token, bytes);
    granted += n;
  }
  CountMemory(queue);
  if (granted > 0) {
    delivery_peers_.insert(peer.number);
    UpdateReady(peer);
  }
  return granted;
}

void Broker::SendDeliveries(Peer& peer) {
  if (!peer.worker) return;
  WorkerState& worker = *peer.worker;
  while (peer.writable() && worker.deliveries.has_unsent()) {
    wire::Envelope message;
    wire::Deliveries* deliveries = message.mutable_deliveries();
    deliveries->set_session(peer.session);
    deliveries->set_first_ordinal(worker.deliveries.next_to_send());
    uint64_t bytes = 0;
    uint64_t commit = 0;
    while (worker.deliveries.has_unsent()) {
      const auto& item = worker.deliveries.PeekUnsent();
      const Lease* lease = leases_.Find(item.value);
      const uint64_t needs = lease == nullptr ? 0 : StreamOf(*lease).commit;
      if (deliveries->deliveries_size() == 0) commit = needs;
      // What waits for a disk must not hold up what does not.
      if (needs != commit) break;
      if (bytes > 0 && bytes + item.bytes > kDoorMessageBytes) break;
      wire::Delivery* delivery = deliveries->add_deliveries();
      if (lease != nullptr) FillDelivery(*lease, delivery);
      bytes += item.bytes;
      worker.deliveries.MarkSent(now_.mono);
    }
    SetTimer(peer, worker.deliveries.resend_at());
    SendTo(peer, std::move(message), commit);
  }
}

void Broker::FillDelivery(const Lease& lease, wire::Delivery* delivery) const {
  const Slice& slice = lease.slice;
  delivery->set_token(lease.token);
  delivery->set_queue(streams_.at(slice.stream)->queue->name);
  delivery->set_stream(slice.stream);
  delivery->set_first(slice.first);
  delivery->set_attempt(slice.attempts + 1);
  delivery->set_started(static_cast<uint32_t>(lease.charged.size()));
  *delivery->mutable_options() = *slice.options;
  const bool whole = lease.open.size() == slice.count();
  for (const auto& part : lease.open.intervals()) {
    slice.data->CopyTo(slice.begin + static_cast<uint32_t>(part.begin),
                       slice.begin + static_cast<uint32_t>(part.end), delivery->mutable_run());
    for (uint64_t i = part.begin; !whole && i < part.end; ++i) {
      delivery->add_indexes(static_cast<uint32_t>(i));
    }
  }
}

void Broker::RevokeForIdle(Queue& queue) {
  uint64_t idle = 0;
  for (uint64_t number : queue.ready) {
    const WorkerState& worker = *peers_.at(number)->worker;
    for (const WorkerQueue& wq : worker.queues) {
      if (wq.queue == &queue)
        idle += Room(worker, wq, false) > 0 ? wq.jobs_limit - wq.delivered : 0;
    }
  }
  if (idle == 0) return;
  // From the worker that holds most, at most half of it, the newest first.
  Peer* victim = nullptr;
  uint64_t most = 0;
  for (uint64_t number : queue.workers) {
    Peer& peer = *peers_.at(number);
    for (const WorkerQueue& wq : peer.worker->queues) {
      if (wq.queue == &queue && wq.held > most && peer.connected()) {
        most = wq.held;
        victim = &peer;
      }
    }
  }
  if (victim == nullptr) return;
  uint64_t wanted = std::min((most + 1) / 2, idle);
  const std::set<uint64_t>& tokens = victim->worker->leases;
  for (auto it = tokens.rbegin(); it != tokens.rend(); ++it) {  // one answer at a time
    const Lease& lease = *leases_.Find(*it);
    if (&QueueOf(lease) == &queue && !lease.revoked.empty()) return;
  }
  MonoTime next = kNever;
  for (auto it = tokens.rbegin(); it != tokens.rend() && wanted > 0; ++it) {
    Lease& lease = *leases_.Find(*it);
    if (&QueueOf(lease) != &queue || lease.held() == 0) continue;
    if (now_.mono < lease.granted + kRevokeAfter) {
      next = std::min(next, lease.granted + kRevokeAfter);
      continue;
    }
    IntervalSet held = lease.open;
    for (const auto& part : lease.charged.intervals()) held.Remove(part.begin, part.end);
    const auto& parts = held.intervals();
    for (auto part = parts.rbegin(); part != parts.rend() && wanted > 0; ++part) {
      const uint64_t n = std::min(wanted, part->end - part->begin);
      lease.revoked.Add(part->end - n, part->end);
      wanted -= n;
      Count("jobs_revoked", n);
      if (Planted("move_at_revoke")) {
        ReturnJobs(lease, {part->end - n, part->end}, lease.slice.attempts, false, Duration(0));
      }
    }
    if (Planted("move_at_revoke")) {
      EraseIfDone(lease);
      return;
    }
    Ask(lease);
  }
  if (next != kNever) SetTimer(queue, next);
}

}  // namespace whippletree::core
