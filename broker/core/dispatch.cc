// Who gets what. First the free slots of all workers, evenly; then what workers may hold beyond
// them. Jobs that are known to be quicker than the message that brings them are not spread so: a
// worker is given a grain of them, and fewer workers are woken. Queues of one worker take turns.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

// Batches count as one.
uint64_t PossibleStarts(const Queue& queue) {
  uint64_t starts = queue.jobs.ready();
  if (queue.policy.batches()) starts /= queue.policy.batch.max_jobs;
  return starts + queue.jobs.sealed() + (queue.policy.batches() ? 1 : 0);
}

// How many jobs, or batches, of the queue are worth a message to the worker.
uint64_t Grain(uint32_t slots, const WorkerQueue& wq) {
  if (wq.service_time_ns == 0) return 1;  // not known yet
  // What it wants to hold grows with the turnaround, which says nothing about the jobs.
  const auto most = uint64_t{slots} * static_cast<uint64_t>(kGrainMax.count()) / wq.service_time_ns;
  return std::max<uint64_t>(1, std::min<uint64_t>(wq.held_max / kGrainsPerWindow, most));
}

WorkerLoad LoadOf(const WorkerState& worker) {
  constexpr uint64_t kLongNs = 1'000'000'000;  // what others say that takes longer is never quick
  WorkerLoad load;
  uint64_t leased = 0;
  uint64_t busy_ns = 0;
  uint64_t longest_ns = 0;
  for (const WorkerQueue& wq : worker.queues) {
    const uint64_t service_ns =
        wq.service_time_ns > 0 ? std::min(wq.service_time_ns, kLongNs) : kLongNs;
    if (service_ns < kLongNs) load.most_ns = std::max(load.most_ns, wq.held_max * service_ns);
    if (wq.leased == 0) continue;
    leased += wq.leased;
    busy_ns += wq.leased * service_ns;
    longest_ns = std::max(longest_ns, service_ns);
  }
  // There may be leases of queues that it served before.
  load.quick = leased == worker.leased && longest_ns < kLongNs && longest_ns <= load.most_ns;
  if (leased > worker.slots) load.ahead_ns = busy_ns / leased * (leased - worker.slots);
  return load;
}

// How many jobs of the queue may wait behind those of other queues, which have all slots. Those may
// take long: so none, unless it is known that all of them are quick, and then no more than the
// worker wants to have of one queue.
uint64_t RoomBehindOthers(const WorkerLoad& load, const WorkerQueue& wq) {
  if (!load.quick || wq.service_time_ns == 0 || load.ahead_ns >= load.most_ns) return 0;
  const uint64_t own = wq.held_max > wq.leased ? wq.held_max - wq.leased : 0;
  return std::min(own, (load.most_ns - load.ahead_ns) / wq.service_time_ns);
}

// From `turn` on, the first queue that only a free slot helps; `queues.size()`: there is none.
template <typename MayStart>
size_t WaitsForSlot(const WorkerState& worker, const MayStart& may_start) {
  const size_t n = worker.queues.size();
  for (size_t i = 0; i < n; ++i) {
    const size_t at = (worker.turn + i) % n;
    const WorkerQueue& wq = worker.queues[at];
    const bool may_hold =
        wq.queue->may_hold() && wq.held_max > 0 && wq.service_time_ns > 0 && !wq.never_held;
    if (wq.leased == 0 && !may_hold && wq.jobs_limit > wq.delivered && may_start(*wq.queue)) {
      return at;
    }
  }
  return n;
}

}  // namespace

// Within the window; and its next hello must be able to list its leases.
bool Broker::MayLease(const WorkerState& worker) const {
  return worker.deliveries.bytes() < config_.window_bytes() &&
         worker.leases.size() < size_t{kLeasesPerWorkerMax};
}

