// Leases: what workers report, and what becomes of jobs whose worker says nothing.
#include <algorithm>
#include <optional>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "broker/core/retry_policy.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {
namespace {

using Interval = IntervalSet::Interval;

}  // namespace

Stream& Broker::StreamOf(const Lease& lease) { return *streams_.at(lease.slice.stream); }
Queue& Broker::QueueOf(const Lease& lease) { return *StreamOf(lease).queue; }

WorkerQueue* Broker::WorkerQueueOf(const Lease& lease) {
  const Queue* queue = &QueueOf(lease);
  for (WorkerQueue& wq : peers_.at(lease.worker)->worker->queues) {
    if (wq.queue == queue) return &wq;
  }
  return nullptr;
}

void Broker::OnReport(Peer& peer, wire::Report& report) {
  WorkerState& worker = *peer.worker;
  report_peers_.insert(peer.number);
  if (report.first_ordinal() > worker.report_next) {
    Count("early_reports");
    return;
  }
  uint64_t ordinal = report.first_ordinal();
  for (wire::ReportItem& item : *report.mutable_items()) {
    if (ordinal++ < worker.report_next) {
      Count("repeated_reports");
      continue;
    }
    ++worker.report_next;
    OnReportItem(peer, item);
  }
  // A repeated one tells what was; its cumulative parts were told since.
  if (ordinal < worker.report_next) return;
  OnWorkerState(peer, report.credits(), report.deliveries_next(), report.draining());
}

void Broker::OnReportItem(Peer& peer, wire::ReportItem& item) {
  Lease* lease = leases_.Find(item.token());
  std::vector<Interval> parts;
  if (lease != nullptr && lease->worker == peer.number) {
    parts = lease->open.Intersect(item.first(), uint64_t{item.first()} + item.count());
  }
  uint64_t current = 0;
  for (const Interval& part : parts) current += part.end - part.begin;
  if (current < item.count()) {
    Count("stale_completions", item.count() - current);
    if (Planted("count_stale")) queues_.begin()->second->ledger.completed += item.count();
    Log(LogLevel::kWarning, "stale_completion",
        {{"worker", peer.name}, {"token", item.token()}, {"jobs", item.count() - current}});
  }
  if (parts.empty()) return;
  std::optional<RunData> results;
  if (item.kind() == wire::ReportItem::COMPLETED) results.emplace(item.mutable_results());
  for (const Interval& part : parts) {
    switch (item.kind()) {
      case wire::ReportItem::STARTED:
        OnStarted(*lease, part);
        break;
      case wire::ReportItem::COMPLETED:
        OnCompleted(peer, *lease, part, *results, item.first());
        break;
      case wire::ReportItem::FAILED:
        peer.worker->failed += part.end - part.begin;
        if (item.status().code() == 0) {  // a failure that says OK
          *item.mutable_status() = WireStatus(absl::StatusCode::kUnknown, item.status().message());
        }
        FailJobs(*lease, part, item.status(), peer.name);
        break;
      case wire::ReportItem::HANDED_BACK:
        SplitBy(IntervalSet(lease->cancelled), part, [&](Interval piece, bool cancelled) {
          if (cancelled) {
            EndLeased(*lease, piece, CancelledOutcome(lease->slice.attempts));
          } else {
            Count("jobs_handed_back", piece.end - piece.begin);
            ReturnJobs(*lease, piece, lease->slice.attempts, lease->slice.suspect, Duration(0));
          }
        });
        break;
      default:
        Count("rejected_frames");
        return;
    }
  }
  // Before the lease may go: its queue tells whether the answer waits for a disk.
  if (QueueOf(*lease).policy.durable) peer.worker->commit = ThisCommit();
  EraseIfDone(*lease);
}

void Broker::OnStarted(Lease& lease, const Interval& part) {
  const uint64_t held =
      lease.open.Count(part.begin, part.end) - lease.charged.Count(part.begin, part.end);
  lease.charged.Add(part.begin, part.end);
  if (lease.revoked.Remove(part.begin, part.end) > 0) Wake(QueueOf(lease));  // an answer
  QueueOf(lease).held -= held;
  if (WorkerQueue* wq = WorkerQueueOf(lease)) wq->held -= held;
  if (QueueOf(lease).policy.durable) {
    record::Charged* charged = Write()->mutable_charged();
    charged->set_token(lease.token);
    charged->set_first(static_cast<uint32_t>(part.begin));
    charged->set_count(static_cast<uint32_t>(part.end - part.begin));
  }
}

