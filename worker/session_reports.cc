// What the worker's session reports, and how it leaves. A batch's items leave in one message, and
// come again in one: the broker decides on the whole of it.
#include <algorithm>
#include <span>
#include <utility>

#include "common/check.h"
#include "common/run.h"
#include "common/status.h"
#include "worker/session.h"

namespace whippletree {
namespace {

// Of an item or of a run of follow-on jobs, at most.
constexpr uint64_t kOverheadBytes = 32;
// Of the size of a result in a run, at most.
constexpr uint64_t kSizeBytes = 5;

wire::ReportItem MakeItem(wire::ReportItem::Kind kind, uint64_t token, uint32_t index,
                          uint32_t count = 1) {
  wire::ReportItem item;
  item.set_kind(kind);
  item.set_token(token);
  item.set_first(index);
  item.set_count(count);
  return item;
}

uint64_t BytesOf(std::span<const wire::FollowOn> follow_ons) {
  uint64_t bytes = 0;
  for (const wire::FollowOn& each : follow_ons) bytes += each.ByteSizeLong() + kOverheadBytes;
  return bytes;
}

// What an item adds to a message, at most.
uint64_t BytesOf(const wire::ReportItem& item) {
  uint64_t bytes = item.results().block().size() + item.status().message().size() + kOverheadBytes;
  if (item.count() > 1) bytes += kSizeBytes * static_cast<uint64_t>(item.results().sizes_size());
  for (const wire::FollowOn& each : item.follow_ons()) bytes += BytesOf({&each, 1});
  return bytes;
}

// Whether `item` tells the same of the job before this one. Jobs that failed have each a status of
// their own, but for a batch that failed as a whole.
bool EndsBefore(const wire::ReportItem& item, wire::ReportItem::Kind kind, uint64_t token,
                uint32_t index, bool whole_batch = false) {
  return item.token() == token && item.kind() == kind && item.first() + item.count() == index &&
         (kind != wire::ReportItem::FAILED || (whole_batch && item.whole_batch()));
}

// The item of `items` that is to tell it of the job: the last one, now one job longer, or a new
// one.
wire::ReportItem* ItemFor(std::vector<wire::ReportItem>* items, wire::ReportItem::Kind kind,
                          uint64_t token, uint32_t index, bool whole_batch = false) {
  if (!items->empty() && EndsBefore(items->back(), kind, token, index, whole_batch)) {
    items->back().set_count(items->back().count() + 1);
  } else {
    items->push_back(MakeItem(kind, token, index));
  }
  return &items->back();
}

// Adds to `items` that the whole batch failed, for one of its jobs.
void AddBatchFailure(std::vector<wire::ReportItem>* items, uint64_t token, uint32_t index,
                     const absl::Status& status) {
  wire::ReportItem* item = ItemFor(items, wire::ReportItem::FAILED, token, index, true);
  if (item->count() > 1) return;  // told already
  *item->mutable_status() = ToWire(status);
  item->set_whole_batch(true);
}

void AddFollowOns(std::span<wire::FollowOn> follow_ons, wire::ReportItem* item) {
  for (wire::FollowOn& each : follow_ons) *item->add_follow_ons() = std::move(each);
}

}  // namespace

WorkerSession::Lease* WorkerSession::FindLease(uint64_t token) {
  if (recent_lease_.second == nullptr || recent_lease_.first != token) {
    auto it = leases_.find(token);
    if (it == leases_.end()) return nullptr;
    recent_lease_ = {token, &it->second};
  }
  return recent_lease_.second;
}

void WorkerSession::OnStarted(uint64_t token, uint32_t first, uint32_t count) {
  Lease* lease = FindLease(token);
  if (lease == nullptr || count == 0) return;
  if (lease->batch) {
    if (!lease->open.ContainsAll(first, uint64_t{first} + count)) return;
    unmarked_ -= lease->unmarked.size();
    lease->unmarked = IntervalSet(first + count - 1, first + count);
    ++unmarked_;
    return;
  }
  for (const auto& part : lease->held.Intersect(first, uint64_t{first} + count)) {
    lease->held.Remove(part.begin, part.end);
    lease->unmarked.Add(part.begin, part.end);
    unmarked_ += part.end - part.begin;
  }
}

void WorkerSession::OnReportAck(Instant now, const wire::ReportAck& ack) {
  if (ack.next() > reports_.sent_below()) return;  // never sent
  reports_.Acknowledge(ack.next(), now.mono, [this](const Reported& reported) {
    const wire::ReportItem& item = reported.item;
    auto it = leases_.find(item.token());
    if (it == leases_.end() || item.kind() == wire::ReportItem::STARTED) return;
    it->second.unacknowledged -= item.count();
    if (!it->second.open.empty() || it->second.unacknowledged > 0) return;
    recent_lease_ = {};
    leases_.erase(it);
  });
  if (timed_ordinal_ != 0 && ack.next() > timed_ordinal_) {
    const Duration took = now.mono - timed_at_ - std::chrono::microseconds(ack.delay_us());
    for (Queue& queue : queues_) queue.window.OnTurnaround(std::max(Duration(0), took));
    timed_ordinal_ = 0;
  }
}

WorkerSession::Lease* WorkerSession::CloseJob(uint64_t token, uint32_t index) {
  Lease* lease = FindLease(token);
  if (lease == nullptr || !lease->open.Contains(index)) return nullptr;
  CloseJobs(lease, index, uint64_t{index} + 1);
  return lease;
}

void WorkerSession::CloseJobs(Lease* lease, uint64_t begin, uint64_t end) {
  const uint64_t before = lease->starts();
  lease->open.Remove(begin, end);
  AddStarts(lease->queue, static_cast<int64_t>(lease->starts()) - static_cast<int64_t>(before));
  lease->held.Remove(begin, end);
  unmarked_ -= lease->unmarked.Remove(begin, end);
  lease->unacknowledged += end - begin;
}

wire::ReportItem* WorkerSession::Report(wire::ReportItem::Kind kind, uint64_t token, uint32_t index,
                                        uint64_t bytes, bool follow_ons, uint32_t count) {
  bytes += kOverheadBytes;
  auto* back = reports_.UnsentBack();
  const bool costs = kind != wire::ReportItem::HANDED_BACK;
  const bool fits =
      back != nullptr && (!costs || (back->bytes < kReportBytes &&
                                     (!follow_ons || back->bytes + bytes <= kReportBytes)));
  if (fits && EndsBefore(back->value.item, kind, token, index)) {
    back->value.item.set_count(back->value.item.count() + count);
    if (costs) reports_.AddBytesToBack(bytes);
  } else {
    reports_.Push({MakeItem(kind, token, index, count)}, bytes);
  }
  return &reports_.UnsentBack()->value.item;
}

void WorkerSession::Bound(absl::StatusOr<std::string>* result,
                          std::span<const wire::FollowOn> follow_ons) const {
  if (!result->ok()) return;
  if ((*result)->size() > result_bytes_max_) {
    *result = absl::OutOfRangeError("result of " + std::to_string((*result)->size()) +
                                    " bytes; at most " + std::to_string(result_bytes_max_) +
                                    " are taken");
    return;
  }
  for (const wire::FollowOn& each : follow_ons) {
    for (const uint32_t size : each.run().sizes()) {
      if (size <= payload_bytes_max_) continue;
      *result = absl::OutOfRangeError("follow-on job of " + std::to_string(size) +
                                      " bytes for queue " + each.queue() + "; at most " +
                                      std::to_string(payload_bytes_max_) + " are taken");
      return;
    }
  }
  const uint64_t bytes = (*result)->size() + BytesOf(follow_ons);
  const uint64_t most = BatchBytesMax();
  if (!follow_ons.empty() && bytes > most) {
    *result = absl::OutOfRangeError("result and follow-on jobs of " + std::to_string(bytes) +
                                    " bytes together; a job can report " + std::to_string(most));
  }
}

void WorkerSession::OnCompleted(CompletedJobs jobs) {
  const uint32_t count = jobs.count();
  const uint64_t end = uint64_t{jobs.first} + count;
  Lease* lease = FindLease(jobs.token);
  if (lease == nullptr) return;
  const auto& sizes = jobs.results.sizes();
  const bool fit = std::all_of(sizes.begin(), sizes.end(),
                               [this](uint32_t size) { return size <= result_bytes_max_; });
  if (!fit || !lease->open.ContainsAll(jobs.first, end)) {
    const RunData results(&jobs.results);
    for (uint32_t i = 0; i < count; ++i) {
      OnFinished(jobs.token, jobs.first + i, std::string(results.payload(i)),
                 jobs.run_time / count);
    }
    return;
  }
  CloseJobs(lease, jobs.first, end);
  const uint64_t bytes = jobs.results.block().size();
  queues_[lease->queue].window.OnFinished(count, jobs.run_time,
                                          std::max(lease->payload_bytes * count, bytes));
  wire::Run* run = Report(wire::ReportItem::COMPLETED, jobs.token, jobs.first,
                          bytes + kSizeBytes * count, false, count)
                       ->mutable_results();
  if (run->sizes().empty()) {
    *run = std::move(jobs.results);
  } else {
    run->mutable_sizes()->MergeFrom(jobs.results.sizes());
    run->mutable_block()->append(jobs.results.block());
  }
}

void WorkerSession::OnFinished(uint64_t token, uint32_t index, absl::StatusOr<std::string> result,
                               Duration run_time, std::vector<wire::FollowOn> follow_ons) {
  const Lease* lease = CloseJob(token, index);
  if (lease == nullptr) return;
  const uint64_t result_bytes = result.ok() ? result->size() : result.status().message().size();
  queues_[lease->queue].window.OnFinished(1, run_time,
                                          std::max(lease->payload_bytes, result_bytes));
  Bound(&result, follow_ons);
  if (!result.ok()) {
    wire::Status status = ToWire(result.status());
    wire::ReportItem* item =
        Report(wire::ReportItem::FAILED, token, index, status.message().size());
    *item->mutable_status() = std::move(status);
    return;
  }
  wire::ReportItem* item = Report(wire::ReportItem::COMPLETED, token, index,
                                  result->size() + BytesOf(follow_ons), !follow_ons.empty());
  AppendToRun(*std::move(result), item->mutable_results());
  AddFollowOns(follow_ons, item);
}

std::vector<wire::ReportItem> WorkerSession::BatchItems(uint64_t token, BatchOutcome outcome) {
  std::vector<wire::ReportItem> items;
  auto follow_on = outcome.follow_ons.begin();
  for (size_t i = 0; i < outcome.indexes.size(); ++i) {
    const uint32_t index = outcome.indexes[i];
    // Those of this job.
    while (follow_on != outcome.follow_ons.end() && follow_on->index() < index) ++follow_on;
    const auto begin = follow_on;
    while (follow_on != outcome.follow_ons.end() && follow_on->index() == index) ++follow_on;
    if (CloseJob(token, index) == nullptr) continue;
    if (!outcome.status.ok()) {
      AddBatchFailure(&items, token, index, outcome.status);
      continue;
    }
    absl::StatusOr<std::string>& result = outcome.results[i];
    Bound(&result, {begin, follow_on});
    if (!result.ok()) {
      *ItemFor(&items, wire::ReportItem::FAILED, token, index)->mutable_status() =
          ToWire(result.status());
      continue;
    }
    wire::ReportItem* item = ItemFor(&items, wire::ReportItem::COMPLETED, token, index);
    AppendToRun(*std::move(result), item->mutable_results());
    AddFollowOns({begin, follow_on}, item);
  }
  return items;
}

void WorkerSession::OnBatchFinished(uint64_t token, BatchOutcome outcome, Duration run_time) {
  auto it = leases_.find(token);
  if (it == leases_.end()) return;
  WT_CHECK(!outcome.status.ok() || outcome.results.size() == outcome.indexes.size());
  const Lease& lease = it->second;
  const std::vector<uint32_t> indexes = outcome.indexes;
  std::vector<wire::ReportItem> items = BatchItems(token, std::move(outcome));
  uint64_t bytes = 0;
  for (const wire::ReportItem& item : items) bytes += BytesOf(item);
  queues_[lease.queue].window.OnFinished(1, run_time, std::max(lease.payload_bytes, bytes));
  if (bytes > BatchBytesMax() && indexes.size() > 1) {
    // It does not help to try the same batch again: the broker halves it.
    const absl::Status status = absl::OutOfRangeError(
        "the results of a batch of " + std::to_string(indexes.size()) + " jobs have " +
        std::to_string(bytes) + " bytes; one report takes " + std::to_string(BatchBytesMax()));
    items.clear();
    for (const uint32_t index : indexes) AddBatchFailure(&items, token, index, status);
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const uint64_t item_bytes = BytesOf(items[i]);
    reports_.Push({std::move(items[i]), i + 1 < items.size()}, item_bytes);
  }
}

void WorkerSession::OnRecalled(uint64_t token, uint32_t index) {
  if (CloseJob(token, index) != nullptr) Report(wire::ReportItem::HANDED_BACK, token, index);
}

// Whoever runs a job for long tells the broker, so that a death of this process is charged to the
// right ones. Quick ones finish before their mark is due.
void WorkerSession::MarkStarts(Instant now) {
  if (unmarked_ == 0 || now.mono < last_report_ + kMarkAfter) return;
  for (auto& [token, lease] : leases_) {
    for (const auto& part : lease.unmarked.intervals()) {
      for (uint64_t index = part.begin; index < part.end; ++index) {
        Report(wire::ReportItem::STARTED, token, static_cast<uint32_t>(index));
      }
    }
    lease.unmarked = IntervalSet();
  }
  unmarked_ = 0;
}

uint64_t WorkerSession::NextBytes() const {
  const auto& items = reports_.items();
  uint64_t bytes = 0;
  for (size_t i = reports_.next_to_send() - reports_.first_ordinal(); i < items.size(); ++i) {
    bytes += items[i].bytes;
    if (!items[i].value.joined) break;
  }
  return bytes;
}

bool WorkerSession::MayReport() const {
  if (!reports_.has_unsent()) return false;
  const uint64_t under_way = reports_.bytes_in_flight();
  return under_way == 0 || under_way + NextBytes() <= window_bytes_;
}

void WorkerSession::SendReports(Instant now, WorkerOutput* out) {
  UpdateCredits();
  const bool news =
      std::any_of(queues_.begin(), queues_.end(), [](const Queue& queue) { return !queue.told; });
  bool due = MayReport() || news || now.mono >= tell_deliveries_at_ || draining_told_ != draining_;
  while (due) {
    wire::Report* report = out->complete.emplace_back().mutable_report();
    report->set_session(link_.session());
    report->set_first_ordinal(reports_.next_to_send());
    uint64_t bytes = 0;
    bool joined = false;  // what follows belongs to the batch before it
    while (joined || (MayReport() && (bytes == 0 || bytes + NextBytes() <= kReportBytes))) {
      const auto& next = reports_.PeekUnsent();
      bytes += next.bytes;
      joined = next.value.joined;
      wire::ReportItem* item = report->add_items();
      *item = next.value.item;
      if (const Lease* lease = FindLease(item->token())) item->set_secret(lease->secret);
      reports_.MarkSent(now.mono);
    }
    for (Queue& queue : queues_) {
      if (!queue.told) *report->add_credits() = CreditOf(queue);
    }
    report->set_deliveries_next(DeliveriesNext());
    report->set_draining(draining_);
    tell_deliveries_at_ = kNever;
    untold_bytes_ = 0;
    draining_told_ = draining_;
    last_report_ = now.mono;
    if (timed_ordinal_ == 0 && report->items_size() > 0) {
      timed_ordinal_ = reports_.next_to_send() - 1;
      timed_at_ = now.mono;
    }
    due = MayReport();
  }
}

}  // namespace whippletree
