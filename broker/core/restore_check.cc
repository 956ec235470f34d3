// What rows of the store cannot be beside each other.
#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/restoring.h"
#include "common/codec.h"

namespace whippletree::core {

bool Broker::Restoring::ShareOptions(uint64_t stream, uint64_t begin, uint64_t end) const {
  const wire::JobOptions* options = nullptr;
  bool share = true;
  ForEachRun(stream, begin, end, [&](uint64_t, const Run& run) {
    share = share && (options == nullptr || SameOptions(*options, *run.options));
    options = run.options.get();
  });
  return share;
}

absl::Status Broker::Restoring::AddReturned(const record::Returned& row) {
  const auto stream = streams.find(row.stream());
  if (stream == streams.end()) return Damaged("a returned job of no stream");
  const uint64_t end = row.first() + row.count();
  if (stream->second.taken.Count(row.first(), end) > 0) {
    return Damaged("job " + JobIdText(row.stream(), row.first()) + " was returned twice");
  }
  if (!ShareOptions(row.stream(), row.first(), end)) {
    return Damaged("jobs that were returned together have different options");
  }
  stream->second.taken.Add(row.first(), end);
  stream->second.returned.push_back(row);
  return absl::OkStatus();
}

absl::Status Broker::Restoring::Check(const Broker& broker) const {
  for (const auto& [number, data] : streams) {
    const Stream& stream = *broker.streams_.at(number);
    uint64_t ended_of_runs = 0;
    for (const auto& [first, run] : data.runs) ended_of_runs += data.ended.Count(first, run.end);
    if (ended_of_runs != data.ended.size()) {
      return Damaged("a job of stream " + std::to_string(number) + " has ended and is in no run");
    }
    for (const record::Returned& row : data.returned) {
      if (!stream.open.ContainsAll(row.first(), row.first() + row.count())) {
        return Damaged("job " + JobIdText(number, row.first()) + " was returned and has ended");
      }
    }
    for (const auto& part : data.attempted.intervals()) {
      if (!stream.open.ContainsAll(part.begin, part.end)) {
        return Damaged("job " + JobIdText(number, part.begin) + " has attempts and has ended");
      }
    }
    for (const auto& part : data.settled.intervals()) {
      if (stream.open.Count(part.begin, part.end) > 0) {
        return Damaged("job " + JobIdText(number, part.begin) + " has an outcome and has none");
      }
    }
  }
  for (const auto& [number, peer] : broker.peers_) {
    if (!peer->producer) continue;
    for (const auto& [group, state] : peer->producer->groups) {
      if (state.ended && state.open > 0) {
        return Damaged("group " + std::to_string(group) + " of producer " + peer->name +
                       " has ended, and its jobs have not");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace whippletree::core
