// Leases: what becomes of their jobs, by what their worker reports or because it says nothing.
#include <algorithm>
#include <optional>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "broker/core/outcome_ranges.h"
#include "broker/core/planted.h"
#include "broker/core/retry_policy.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {
namespace {

using Interval = IntervalSet::Interval;

}  // namespace

uint64_t Broker::CommitOf(const Lease& lease) const {
  uint64_t commit = 0;
  for (const Slice& slice : lease.slices) {
    // After a restart, one whose jobs have all ended may be gone.
    const auto it = streams_.find(slice.stream);
    if (it != streams_.end()) commit = std::max(commit, it->second->commit);
  }
  return commit;
}

WorkerQueue* Broker::WorkerQueueOf(const Lease& lease) {
  return peers_.at(lease.worker)->worker->Find(*lease.queue);
}

bool Broker::Halves(const Lease& lease) const {
  return lease.batch && MayHalve(lease.slices.front(), lease.queue->policy);
}

uint64_t Broker::StepEnd(const Lease& lease, uint64_t first, bool each) const {
  uint64_t end = lease.open.end();
  if (each) end = std::min(end, first + config_.step_work_max);
  for (const IntervalSet* parts : {&lease.open, &lease.charged, &lease.cancelled}) {
    uint64_t most = config_.step_work_max;
    end = parts->EndOf(first, end, &most);
  }
  const auto slice = std::upper_bound(lease.ends.begin(), lease.ends.end(), first);
  if (lease.ends.end() - slice <= static_cast<int64_t>(config_.step_work_max)) return end;
  return std::min<uint64_t>(end, *(slice + static_cast<int64_t>(config_.step_work_max) - 1));
}

void Broker::OnStarted(Lease& lease, const Interval& part) {
  if (lease.batch) return overdue_.OnBatchStep(lease, part);
  const uint64_t held =
      lease.open.Count(part.begin, part.end) - lease.charged.Count(part.begin, part.end);
  overdue_.OnMarked(lease, part);
  lease.charged.Add(part.begin, part.end);
  if (lease.revoked.Remove(part.begin, part.end) > 0) Wake(*lease.queue);  // an answer
  lease.queue->held -= held;
  if (WorkerQueue* wq = WorkerQueueOf(lease)) wq->held -= held;
  NoteLease(lease);
}

void Broker::OnFailed(const Peer& peer, Lease& lease, const std::vector<Interval>& parts,
                      wire::ReportItem& item) {
  wire::Status& status = *item.mutable_status();
  if (status.code() == 0) {  // a failure that says OK
    status = WireStatus(absl::StatusCode::kUnknown, status.message());
  }
  const uint32_t retry_after_ms = std::min(status.retry_after_ms(), kRetryAfterMsMax);
  status = ToWire(FromWire(status));  // with a message of bounded length
  status.set_retry_after_ms(retry_after_ms);
  if (status.code() == static_cast<int>(absl::StatusCode::kResourceExhausted) &&
      status.retry_after_ms() > 0) {
    HoldQueue(*lease.queue, milliseconds(status.retry_after_ms()));
  }
  const bool timed_out = status.code() == static_cast<int>(absl::StatusCode::kDeadlineExceeded);
  // What a further attempt may mend has one; else the job at fault is looked for.
  const auto last_attempt = [&] {
    bool is_last = false;
    for (const Interval& part : parts) {
      lease.ForEach(part, [&](const Slice& slice, uint64_t) {
        is_last = is_last || IsLastAttempt(slice, lease.queue->policy.max_attempts);
      });
    }
    return is_last;
  };
  if (lease.batch && item.whole_batch() &&
      (timed_out || !IsRetryable(status.code()) || last_attempt())) {
    HalveBatch(lease, {parts.front().begin, parts.back().end}, {status, peer.name});
    return;
  }
  for (const Interval& part : parts) FailJobs(lease, part, {status, peer.name});
}