void Broker::OnCompleted(Peer& peer, Lease& lease, const Interval& part, const RunData& results,
                         uint32_t first) {
  uint64_t at = part.begin;
  while (at < part.end) {
    const auto size = [&](uint64_t i) {
      return results.payload(static_cast<uint32_t>(i - first)).size();
    };
    uint64_t end = at;
    while (end < part.end && size(end) <= config_.result_bytes_max) ++end;
    if (end > at) {
      wire::OutcomeRange outcome;
      outcome.set_kind(wire::OutcomeRange::COMPLETED);
      outcome.set_attempts(lease.slice.attempts + 1);
      outcome.set_worker(peer.name);
      if (!lease.slice.options->discard_outcome()) {
        results.CopyTo(static_cast<uint32_t>(at - first), static_cast<uint32_t>(end - first),
                       outcome.mutable_results());
        std::string* block = outcome.mutable_results()->mutable_block();
        if (Planted("corrupt_result") && !block->empty()) (*block)[0] ^= 1;
      }
      peer.worker->completed += end - at;
      EndLeased(lease, {at, end}, std::move(outcome));
      at = end;
      continue;
    }
    FailJobs(lease, {at, at + 1},
             WireStatus(absl::StatusCode::kOutOfRange,
                        "result of " + std::to_string(size(at)) + " bytes; at most " +
                            std::to_string(config_.result_bytes_max) + " are taken"),
             peer.name);
    ++at;
  }
}

void Broker::EndLeased(Lease& lease, const Interval& part, wire::OutcomeRange outcome) {
  outcome.set_first(lease.number_of(part.begin));
  outcome.set_count(part.end - part.begin);
  const uint64_t bytes =
      lease.slice.data->bytes(lease.slice.begin + static_cast<uint32_t>(part.begin),
                              lease.slice.begin + static_cast<uint32_t>(part.end));
  CloseJobs(lease, part);
  ReleasePayload(QueueOf(lease), bytes);
  EndJobs(StreamOf(lease), std::move(outcome), !lease.slice.options->discard_outcome());
}

void Broker::FailJobs(Lease& lease, const Interval& part, const wire::Status& status,
                      const std::string& worker) {
  Queue& queue = QueueOf(lease);
  const uint32_t attempts = lease.slice.attempts + 1;
  const uint32_t max_attempts = MaxAttempts(lease.slice, queue.policy.max_attempts);
  SplitBy(lease.cancelled, part, [&](Interval piece, bool cancelled) {
    const uint64_t jobs = piece.end - piece.begin;
    const bool retry = !cancelled && IsRetryable(status.code()) && attempts < max_attempts;
    if (retry) {
      queue.retries += jobs;
      const Duration delay = BackoffDelay(queue.policy, attempts, &prng_);
      Log(LogLevel::kInfo, "jobs_retried",
          {{"queue", queue.name},
           {"jobs", jobs},
           {"first", std::to_string(lease.slice.stream) + "-" +
                         std::to_string(lease.number_of(piece.begin))},
           {"attempt", uint64_t{attempts}},
           {"delay_ms", ToMilliseconds(delay)},
           {"status", CodeName(status.code())},
           {"error", status.message()}});
      ReturnJobs(lease, piece, attempts, lease.slice.suspect, delay);
      return;
    }
    wire::OutcomeRange outcome;
    if (cancelled) {
      outcome = CancelledOutcome(attempts);
    } else {
      outcome.set_attempts(attempts);
      outcome.set_kind(wire::OutcomeRange::DEAD);
      *outcome.mutable_status() = status.code() == 0
                                      ? WireStatus(absl::StatusCode::kUnknown, status.message())
                                      : ToWire(FromWire(status));
      Log(LogLevel::kWarning, "jobs_dead",
          {{"queue", queue.name},
           {"jobs", jobs},
           {"first", std::to_string(lease.slice.stream) + "-" +
                         std::to_string(lease.number_of(piece.begin))},
           {"attempts", uint64_t{attempts}},
           {"status", CodeName(status.code())},
           {"error", status.message()}});
    }
    outcome.set_worker(worker);
    EndLeased(lease, piece, std::move(outcome));
  });
}

void Broker::ReturnJobs(Lease& lease, const Interval& part, uint32_t attempts, bool suspect,
                        Duration delay) {
  Queue& queue = QueueOf(lease);
  Slice slice = lease.slice.Part(static_cast<uint32_t>(part.begin),
                                 static_cast<uint32_t>(part.end - part.begin));
  slice.attempts = attempts;
  slice.suspect = suspect;
  // A few jobs must not keep the bytes of a whole run in memory.
  if (slice.bytes() * 4 < slice.data->bytes(0, slice.data->count())) {
    auto own = std::make_shared<RunData>();
    own->Append(*slice.data, slice.begin, slice.end);
    slice.end -= slice.begin;
    slice.begin = 0;
    slice.data = std::move(own);
  }
  if (queue.policy.durable) {
    record::Returned* returned = Write()->mutable_returned();
    returned->set_token(lease.token);
    returned->set_stream(slice.stream);
    returned->set_first(slice.first);
    returned->set_count(slice.count());
    returned->set_attempts(attempts);
    returned->set_suspect(suspect);
    returned->set_delay_ms(static_cast<uint64_t>(ToMilliseconds(delay)));
  }
  CloseJobs(lease, part);
  if (suspect) Count("suspects", slice.count());
  if (delay > Duration(0)) {
    queue.jobs.Delay(std::move(slice), now_.mono + delay);
    if (!Planted("forget_backoff")) SetTimer(queue, queue.jobs.next_due());
  } else {
    queue.jobs.Return(std::move(slice));
  }
  Wake(queue);
}

