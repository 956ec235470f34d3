// Outcomes: recorded once, kept until their producer has them.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

// A range with its run, its status and the name of its worker.
constexpr uint64_t kOutcomeOverheadBytes = 320;

uint64_t OutcomeBytes(const wire::OutcomeRange& outcome) {
  return kOutcomeOverheadBytes + outcome.results().block().size() +
         4 * static_cast<uint64_t>(outcome.results().sizes_size()) +
         outcome.status().message().size();
}

void CountEnd(wire::OutcomeRange::Kind kind, uint64_t count, Stream* stream) {
  if (kind == wire::OutcomeRange::DEAD) stream->dead += count;
  if (kind == wire::OutcomeRange::CANCELLED) stream->cancelled += count;
  if (kind == wire::OutcomeRange::EXPIRED) stream->expired += count;
}

}  // namespace

void Broker::EndJobs(Stream& stream, wire::OutcomeRange outcome, bool keep) {
  Queue& queue = *stream.queue;
  const uint64_t count = outcome.count();
  const uint64_t removed = stream.open.Remove(outcome.first(), outcome.first() + count);
  WT_CHECK(removed == count);  // one outcome a job
  stream.discarded.Remove(outcome.first(), outcome.first() + count);
  if (queue.names.oldest() != nullptr && outcome.kind() != wire::OutcomeRange::COMPLETED) {
    EndNames(queue, stream.number, outcome.first(), outcome.first() + count, [&](uint64_t number) {
      const bool tried = outcome.attempts() > 0 || attempts_.Find(stream.number, number) != nullptr;
      // One that is not kept could not be requeued or dropped.
      const bool kept = dead_.Find({stream.number, number}) != nullptr;
      return outcome.kind() == wire::OutcomeRange::DEAD && kept       ? NameEnd::kDead
             : outcome.kind() == wire::OutcomeRange::EXPIRED && tried ? NameEnd::kExpired
                                                                      : NameEnd::kFree;
    });
  }
  ForgetAttempts(stream, outcome.first(), outcome.first() + count);
  if (!stream.groups.empty()) outcome.set_group(stream.GroupAt(outcome.first()));
  switch (outcome.kind()) {
    case wire::OutcomeRange::COMPLETED:
      queue.ledger.completed += count;
      break;
    case wire::OutcomeRange::DEAD:
      queue.ledger.dead += count;
      break;
    case wire::OutcomeRange::CANCELLED:
      queue.ledger.cancelled += count;
      break;
    case wire::OutcomeRange::EXPIRED:
      queue.ledger.expired += count;
      break;
    default:
      WT_CHECK(false);
  }
  // The next process of a named producer is told what became of jobs of the one before.
  if (outcome.kind() != wire::OutcomeRange::COMPLETED && stream.producer != 0 &&
      peers_.at(stream.producer)->producer->named) {
    CountEnd(outcome.kind(), count, &stream);
    NoteStream(stream);
  }
  if (!Planted("forget_end")) NoteQueue(queue);
  if (stream.rows != nullptr && !Planted("forget_end")) {
    queue.rows -= stream.rows->rows();
    stream.rows->End(outcome.first(), outcome.first() + count, &effects_->writes);
    queue.rows += stream.rows->rows();
    stream.commit = ThisCommit();
  }
  const wire::OutcomeRange::Kind kind = outcome.kind();
  const uint64_t group = outcome.group();
  const uint64_t first = outcome.first();
  if (keep) KeepOutcome(stream, std::move(outcome));
  if (group != 0) LeaveGroup(stream, kind, first, first + count);
  if (stream.producer == 0) dying_streams_.push_back(stream.number);
}

// At the end of the step.
void Broker::SendOutcomesOf(Stream& stream) {
  if (stream.update_at != kNever) Touch(stream);  // there is company
  peers_.at(stream.producer)->producer->unsent.insert(stream.number);
  outcome_peers_.insert(stream.producer);
}

void Broker::KeepOutcome(Stream& stream, wire::OutcomeRange outcome) {
  if (stream.producer == 0) return;
  if (Planted("lose_outcomes") && !peers_.at(stream.producer)->connected()) return;
  if (stream.rows != nullptr) stream.rows->Keep(outcome, &effects_->writes);
  AddOutcome(stream, std::move(outcome));
}

void Broker::AddOutcome(Stream& stream, wire::OutcomeRange outcome) {
  Queue& queue = *stream.queue;
  queue.outcome_jobs += outcome.count();
  stream.unacknowledged_jobs += outcome.count();
  if (JobGroup* group = GroupOf(stream, outcome.group())) {
    group->unacknowledged += outcome.count();
  }
  const uint64_t bytes = OutcomeBytes(outcome);
  if (stored_outcomes_.Takes(stream, bytes)) {
    stored_outcomes_.Add(stream, outcome, bytes);
    if (stream.claimed) SendOutcomesOf(stream);
    return;
  }
  PushOutcome(stream, std::move(outcome));
}