uint32_t Broker::Room(const WorkerState& worker, const WorkerQueue& wq, bool to_hold) const {
  if (!MayLease(worker)) return 0;
  const uint64_t credit = wq.jobs_limit > wq.delivered ? wq.jobs_limit - wq.delivered : 0;
  if (!to_hold) {
    return static_cast<uint32_t>(std::min(credit, worker.free_slots()));
  }
  if (worker.owed.starts() >= worker.slots) return 0;
  if (worker.taken() - wq.leased >= worker.slots) {
    return static_cast<uint32_t>(std::min(credit, RoomBehindOthers(worker.load, wq)));
  }
  const uint64_t held = worker.leased > worker.slots ? worker.leased - worker.slots : 0;
  const uint64_t room = wq.held_max > held ? wq.held_max - held : 0;
  return static_cast<uint32_t>(std::min(credit, room));
}

bool Broker::HasFreeSlot(const Queue& queue) const {
  if (HeldByDisk(queue)) return false;
  return std::any_of(queue.ready.begin(), queue.ready.end(), [&](uint64_t number) {
    const Peer& peer = *peers_.at(number);
    return peer.writable() && Room(*peer.worker, *peer.worker->Find(queue), false) > 0;
  });
}

void Broker::UpdateReady(Peer& peer) {
  WorkerState& worker = *peer.worker;
  worker.is_stale = false;
  worker.load = LoadOf(worker);
  const bool takes = peer.writable() && !worker.draining && worker.stuck == Stuck::kNo;
  // A worker may serve a thousand queues, of which few change.
  uint64_t changes = 0;
  const auto put = [&](std::set<uint64_t>* peers, bool* was_in, bool is_in) {
    if (std::exchange(*was_in, is_in) == is_in) return;
    ++changes;
    if (is_in) {
      peers->insert(peer.number);
    } else {
      peers->erase(peer.number);
    }
  };
  for (WorkerQueue& wq : worker.queues) {
    put(&wq.queue->ready, &wq.is_ready, takes && Room(worker, wq, false) > 0);
    put(&wq.queue->ready_to_hold, &wq.is_ready_to_hold, takes && Room(worker, wq, true) > 0);
  }
  Work(changes / 16);
}

void Broker::Dispatch() {
  AskForHeldBack();
  for (uint64_t number : woken_workers_) {
    auto it = peers_.find(number);
    if (it == peers_.end()) continue;
    WorkerState& worker = *it->second->worker;
    if (worker.is_stale) UpdateReady(*it->second);
    if (worker.free_slots() > 0) worker.free_at = now_.mono;
  }
  work_ = 0;  // it gets on in each step
  for (uint64_t number : woken_queues_) {
    if (queue_by_number_[number]->jobs.stored_ready() > 0) load_queues_.insert(number);
  }
  DispatchAll(false);
  DispatchAll(true);
  if (IsExhausted()) {  // whom it would have served is still woken
    is_left_ = true;
    return;
  }
  for (uint64_t number : woken_workers_) {
    auto it = peers_.find(number);
    if (it == peers_.end() || it->second->worker->free_slots() == 0) continue;
    for (const WorkerQueue& wq : it->second->worker->queues) {
      if (wq.queue->held > 0) Wake(*wq.queue);
    }
  }
  for (uint64_t number : woken_queues_) {
    Queue& queue = *queue_by_number_[number];
    if (queue.held > 0 && !queue.jobs.may_start() && !HeldByDisk(queue)) RevokeForIdle(queue);
  }
  woken_queues_.clear();
  woken_workers_.clear();
}

void Broker::DispatchAll(bool to_hold) {
  bool all = false;
  bool asleep = true;
  while (asleep && !IsExhausted()) {
    do {
      asleep = false;
      for (uint64_t number : woken_queues_) {
        if (!WakeTakers(*queue_by_number_[number], to_hold, all)) asleep = true;
      }
    } while (DispatchPass(to_hold));
    // What those did not take, the others may: a worker takes turns among its queues.
    all = true;
  }
}

bool Broker::WakeTakers(Queue& queue, bool to_hold, bool all) {
  if (!queue.jobs.has_ready()) return true;
  const uint64_t starts = PossibleStarts(queue);
  uint64_t covered = 0;
  for (uint64_t number : to_hold ? queue.ready_to_hold : queue.ready) {
    if (!all && covered >= starts) return false;
    woken_workers_.insert(number);
    WorkerState& worker = *peers_.at(number)->worker;
    covered += Grain(worker.slots, *worker.Find(queue));
  }
  return true;
}

