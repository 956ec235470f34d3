// Follow-on jobs: what a completed job asks for, accepted together with its outcome.
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/codec.h"
#include "common/status.h"

namespace whippletree::core {

// `bytes_before` are those of other follow-on jobs of the same report.
absl::Status Broker::FollowOnError(const Queue& parent, const wire::FollowOn& follow_on,
                                   uint64_t bytes_before) {
  absl::Status error = OptionsError(follow_on.options());
  if (!error.ok()) return error;
  for (const uint32_t size : follow_on.run().sizes()) {
    if (size <= config_.payload_bytes_max) continue;
    return absl::InvalidArgumentError("payload of " + std::to_string(size) + " bytes; at most " +
                                      std::to_string(config_.payload_bytes_max) + " are taken");
  }
  // No capacity bounds them, the memory does: beyond what producers may fill.
  const uint64_t bytes = bytes_before + follow_on.run().block().size() + kRunOverheadBytes;
  const uint64_t most = config_.budget_bytes() + config_.budget_bytes() / 4;
  if (used_bytes_ + bytes > most) {
    return absl::ResourceExhaustedError("the broker's memory is full");
  }
  const Queue* queue = OpenQueue(follow_on.queue(), &error);
  // A full disk bounds those of durable queues by what is leased; queues in memory go on.
  if (queue != nullptr && HeldByDisk(*queue) && !parent.policy.durable) {
    return absl::ResourceExhaustedError(disk_.Reason());
  }
  return error;
}

IntervalSet Broker::AcceptFollowOns(Lease& lease, const IntervalSet& current,
                                    wire::ReportItem& item, wire::Status* error) {
  // Jobs with a result that is too large fail by that, and nothing follows.
  const auto fails = [&](uint32_t index) {
    return item.results().sizes(static_cast<int>(index - item.first())) > config_.result_bytes_max;
  };
  IntervalSet bad;
  uint64_t bytes = 0;
  for (const wire::FollowOn& follow_on : item.follow_ons()) {
    if (!current.Contains(follow_on.index()) || fails(follow_on.index())) continue;
    const absl::Status status = FollowOnError(*lease.queue, follow_on, bytes);
    bytes += follow_on.run().block().size();
    if (status.ok()) continue;
    bad.Add(follow_on.index(), uint64_t{follow_on.index()} + 1);
    // The parent is tried again when there may be room; for anything else it is to blame.
    *error = WireStatus(
        absl::IsResourceExhausted(status) ? status.code() : absl::StatusCode::kInvalidArgument,
        "its follow-on job for queue " + follow_on.queue() +
            " is not taken: " + std::string(status.message()));
  }
  if (Planted("lose_follow_ons")) return bad;
  for (wire::FollowOn& follow_on : *item.mutable_follow_ons()) {
    const uint64_t index = follow_on.index();
    if (!current.Contains(index) || bad.Contains(index) || fails(follow_on.index())) continue;
    lease.ForEach({index, index + 1}, [&](const Slice& parent, uint64_t) {
      Stream& stream = AcceptFollowOn(parent, follow_on);
      if (!stream.queue->policy.durable && !lease.queue->policy.durable) return;
      // What is said of either waits for this, though its own queue may be in memory: the parent's
      // end and the follow-on jobs are one commit. Lost with it, they would come again.
      stream.commit = ThisCommit();
      streams_.at(parent.stream)->commit = ThisCommit();
      peers_.at(lease.worker)->worker->commit = ThisCommit();
    });
  }
  return bad;
}

Stream& Broker::AcceptFollowOn(const Slice& parent, wire::FollowOn& follow_on) {
  Stream& origin = *streams_.at(parent.stream);
  absl::Status error;
  Queue& queue = *OpenQueue(follow_on.queue(), &error);
  Stream& stream = FollowOnStream(origin.producer, queue);
  wire::JobOptions options = std::move(*follow_on.mutable_options());
  options.set_group(parent.options->group());
  options.set_discard_outcome(parent.options->discard_outcome() || options.discard_outcome());
  if (!stream.options || !SameOptions(*stream.options, options)) {
    stream.options = options_.Keep(std::move(options));
  }
  Slice slice;
  slice.data = std::make_shared<RunData>(follow_on.mutable_run());
  slice.end = slice.data->count();
  slice.stream = stream.number;
  slice.first = stream.next;
  slice.options = stream.options;
  queue.follow_ons += slice.count();
  Count("follow_ons", slice.count());
  AddJobs(stream, std::move(slice));
  return stream;
}

Stream& Broker::FollowOnStream(uint64_t producer, Queue& queue) {
  uint64_t* number = producer == 0 ? &orphan_streams_[queue.number]
                                   : &peers_.at(producer)->producer->follow_on_streams[queue.name];
  if (*number != 0 && streams_.contains(*number)) return *streams_.at(*number);
  *number = ++last_stream_;
  Stream& stream = AddStream(*number, queue, producer);
  stream.follow_on = true;
  stream.claimed = true;
  return stream;
}

}  // namespace whippletree::core