void Broker::OnCompleted(Peer& peer, Lease& lease, const Interval& part, RunData& results,
                         uint32_t first) {
  uint64_t at = part.begin;
  while (at < part.end) {
    const auto size = [&](uint64_t i) {
      return results.payload(static_cast<uint32_t>(i - first)).size();
    };
    uint64_t end = at;
    while (end < part.end && size(end) <= config_.result_bytes_max) ++end;
    if (end == at) {
      FailJobs(lease, {at, at + 1},
               {WireStatus(absl::StatusCode::kOutOfRange,
                           "result of " + std::to_string(size(at)) + " bytes; at most " +
                               std::to_string(config_.result_bytes_max) + " are taken"),
                peer.name});
      ++at;
      continue;
    }
    peer.worker->completed += end - at;
    lease.ForEach({at, end}, [&](const Slice& slice, uint64_t index) {
      wire::OutcomeRange outcome;
      outcome.set_kind(wire::OutcomeRange::COMPLETED);
      outcome.set_attempts(slice.attempts + 1);
      outcome.set_worker(peer.name);
      if (!slice.options->discard_outcome()) {
        const auto from = static_cast<uint32_t>(index - first);
        if (slice.count() == results.count()) {
          results.MoveTo(outcome.mutable_results());
        } else {
          results.CopyTo(from, from + slice.count(), outcome.mutable_results());
        }
        std::string* block = outcome.mutable_results()->mutable_block();
        if (Planted("corrupt_result") && !block->empty()) (*block)[0] ^= 1;
      }
      EndSlice(lease, slice, index, std::move(outcome), Verdict::kSucceeded);
    });
    at = end;
  }
}

void Broker::EndSlice(Lease& lease, const Slice& slice, uint64_t index, wire::OutcomeRange outcome,
                      Verdict verdict) {
  outcome.set_first(slice.first);
  outcome.set_count(slice.count());
  CloseJobs(lease, slice, index, verdict);
  ReleasePayload(*lease.queue, slice.bytes());
  EndJobs(*streams_.at(slice.stream), std::move(outcome), !slice.options->discard_outcome());
}

void Broker::FailJobs(Lease& lease, const Interval& part, const Failure& failure) {
  const wire::Status& status = failure.status;
  const std::string& worker = failure.worker;
  Queue& queue = *lease.queue;
  const bool retryable = IsRetryable(status.code());
  const Verdict verdict = retryable ? Verdict::kFailed : Verdict::kSucceeded;
  // What fails together is tried again together.
  std::optional<Duration> delay;
  SplitBy(lease.cancelled, part, [&](Interval piece, bool cancelled) {
    lease.ForEach(piece, [&](const Slice& slice, uint64_t index) {
      const uint32_t attempts = slice.attempts + 1;
      const uint32_t max_attempts = MaxAttempts(slice, queue.policy.max_attempts);
      LogFields fields = {{"queue", queue.name},
                          {"jobs", uint64_t{slice.count()}},
                          {"first", JobIdText(slice.stream, slice.first)},
                          {"attempts", uint64_t{attempts}},
                          {"status", CodeName(status.code())},
                          {"error", status.message()}};
      wire::OutcomeRange outcome;
      if (cancelled) {
        outcome = CancelledOutcome(attempts);
      } else if (retryable && attempts < max_attempts && IsExpired(slice)) {
        outcome = ExpiredOutcome(attempts);
      } else if (retryable && attempts < max_attempts) {
        queue.retries += slice.count();
        if (failure.lost) {
          Work(slice.count());
          NoteAttempt(slice, status, worker);
          fields.push_back({"delay_ms", ToMilliseconds(RetryLost(lease, slice, index))});
          Log(LogLevel::kInfo, "jobs_retried", std::move(fields));
          return;
        }
        if (!delay) delay = BackoffDelay(queue.policy, attempts, &prng_);
        fields.push_back({"delay_ms", ToMilliseconds(*delay)});
        Log(LogLevel::kInfo, "jobs_retried", std::move(fields));
        NoteAttempt(slice, status, worker);
        Slice again = slice;
        again.attempts = attempts;
        ReturnJobs(lease, std::move(again), index, *delay, verdict);
        return;
      } else {
        outcome.set_attempts(attempts);
        outcome.set_kind(wire::OutcomeRange::DEAD);
        *outcome.mutable_status() = status.code() == 0
                                        ? WireStatus(absl::StatusCode::kUnknown, status.message())
                                        : ToWire(FromWire(status));
        Log(LogLevel::kWarning, "jobs_dead", std::move(fields));
        KeepDead(queue, slice, attempts, outcome.status(), worker);
      }
      outcome.set_worker(worker);
      EndSlice(lease, slice, index, std::move(outcome), cancelled ? Verdict::kNone : verdict);
    });
  });
}

