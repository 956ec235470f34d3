// Sessions of peers, their loss, and what is forgotten.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"
#include "common/version.h"

namespace whippletree::core {

// How long a peer may be silent: the longest lease of a worker's queues.
Duration Broker::SilenceMax(const Peer& peer) const {
  Duration longest{0};
  if (peer.worker) {
    for (const WorkerQueue& wq : peer.worker->queues) {
      longest = std::max(longest, wq.queue->policy.lease_duration);
    }
  }
  return longest > Duration(0) ? longest : policies_.defaults.lease_duration;
}

void Broker::OfferRefused(Peer& peer) {
  if (peer.worker->draining) return;
  for (const std::string& name : peer.worker->refused) {
    absl::Status error;
    if (OpenQueue(name, &error) == nullptr) continue;
    Refuse(peer.route, absl::UnavailableError("queue " + name + " can be served now: say hello"),
           wire::Refusal::SAY_HELLO);
    return;  // the welcome names what is still refused
  }
}

uint64_t Broker::CommitOf(const Peer& peer) const {
  uint64_t commit = 0;
  if (peer.producer) {  // what is accepted
    for (const auto& [queue, number] : peer.producer->streams) {
      commit = std::max(commit, streams_.at(number)->commit);
    }
  } else {
    // Which completions are recorded, and which leases ended while it was away: it forgets what is
    // not kept, and what a crash undid would then look like jobs that it never got.
    commit = std::max(peer.worker->commit, forgotten_leases_commit_);
  }
  return commit;
}

Peer* Broker::FindSession(uint64_t session, wire::Role role, const FrameIn& in) {
  Peer* peer = nullptr;
  if (auto it = peer_by_session_.find(session); it != peer_by_session_.end()) {
    peer = peers_.at(it->second).get();
  }
  const bool known = peer != nullptr && (role == wire::ROLE_UNSPECIFIED || peer->role == role);
  if (known && in.message.secret() != peer->secret && !Planted("trust_sessions")) {
    Count("wrong_secrets");
    Log(LogLevel::kWarning, "wrong_secret", {{"session", session - config_.first_number()}});
    peer = nullptr;
  }
  const bool fits =
      known && peer != nullptr && (in.channel != Channel::kDoor || peer->route == in.route);
  if (!fits) {
    Count("frames_of_other_sessions");
    if (in.channel == Channel::kDoor) {
      Refuse(in.route, absl::UnauthenticatedError("no such session: say hello"),
             wire::Refusal::SAY_HELLO);
    }
    return nullptr;
  }
  peer->last_heard = now_.mono;
  return peer;
}

void Broker::LoseSession(Peer& peer, std::string_view reason) {
  if (!peer.connected()) return;
  peer_by_session_.erase(peer.session);
  if (peer.worker) {
    Log(LogLevel::kInfo, "worker_left",
        {{"worker", peer.name},
         {"session", peer.session - config_.first_number()},
         {"reason", std::string(reason)},
         {"leased", peer.worker->leased}});
  } else {
    Log(LogLevel::kInfo, "producer_left",
        {{"producer", peer.name},
         {"session", peer.session - config_.first_number()},
         {"reason", std::string(reason)}});
  }
  // What this step was to send it does not leave: a job that nobody can have got is not charged.
  std::erase_if(effects_->sends, [&](const Send& send) {
    if (send.session != peer.session) return false;
    for (const wire::Delivery& delivery : send.message.deliveries().deliveries()) {
      if (Lease* lease = leases_.Find(delivery.token())) overdue_.OnDeliveryNotSent(*lease);
    }
    return true;
  });
  peer.session = 0;
  outgoing_.Drop(peer);
  peer.retry_at = kNever;
  peer.lost_at = now_.mono;
  if (peer.worker) {
    UpdateReady(peer);
    SetTimer(peer, peer.last_heard + peer.silence_max);
  } else {
    peer.producer->outcome_bytes_in_flight = 0;
    SetTimer(peer, now_.mono + kProducerRetention);
  }
}

void Broker::OnGoodbye(Peer& peer) {
  if (peer.producer && peer.producer->named) {
    // What it acknowledged must stay so before it goes: the next process of the name would be told
    // it again.
    wire::Envelope reply;
    reply.mutable_goodbye()->set_session(peer.session);
    Answer(peer.route, std::move(reply), effects_->writes.empty() ? commit_ : ThisCommit());
  }
  LoseSession(peer, "said goodbye");
  if (peer.worker) {
    departures_.ForgetWorker(peer, "said goodbye");
  } else if (!peer.producer->named) {
    departures_.ForgetProducer(peer, false);
  }
}

// Streams of which nothing was ever accepted are opened anew when it comes back, and it would know
// no difference: they are not kept as long as the others, nor is a producer that has no others.
// Else hellos of ever new names, each with all the streams that it may have, would fill the tables
// for a day.
void Broker::CheckLostProducer(Peer& peer) {
  ProducerState& producer = *peer.producer;
  if (now_.mono < peer.lost_at + kProducerRetention) {
    return SetTimer(peer, peer.lost_at + kProducerRetention);
  }
  std::erase_if(producer.streams, [&](const auto& entry) {
    Stream& stream = *streams_.at(entry.second);
    if (!stream.is_unused()) return false;
    producer.unsent.erase(stream.number);
    Work();
    DropStream(stream);
    return true;
  });
  const bool is_used =
      producer.durable || !producer.streams.empty() || !producer.follow_on_streams.empty();
  const MonoTime until =
      peer.lost_at + (producer.named && is_used ? kNamedProducerRetention : kProducerRetention);
  if (now_.mono >= until) {
    departures_.ForgetProducer(peer, true);
  } else {
    SetTimer(peer, until);
  }
}

void Broker::DropExpiredNames() {
  std::erase_if(expired_names_, [this](const auto& entry) {
    const auto& [name, expired] = entry;
    if (expired.until > now_.mono) return false;
    const auto peer = peer_by_name_.find(name);
    const bool is_back = peer != peer_by_name_.end() && peers_.at(peer->second)->producer;
    if (expired.durable && is_back && peers_.at(peer->second)->producer->durable) {
      NoteProducer(*peers_.at(peer->second));
    } else if (expired.durable) {
      record::Record* gone = Write();
      gone->set_erased(true);
      gone->mutable_producer()->set_name(name);
    }
    return true;
  });
}

Peer& Broker::AddPeer(wire::Role role, const std::string& name) {
  auto owned = std::make_unique<Peer>();
  Peer& peer = *owned;
  peer.number = ++last_peer_;
  peer.role = role;
  peer.name = name;
  peers_.emplace(peer.number, std::move(owned));
  peer_by_name_[name] = peer.number;
  CountPeer(peer);
  return peer;
}

void Broker::SetRoute(Peer& peer, const std::string& route) {
  if (const auto before = peers_by_route_.find(peer.route);
      before != peers_by_route_.end() && !peer.route.empty() && --before->second == 0) {
    peers_by_route_.erase(before);
  }
  peer.route = route;
  if (!route.empty()) ++peers_by_route_[route];
}

void Broker::LeaveQueues(const Peer& peer) {
  for (const WorkerQueue& wq : peer.worker->queues) {
    wq.queue->workers.erase(peer.number);
    wq.queue->ready.erase(peer.number);
    wq.queue->ready_to_hold.erase(peer.number);
  }
}

void Broker::ErasePeer(Peer& peer) {
  SetRoute(peer, "");
  if (peer.producer && peer.producer->durable) {
    record::Record* row = Write();
    row->mutable_producer()->set_name(peer.name);
    const bool forgotten = expired_names_.contains(peer.name);
    row->set_erased(!forgotten);
    row->mutable_producer()->set_forgotten(forgotten);
  }
  if (peer.connected()) peer_by_session_.erase(peer.session);
  if (peer.timer != kNever) peer_timers_.erase({peer.timer, peer.number});
  if (peer.worker) LeaveQueues(peer);
  CountTable(-static_cast<int64_t>(peer.counted_bytes));
  peer_by_name_.erase(peer.name);
  peers_.erase(peer.number);
}

}  // namespace whippletree::core
