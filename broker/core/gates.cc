// What keeps waiting jobs from dispatch: a full disk, pause, a worker's word to wait, breaker,
// concurrency, rate.
#include <algorithm>
#include <limits>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {

// REQUIRES: the queue has ready jobs.
uint64_t Broker::AllowedStarts(Queue& queue) {
  if (queue.paused && !Planted("ignore_pause")) return 0;
  if (now_.mono < queue.held_until) {
    SetTimer(queue, queue.held_until);
    return 0;
  }
  uint64_t allowed = std::numeric_limits<uint64_t>::max();
  if (queue.breaker.enabled()) {
    if (queue.breaker.Poll(now_.mono)) LogBreaker(queue);
    allowed = queue.breaker.Allowed();
    SetTimer(queue, queue.breaker.half_open_at());
    if (Planted("ignore_breaker")) allowed = 1;
  }
  if (queue.policy.concurrency > 0 && !Planted("ignore_concurrency")) {
    const uint64_t limit = queue.policy.concurrency;
    allowed = std::min(allowed, limit > queue.starts ? limit - queue.starts : 0);
  }
  if (allowed == 0 || queue.policy.rate.count == 0 || Planted("ignore_rate")) return allowed;
  // Of jobs in batches, NextBatch takes care.
  if (queue.policy.batches() && !queue.policy.rate.of_batches) return allowed;
  const uint64_t tokens = queue.bucket.Available(now_.mono);
  if (tokens == 0) WaitForTokens(queue, 1);
  return std::min(allowed, tokens);
}

void Broker::WaitForTokens(Queue& queue, uint64_t tokens) {
  SetTimer(queue, queue.bucket.AvailableAt(tokens));
  if (!std::exchange(queue.rate_waiting, true)) ++queue.rate_pauses;
}

void Broker::OnStarts(Queue& queue, uint64_t starts, uint64_t jobs) {
  queue.starts += starts;
  if (queue.breaker.enabled()) {
    for (uint64_t i = 0; i < starts; ++i) queue.breaker.OnStart();
  }
  if (queue.policy.rate.count == 0) return;
  queue.rate_waiting = false;
  // What was sealed before the policy changed may be more than there is.
  const uint64_t tokens = queue.policy.rate.of_batches ? starts : jobs;
  queue.bucket.Take(std::min(tokens, queue.bucket.burst()), now_.mono);
  NoteQueue(queue);
}

std::string_view Broker::ClosedGate(const Queue& queue) const {
  if (HeldByDisk(queue)) return "disk full";
  if (queue.paused) return "paused";
  if (now_.mono < queue.held_until) return "retry after";
  if (queue.breaker.enabled() && queue.breaker.Allowed() == 0) {
    return queue.breaker.state() == CircuitBreaker::State::kOpen ? "breaker open"
                                                                 : "breaker half-open";
  }
  if (queue.policy.concurrency > 0 && queue.starts >= queue.policy.concurrency) {
    return "concurrency";
  }
  if (queue.rate_waiting) return "rate";
  if (!queue.jobs.has_ready()) return queue.jobs.delayed() > 0 ? "backing off" : "not before";
  if (!queue.jobs.may_start()) return "key";
  if (queue.jobs.WaitsForStored()) return "loading";
  if (queue.policy.batches() && queue.jobs.sealed() == 0 &&
      queue.jobs.ready() < BatchJobsMax(queue)) {
    return "batch incomplete";
  }
  return "";
}

void Broker::FeedBreaker(Lease& lease, uint64_t jobs, Verdict verdict) {
  Queue& queue = *lease.queue;
  if (!queue.breaker.enabled()) return;
  bool changed = false;
  const auto feed = [&](Verdict result) {
    if (result == Verdict::kNone) {
      queue.breaker.OnNoResult(lease.breaker_generation);
      return;
    }
    const bool failed = result == Verdict::kFailed;
    changed |= queue.breaker.OnResult(lease.breaker_generation, failed, !failed, now_.mono);
  };
  if (!lease.batch) {
    for (uint64_t i = 0; i < jobs; ++i) feed(verdict);
  } else {
    // One start, one result: failed if none of its jobs went well.
    if (verdict == Verdict::kSucceeded || lease.verdict == Verdict::kNone) lease.verdict = verdict;
    if (lease.open.empty()) feed(lease.verdict);
  }
  if (!changed) return;
  LogBreaker(queue);
  Wake(queue);
}

void Broker::LogBreaker(const Queue& queue) {
  const bool open = queue.breaker.state() == CircuitBreaker::State::kOpen;
  Log(open ? LogLevel::kWarning : LogLevel::kInfo, "breaker",
      {{"queue", queue.name},
       {"state", std::string(queue.breaker.name())},
       {"ended", queue.ledger.ended()},
       {"waiting", queue.ledger.waiting()},
       {"times_opened", queue.breaker.times_opened()}});
}

void Broker::HoldQueue(Queue& queue, Duration delay) {
  if (now_.mono + delay <= queue.held_until) return;
  queue.held_until = now_.mono + delay;
  SetTimer(queue, queue.held_until);
  Log(LogLevel::kInfo, "queue_held",
      {{"queue", queue.name}, {"for_ms", ToMilliseconds(delay)}, {"by", std::string("a worker")}});
  TakeBackHeld(queue);
}

