// Reports of workers: which of their items are new, and of leases that are still theirs.
#include <algorithm>
#include <optional>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

using Interval = IntervalSet::Interval;

uint64_t BytesOf(const wire::ReportItem& item) {
  uint64_t bytes = item.results().block().size() + item.status().message().size();
  for (const wire::FollowOn& follow_on : item.follow_ons()) {
    bytes += follow_on.run().block().size();
  }
  return bytes;
}

}  // namespace

bool Broker::OnReport(Peer& peer, wire::Report& report) {
  WorkerState& worker = *peer.worker;
  if (report.first_ordinal() > worker.report_next) {
    Count("early_reports");
    report_peers_.insert(peer.number);
    return true;
  }
  const bool repeated = report.items_size() > 0 && report.first_ordinal() < worker.report_next;
  uint64_t ordinal = report.first_ordinal();
  int done = 0;
  for (; done < report.items_size() && !IsExhausted(); ++done) {
    wire::ReportItem& item = *report.mutable_items(done);
    Work();
    if (ordinal < worker.report_next) {
      ++ordinal;
      Count("repeated_reports");
      continue;
    }
    const uint32_t part = PartOf(item);
    if (part < item.count()) {
      wire::ReportItem piece = item;
      piece.set_count(part);
      OnReportItem(peer, piece);
      overdue_.OnAnswer(peer, piece);
      item.set_first(item.first() + part);
      item.set_count(item.count() - part);
      break;
    }
    if (!follow_ons_.under_way()) worker.held_reports.bytes += BytesOf(item);
    if (!OnReportItem(peer, item)) break;
    ++ordinal;
    ++worker.report_next;
    overdue_.OnAnswer(peer, item);
  }
  if (done < report.items_size()) {
    report.mutable_items()->DeleteSubrange(0, done);
    report.set_first_ordinal(ordinal);
    return false;
  }
  if (report.items_size() > 0) HoldReportAck(peer);
  const bool has_unacknowledged = worker.held_reports.first != kNever;
  if (repeated || (report.draining() && has_unacknowledged)) report_peers_.insert(peer.number);
  // A repeated one tells what was; its cumulative parts were told since.
  if (ordinal >= worker.report_next) {
    OnWorkerState(peer, report.credits(), report.deliveries_next(), report.draining());
  }
  return true;
}

uint32_t Broker::PartOf(const wire::ReportItem& item) {
  if (item.count() <= config_.step_work_max) return item.count();
  const bool failed = item.kind() == wire::ReportItem::FAILED;
  // Each job that fails is a matter of its own.
  if (failed && !item.whole_batch()) {
    return static_cast<uint32_t>(std::min<uint64_t>(item.count(), config_.step_work_max));
  }
  if (!failed && item.kind() != wire::ReportItem::HANDED_BACK) return item.count();
  const Lease* lease = leases_.Find(item.token());
  if (lease == nullptr || lease->open.end() <= item.first()) return item.count();
  return static_cast<uint32_t>(
      std::min(uint64_t{item.count()},
               StepEnd(*lease, item.first(), failed && !Halves(*lease)) - item.first()));
}

bool Broker::OnReportItem(Peer& peer, wire::ReportItem& item) {
  Lease* lease = leases_.Find(item.token());
  std::vector<Interval> parts;
  if (lease != nullptr && lease->worker == peer.number &&
      item.secret() == secrets_.OfLease(lease->token)) {
    parts = lease->open.Intersect(item.first(), uint64_t{item.first()} + item.count());
  }
  uint64_t current = 0;
  for (const Interval& part : parts) current += part.end - part.begin;
  if (current < item.count() && !follow_ons_.under_way()) {
    Count("stale_completions", item.count() - current);
    if (Planted("count_stale")) queues_.begin()->second->ledger.completed += item.count();
    Log(LogLevel::kWarning, "stale_completion",
        {{"worker", peer.name}, {"token", item.token()}, {"jobs", item.count() - current}});
  }
  WT_CHECK(!parts.empty() || !follow_ons_.under_way());
  if (parts.empty()) return true;
  std::optional<RunData> results;
  IntervalSet refused;  // for what they ask to follow
  wire::Status refusal;
  if (item.kind() == wire::ReportItem::COMPLETED) {
    if (item.follow_ons_size() > 0) {
      if (!follow_ons_.Accept(*lease, item)) return false;
      refused = follow_ons_.TakeRefused(&refusal);
    }
    results.emplace(item.mutable_results());
  }
  Work(item.kind() == wire::ReportItem::FAILED ? current : parts.size());
  if (item.kind() == wire::ReportItem::FAILED) {
    peer.worker->failed += current;
    OnFailed(peer, *lease, parts, item);
    parts.clear();
  }
  for (const Interval& part : parts) {
    switch (item.kind()) {
      case wire::ReportItem::STARTED:
        OnStarted(*lease, part);
        break;
      case wire::ReportItem::COMPLETED:
        SplitBy(refused, part, [&](Interval piece, bool is_refused) {
          if (is_refused) {
            FailJobs(*lease, piece, {refusal, peer.name});
          } else {
            OnCompleted(peer, *lease, piece, *results, item.first());
          }
        });
        break;
      case wire::ReportItem::HANDED_BACK:
        SplitBy(lease->cancelled, part, [&](Interval piece, bool cancelled) {
          if (!cancelled) Count("jobs_handed_back", piece.end - piece.begin);
          GiveBack(*lease, piece, cancelled, false);
        });
        break;
      default:
        Count("rejected_frames");
        return true;
    }
  }
  if (lease->batch && item.kind() == wire::ReportItem::STARTED) return true;  // nothing is written
  // Before the lease may go: its queue tells whether the answer waits for a disk.
  if (lease->queue->policy.durable) peer.worker->commit = ThisCommit();
  EraseIfDone(*lease);
  return true;
}

}  // namespace whippletree::core
