#include "producer/outcome_acks.h"

#include <algorithm>

#include "common/wire_limits.h"

namespace whippletree {

void OutcomeAcks::OnOutcomes(MonoTime now, uint64_t bytes) {
  bytes_ += bytes;
  // The broker sends no more than a window.
  const bool is_urgent = bytes_ * 4 >= window_bytes_;
  due_ = std::min(due_, is_urgent ? now : now + delay_);
}

bool OutcomeAcks::Add(const wire::OutcomeAck& ack, MonoTime now) {
  for (const wire::StreamAck& stream : ack.streams()) {
    uint64_t& next = next_[{stream.queue(), stream.follow_on()}];
    next = std::max(next, stream.next());
  }
  late_ = false;
  if (due_ != kNever) return now >= due_;
  due_ = now + delay_;
  return true;
}

std::optional<wire::OutcomeAck> OutcomeAcks::Take(MonoTime now, bool at_once) {
  if (next_.empty()) {
    late_ = now >= due_;
    return std::nullopt;
  }
  if (now < due_ && !at_once) return std::nullopt;
  wire::OutcomeAck ack;
  auto last = next_.begin();
  for (; last != next_.end() && ack.streams_size() < kStreamsPerAck; ++last) {
    const auto& [stream, next] = *last;
    wire::StreamAck* stream_ack = ack.add_streams();
    stream_ack->set_queue(stream.first);
    stream_ack->set_follow_on(stream.second);
    stream_ack->set_next(next);
  }
  next_.erase(next_.begin(), last);
  if (next_.empty()) Reset(window_bytes_);
  return ack;
}

MonoTime OutcomeAcks::NextDeadline() const { return late_ ? kNever : due_; }

void OutcomeAcks::Reset(uint64_t window_bytes) {
  window_bytes_ = window_bytes;
  next_.clear();
  bytes_ = 0;
  due_ = kNever;
  late_ = false;
}

}  // namespace whippletree
