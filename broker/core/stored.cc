// Payloads that only the store has: which these are, and how they come back.
//
// A durable queue keeps a share of the memory's budget; what it accepts beyond waits in the store
// alone, and so does all that comes behind. Its head is asked back row by row, ahead of dispatch.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {

bool Broker::BeyondMemory(const Queue& queue, uint64_t bytes) const {
  return queue.policy.durable && (queue.bytes + bytes > config_.queue_share_bytes() ||
                                  used_bytes_ + bytes > config_.budget_bytes() / 2);
}

void Broker::PlacePayload(Queue& queue, Slice* slice) {
  const uint64_t bytes = slice->bytes();
  // Behind stored jobs a payload would take memory from those that come first.
  const bool stays = queue.jobs.stored_ready() == 0 && !BeyondMemory(queue, bytes);
  if (stays) {
    queue.bytes += bytes;
    used_bytes_ += bytes;
    return;
  }
  slice->KeepStored();
  Count("jobs_stored", slice->count());
  unwritten_.Add(ThisCommit(), bytes);
}

void Broker::ReleaseWritten(uint64_t durable) {
  unwritten_.Release(durable);
  stored_outcomes_.OnDurable();
  load_queues_.merge(commit_queues_);
  commit_queues_.clear();
}

void Broker::AskForStored() {
  for (uint64_t number : std::exchange(load_queues_, {})) {
    Queue& queue = *queue_by_number_[number];
    if (queue.jobs.stored_ready() > 0) AskForStored(queue);
  }
}

void Broker::AskForStored(Queue& queue) {
  LoadPlan plan;
  // Half of the share, so that what is asked for next comes while the rest is dispatched.
  plan.ahead_bytes = std::max<uint64_t>(1, config_.queue_share_bytes() / 2);
  if (queue.policy.batches()) {
    plan.least_bytes = std::min<uint64_t>(queue.policy.batch.max_bytes, config_.payload_bytes_max);
    plan.ahead_bytes = std::max(plan.ahead_bytes, plan.least_bytes);
    plan.lines_max = std::max(plan.lines_max, BatchJobsMax(queue));
  }
  const uint64_t most = config_.budget_bytes() * 3 / 4;
  plan.room_bytes = most > used_bytes_ ? most - used_bytes_ : 0;
  plan.durable = outgoing_.durable();
  plan.row_of = [this](uint64_t stream, uint64_t number) {
    return streams_.at(stream)->rows->RowOf(number);
  };
  LoadsAsked asked = queue.jobs.AskForStored(plan, now_.mono);
  for (const Load& load : asked.loads) {
    WT_CHECK(loads_.emplace(std::pair(load.stream, load.first), &queue).second);
    effects_->loads.push_back(load);
  }
  if (asked.waits_for_commit) commit_queues_.insert(queue.number);
  CountMemory(queue);
}

void Broker::Apply(Loaded& in) {
  if (in.load.kind == record::Record::kOutcome) return stored_outcomes_.Apply(in);
  const auto asked = loads_.extract({in.load.stream, in.load.first});
  WT_CHECK(!asked.empty());
  Queue& queue = *asked.mapped();
  load_queues_.insert(queue.number);
  Wake(queue);
  const auto found = streams_.find(in.load.stream);
  const std::optional<StoredRow> row =
      found == streams_.end() ? std::nullopt : found->second->rows->RowAt(in.load.first);
  absl::Status error = in.row.status();
  if (row && error.ok()) {
    const record::Run& run = in.row->run();
    const bool fits = run.stream() == in.load.stream && run.first() == in.load.first &&
                      IsValidRun(run.jobs()) &&
                      row->first + static_cast<uint64_t>(run.jobs().sizes_size()) == row->end;
    if (!fits) error = absl::DataLossError("the row is not what was written");
  }
  if (row && error.ok()) {
    const auto data = std::make_shared<RunData>(in.row->mutable_run()->mutable_jobs());
    const uint64_t filled = queue.jobs.Fill(in.load.stream, in.load.first, data);
    queue.bytes += filled;
    used_bytes_ += filled;
    Count("rows_loaded");
  } else {
    // Where there is no such row, its jobs have ended meanwhile.
    const IntervalSet lost = queue.jobs.FailLoad(in.load.stream, in.load.first);
    if (row) LoseJobs(*found->second, lost, error);
  }
  CountMemory(queue);
}

void Broker::LoseJobs(Stream& stream, const IntervalSet& jobs, const absl::Status& error) {
  const IntervalSet waiting = WaitingOf(stream, jobs);
  if (waiting.empty()) return;
  Count("jobs_lost", waiting.size());
  Log(LogLevel::kError, "jobs_lost",
      {{"queue", stream.queue->name},
       {"jobs", waiting.size()},
       {"first", JobIdText(stream.number, waiting.front())},
       {"error", std::string(error.message())}});
  wire::OutcomeRange outcome;
  outcome.set_kind(wire::OutcomeRange::DEAD);
  *outcome.mutable_status() =
      WireStatus(absl::StatusCode::kDataLoss,
                 "its payload cannot be read from the store: " + std::string(error.message()));
  EndWaiting(stream, waiting, outcome);
}

}  // namespace whippletree::core
