// Producers that do not read their outcomes: their own jobs wait then, those of others go on.
//
// All unread outcomes together have half of the budget. A producer is stopped when it has more of
// it than is free, which leaves it half of that alone and an equal part beside others like it, with
// as much left for who comes next (dynamic thresholds, A. Choudhury and E. Hahne, 1998). Something
// small is always allowed, whatever others have and whatever came of jobs that were leased. It goes
// on at half of that, so whoever reads everything goes on. Each is looked at only when its own
// outcomes change.
#include <algorithm>

#include "broker/core/broker.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {

bool Broker::IsStopped(const Stream& stream) const {
  return stream.producer != 0 && peers_.at(stream.producer)->producer->stopped;
}

void Broker::AddUnread(Stream& stream, uint64_t bytes) {
  stream.queue->outcome_bytes += bytes;
  outcome_bytes_ += bytes;
  used_bytes_ += bytes;
  Peer& peer = *peers_.at(stream.producer);
  if (peer.producer->outcome_bytes == 0) ++unread_producers_;
  peer.producer->outcome_bytes += bytes;
  CheckUnread(peer);
}

void Broker::RemoveUnread(Stream& stream, uint64_t bytes) {
  Peer& peer = *peers_.at(stream.producer);
  WT_CHECK(stream.queue->outcome_bytes >= bytes && used_bytes_ >= bytes);
  WT_CHECK(peer.producer->outcome_bytes >= bytes);
  stream.queue->outcome_bytes -= bytes;
  outcome_bytes_ -= bytes;
  used_bytes_ -= bytes;
  peer.producer->outcome_bytes -= bytes;
  if (peer.producer->outcome_bytes == 0) --unread_producers_;
  if (peer.producer->stopped) CheckUnread(peer);
}

void Broker::CheckUnread(Peer& peer) {
  if (!started_) return;  // its jobs are not there yet
  const ProducerState& producer = *peer.producer;
  const uint64_t most = config_.budget_bytes() / 2;
  const uint64_t free = most - std::min(most, outcome_bytes_);
  const uint64_t always =
      std::min(config_.window_bytes(), most / 4 / std::max<uint64_t>(1, unread_producers_));
  const uint64_t share = std::max(always, free);
  if (!producer.stopped && producer.outcome_bytes > share) {
    SetStopped(peer, true);
  } else if (producer.stopped && producer.outcome_bytes <= share / 2 && !Planted("forget_resume")) {
    SetStopped(peer, false);
  }
}

void Broker::SetStopped(Peer& peer, bool stopped) {
  peer.producer->stopped = stopped;
  Count(stopped ? "producers_stopped" : "producers_resumed");
  Log(stopped ? LogLevel::kWarning : LogLevel::kInfo,
      stopped ? "producer_stopped" : "producer_resumed",
      {{"producer", peer.name}, {"outcome_bytes", peer.producer->outcome_bytes}});
  ForEachStream(*peer.producer, [&](Stream& stream) {
    if (stopped) {
      stream.queue->jobs.Stop(stream.number);
    } else {
      stream.queue->jobs.Resume(stream.number);
    }
    if (!stopped && stream.full_for_unread) {
      stream.full = stream.full_for_unread = false;
      Touch(stream);
    }
    Wake(*stream.queue);
  });
}

void Broker::MarkUnread(Stream& stream) {
  Count("full_runs");
  if (stream.full) return;
  stream.full = stream.full_for_unread = true;
  stream.full_bytes = 0;
}

}  // namespace whippletree::core
