// What is said back to peers: that jobs are accepted, that reports are recorded. Each occasion
// costs a wake-up and some tens of microseconds here and there, so what nobody seems to wait for is
// held back for a moment, until something else goes to the peer. After "delayed acknowledgements"
// (RFC 1122, 4.2.3.2; with the delay told, as in RFC 9000, 13.2.5).
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"

namespace whippletree::core {

bool Broker::MayHoldUpdate(const Stream& stream) const {
  const QueuePolicy& policy = stream.queue->policy;
  const uint64_t jobs = stream.next - stream.told.next;
  const uint64_t bytes = stream.session_bytes - stream.told.session_bytes;
  const bool has_news = stream.full || stream.gap_due || !stream.told.open || jobs == 0;
  const bool has_company = stream.outcomes.has_unsent();
  // Only jobs that are with workers may have an outcome soon.
  const bool is_early = stream.queue->jobs.waiting() > 0;
  const bool has_credit = jobs * 4 < std::min(kStreamWindowJobs, policy.capacity_jobs) &&
                          bytes * 4 < std::min(config_.window_bytes(), policy.capacity_bytes);
  return !has_news && !has_company && !is_early && has_credit &&
         stream.commit <= outgoing_.durable() && config_.ack_delay > Duration(0) &&
         now_.mono < stream.update_at;
}

void Broker::SendUpdates() {
  std::map<std::pair<uint64_t, uint64_t>, wire::Envelope> messages;  // by peer and commit
  for (uint64_t number : std::exchange(touched_streams_, {})) {
    auto it = streams_.find(number);
    if (it == streams_.end()) continue;
    Stream& stream = *it->second;
    stream.touched = false;
    if (stream.producer == 0) continue;
    if (MayHoldUpdate(stream)) {
      if (stream.update_at != kNever) continue;
      stream.update_at = now_.mono + config_.ack_delay;
      held_updates_.emplace_back(stream.update_at, number);
      continue;
    }
    const Peer& peer = *peers_.at(stream.producer);
    wire::StreamUpdates* updates =
        messages[{stream.producer, stream.commit}].mutable_stream_updates();
    updates->set_session(peer.session);
    FillUpdate(stream, updates->add_streams());
    stream.told = {!stream.full && !stream.gap_due, stream.next, stream.session_bytes};
    stream.update_at = kNever;
    stream.gap_due = false;
  }
  for (auto& [key, message] : messages) {
    SendTo(*peers_.at(key.first), std::move(message), key.second);
  }
}

void Broker::HoldReportAck(Peer& peer) {
  WorkerState& worker = *peer.worker;
  HeldReports& held = worker.held_reports;
  if (held.first == kNever) {
    held.first = now_.mono;
    held_acks_.emplace_back(now_.mono + config_.ack_delay, peer.number);
  }
  held.last = now_.mono;
  // It waits for this to leave, to report more, or for the answer of a disk.
  if (worker.draining || held.bytes * 4 >= config_.window_bytes() ||
      worker.commit > outgoing_.durable() || config_.ack_delay == Duration(0)) {
    report_peers_.insert(peer.number);
  }
}

void Broker::SendReportAck(Peer& peer) {
  WorkerState& worker = *peer.worker;
  const HeldReports held = std::exchange(worker.held_reports, {});
  const Duration delay = held.last == kNever ? Duration(0) : now_.mono - held.last;
  wire::Envelope message;
  wire::ReportAck* ack = message.mutable_report_ack();
  ack->set_session(peer.session);
  ack->set_next(worker.report_next);
  ack->set_delay_us(
      static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(delay).count()));
  SendTo(peer, std::move(message), worker.commit);
}

void Broker::PruneHeld() {
  const auto prune = [](auto& held, const auto& owners, const auto& is_held) {
    while (!held.empty()) {
      const auto it = owners.find(held.front().second);
      if (it != owners.end() && is_held(held.front().first, *it->second)) return;
      held.pop_front();
    }
  };
  prune(held_updates_, streams_, [](MonoTime until, const Stream& stream) {
    return stream.producer != 0 && stream.update_at == until;
  });
  prune(held_acks_, peers_, [this](MonoTime until, const Peer& peer) {
    return peer.worker && peer.worker->held_reports.first != kNever &&
           peer.worker->held_reports.first + config_.ack_delay == until;
  });
}

void Broker::ReleaseHeld() {
  for (PruneHeld(); !held_updates_.empty() && held_updates_.front().first <= now_.mono;
       PruneHeld()) {
    Touch(*streams_.at(held_updates_.front().second));
    held_updates_.pop_front();
  }
  for (; !held_acks_.empty() && held_acks_.front().first <= now_.mono; PruneHeld()) {
    report_peers_.insert(held_acks_.front().second);
    held_acks_.pop_front();
  }
}

MonoTime Broker::NextHeld() const {
  MonoTime next = kNever;
  if (!held_updates_.empty()) next = std::min(next, held_updates_.front().first);
  if (!held_acks_.empty()) next = std::min(next, held_acks_.front().first);
  return next;
}

}  // namespace whippletree::core