void Broker::CloseJobs(Lease& lease, const Interval& part) {
  Queue& queue = QueueOf(lease);
  WorkerState& worker = *peers_.at(lease.worker)->worker;
  const uint64_t jobs = part.end - part.begin;
  const uint64_t held = jobs - lease.charged.Count(part.begin, part.end);
  WT_CHECK(lease.open.ContainsAll(part.begin, part.end));
  if (lease.revoked.Count(part.begin, part.end) > 0) Wake(queue);  // an answer
  lease.Close(part.begin, part.end);
  queue.ledger.leased -= jobs;
  queue.held -= held;
  worker.leased -= jobs;
  if (WorkerQueue* wq = WorkerQueueOf(lease)) {
    wq->leased -= jobs;
    wq->held -= held;
  }
  woken_workers_.insert(lease.worker);
}

void Broker::EraseIfDone(Lease& lease) {
  if (!lease.open.empty()) return;
  Stream& stream = StreamOf(lease);
  auto [it, last] = stream.leases.equal_range(lease.slice.first);
  while (it != last && it->second != lease.token) ++it;
  WT_CHECK(it != last);
  stream.leases.erase(it);
  peers_.at(lease.worker)->worker->leases.erase(lease.token);
  if (stream.producer == 0) dying_streams_.push_back(stream.number);
  leases_.Erase(lease.token);
}

void Broker::EndLease(uint64_t token, bool uncharged, std::string_view why) {
  Lease& lease = *leases_.Find(token);
  uncharged = uncharged || lease.sends == 0;
  const wire::Status lost =
      WireStatus(absl::StatusCode::kUnavailable, "its worker was lost: " + std::string(why));
  const std::string worker = peers_.at(lease.worker)->name;
  const std::vector<Interval> open = lease.open.intervals();
  for (const Interval& part : open) {
    SplitBy(lease.charged, part, [&](Interval piece, bool charged) {
      if (charged && !uncharged && Planted("skip_charge")) {
        ReturnJobs(lease, piece, lease.slice.attempts, false, Duration(0));
        return;
      }
      if ((charged || Planted("charge_held")) && !uncharged) {
        FailJobs(lease, piece, lost, worker);
        return;
      }
      SplitBy(lease.cancelled, piece, [&](Interval bit, bool cancelled) {
        if (cancelled) {
          EndLeased(lease, bit, CancelledOutcome(lease.slice.attempts));
        } else {
          ReturnJobs(lease, bit, lease.slice.attempts, lease.slice.suspect || !uncharged,
                     Duration(0));
        }
      });
    });
  }
  EraseIfDone(lease);
}

void Broker::Ask(Lease& lease) {
  Peer& peer = *peers_.at(lease.worker);
  const auto fill = [&](const IntervalSet& set, auto* ranges) {
    for (const Interval& part : set.intervals()) {
      wire::JobRange* range = ranges->Add();
      range->set_token(lease.token);
      range->set_first(static_cast<uint32_t>(part.begin));
      range->set_count(static_cast<uint32_t>(part.end - part.begin));
    }
  };
  if (!lease.cancelled.empty()) {
    wire::Envelope message;
    message.mutable_cancel_jobs()->set_session(peer.session);
    fill(lease.cancelled, message.mutable_cancel_jobs()->mutable_ranges());
    SendTo(peer, std::move(message), StreamOf(lease).commit);
  }
  if (!lease.revoked.empty()) {
    wire::Envelope message;
    message.mutable_revoke()->set_session(peer.session);
    fill(lease.revoked, message.mutable_revoke()->mutable_ranges());
    SendTo(peer, std::move(message), StreamOf(lease).commit);
  }
  const bool unanswered = !lease.cancelled.empty() || !lease.revoked.empty();
  lease.asked_at = unanswered ? now_.mono : kNever;
  if (unanswered) SetTimer(peer, now_.mono + kRepeatAfter);
}

void Broker::OnWorkerState(Peer& peer,
                           const google::protobuf::RepeatedPtrField<wire::Credit>& credits,
                           uint64_t deliveries_next, bool draining) {
  WorkerState& worker = *peer.worker;
  for (const wire::Credit& credit : credits) {
    for (WorkerQueue& wq : worker.queues) {
      if (wq.queue->name != credit.queue()) continue;
      wq.jobs_limit = std::max(wq.jobs_limit, credit.jobs_limit());
      wq.held_max = std::min(credit.held_max(), kHeldMax);
      wq.service_time_ns = credit.service_time_ns();
      break;
    }
  }
  worker.deliveries.Acknowledge(deliveries_next, now_.mono, [this](uint64_t token) {
    if (Lease* lease = leases_.Find(token)) lease->delivered = true;
  });
  if (draining && !worker.draining) {
    Log(LogLevel::kInfo, "worker_draining", {{"worker", peer.name}, {"leased", worker.leased}});
  }
  worker.draining = draining;
  UpdateReady(peer);
  woken_workers_.insert(peer.number);
}

}  // namespace whippletree::core