// One of them may have ended the worker. Those that are innocent are not to meet it again each
// time: each has a back-off of its own, and after its second loss, or before its last attempt, it
// runs apart from others of this kind.
Duration Broker::RetryLost(Lease& lease, const Slice& slice, uint64_t index) {
  const QueuePolicy& policy = lease.queue->policy;
  Duration longest{0};
  for (uint32_t i = 0; i < slice.count(); ++i) {
    Slice again = slice.Part(i, 1);
    ++again.attempts;
    const bool last = IsLastAttempt(again, policy.max_attempts);
    again.losses = last ? kLossesApart : std::min(again.losses + 1, kLossesApart);
    const Duration delay = BackoffDelay(policy, again.attempts, &prng_);
    longest = std::max(longest, delay);
    ReturnJobs(lease, std::move(again), index + i, delay, Verdict::kFailed);
  }
  return longest;
}

// Jobs that were not started, or may not have been, leave their worker.
void Broker::GiveBack(Lease& lease, const Interval& part, bool cancelled, bool suspect) {
  lease.ForEach(part, [&](const Slice& slice, uint64_t index) {
    if (cancelled) {
      EndSlice(lease, slice, index, CancelledOutcome(slice.attempts), Verdict::kNone);
      return;
    }
    Slice again = slice;
    again.suspect = slice.suspect || suspect;
    ReturnJobs(lease, std::move(again), index, Duration(0), Verdict::kNone);
  });
}

void Broker::ReturnJobs(Lease& lease, Slice slice, uint64_t index, Duration delay,
                        Verdict verdict) {
  Queue& queue = *lease.queue;
  const uint32_t count = slice.count();
  slice.OwnSmallPart();
  if (delay > Duration(0) && !slice.stored() && BeyondMemory(queue, 0)) {
    ReleasePayload(queue, slice.bytes());
    slice.KeepStored();
  }
  NoteReturned(slice, 0, delay);
  CloseJobs(lease, slice, index, verdict);
  if (slice.suspect) Count("suspects", count);
  WatchExpiry(queue, slice);
  if (delay > Duration(0)) {
    queue.jobs.Delay(std::move(slice), now_.mono + delay);
    if (!Planted("forget_backoff")) SetTimer(queue, queue.jobs.next_due());
  } else {
    queue.jobs.Return(std::move(slice));
  }
  Wake(queue);
}

void Broker::CloseJobs(Lease& lease, const Slice& slice, uint64_t index, Verdict verdict) {
  Queue& queue = *lease.queue;
  const Interval part{index, index + slice.count()};
  WorkerState& worker = *peers_.at(lease.worker)->worker;
  const uint64_t jobs = part.end - part.begin;
  const uint64_t held = jobs - lease.charged.Count(part.begin, part.end);
  WT_CHECK(lease.open.ContainsAll(part.begin, part.end));
  if (lease.revoked.Count(part.begin, part.end) > 0) Wake(queue);  // an answer
  const uint64_t starts = lease.starts();
  lease.Close(part.begin, part.end);
  const uint64_t ended = starts - lease.starts();
  queue.ledger.leased -= jobs;
  queue.held -= held;
  queue.starts -= ended;
  worker.leased -= ended;
  if (WorkerQueue* wq = WorkerQueueOf(lease)) {
    wq->leased -= ended;
    wq->held -= held;
  }
  worker.is_stale = true;
  woken_workers_.insert(lease.worker);
  FeedBreaker(lease, jobs, verdict);
  queue.jobs.Leave(slice);
  // Others may take what was kept back.
  if (queue.policy.concurrency > 0 || queue.breaker.enabled() || queue.policy.keys.limits()) {
    Wake(queue);
  }
}

void Broker::EraseIfDone(Lease& lease) {
  if (!lease.open.empty()) return;
  overdue_.OnLeaseEnded(lease);
  EraseLeaseRow(lease);
  for (const Slice& slice : lease.slices) {
    const auto found = streams_.find(slice.stream);
    if (found == streams_.end()) continue;
    Stream& stream = *found->second;
    stream.leases.Remove(slice.first, slice.count(), lease.token);
    if (stream.producer == 0) dying_streams_.push_back(stream.number);
  }
  WorkerState& worker = *peers_.at(lease.worker)->worker;
  worker.leases.erase(lease.token);
  if (worker.apart == lease.token) worker.apart = 0;
  CountTable(-static_cast<int64_t>(lease.memory_bytes()));
  leases_.Erase(lease.token);
}

