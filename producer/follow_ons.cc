#include "producer/follow_ons.h"

#include <algorithm>
#include <utility>

#include "common/wire_limits.h"

namespace whippletree {

void FollowOnStreams::OnWelcome(bool broker_restarted, const wire::Welcome& welcome) {
  std::erase_if(streams_, [&](const auto& entry) {
    return broker_restarted &&
           std::none_of(welcome.streams().begin(), welcome.streams().end(), [&](const auto& kept) {
             return kept.follow_on() && kept.queue() == entry.first &&
                    kept.stream() == entry.second.number;
           });
  });
  for (auto& [queue, stream] : streams_) {
    stream.outcome_next = 1;
    stream.ack_due = false;
  }
}

void FollowOnStreams::OnOutcomes(wire::Outcomes& outcomes, std::vector<SettledJobs>* settled) {
  Stream& stream = streams_[outcomes.queue()];
  stream.ack_due = true;
  uint64_t ordinal = outcomes.first_ordinal();
  if (ordinal > stream.outcome_next) return;  // some before it are missing: they come again
  for (wire::OutcomeRange& range : *outcomes.mutable_ranges()) {
    if (ordinal++ < stream.outcome_next) continue;
    ++stream.outcome_next;
    if (std::exchange(stream.number, range.stream()) != range.stream()) {
      stream.settled = IntervalSet();
    }
    std::vector<IntervalSet::Interval> fresh;
    SplitBy(stream.settled, {range.first(), range.first() + range.count()},
            [&](IntervalSet::Interval part, bool reported) {
              if (!reported) fresh.push_back(part);
            });
    stream.settled.Add(range.first(), range.first() + range.count());
    AppendSettled({outcomes.queue(), stream.number, std::move(range), true}, fresh, settled);
  }
}

void FollowOnStreams::AddClaims(wire::Hello* hello) const {
  for (const auto& [queue, stream] : streams_) {
    // What is not claimed is told again, no more.
    if (hello->streams_size() == kStreamsPerProducerMax) return;
    wire::StreamClaim* claim = hello->add_streams();
    claim->set_queue(queue);
    claim->set_follow_on(true);
    claim->set_stream(stream.number);
    claim->set_wanted(stream.wanted());
  }
}

void FollowOnStreams::TakeAcks(wire::OutcomeAck* ack) {
  for (auto& [queue, stream] : streams_) {
    if (!std::exchange(stream.ack_due, false)) continue;
    wire::StreamAck* stream_ack = ack->add_streams();
    stream_ack->set_queue(queue);
    stream_ack->set_follow_on(true);
    stream_ack->set_next(stream.outcome_next);
  }
}

}  // namespace whippletree
