// Outcomes of durable queues wait on the disk for a producer that is slow to read them.
//
// A producer keeps a share of the memory; what comes beyond it waits in the store alone, and so
// does what comes behind that in its stream. When all that is in memory was sent, the next rows are
// asked back, by number and in turns between streams, as many as one window takes while another is
// on its way. What is kept of a row meanwhile counts as unread too, so even this has an end
// (unread.cc).
#include "broker/core/stored_outcomes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {

bool StoredOutcomes::Takes(const Stream& stream, uint64_t bytes) const {
  if (stream.rows == nullptr) return false;
  if (!stream.stored_outcomes.empty()) return true;
  const ProducerState& producer = *b_.peers_.at(stream.producer)->producer;
  const uint64_t records = producer.stored_outcomes * kStoredOutcomeBytes;
  return producer.outcome_bytes - records + bytes > b_.config_.budget_bytes() / 8 ||
         b_.outcome_bytes_ + bytes > b_.config_.budget_bytes() / 4;
}

void StoredOutcomes::Add(Stream& stream, const wire::OutcomeRange& outcome, uint64_t bytes) {
  StoredOutcome row{outcome.count(), outcome.group(), bytes, 0};
  if (b_.started_) {
    row.commit = b_.ThisCommit();
    b_.unwritten_.Add(row.commit, bytes);
    b_.Count("outcomes_stored", row.jobs);
  }
  WT_CHECK(stream.stored_outcomes.waiting.emplace(outcome.first(), row).second);
  ++b_.peers_.at(stream.producer)->producer->stored_outcomes;
  if (stream.claimed) OnClaimed(stream);
  b_.AddUnread(stream, kStoredOutcomeBytes);
}

void StoredOutcomes::OnClaimed(Stream& stream) {
  if (stream.stored_outcomes.waiting.empty()) return;
  b_.peers_.at(stream.producer)->producer->stored_streams.insert(stream.number);
}

void StoredOutcomes::AskForNext(Peer& peer) {
  ProducerState& producer = *peer.producer;
  while (!producer.stored_streams.empty()) {
    auto turn = producer.stored_streams.upper_bound(producer.stored_turn);
    if (turn == producer.stored_streams.end()) turn = producer.stored_streams.begin();
    Stream& stream = *b_.streams_.at(*turn);
    Rows& waiting = stream.stored_outcomes.waiting;
    const auto next = waiting.begin();
    const uint64_t bytes = next->second.bytes;
    const uint64_t ahead = producer.outcome_bytes_in_flight + producer.loading_outcome_bytes;
    if (ahead > 0 && (ahead + bytes > 2 * b_.config_.window_bytes() ||
                      b_.used_bytes_ + bytes > b_.config_.budget_bytes())) {
      return;  // what is on its way comes here again
    }
    if (next->second.commit > b_.outgoing_.durable()) {
      waiting_for_commit_.insert(peer.number);
      return;
    }
    producer.stored_turn = stream.number;
    b_.effects_->loads.push_back({record::Record::kOutcome, stream.number, next->first});
    stream.stored_outcomes.asked.insert(waiting.extract(next));
    if (waiting.empty()) producer.stored_streams.erase(turn);
    CountLoading(stream, static_cast<int64_t>(bytes));
  }
}

void StoredOutcomes::Apply(Loaded& in) {
  const auto found = b_.streams_.find(in.load.stream);
  if (found == b_.streams_.end()) return;
  Stream& stream = *found->second;
  const auto row = stream.stored_outcomes.asked.find(in.load.first);
  if (row == stream.stored_outcomes.asked.end()) return;  // nobody waits for it any more
  const StoredOutcome stored = TakeAsked(stream, row);
  absl::Status error = in.row.status();
  if (error.ok()) {
    const record::Outcome& read = in.row->outcome();
    const bool fits = read.stream() == in.load.stream && read.outcome().first() == in.load.first &&
                      read.outcome().count() == stored.jobs &&
                      read.outcome().group() == stored.group;
    if (!fits) error = absl::DataLossError("the row is not what was written");
  }
  if (error.ok()) {
    b_.Count("outcomes_loaded", stored.jobs);
    if (Planted("lose_stored_outcome")) {
      b_.ForgetOutcome(stream, in.load.first, stored.jobs, stored.group);
    } else {
      b_.PushOutcome(stream, std::move(*in.row->mutable_outcome()->mutable_outcome()));
    }
  } else {
    b_.PushOutcome(stream, Lost(stream, in.load.first, stored, error));
  }
  b_.RemoveUnread(stream, kStoredOutcomeBytes);
}

wire::OutcomeRange StoredOutcomes::Lost(const Stream& stream, uint64_t first,
                                        const StoredOutcome& stored, const absl::Status& error) {
  b_.Count("outcomes_lost", stored.jobs);
  b_.Log(LogLevel::kError, "outcomes_lost",
         {{"queue", stream.queue->name},
          {"jobs", stored.jobs},
          {"first", JobIdText(stream.number, first)},
          {"error", std::string(error.message())}});
  wire::OutcomeRange outcome;
  outcome.set_kind(wire::OutcomeRange::DEAD);
  outcome.set_first(first);
  outcome.set_count(stored.jobs);
  outcome.set_group(stored.group);
  *outcome.mutable_status() =
      WireStatus(absl::StatusCode::kDataLoss,
                 "it has ended, but what came of it cannot be read from the store: " +
                     std::string(error.message()));
  return outcome;
}

StoredOutcome StoredOutcomes::TakeAsked(Stream& stream, Rows::iterator row) {
  const StoredOutcome stored = row->second;
  stream.stored_outcomes.asked.erase(row);
  CountLoading(stream, -static_cast<int64_t>(stored.bytes));
  --b_.peers_.at(stream.producer)->producer->stored_outcomes;
  return stored;
}

void StoredOutcomes::CountLoading(Stream& stream, int64_t bytes) {
  b_.peers_.at(stream.producer)->producer->loading_outcome_bytes += static_cast<uint64_t>(bytes);
  loading_bytes_ += static_cast<uint64_t>(bytes);
  b_.used_bytes_ += static_cast<uint64_t>(bytes);
}

void StoredOutcomes::Drop(Stream& stream, uint64_t wanted) {
  const auto release = [&](uint64_t first, const StoredOutcome& stored) {
    b_.RemoveUnread(stream, kStoredOutcomeBytes);
    b_.ForgetOutcome(stream, first, stored.jobs, stored.group);
  };
  const auto is_wanted = [&](Rows::iterator row) { return row->first + row->second.jobs > wanted; };
  ProducerState& producer = *b_.peers_.at(stream.producer)->producer;
  Rows& waiting = stream.stored_outcomes.waiting;
  for (auto row = waiting.begin(); row != waiting.end() && !is_wanted(row);) {
    --producer.stored_outcomes;
    release(row->first, row->second);
    row = waiting.erase(row);
  }
  if (waiting.empty()) producer.stored_streams.erase(stream.number);
  Rows& asked = stream.stored_outcomes.asked;
  for (auto row = asked.begin(); row != asked.end() && !is_wanted(row);) {
    const auto next = std::next(row);
    const uint64_t first = row->first;
    release(first, TakeAsked(stream, row));
    row = next;
  }
}

void StoredOutcomes::OnDurable() { b_.outcome_peers_.merge(waiting_for_commit_); }

}  // namespace whippletree::core