void Broker::PushOutcome(Stream& stream, wire::OutcomeRange outcome) {
  if (stream.follow_on) outcome.set_stream(stream.number);
  if (stream.claimed) SendOutcomesOf(stream);
  if (auto* back = stream.outcomes.UnsentBack(); back != nullptr) {
    wire::OutcomeRange& last = back->value;
    if (last.kind() == wire::OutcomeRange::COMPLETED && outcome.kind() == last.kind() &&
        last.first() + last.count() == outcome.first() && last.attempts() == outcome.attempts() &&
        last.worker() == outcome.worker() && last.group() == outcome.group() &&
        last.count() + outcome.count() <= kJobsPerRunMax &&
        back->bytes + outcome.results().block().size() <= kMergedOutcomeBytesMax) {
      const uint64_t more = OutcomeBytes(outcome) - kOutcomeOverheadBytes;
      last.set_count(last.count() + outcome.count());
      last.mutable_results()->mutable_block()->append(outcome.results().block());
      last.mutable_results()->mutable_sizes()->MergeFrom(outcome.results().sizes());
      stream.outcomes.AddBytesToBack(more);
      AddUnread(stream, more);
      return;
    }
  }
  const uint64_t bytes = OutcomeBytes(outcome);
  stream.outcomes.Push(std::move(outcome), bytes);
  AddUnread(stream, bytes);
}

void Broker::ReleaseOutcome(Stream& stream, const wire::OutcomeRange& outcome, uint64_t bytes) {
  RemoveUnread(stream, bytes);
  ForgetOutcome(stream, outcome.first(), outcome.count(), outcome.group());
}

void Broker::ForgetOutcome(Stream& stream, uint64_t first, uint64_t jobs, uint64_t group_number) {
  stream.queue->outcome_jobs -= jobs;
  stream.unacknowledged_jobs -= jobs;
  if (JobGroup* group = GroupOf(stream, group_number)) {
    WT_CHECK(group->unacknowledged >= jobs);
    group->unacknowledged -= jobs;
    if (group->ended) CheckGroup(stream.producer, group_number);
  }
  if (stream.rows != nullptr) stream.rows->Drop(first, first + jobs, &effects_->writes);
}

void Broker::OnOutcomeAck(Peer& peer, const wire::OutcomeAck& ack) {
  ProducerState& producer = *peer.producer;
  for (const wire::StreamAck& stream_ack : ack.streams()) {
    const auto& streams = stream_ack.follow_on() ? producer.follow_on_streams : producer.streams;
    auto it = streams.find(stream_ack.queue());
    if (it == streams.end()) continue;
    Stream& stream = *streams_.at(it->second);
    producer.outcome_bytes_in_flight -= stream.outcomes.bytes_in_flight();
    const bool progress = stream.outcomes.Acknowledge(
        stream_ack.next(), now_.mono, [&](const wire::OutcomeRange& outcome) {
          ReleaseOutcome(stream, outcome, OutcomeBytes(outcome));
        });
    producer.outcome_bytes_in_flight += stream.outcomes.bytes_in_flight();
    if (progress) outcome_peers_.insert(peer.number);
  }
}

// And asks for more, if that was all.
void Broker::SendOutcomes(Peer& peer) {
  if (!peer.writable() || !peer.producer) return;
  ProducerState& producer = *peer.producer;
  // Streams take turns, a message each.
  while (!producer.unsent.empty()) {
    const std::set<uint64_t> round = producer.unsent;
    for (uint64_t number : round) {
      if (IsExhausted()) {
        outcome_peers_.insert(peer.number);
        is_left_ = true;
        return;
      }
      Work();
      Stream& stream = *streams_.at(number);
      if (!stream.outcomes.has_unsent()) {
        producer.unsent.erase(number);
        continue;
      }
      wire::Envelope message;
      wire::Outcomes* outcomes = message.mutable_outcomes();
      outcomes->set_session(peer.session);
      outcomes->set_queue(stream.queue->name);
      outcomes->set_follow_on(stream.follow_on);
      outcomes->set_first_ordinal(stream.outcomes.next_to_send());
      uint64_t bytes = 0;
      while (stream.outcomes.has_unsent()) {
        const auto& item = stream.outcomes.PeekUnsent();
        const uint64_t in_flight = producer.outcome_bytes_in_flight + item.bytes;
        if (producer.outcome_bytes_in_flight > 0 && in_flight > config_.window_bytes()) break;
        if (bytes > 0 && bytes + item.bytes > kDoorMessageBytes) break;
        *outcomes->add_ranges() = item.value;
        if (Planted("drop_outcome_early") && stream.rows != nullptr) {
          stream.rows->Drop(item.value.first(), item.value.first() + 1, &effects_->writes);
        }
        bytes += item.bytes;
        producer.outcome_bytes_in_flight = in_flight;
        stream.outcomes.MarkSent(now_.mono);
      }
      if (outcomes->ranges().empty()) return;  // the window is used up
      if (!stream.outcomes.has_unsent()) producer.unsent.erase(number);
      SetTimer(peer, stream.outcomes.resend_at());
      SendTo(peer, std::move(message), stream.commit);
    }
  }
  stored_outcomes_.AskForNext(peer);
}

// Acknowledgements that were lost: the producer says that it has all below `wanted`.
void Broker::DropSettled(Stream& stream, uint64_t wanted) {
  Work(stream.outcomes.size() / 16);
  stream.outcomes.RemoveIf([&](const wire::OutcomeRange& outcome) {
    if (outcome.first() + outcome.count() > wanted) return false;
    ReleaseOutcome(stream, outcome, OutcomeBytes(outcome));
    return true;
  });
  stored_outcomes_.Drop(stream, wanted);
}

}  // namespace whippletree::core