bool Broker::DispatchPass(bool to_hold) {
  ++pass_;
  bool any = false;
  for (uint64_t number : woken_workers_) {
    if (IsExhausted()) return false;
    auto it = peers_.find(number);
    if (it != peers_.end() && Serve(*it->second, to_hold)) any = true;
  }
  return any;
}

uint64_t Broker::ShareOf(Queue& queue, bool to_hold) const {
  if (std::exchange(queue.share_pass, pass_) != pass_) {
    const auto& takers = to_hold ? queue.ready_to_hold : queue.ready;
    const uint64_t n = std::max<uint64_t>(1, takers.size());
    queue.share = (PossibleStarts(queue) + n - 1) / n;
  }
  return queue.share;
}

bool Broker::MayHoldNow(const Queue& queue) const {
  return queue.may_hold() && queue.jobs.sealed() == 0 && !queue.paused &&
         now_.mono >= queue.held_until;
}

bool Broker::Serve(Peer& peer, bool to_hold) {
  WorkerState& worker = *peer.worker;
  if (!peer.writable() || worker.draining || worker.stuck != Stuck::kNo) return false;
  const size_t n = worker.queues.size();
  if (to_hold && now_.mono >= worker.free_at + kFreeSlotAfter) {
    // What must not wait in a worker would never start while others keep its slots taken.
    const size_t waiting = WaitsForSlot(worker, [&](Queue& queue) {
      if (!queue.jobs.may_start(worker.apart == 0) || HeldByDisk(queue)) return false;
      const bool lingers = queue.policy.batches() && queue.jobs.sealed() == 0 &&
                           queue.jobs.ready() < queue.policy.batch.max_jobs &&
                           now_.mono < queue.jobs.oldest() + queue.policy.batch.linger;
      return !lingers && AllowedStarts(queue) > 0;
    });
    if (waiting < n) {
      worker.turn = waiting;
      return false;
    }
    worker.free_at = now_.mono;
  }
  for (size_t i = 0; i < n; ++i) {
    const size_t at = (worker.turn + i) % n;
    WorkerQueue& wq = worker.queues[at];
    Queue& queue = *wq.queue;
    if (!queue.jobs.has_ready() || HeldByDisk(queue) || queue.expires_now(now_.wall)) continue;
    if (Planted("stop_all") && queue.jobs.has_stopped()) continue;
    if (to_hold && !MayHoldNow(queue)) continue;
    const uint64_t grain = Grain(worker.slots, wq);
    uint64_t room =
        std::min<uint64_t>(Room(worker, wq, to_hold), std::max(ShareOf(queue, to_hold), grain));
    if (room > 0 && !to_hold) room = std::min(room, AllowedStarts(queue));
    if (room == 0) continue;
    const bool batches = queue.policy.batches();
    uint64_t granted = 0;
    if (batches || queue.jobs.sealed() > 0) granted = GrantBatches(peer, wq, room);
    if (!batches && granted < room) {
      granted += Grant(peer, wq, static_cast<uint32_t>(room - granted), to_hold);
    }
    if (!to_hold && !batches && granted > 0 && granted < grain && MayHoldNow(queue)) {
      const uint64_t more = std::min<uint64_t>(Room(worker, wq, true), grain - granted);
      if (more > 0) granted += Grant(peer, wq, static_cast<uint32_t>(more), true);
    }
    wq.never_held = to_hold && granted == 0;
    if (granted > 0) {
      worker.turn = (at + 1) % n;
      return true;
    }
  }
  return false;
}

uint32_t Broker::Grant(Peer& peer, WorkerQueue& wq, uint32_t jobs, bool to_hold) {
  Queue& queue = *wq.queue;
  uint32_t granted = 0;
  while (granted < jobs && MayLease(*peer.worker) && !IsExhausted()) {
    const uint64_t under_way = peer.worker->deliveries.bytes();
    std::optional<Slice> slice =
        queue.jobs.Take({.jobs = jobs - granted, .bytes = config_.window_bytes() - under_way},
                        to_hold, queue.policy.max_attempts, now_.mono);
    if (!slice) break;
    granted += slice->count();
    std::vector<Slice> slices;
    slices.push_back(*std::move(slice));
    GrantLease(peer, wq, std::move(slices), to_hold, false);
  }
  AfterGrants(peer, queue, granted);
  return granted;
}

