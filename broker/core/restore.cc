// Back from the rows of a store to what they were written from.
#include <algorithm>
#include <iterator>
#include <optional>
#include <tuple>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "broker/core/restoring.h"
#include "broker/core/row_error.h"
#include "common/check.h"
#include "common/codec.h"

namespace whippletree::core {
namespace {

// What jobs [begin, end) have of the payload of a run that begins with job `first`, about.
template <typename Run>
uint64_t BytesOf(uint64_t first, const Run& run, uint64_t begin, uint64_t end) {
  const uint64_t jobs = std::min(end, run.end) - std::max(begin, first);
  return run.bytes * jobs / (run.end - first);
}

}  // namespace

absl::Status Broker::Restore(record::Record row) {
  WT_CHECK(!started_);
  if (!restoring_) restoring_ = std::make_unique<Restoring>();
  if (absl::Status error = RowError(row); !error.ok()) return error;
  switch (row.row_case()) {
    case record::Record::kQueue: {
      if (row.queue().name().empty()) {  // the sum of those that were dropped
        Ledger& dropped = dropped_.durable;
        dropped.accepted = row.queue().accepted();
        dropped.completed = row.queue().completed();
        dropped.dead = row.queue().dead();
        dropped.cancelled = row.queue().cancelled();
        dropped.expired = row.queue().expired();
        dropped_.all = dropped;
        return absl::OkStatus();
      }
      if (queues_.contains(row.queue().name())) return Damaged("two rows of one queue");
      Queue& queue = AddQueue(row.queue().name());
      queue.policy.durable = true;  // whatever the configuration says now: its jobs are there
      queue.paused = row.queue().paused() && !Planted("forget_pause");
      queue.ledger.accepted = row.queue().accepted();
      queue.ledger.completed = row.queue().completed();
      queue.ledger.dead = row.queue().dead();
      queue.ledger.cancelled = row.queue().cancelled();
      queue.ledger.expired = row.queue().expired();
      queue.last_tick = queue.last_summary = queue.ledger;
      queue.retries = row.queue().retries();
      queue.follow_ons = row.queue().follow_ons();
      restoring_->buckets_full_at_ms[queue.name] = row.queue().bucket_full_at_ms();
      return absl::OkStatus();
    }
    case record::Record::kProducer:
      return RestoreProducer(row.producer());
    case record::Record::kStream:
      return RestoreStream(row.stream());
    case record::Record::kRun:
      return RestoreRun(*row.mutable_run());
    case record::Record::kEnded: {
      const auto stream = restoring_->streams.find(row.ended().stream());
      if (stream == restoring_->streams.end()) return Damaged("an ended job of no stream");
      stream->second.ended.Add(row.ended().first(), row.ended().first() + row.ended().count());
      streams_.at(row.ended().stream())->rows->Restore(row.ended());
      return absl::OkStatus();
    }
    case record::Record::kReturned: {
      absl::Status status = restoring_->AddReturned(row.returned());
      if (status.ok()) streams_.at(row.returned().stream())->rows->Restore(row.returned());
      return status;
    }
    case record::Record::kLease:
      if (row.lease().token() > config_.first_number()) return Damaged("a lease of a later start");
      for (const record::LeasePart& part : row.lease().parts()) {
        restoring_->leased[part.stream()].Add(part.first(), part.first() + part.count());
      }
      restoring_->leases.push_back(row.lease());
      return absl::OkStatus();
    case record::Record::kOutcome:
      return RestoreOutcome(row.outcome());
    case record::Record::kGroup:
      return RestoreGroup(row.group());
    case record::Record::kJobNames:
      return RestoreNames(row.job_names());
    case record::Record::kAttempts:
      return RestoreAttempts(row.attempts());
    case record::Record::kDead:
      return RestoreDead(*row.mutable_dead());
    default:
      return Damaged("a row of a kind that this version does not know");
  }
}

absl::Status Broker::RestoreProducer(const record::Producer& row) {
  if (peer_by_name_.contains(row.name())) return Damaged("two rows of one producer");
  if (row.forgotten()) {
    expired_names_[row.name()].durable = true;
    if (!row.back()) return absl::OkStatus();
  }
  Peer& peer = AddPeer(wire::PRODUCER, row.name());
  peer.producer = std::make_unique<ProducerState>();
  peer.producer->named = row.named();
  peer.producer->durable = true;
  for (const record::Range& range : row.ended_groups()) {
    peer.producer->ended_groups.Add(range.first(), range.first() + range.count());
  }
  return absl::OkStatus();
}

absl::Status Broker::RestoreStream(const record::Stream& row) {
  const auto queue = queues_.find(row.queue());
  if (queue == queues_.end()) return Damaged("a stream of no queue: " + row.queue());
  uint64_t producer = 0;
  if (!row.producer().empty()) {
    const auto peer = peer_by_name_.find(row.producer());
    if (peer == peer_by_name_.end()) return Damaged("a stream of no producer: " + row.producer());
    producer = peer->second;
  }
  if (streams_.contains(row.number())) return Damaged("two rows of one stream");
  Stream& stream = AddStream(row.number(), *queue->second, producer);
  stream.next = Planted("forget_next") ? 1 : row.next();
  stream.follow_on = row.follow_on();
  stream.hashed = row.hashed();
  stream.input_hash = row.input_hash();
  stream.dead = row.dead();
  stream.cancelled = row.cancelled();
  stream.expired = row.expired();
  last_stream_ = std::max(last_stream_, row.number());
  if (producer != 0) {
    ProducerState& state = *peers_.at(producer)->producer;
    auto& streams = row.follow_on() ? state.follow_on_streams : state.streams;
    if (!streams.emplace(row.queue(), row.number()).second) {
      return Damaged("two streams of producer " + row.producer() + " and queue " + row.queue());
    }
  } else if (row.follow_on()) {
    orphan_streams_[queue->second->number] = row.number();
  }
  restoring_->streams[row.number()];
  return absl::OkStatus();
}

absl::Status Broker::RestoreRun(record::Run& row) {
  const auto stream = restoring_->streams.find(row.stream());
  if (stream == restoring_->streams.end()) return Damaged("a run of no stream");
  const uint64_t end = row.first() + static_cast<uint64_t>(row.jobs().sizes_size());
  if (Planted("forget_next")) streams_.at(row.stream())->next = end;
  if (end > streams_.at(row.stream())->next) {
    return Damaged("job " + JobIdText(row.stream(), end - 1) + " was never accepted");
  }
  bool twice = false;
  restoring_->ForEachRun(row.stream(), row.first(), end,
                         [&](uint64_t, const Restoring::Run&) { twice = true; });
  if (twice) return Damaged("job " + JobIdText(row.stream(), row.first()) + " is in two runs");
  streams_.at(row.stream())->rows->Restore(row);
  ++streams_.at(row.stream())->queue->rows;
  Restoring::Run& run = stream->second.runs[row.first()];
  run.order = row.order();
  std::shared_ptr<const wire::JobOptions>& last = streams_.at(row.stream())->options;
  if (!last || !SameOptions(*last, row.options())) {
    last = options_.Keep(std::move(*row.mutable_options()));
  }
  run.options = last;
  run.end = end;
  run.bytes = row.jobs().block().size();
  const auto leased = restoring_->leased.find(row.stream());
  if (leased != restoring_->leased.end() && !leased->second.Intersect(row.first(), end).empty()) {
    run.data = std::make_shared<RunData>(row.mutable_jobs());
  }
  return absl::OkStatus();
}

absl::Status Broker::RestoreOutcome(const record::Outcome& row) {
  const auto it = streams_.find(row.stream());
  if (it == streams_.end()) return Damaged("an outcome of no stream");
  if (it->second->producer == 0) return Damaged("an outcome that nobody waits for");
  const uint64_t first = row.outcome().first();
  const uint64_t end = first + row.outcome().count();
  IntervalSet& settled = restoring_->streams.at(row.stream()).settled;
  if (end > it->second->next || settled.Count(first, end) > 0) {
    return Damaged("job " + JobIdText(row.stream(), end - 1) + " has an outcome too many");
  }
  settled.Add(first, end);
  it->second->rows->Restore(row);
  AddOutcome(*it->second, row.outcome());
  return absl::OkStatus();
}

absl::Status Broker::RestoreGroup(const record::Group& row) {
  const auto it = peer_by_name_.find(row.producer());
  if (it == peer_by_name_.end()) return Damaged("a group of no producer");
  // It is there already where an outcome of a member waits.
  JobGroup& group = OpenGroup(*peers_.at(it->second)->producer, row.group());
  group.durable = true;
  group.closed = row.closed();
  group.ended = row.ended();
  for (const wire::GroupCount& count : row.expected()) group.Expect(count.queue(), count.jobs());
  for (const wire::GroupCount& count : row.arrived()) group.Arrive(count.queue(), count.jobs());
  group.completed = row.completed();
  group.dead = row.dead();
  group.cancelled = row.cancelled();
  group.expired = row.expired();
  group.rejected = row.rejected();
  CountGroup(group);
  return absl::OkStatus();
}

absl::Status Broker::FinishRestore(Instant now, Effects* effects) {
  if (!restoring_) restoring_ = std::make_unique<Restoring>();
  Start(now);
  effects_ = effects;
  for (auto& [name, queue] : queues_) {  // limits begin with this start, but for rates
    QueuePolicy policy = std::exchange(queue->policy, QueuePolicy{});
    Configure(*queue, policy);
    queue->durable_kept = !PolicyOf(name).durable;
    // A calendar that was set back leaves the bucket empty.
    const uint64_t full_at_ms = restoring_->buckets_full_at_ms[name];
    if (policy.rate.count > 0 && full_at_ms > 0) {
      queue->bucket.Restore(now.mono + (FromMilliseconds(full_at_ms) - now.wall), now.mono);
    }
  }
  for (auto& [name, expired] : expired_names_) expired.until = now.mono + kNamedProducerRetention;
  for (auto& [number, peer] : peers_) {
    peer->silence_max = SilenceMax(*peer);
    peer->last_heard = peer->lost_at = now.mono;
    SetTimer(*peer, now.mono + kProducerRetention);
  }
  for (auto& [number, data] : restoring_->streams) {
    Stream& stream = *streams_.at(number);
    for (const auto& [first, run] : data.runs) {
      const uint64_t end = run.end;
      stream.open.Add(first, end);
      for (const auto& part : data.ended.Intersect(first, end)) {
        stream.open.Remove(part.begin, part.end);
      }
      const auto open = stream.open.Intersect(first, end);
      uint64_t jobs = 0;
      for (const auto& part : open) jobs += part.end - part.begin;
      if (jobs == 0) return Damaged("a run of ended jobs");
      stream.rows->SetOpen(first, jobs);
      for (const auto& part : open) {
        if (run.options->discard_outcome()) stream.discarded.Add(part.begin, part.end);
        if (JobGroup* group = GroupOf(stream, run.options->group())) {
          group->open += part.end - part.begin;
          stream.AddMembers(run.options->group(), part.begin, part.end);
        }
      }
    }
  }
  uint64_t leased = 0;
  uint64_t open = 0;
  absl::Status status = restoring_->Check(*this);
  if (status.ok()) status = RestoreLeases();
  if (status.ok()) RestoreWaiting();
  std::map<const Queue*, uint64_t> open_by_queue;
  for (const auto& [number, stream] : streams_) {
    open_by_queue[stream->queue] += stream->open.size();
    open += stream->open.size();
    if (stream->producer == 0) dying_streams_.push_back(number);
  }
  for (const auto& [name, queue] : queues_) {
    leased += queue->ledger.leased;
    if (status.ok() && queue->open_jobs() != open_by_queue[queue.get()]) {
      status = Damaged("queue " + name + " should have " + std::to_string(queue->open_jobs()) +
                       " jobs without an outcome, and has " +
                       std::to_string(open_by_queue[queue.get()]));
    }
  }
  for (const auto& [number, peer] : peers_) {
    if (!peer->producer) continue;
    for (const auto& [group, state] : peer->producer->groups) CheckGroup(number, group);
    CheckUnread(*peer);
  }
  restoring_.reset();
  if (status.ok()) {
    if (commit_ > 0) {
      Log(LogLevel::kInfo, "restored",
          {{"queues", uint64_t{queues_.size()}},
           {"jobs", open},
           {"leased", leased},
           {"commit", commit_}});
    }
    FinishStep();
  }
  effects_ = nullptr;
  return status;
}

// The highest token has a job; what was returned since has no lease.
absl::Status Broker::RestoreLeases() {
  for (auto row = restoring_->leases.rbegin(); row != restoring_->leases.rend(); ++row) {
    if (absl::Status status = RestoreLease(*row); !status.ok()) return status;
  }
  for (const auto& [token, lease] : leases_.all())
    overdue_.OnDeliverySent(*leases_.Find(token));  // perhaps
  return absl::OkStatus();
}

absl::Status Broker::RestoreLease(const record::Lease& row) {
  Lease lease;
  lease.token = row.token();
  lease.batch = row.batch();
  lease.granted = now_.mono;
  lease.timeout = milliseconds(row.timeout_ms());
  lease.end_grace = milliseconds(row.end_grace_ms());
  lease.breaker_generation = 0;
  uint64_t base = 0;
  std::vector<Slice> slices;
  for (const record::LeasePart& part : row.parts()) {
    const auto data = restoring_->streams.find(part.stream());
    if (data != restoring_->streams.end()) {
      Stream& stream = *streams_.at(part.stream());
      if (lease.queue != nullptr && lease.queue != stream.queue) {
        return Damaged("a lease on jobs of two queues");
      }
      lease.queue = stream.queue;
      if (!restoring_->ShareOptions(part.stream(), part.first(), part.first() + part.count())) {
        return Damaged("jobs that were leased together have different options");
      }
      for (const auto& open : stream.open.Intersect(part.first(), part.first() + part.count())) {
        IntervalSet mine(open.begin, open.end);
        for (const auto& other : data->second.taken.Intersect(open.begin, open.end)) {
          mine.Remove(other.begin, other.end);
        }
        for (const auto& piece : mine.intervals()) {
          lease.open.Add(base + piece.begin - part.first(), base + piece.end - part.first());
          data->second.taken.Add(piece.begin, piece.end);
        }
      }
    }
    slices.push_back(restoring_->LeasedSlice(part));
    base += part.count();
  }
  if (lease.open.empty()) {
    record::Record* gone = Write();
    gone->set_erased(true);
    gone->mutable_lease()->set_token(row.token());
    return absl::OkStatus();
  }
  lease.SetSlices(std::move(slices));
  for (const auto& [from, to] :
       {std::pair(&row.charged(), &lease.charged), std::pair(&row.cancelled(), &lease.cancelled)}) {
    for (const record::Range& range : *from) {
      for (const auto& part : lease.open.Intersect(range.first(), range.first() + range.count())) {
        to->Add(part.begin, part.end);
      }
    }
  }
  const auto found = peer_by_name_.find(row.worker());
  Peer& peer = found == peer_by_name_.end() ? AddPeer(wire::WORKER, row.worker())
                                            : *peers_.at(found->second);
  if (peer.producer) return Damaged("producer " + row.worker() + " has a lease");
  if (!peer.worker) {
    peer.worker = std::make_unique<WorkerState>();
    peer.process = row.process();
    peer.last_heard = peer.lost_at = now_.mono;
  }
  // Each gets a whole lease time from now.
  peer.silence_max = std::max(peer.silence_max, lease.queue->policy.lease_duration);
  SetTimer(peer, now_.mono + peer.silence_max);
  lease.worker = peer.number;
  Queue& queue = *lease.queue;
  queue.ledger.leased += lease.open.size();
  queue.starts += lease.starts();
  queue.held += lease.held();
  peer.worker->leased += lease.starts();
  peer.worker->leases.insert(lease.token);
  for (const auto& part : lease.open.intervals()) {
    lease.ForEach(part, [&](const Slice& slice, uint64_t) {
      queue.jobs.Enter(slice);
      queue.bytes += slice.bytes();
      used_bytes_ += slice.bytes();
    });
  }
  for (const Slice& slice : lease.slices) {
    const auto stream = streams_.find(slice.stream);
    if (stream != streams_.end())
      stream->second->leases.Add(slice.first, slice.count(), lease.token);
    if (slice.apart()) peer.worker->apart = lease.token;
  }
  CountTable(static_cast<int64_t>(lease.memory_bytes()));
  lease.halved = lease.batch && lease.open.size() < lease.count();  // as far as anybody knows
  leases_.Restore(std::move(lease));
  return absl::OkStatus();
}

Slice Broker::Restoring::StoredSlice(uint64_t stream, uint64_t first, uint64_t count) const {
  Slice slice;
  slice.stream = stream;
  slice.first = first;
  slice.end = static_cast<uint32_t>(count);
  slice.options = std::make_shared<wire::JobOptions>();
  ForEachRun(stream, first, first + count, [&](uint64_t run_first, const Run& run) {
    slice.options = run.options;
    slice.stored_bytes += BytesOf(run_first, run, first, first + count);
  });
  return slice;
}

Slice Broker::Restoring::LeasedSlice(const record::LeasePart& part) const {
  Slice slice = StoredSlice(part.stream(), part.first(), part.count());
  slice.attempts = part.attempts();
  slice.suspect = part.suspect();
  slice.halvings = part.halvings();
  slice.losses = part.losses();
  slice.stored_bytes = 0;
  slice.data = std::make_shared<RunData>();
  uint64_t at = part.first();
  const uint64_t part_end = part.first() + part.count();
  const auto skip_to = [&](uint64_t number) {
    for (; at < number; ++at) slice.data->Append("");
  };
  ForEachRun(part.stream(), at, part_end, [&](uint64_t first, const Run& run) {
    skip_to(std::max(at, first));
    const uint64_t end = std::min(part_end, run.end);
    slice.data->Append(*run.data, static_cast<uint32_t>(at - first),
                       static_cast<uint32_t>(end - first));
    at = end;
  });
  skip_to(part_end);
  return slice;
}

void Broker::RestoreWaiting() {
  std::map<uint64_t, std::vector<std::pair<uint64_t, Slice>>> lines;  // by queue: order and jobs
  std::map<std::pair<uint64_t, uint64_t>, std::vector<Slice>> batches;
  std::vector<std::pair<Queue*, Slice>> first;
  for (auto& [number, data] : restoring_->streams) {
    Stream& stream = *streams_.at(number);
    Queue& queue = *stream.queue;
    for (const auto& [begin, run] : data.runs) {
      IntervalSet waiting;
      for (const auto& part : stream.open.Intersect(begin, run.end)) {
        waiting.Add(part.begin, part.end);
      }
      for (const auto& part : data.taken.Intersect(begin, run.end)) {
        waiting.Remove(part.begin, part.end);
      }
      for (const auto& part : waiting.intervals()) {
        lines[queue.number].emplace_back(
            run.order, restoring_->StoredSlice(number, part.begin, part.end - part.begin));
      }
    }
    for (const record::Returned& row : data.returned) {
      Slice slice = restoring_->StoredSlice(number, row.first(), row.count());
      slice.attempts = Planted("forget_attempts") ? 0 : row.attempts();
      slice.suspect = row.suspect();
      slice.halvings = row.halvings();
      slice.losses = row.losses();
      WatchExpiry(queue, slice);
      queue.last_batch = std::max(queue.last_batch, row.batch());
      const auto now_ms = ToMilliseconds(now_.wall.time_since_epoch());
      if (row.batch() > 0) {
        batches[{queue.number, row.batch()}].push_back(std::move(slice));
      } else if (row.not_before_ms() > static_cast<uint64_t>(now_ms)) {
        // The calendar may have jumped.
        const Duration delay = milliseconds(static_cast<int64_t>(row.not_before_ms()) - now_ms);
        queue.jobs.Delay(std::move(slice), now_.mono + std::min(delay, queue.policy.backoff_max));
      } else {
        first.emplace_back(&queue, std::move(slice));
      }
    }
  }
  for (auto& [number, line] : lines) {
    std::stable_sort(line.begin(), line.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (auto& [order, slice] : line) {
      Stream& stream = *streams_.at(slice.stream);
      Enqueue(stream, std::move(slice));
    }
  }
  for (auto it = first.rbegin(); it != first.rend(); ++it) {
    it->first->jobs.Return(std::move(it->second));
  }
  for (auto& [key, batch] : batches) queue_by_number_[key.first]->jobs.Seal(std::move(batch));
  for (auto& [name, queue] : queues_) {
    SetTimer(*queue, queue->jobs.next_due());
    CountMemory(*queue);
    Wake(*queue);
  }
}

}  // namespace whippletree::core