bool Broker::HeldByDisk(const Queue& queue) const {
  return queue.policy.durable && disk_.state() == DiskState::kFull && !Planted("ignore_disk");
}

void Broker::OnDiskState(DiskState before) {
  if (disk_.state() == before) return;
  Log(disk_.state() == DiskState::kOk ? LogLevel::kInfo : LogLevel::kWarning, "disk",
      {{"state", std::string(NameOf(disk_.state()))},
       {"free_bytes", disk_.free_bytes()},
       {"reserve_bytes", disk_.reserve_bytes()}});
  if (before != DiskState::kFull) return;
  for (const auto& [name, queue] : queues_) {
    if (queue->policy.durable) Wake(*queue);
  }
}

void Broker::TakeBackHeld(const Queue& queue) {
  if (queue.held > 0 && held_back_.insert(&queue).second) held_back_from_ = 0;
}

void Broker::AskForHeldBack() {
  if (held_back_.empty()) return;
  auto it = leases_.all().lower_bound(held_back_from_);
  for (; it != leases_.all().end() && !IsExhausted(); ++it) {
    Work();
    if (it->second.held() == 0 || !held_back_.contains(it->second.queue)) continue;
    Lease& asked = *leases_.Find(it->first);
    asked.RevokeHeld();
    Work(asked.revoked.intervals().size());
    Ask(asked);
  }
  if (it != leases_.all().end()) {
    held_back_from_ = it->first;
    is_left_ = true;
    return;
  }
  held_back_.clear();
  held_back_from_ = 0;
}

// The same for the leases of one worker, which is only being welcomed.
void Broker::AskBackLater(Peer& peer, const Queue& queue) {
  for (uint64_t token : peer.worker->leases) {
    Lease& lease = *leases_.Find(token);
    if (lease.queue != &queue || lease.held() == 0) continue;
    lease.RevokeHeld();
    lease.asked_at = now_.mono - kRepeatAfter;
    SetTimer(peer, now_.mono);
  }
}

wire::AdminReply Broker::OnPause(const wire::PauseRequest& request, uint64_t* commit) {
  wire::AdminReply reply;
  absl::Status error;
  // One that is configured may be paused before anybody uses it.
  if (policies_.queues.contains(request.queue())) OpenQueue(request.queue(), &error);
  const auto it = queues_.find(request.queue());
  if (it == queues_.end()) {
    *reply.mutable_error() = WireStatus(absl::StatusCode::kNotFound,
                                        "the broker knows no queue " + request.queue() +
                                            "; a queue exists once somebody submits to it or "
                                            "serves it");
    return reply;
  }
  Queue& queue = *it->second;
  const bool changed = queue.paused != request.paused();
  reply.mutable_pause()->set_changed(changed);
  if (changed) {
    queue.paused = request.paused();
    NoteQueue(queue);
  }
  // A commit that says so may still be under way.
  if (queue.policy.durable) *commit = changed_.queues.contains(queue.name) ? ThisCommit() : commit_;
  if (!changed) return reply;
  if (!queue.paused) queue.held_until = MonoTime{};
  Log(LogLevel::kInfo, queue.paused ? "queue_paused" : "queue_resumed",
      {{"queue", queue.name}, {"waiting", queue.ledger.waiting()}});
  if (queue.paused) TakeBackHeld(queue);
  Wake(queue);
  return reply;
}

// Nothing else is applied, and nothing dispatched, before all queues follow them.
void Broker::ConfigureQueues() {
  bool first = true;  // it gets on in each step
  for (auto it = queues_.upper_bound(*configured_); it != queues_.end(); ++it) {
    if (!std::exchange(first, false) && IsExhausted()) return;
    Work(2);
    Queue& queue = *it->second;
    QueuePolicy policy = PolicyOf(it->first);
    queue.durable_kept = policy.durable != queue.policy.durable;
    policy.durable = queue.policy.durable;  // for as long as the queue lives
    Configure(queue, policy);
    configured_ = it->first;
    if (!queue.durable_kept) continue;
    Log(LogLevel::kWarning, "durable_kept",
        {{"queue", it->first},
         {"durable", policy.durable},
         {"reason", std::string("a queue stays as it began until it is dropped: "
                                "whippletree-broker queue drop")}});
  }
  configured_.reset();
}

void Broker::Configure(Queue& queue, const QueuePolicy& policy) {
  const QueuePolicy before = std::exchange(queue.policy, policy);
  const RatePolicy& rate = policy.rate;
  if (rate.count > 0) {
    if (before.rate.count == 0) {
      // Empty when the broker starts; a queue that is new since then was idle.
      queue.bucket = TokenBucket(rate, start_.mono);
    } else if (rate != before.rate) {
      queue.bucket.Reconfigure(rate, now_.mono);
    }
  }
  const BreakerPolicy& breaker = policy.breaker;
  if (breaker != before.breaker) queue.breaker.Reconfigure(breaker);
  if (policy.keys != before.keys) {
    queue.jobs.SetKeyPolicy(policy.keys, start_.mono, now_.mono);
  }
  if (!queue.may_hold()) TakeBackHeld(queue);
  BoundDead(queue);
  SetWallTimer(queue);  // of names
  Wake(queue);
}

}  // namespace whippletree::core
