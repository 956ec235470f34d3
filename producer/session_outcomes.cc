// The second half of ProducerSession: outcomes, each reported once, and cancels.
#include <algorithm>
#include <utility>

#include "common/wire_limits.h"
#include "producer/session.h"

namespace whippletree {

void ProducerSession::OnOutcomes(Instant now, wire::Outcomes& outcomes, ProducerOutput* out) {
  uint64_t bytes = 0;
  for (const wire::OutcomeRange& range : outcomes.ranges()) {
    bytes += range.results().block().size() + range.status().message().size();
  }
  acks_.OnOutcomes(now.mono, bytes);
  if (outcomes.follow_on()) return follow_ons_.OnOutcomes(outcomes, &out->settled);
  auto it = streams_.find(outcomes.queue());
  if (it == streams_.end()) return;
  Stream& stream = it->second;
  // Before its numbers are known nobody can tell which of these are wanted: they come again.
  if (!stream.opened) return;
  stream.ack_due = true;
  Touch(stream);
  if (!watch_.empty()) watch_.OnOutcomes(stream.queue, now.mono);
  uint64_t ordinal = outcomes.first_ordinal();
  if (ordinal > stream.outcome_next) return;  // some before it are missing: they come again
  for (wire::OutcomeRange& range : *outcomes.mutable_ranges()) {
    if (ordinal++ < stream.outcome_next) continue;
    ++stream.outcome_next;
    Settle(stream, std::move(range), out);
  }
}

bool ProducerSession::Acknowledge(const wire::OutcomeAck& ack, MonoTime now) {
  if (ack.session() != link_.session()) return false;  // of another session
  return acks_.Add(ack, now) || AcksHurry();
}

void ProducerSession::SendAcks(MonoTime now, ProducerOutput* out) {
  while (std::optional<wire::OutcomeAck> ack = acks_.Take(now, AcksHurry())) {
    ack->set_session(link_.session());
    *out->door.emplace_back().mutable_outcome_ack() = *std::move(ack);
  }
}

// Whatever of `range` was reported before is left out.
void ProducerSession::Settle(Stream& stream, wire::OutcomeRange range, ProducerOutput* out) {
  const uint64_t begin = range.first();
  const uint64_t end = begin + range.count();
  std::vector<IntervalSet::Interval> fresh = stream.open.Intersect(begin, end);
  for (const auto& part : fresh) groups_.OnSettled(stream.queue, part.begin, part.end);
  open_jobs_ -= stream.open.Remove(begin, end);
  stream.cancels.Remove(begin, end);
  for (const auto& part : stream.earlier.Intersect(begin, end)) {
    fresh.push_back(part);
    stream.unsettled -= std::min(stream.unsettled, part.end - part.begin);
  }
  stream.earlier.Remove(begin, end);
  for (const auto& part : stream.discarded.Intersect(begin, end)) fresh.push_back(part);
  stream.discarded.Remove(begin, end);
  AppendSettled({stream.queue, stream.number, std::move(range)}, fresh, &out->settled);
}

void ProducerSession::SettleAll(Stream& stream, uint64_t begin, uint64_t end,
                                wire::OutcomeRange::Kind kind, const wire::Status& status,
                                ProducerOutput* out) {
  for (const auto& open : stream.open.Intersect(begin, end)) {
    for (const auto& [part, group] : groups_.Split(stream.queue, open.begin, open.end)) {
      wire::OutcomeRange range;
      range.set_kind(kind);
      range.set_first(part.begin);
      range.set_count(part.end - part.begin);
      range.set_group(group);
      *range.mutable_status() = status;
      Settle(stream, std::move(range), out);
    }
  }
}

void ProducerSession::Cancel(const std::string& queue, uint64_t first, uint64_t count) {
  auto it = streams_.find(queue);
  if (it == streams_.end()) return;
  Stream& stream = it->second;
  for (const auto& part : stream.open.Intersect(first, first + count)) {
    stream.cancels.Add(part.begin, part.end);
    stream.cancel_at = MonoTime{};  // at once
    Touch(stream);
  }
}

void ProducerSession::SendCancels(Stream& stream, Instant now, ProducerOutput* out) {
  if (stream.cancels.empty()) {
    stream.cancel_at = kNever;
    return;
  }
  wire::Cancel* cancel = nullptr;
  for (const auto& part : stream.cancels.intervals()) {
    if (cancel == nullptr || cancel->firsts_size() == kCancelRangesPerMessage) {
      cancel = out->submit.emplace_back().mutable_cancel();
      cancel->set_session(link_.session());
      cancel->set_queue(stream.queue);
    }
    cancel->add_firsts(part.begin);
    cancel->add_counts(part.end - part.begin);
  }
  // No outcome will tell that these have ended, so they are asked for once.
  for (const auto& part : stream.discarded.intervals()) stream.cancels.Remove(part.begin, part.end);
  stream.cancel_at = now.mono + kResendMin;
}

}  // namespace whippletree
