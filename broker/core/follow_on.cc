#include "broker/core/follow_on.h"

#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/codec.h"
#include "common/status.h"

namespace whippletree::core {

absl::Status FollowOns::Error(const Queue& parent, const wire::FollowOn& follow_on) {
  absl::Status error = Broker::OptionsError(follow_on.options());
  if (!error.ok()) return error;
  for (const uint32_t size : follow_on.run().sizes()) {
    if (size <= b_.config_.payload_bytes_max) continue;
    return absl::InvalidArgumentError("payload of " + std::to_string(size) + " bytes; at most " +
                                      std::to_string(b_.config_.payload_bytes_max) + " are taken");
  }
  // No capacity bounds them, the memory does: beyond what producers may fill.
  const uint64_t bytes = bytes_ + follow_on.run().block().size() + kRunOverheadBytes;
  const uint64_t most = b_.config_.budget_bytes() + b_.config_.budget_bytes() / 4;
  if (b_.used_bytes_ + bytes > most) {
    return absl::ResourceExhaustedError("the broker's memory is full");
  }
  const size_t queues = b_.queues_.size();
  const Queue* queue = b_.OpenQueue(follow_on.queue(), &error);
  if (b_.queues_.size() > queues) b_.Work(kOpenWork);
  // A full disk bounds those of durable queues by what is leased; queues in memory go on.
  if (queue != nullptr && b_.HeldByDisk(*queue) && !parent.policy.durable) {
    return absl::ResourceExhaustedError(b_.disk_.Reason());
  }
  return error;
}

bool FollowOns::Accept(Lease& lease, wire::ReportItem& item) {
  under_way_ = true;
  // Jobs with a result that is too large fail by that, and nothing follows.
  const auto follows = [&](uint32_t index) {
    const uint32_t size = item.results().sizes(static_cast<int>(index - item.first()));
    return lease.open.Contains(index) && size <= b_.config_.result_bytes_max;
  };
  bool first = true;  // it gets on in each step
  const auto must_stop = [&] { return !std::exchange(first, false) && b_.IsExhausted(); };
  for (; checked_ < item.follow_ons_size(); ++checked_) {
    if (must_stop()) return false;
    b_.Work();
    const wire::FollowOn& follow_on = item.follow_ons(checked_);
    if (!follows(follow_on.index())) continue;
    const absl::Status status = Error(*lease.queue, follow_on);
    bytes_ += follow_on.run().block().size();
    if (status.ok()) continue;
    refused_.Add(follow_on.index(), uint64_t{follow_on.index()} + 1);
    // The parent is tried again when there may be room; for anything else it is to blame.
    error_ = WireStatus(
        absl::IsResourceExhausted(status) ? status.code() : absl::StatusCode::kInvalidArgument,
        "its follow-on job for queue " + follow_on.queue() +
            " is not taken: " + std::string(status.message()));
  }
  if (Planted("lose_follow_ons")) return true;
  for (; accepted_ < item.follow_ons_size(); ++accepted_) {
    if (must_stop()) return false;
    b_.Work();
    // What is in it goes with it: to give up all of them at the end would be a long step.
    wire::FollowOn follow_on = std::move(*item.mutable_follow_ons(accepted_));
    const uint64_t index = follow_on.index();
    if (!follows(follow_on.index()) || refused_.Contains(index)) continue;
    lease.ForEach({index, index + 1}, [&](const Slice& parent, uint64_t) {
      Stream& stream = AcceptOne(parent, follow_on);
      if (!stream.queue->policy.durable && !lease.queue->policy.durable) return;
      // What is said of either waits for this, though its own queue may be in memory: the parent's
      // end and the follow-on jobs are one commit. Lost with it, they would come again.
      stream.commit = b_.ThisCommit();
      b_.streams_.at(parent.stream)->commit = b_.ThisCommit();
      b_.peers_.at(lease.worker)->worker->commit = b_.ThisCommit();
    });
  }
  return true;
}

IntervalSet FollowOns::TakeRefused(wire::Status* error) {
  under_way_ = false;
  checked_ = accepted_ = 0;
  bytes_ = 0;
  *error = std::exchange(error_, {});
  return std::exchange(refused_, {});
}

Stream& FollowOns::AcceptOne(const Slice& parent, wire::FollowOn& follow_on) {
  Stream& origin = *b_.streams_.at(parent.stream);
  absl::Status error;
  Queue& queue = *b_.OpenQueue(follow_on.queue(), &error);
  Stream& stream = StreamOf(origin.producer, queue);
  wire::JobOptions options = std::move(*follow_on.mutable_options());
  options.set_group(parent.options->group());
  options.set_discard_outcome(parent.options->discard_outcome() || options.discard_outcome());
  if (!stream.options || !SameOptions(*stream.options, options)) {
    stream.options = b_.options_.Keep(std::move(options));
  }
  Slice slice;
  slice.data = std::make_shared<RunData>(follow_on.mutable_run());
  slice.end = slice.data->count();
  slice.stream = stream.number;
  slice.first = stream.next;
  slice.options = stream.options;
  queue.follow_ons += slice.count();
  b_.Count("follow_ons", slice.count());
  b_.AddJobs(stream, std::move(slice));
  return stream;
}

Stream& FollowOns::StreamOf(uint64_t producer, Queue& queue) {
  uint64_t* number = producer == 0
                         ? &b_.orphan_streams_[queue.number]
                         : &b_.peers_.at(producer)->producer->follow_on_streams[queue.name];
  if (*number != 0 && b_.streams_.contains(*number)) return *b_.streams_.at(*number);
  b_.Work(kOpenWork);
  *number = ++b_.last_stream_;
  Stream& stream = b_.AddStream(*number, queue, producer);
  stream.follow_on = true;
  stream.claimed = true;
  return stream;
}

}  // namespace whippletree::core
