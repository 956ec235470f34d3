// What the broker's state takes of the memory: payloads are counted where they come and go, here is
// what stands beside them. All is counted at what it really costs, about: the bound is one for the
// process.
#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

uint64_t BytesOf(const JobGroup& group) {
  return kGroupOverheadBytes +
         (group.expected.size() + group.arrived.size()) * kGroupQueueOverheadBytes;
}

}  // namespace

// Half of the memory for jobs, so that the other half is always theirs.
bool Broker::TablesFull() const { return table_bytes_ > config_.budget_bytes() / 2; }

absl::Status Broker::PeersFull() const {
  if (peers_.size() >= config_.peers_max) {
    return absl::ResourceExhaustedError("the broker has as many peers as it may have (" +
                                        std::to_string(config_.peers_max) + "); try again later");
  }
  // Those that are here are to have room for what they name.
  const uint64_t bytes_max = config_.budget_bytes() * 3 / 8;
  if (table_bytes_ <= bytes_max) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the broker has no memory for another peer: its peers, queues, streams and groups take " +
      std::to_string(table_bytes_ >> 10) + " KiB, and new peers are taken up to " +
      std::to_string(bytes_max >> 10) + " KiB, which is 3/16 of its --memory-limit; raise that, " +
      "or use fewer peers or queues");
}

void Broker::CountTable(int64_t bytes) {
  table_bytes_ += static_cast<uint64_t>(bytes);
  used_bytes_ += static_cast<uint64_t>(bytes);
}

void Broker::CountPeer(Peer& peer) {
  uint64_t bytes = kPeerOverheadBytes + peer.software.size();
  if (peer.worker) {
    bytes += peer.worker->owed.leases() * kOwedLeaseBytes;
    bytes += peer.worker->queues.size() * kWorkerQueueOverheadBytes;
    for (const std::string& name : peer.worker->refused) bytes += kNameOverheadBytes + name.size();
  }
  if (peer.producer) {
    for (const std::string& name : peer.producer->gone) bytes += kNameOverheadBytes + name.size();
    bytes += peer.producer->ended_groups.intervals().size() * kIntervalBytes;
  }
  CountTable(static_cast<int64_t>(bytes - peer.counted_bytes));
  peer.counted_bytes = bytes;
}

void Broker::CountGroup(JobGroup& group) {
  const uint64_t bytes = BytesOf(group);
  CountTable(static_cast<int64_t>(bytes - group.counted_bytes));
  group.counted_bytes = bytes;
}

void Broker::UncountGroup(const JobGroup& group) {
  CountTable(-static_cast<int64_t>(group.counted_bytes));
}

// Reads what cancelled jobs and records take into the sums.
void Broker::CountMemory(Queue& queue) {
  const uint64_t in_memory =
      queue.open_jobs() - std::min(queue.open_jobs(), queue.jobs.stored_jobs());
  const uint64_t records = queue.jobs.records() * kRunOverheadBytes + queue.jobs.line_bytes() +
                           in_memory * kJobOverheadBytes +
                           queue.expiries.records() * kExpiryOverheadBytes +
                           queue.rows * kRowOverheadBytes + queue.jobs.loading_bytes();
  used_bytes_ += records - queue.record_bytes;
  queue.record_bytes = records;
  ReleasePayload(queue, queue.jobs.TakeDroppedBytes());
}

void Broker::ReleasePayload(Queue& queue, uint64_t bytes) {
  WT_CHECK(queue.bytes >= bytes && used_bytes_ >= bytes);
  queue.bytes -= bytes;
  used_bytes_ -= bytes;
}

}  // namespace whippletree::core
