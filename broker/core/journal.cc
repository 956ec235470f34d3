// What the store is to keep of durable queues. Rows that may change often in one step (ledgers,
// streams, leases, groups) are noted and written once, at its end.
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

void FillRanges(const IntervalSet& set, google::protobuf::RepeatedPtrField<record::Range>* ranges) {
  for (const auto& part : set.intervals()) {
    record::Range* range = ranges->Add();
    range->set_first(part.begin);
    range->set_count(part.end - part.begin);
  }
}

void FillCounts(const std::map<std::string, uint64_t>& counts,
                google::protobuf::RepeatedPtrField<wire::GroupCount>* rows) {
  for (const auto& [queue, jobs] : counts) {
    wire::GroupCount* row = rows->Add();
    row->set_queue(queue);
    row->set_jobs(jobs);
  }
}

}  // namespace

void Broker::NoteQueue(const Queue& queue) {
  if (queue.policy.durable) changed_.queues.insert(queue.name);
}

void Broker::NoteStream(Stream& stream) {
  if (stream.rows == nullptr) return;
  changed_.streams.insert(stream.number);
  stream.commit = ThisCommit();
  if (stream.producer != 0) {
    Peer& producer = *peers_.at(stream.producer);
    if (!producer.producer->durable) NoteProducer(producer);
  }
}

void Broker::NoteLease(const Lease& lease) {
  if (Planted("lose_lease_row")) return;
  if (lease.queue->policy.durable) changed_.leases.insert(lease.token);
}

void Broker::NoteGroup(uint64_t producer, uint64_t group) {
  JobGroup& row = peers_.at(producer)->producer->groups.at(group);
  if (!row.durable) return;
  row.commit = ThisCommit();
  if (!Planted("lose_group_row")) changed_.groups.emplace(producer, group);
  NoteProducer(*peers_.at(producer));
}

void Broker::NoteProducer(Peer& peer) {
  peer.producer->durable = true;
  changed_.producers.insert(peer.number);
}

void Broker::NoteReturned(const Slice& slice, uint64_t batch, Duration delay) {
  Stream& stream = *streams_.at(slice.stream);
  if (stream.rows == nullptr) return;
  const auto until = ToMilliseconds((now_.wall + delay).time_since_epoch());
  stream.rows->Return(slice, batch, delay > Duration(0) ? static_cast<uint64_t>(until) : 0,
                      &effects_->writes);
}

void Broker::EraseLeaseRow(const Lease& lease) {
  if (!lease.queue->policy.durable) return;
  changed_.leases.erase(lease.token);
  record::Record* gone = Write();
  gone->set_erased(true);
  gone->mutable_lease()->set_token(lease.token);
}

void Broker::EraseGroupRow(const Peer& producer, uint64_t group) {
  changed_.groups.erase({producer.number, group});
  if (Planted("keep_group_row")) return;
  record::Record* gone = Write();
  gone->set_erased(true);
  gone->mutable_group()->set_producer(producer.name);
  gone->mutable_group()->set_group(group);
}