bool Broker::EndLease(uint64_t token, bool uncharged, std::string_view why) {
  Lease& lease = *leases_.Find(token);
  uncharged = uncharged || lease.sends == 0;
  const wire::Status lost =
      WireStatus(absl::StatusCode::kUnavailable, "its worker was lost: " + std::string(why));
  const std::string worker = peers_.at(lease.worker)->name;
  Work();
  const uint64_t first = lease.open.front();
  const bool each = !uncharged && !lease.charged.empty() && !Halves(lease);
  const uint64_t end = StepEnd(lease, first, each);
  if (lease.batch && !uncharged) {
    Work(lease.slices.size());
    HalveBatch(lease, {first, end}, {lost, worker, true});
    const bool done = lease.open.empty();
    EraseIfDone(lease);
    return done;
  }
  for (const Interval& part : lease.open.Intersect(0, end)) {
    SplitBy(lease.charged, part, [&](Interval piece, bool charged) {
      if (charged && !uncharged && Planted("skip_charge")) {
        GiveBack(lease, piece, false, false);
        return;
      }
      if ((charged || Planted("charge_held")) && !uncharged) {
        Work(piece.end - piece.begin);
        FailJobs(lease, piece, {lost, worker, true});
        return;
      }
      SplitBy(lease.cancelled, piece, [&](Interval bit, bool cancelled) {
        Work();
        GiveBack(lease, bit, cancelled, !uncharged);
      });
    });
  }
  const bool done = lease.open.empty();
  EraseIfDone(lease);
  return done;
}

void Broker::Ask(Lease& lease) {
  lease.asked_at = kNever;
  AskFor(lease, lease.cancelled, lease.revoked);
}

void Broker::AskFor(Lease& lease, const IntervalSet& cancelled, const IntervalSet& revoked) {
  Peer& peer = *peers_.at(lease.worker);
  const auto fill = [&](const IntervalSet& set, auto* ranges) {
    for (const Interval& part : set.intervals()) {
      wire::JobRange* range = ranges->Add();
      range->set_token(lease.token);
      range->set_first(static_cast<uint32_t>(part.begin));
      range->set_count(static_cast<uint32_t>(part.end - part.begin));
    }
  };
  if (!cancelled.empty()) {
    wire::Envelope message;
    message.mutable_cancel_jobs()->set_session(peer.session);
    fill(cancelled, message.mutable_cancel_jobs()->mutable_ranges());
    SendTo(peer, std::move(message), CommitOf(lease));
  }
  if (!revoked.empty()) {
    wire::Envelope message;
    message.mutable_revoke()->set_session(peer.session);
    fill(revoked, message.mutable_revoke()->mutable_ranges());
    SendTo(peer, std::move(message), CommitOf(lease));
  }
  if (cancelled.empty() && revoked.empty()) return;
  if (lease.asked_at == kNever) lease.asked_at = now_.mono;
  SetTimer(peer, lease.asked_at + kRepeatAfter);  // for all then
}

void Broker::OnWorkerState(Peer& peer,
                           const google::protobuf::RepeatedPtrField<wire::Credit>& credits,
                           uint64_t deliveries_next, bool draining) {
  WorkerState& worker = *peer.worker;
  for (const wire::Credit& credit : credits) {
    const auto queue = queues_.find(credit.queue());
    WorkerQueue* wq = queue == queues_.end() ? nullptr : worker.Find(*queue->second);
    if (wq == nullptr) continue;
    wq->jobs_limit = std::max(wq->jobs_limit, credit.jobs_limit());
    wq->held_max = std::min(credit.held_max(), kHeldMax);
    wq->service_time_ns = credit.service_time_ns();
  }
  worker.deliveries.Acknowledge(deliveries_next, now_.mono, [this](uint64_t token) {
    if (Lease* lease = leases_.Find(token)) lease->delivered = true;
  });
  overdue_.OnDeliveriesTold(peer);
  if (draining && !worker.draining) {
    Log(LogLevel::kInfo, "worker_draining", {{"worker", peer.name}, {"leased", worker.leased}});
  }
  worker.draining = draining;
  UpdateReady(peer);
  woken_workers_.insert(peer.number);
}

}  // namespace whippletree::core