void Broker::AfterGrants(Peer& peer, Queue& queue, uint32_t granted) {
  CountMemory(queue);
  load_queues_.insert(queue.number);
  SetTimer(queue, queue.jobs.next_due());  // for keys that wait for their rate
  if (granted == 0) return;
  delivery_peers_.insert(peer.number);
  UpdateReady(peer);
}

uint32_t Broker::GrantBatches(Peer& peer, WorkerQueue& wq, uint64_t batches) {
  Queue& queue = *wq.queue;
  uint32_t granted = 0;
  while (granted < batches && MayLease(*peer.worker) && !IsExhausted()) {
    // Batches were switched off: what is left of them goes, the other jobs as usual.
    if (!queue.policy.batches() && queue.jobs.sealed() == 0) break;
    BatchReason reason = BatchReason::kSize;
    std::vector<Slice> batch =
        NextBatch(queue, peer.worker->apart == 0 || Planted("run_together"), &reason);
    if (batch.empty()) break;
    ++granted;
    const bool is_batch = queue.policy.batches() || batch.front().halvings > 0;
    if (is_batch) ++queue.batches_by[static_cast<int>(reason)];
    GrantLease(peer, wq, std::move(batch), false, is_batch);
  }
  AfterGrants(peer, queue, granted);
  return granted;
}

void Broker::GrantLease(Peer& peer, WorkerQueue& wq, std::vector<Slice> slices, bool to_hold,
                        bool batch) {
  WorkerState& worker = *peer.worker;
  Queue& queue = *wq.queue;
  Work(slices.size());
  Lease& lease = *leases_.Grant(peer.number, &queue, std::move(slices), !to_hold, now_.mono);
  lease.batch = batch;
  lease.timeout = std::min<Duration>(queue.policy.timeout, kTimeoutMax);
  lease.end_grace = worker.end_grace;
  lease.breaker_generation = queue.breaker.generation();
  const uint64_t starts = lease.starts();
  uint64_t bytes = 0;
  for (const Slice& slice : lease.slices) {
    Stream& stream = *streams_.at(slice.stream);
    stream.leases.Add(slice.first, slice.count(), lease.token);
    bytes += slice.bytes();
    if (slice.apart()) worker.apart = lease.token;
    if (stream.rows == nullptr) continue;
    stream.rows->Lease(slice.first, slice.first + slice.count(), &effects_->writes);
    stream.commit = ThisCommit();
  }
  NoteLease(lease);
  CountTable(static_cast<int64_t>(lease.memory_bytes()));
  worker.leases.insert(lease.token);
  worker.leased += starts;
  wq.leased += starts;
  wq.delivered += starts;
  queue.ledger.leased += lease.count();
  OnStarts(queue, starts, lease.count());
  if (to_hold) {
    wq.held += lease.count();
    queue.held += lease.count();
    Count("jobs_prefetched", lease.count());
    if (worker.taken() - wq.leased >= worker.slots) Count("jobs_held_behind_others", lease.count());
  }
  worker.deliveries.Push(lease.token, bytes);
}

void Broker::SendDeliveries(Peer& peer) {
  if (!peer.worker) return;
  WorkerState& worker = *peer.worker;
  while (peer.writable() && worker.deliveries.has_unsent()) {
    if (IsExhausted()) {
      delivery_peers_.insert(peer.number);
      is_left_ = true;
      return;
    }
    wire::Envelope message;
    wire::Deliveries* deliveries = message.mutable_deliveries();
    deliveries->set_session(peer.session);
    deliveries->set_first_ordinal(worker.deliveries.next_to_send());
    uint64_t bytes = 0;
    uint64_t commit = 0;
    while (worker.deliveries.has_unsent() && !IsExhausted()) {
      const auto& item = worker.deliveries.PeekUnsent();
      const Lease* lease = leases_.Find(item.value);
      const uint64_t needs = lease == nullptr ? 0 : CommitOf(*lease);
      if (deliveries->deliveries_size() == 0) commit = needs;
      // What waits for a disk must not hold up what does not.
      if (needs != commit) break;
      if (bytes > 0 && bytes + item.bytes > kDoorMessageBytes) break;
      wire::Delivery* delivery = deliveries->add_deliveries();
      if (lease != nullptr) FillDelivery(*lease, delivery);
      bytes += item.bytes;
      worker.deliveries.MarkSent(now_.mono);
      Work();
    }
    SetTimer(peer, worker.deliveries.resend_at());
    SendTo(peer, std::move(message), commit);
    if (worker.held_reports.first != kNever) report_peers_.insert(peer.number);  // there is company
  }
}