void Broker::WriteRows() {
  for (const std::string& name : std::exchange(changed_.queues, {})) {
    const bool is_sum = name.empty();  // of those that were dropped
    const Ledger& ledger = is_sum ? dropped_.durable : queues_.at(name)->ledger;
    record::Queue* row = Write()->mutable_queue();
    row->set_name(name);
    row->set_accepted(ledger.accepted);
    row->set_completed(ledger.completed);
    row->set_dead(ledger.dead);
    row->set_cancelled(ledger.cancelled);
    row->set_expired(ledger.expired);
    if (is_sum) continue;
    const Queue& queue = *queues_.at(name);
    row->set_paused(queue.paused);
    row->set_retries(queue.retries);
    row->set_follow_ons(queue.follow_ons);
    if (queue.policy.rate.count > 0) {
      const WallTime full_at = now_.wall + (queue.bucket.full_at() - now_.mono);
      const Duration up = milliseconds(1) - Duration(1);
      row->set_bucket_full_at_ms(
          static_cast<uint64_t>(ToMilliseconds(full_at.time_since_epoch() + up)));
    }
  }
  for (uint64_t number : std::exchange(changed_.producers, {})) {
    const auto it = peers_.find(number);
    if (it == peers_.end()) continue;
    record::Producer* row = Write()->mutable_producer();
    row->set_name(it->second->name);
    row->set_named(it->second->producer->named);
    row->set_forgotten(expired_names_.contains(row->name()));
    row->set_back(row->forgotten());
    FillRanges(it->second->producer->ended_groups, row->mutable_ended_groups());
  }
  for (uint64_t number : std::exchange(changed_.streams, {})) {
    const auto it = streams_.find(number);
    if (it == streams_.end()) continue;
    const Stream& stream = *it->second;
    record::Stream* row = Write()->mutable_stream();
    row->set_number(number);
    if (stream.producer != 0) row->set_producer(peers_.at(stream.producer)->name);
    row->set_queue(stream.queue->name);
    row->set_follow_on(stream.follow_on);
    row->set_next(stream.next);
    row->set_hashed(stream.hashed);
    row->set_input_hash(stream.input_hash);
    row->set_dead(stream.dead);
    row->set_cancelled(stream.cancelled);
    row->set_expired(stream.expired);
  }
  for (uint64_t token : std::exchange(changed_.leases, {})) {
    const Lease& lease = *leases_.Find(token);
    record::Lease* row = Write()->mutable_lease();
    row->set_token(token);
    row->set_worker(peers_.at(lease.worker)->name);
    row->set_process(peers_.at(lease.worker)->process);
    row->set_batch(lease.batch);
    row->set_timeout_ms(static_cast<uint32_t>(ToMilliseconds(lease.timeout)));
    row->set_end_grace_ms(static_cast<uint32_t>(ToMilliseconds(lease.end_grace)));
    for (const Slice& slice : lease.slices) {
      record::LeasePart* part = row->add_parts();
      part->set_stream(slice.stream);
      part->set_first(slice.first);
      part->set_count(slice.count());
      part->set_attempts(slice.attempts);
      part->set_suspect(slice.suspect);
      part->set_halvings(slice.halvings);
      part->set_losses(slice.losses);
    }
    if (!Planted("forget_charges")) FillRanges(lease.charged, row->mutable_charged());
    FillRanges(lease.cancelled, row->mutable_cancelled());
  }
  for (const auto& [name, stream, first] : std::exchange(changed_.names, {})) {
    const auto queue = queues_.find(name);
    const auto* names =
        queue == queues_.end() ? nullptr : queue->second->names.FindBatch(stream, first);
    if (names == nullptr) continue;
    record::JobNames* row = Write()->mutable_job_names();
    row->set_stream(stream);
    row->set_first(first);
    row->set_queue(name);
    row->set_accepted_ms(static_cast<uint64_t>(ToMilliseconds(names->accepted.time_since_epoch())));
    for (uint32_t i = 0; i < names->names.count(); ++i) {
      row->add_names(std::string(names->names.payload(i)));
    }
    row->set_ends(names->ends);
  }
  for (const auto& [producer, number] : std::exchange(changed_.groups, {})) {
    const Peer& peer = *peers_.at(producer);
    const JobGroup& group = peer.producer->groups.at(number);
    record::Group* row = Write()->mutable_group();
    row->set_producer(peer.name);
    row->set_group(number);
    row->set_closed(group.closed);
    row->set_ended(group.ended);
    FillCounts(group.expected, row->mutable_expected());
    FillCounts(group.arrived, row->mutable_arrived());
    row->set_completed(group.completed);
    row->set_dead(group.dead);
    row->set_cancelled(group.cancelled);
    row->set_expired(group.expired);
    row->set_rejected(group.rejected);
  }
}

}  // namespace whippletree::core