void Broker::FillDelivery(const Lease& lease, wire::Delivery* delivery) const {
  const auto fill_options = [&](const Slice& slice, wire::JobOptions* options) {
    *options = *slice.options;
    if (options->timeout_ms() == 0) {
      options->set_timeout_ms(static_cast<uint32_t>(ToMilliseconds(lease.timeout)));
    }
  };
  const Slice& front = lease.slices.front();
  delivery->set_token(lease.token);
  delivery->set_secret(secrets_.OfLease(lease.token));
  delivery->set_queue(lease.queue->name);
  delivery->set_started(static_cast<uint32_t>(lease.charged.size()));
  delivery->set_batch(lease.batch);
  if (!lease.batch) {
    delivery->set_stream(front.stream);
    delivery->set_first(front.first);
    delivery->set_attempt(front.attempts + 1);
    fill_options(front, delivery->mutable_options());
  }
  const bool whole = lease.open.size() == lease.count();
  for (const auto& part : lease.open.intervals()) {
    lease.ForEach(part, [&](const Slice& slice, uint64_t) {
      slice.data->CopyTo(slice.begin, slice.end, delivery->mutable_run());
      if (!lease.batch) return;
      wire::DeliveryPart* jobs = delivery->add_parts();
      jobs->set_stream(slice.stream);
      jobs->set_first(slice.first);
      jobs->set_count(slice.count());
      jobs->set_attempt(slice.attempts + 1);
      fill_options(slice, jobs->mutable_options());
    });
    for (uint64_t i = part.begin; !whole && i < part.end; ++i) {
      delivery->add_indexes(static_cast<uint32_t>(i));
    }
  }
}

void Broker::RevokeForIdle(Queue& queue) {
  if (now_.mono < queue.revoke_at) {
    SetTimer(queue, queue.revoke_at);  // an earlier timer may have taken its place
    return;
  }
  uint64_t idle = 0;
  for (uint64_t number : queue.ready) {
    WorkerState& worker = *peers_.at(number)->worker;
    const WorkerQueue& wq = *worker.Find(queue);
    if (Room(worker, wq, false) > 0) idle += wq.jobs_limit - wq.delivered;
  }
  if (idle == 0) return;
  // From the worker that holds most, at most half of it, the newest first.
  Peer* victim = nullptr;
  uint64_t most = 0;
  for (uint64_t number : queue.workers) {
    Peer& peer = *peers_.at(number);
    const WorkerQueue& wq = *peer.worker->Find(queue);
    if (wq.held > most && peer.connected()) {
      most = wq.held;
      victim = &peer;
    }
  }
  if (victim == nullptr) return;
  uint64_t wanted = std::min((most + 1) / 2, idle);
  const std::set<uint64_t>& tokens = victim->worker->leases;
  for (auto it = tokens.rbegin(); it != tokens.rend(); ++it) {  // one answer at a time
    const Lease& lease = *leases_.Find(*it);
    if (lease.queue == &queue && !lease.revoked.empty()) return;
  }
  MonoTime next = kNever;
  for (auto it = tokens.rbegin(); it != tokens.rend() && wanted > 0; ++it) {
    Lease& lease = *leases_.Find(*it);
    if (lease.queue != &queue || lease.held() == 0) continue;
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
        GiveBack(lease, {part->end - n, part->end}, false, false);
      }
    }
    if (Planted("move_at_revoke")) {
      EraseIfDone(lease);
      return;
    }
    Ask(lease);
  }
  if (next == kNever) return;
  queue.revoke_at = next;  // not to look through all workers in each step before
  SetTimer(queue, next);
}

}  // namespace whippletree::core
