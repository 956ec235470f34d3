// From the hello to the loss of a peer.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"
#include "common/version.h"

namespace whippletree::core {

void Broker::OnHello(const std::string& route, wire::Hello& hello) {
  if (absl::Status status = CheckHello(hello); !status.ok()) {
    Count("rejected_hellos");
    Log(LogLevel::kWarning, "rejected_hello", {{"error", std::string(status.message())}});
    Refuse(route, status, wire::Refusal::GIVE_UP);
    return;
  }
  absl::Status lost = CheckCommits(hello);
  if (absl::IsPermissionDenied(lost)) {
    Count("wrong_receipts");
    Log(LogLevel::kWarning, "wrong_receipt",
        {{"peer", hello.name()}, {"error", std::string(lost.message())}});
    Refuse(route, lost, wire::Refusal::GIVE_UP);
    return;
  }
  if (!lost.ok()) {
    Log(LogLevel::kError, "commits_lost",
        {{"error", std::string(lost.message())}, {"accepted", config_.accept_data_loss}});
    if (!config_.accept_data_loss) {
      // The peer tries again, and what it knows is there for a broker with the right store.
      Refuse(route, lost, wire::Refusal::NONE);
      effects_->lost_commits.Update(lost);
      return;
    }
  }
  Peer* peer = nullptr;
  if (auto it = peer_by_name_.find(hello.name()); it != peer_by_name_.end()) {
    peer = peers_.at(it->second).get();
    if (peer->role != hello.role()) {
      Count("rejected_hellos");
      Refuse(route,
             absl::FailedPreconditionError("the name " + hello.name() + " is that of another peer"),
             wire::Refusal::GIVE_UP);
      return;
    }
    if (peer->process == hello.process()) {
      if (hello.attempt() <= peer->hello_attempt) {  // repeated by the network
        Count("repeated_hellos");
        return;
      }
    } else if (peer->worker) {
      // The other process may still run jobs: its leases must end first.
      Count("rejected_hellos");
      Refuse(route, absl::FailedPreconditionError("another worker has the name " + hello.name()),
             wire::Refusal::GIVE_UP);
      return;
    } else if (peer->connected()) {
      Refuse(peer->route,
             absl::FailedPreconditionError("a newer process took over the name " + hello.name()),
             wire::Refusal::GIVE_UP);
    }
    if (peer->connected()) LoseSession(*peer, "newer session");
  }
  const bool is_new = peer == nullptr;
  if (is_new) {
    if (const absl::Status full = PeersFull(); !full.ok()) {
      Count("refused_peers");
      Log(LogLevel::kWarning, "refused_peer",
          {{"error", std::string(full.message())}, {"peers_max", uint64_t{config_.peers_max}}});
      Refuse(route, full, wire::Refusal::NONE);
      return;
    }
    const auto brought = peers_by_route_.find(route);
    if (brought != peers_by_route_.end() && brought->second >= kPeersPerRouteMax) {
      Count("refused_peers");
      Refuse(route,
             absl::ResourceExhaustedError("this connection has brought " +
                                          std::to_string(kPeersPerRouteMax) +
                                          " peers already: each needs a connection of its own"),
             wire::Refusal::NONE);
      return;
    }
    peer = &AddPeer(hello.role(), hello.name());
  }
  peer->process = hello.process();
  peer->hello_attempt = hello.attempt();
  peer->software = hello.software();
  peer->session = ++last_session_;
  peer->secret = secrets_.OfSession(peer->session);
  SetRoute(*peer, route);
  peer->last_heard = now_.mono;
  peer->lost_at = kNever;
  peer_by_session_[peer->session] = peer->number;

  wire::Envelope message;
  wire::Welcome* welcome = message.mutable_welcome();
  welcome->set_session(peer->session);
  welcome->set_secret(peer->secret);
  welcome->set_broker_start(config_.broker_start);
  welcome->set_submit_port(config_.submit_port);
  welcome->set_complete_port(config_.complete_port);
  welcome->set_payload_bytes_max(config_.payload_bytes_max);
  welcome->set_result_bytes_max(config_.result_bytes_max);
  welcome->set_window_bytes(static_cast<uint32_t>(config_.window_bytes()));
  welcome->set_software(kSoftware);
  const bool same_start = hello.broker_start() == config_.broker_start;
  if (hello.role() == wire::PRODUCER) {
    const Claimant claimant = !same_start ? Claimant::kNew
                              : is_new    ? Claimant::kForgotten
                                          : Claimant::kKnown;
    WelcomeProducer(*peer, hello, claimant, welcome);
    Log(LogLevel::kInfo, "producer_joined",
        {{"producer", peer->name},
         {"session", peer->session - config_.first_number()},
         {"again", !is_new}});
  } else {
    WelcomeWorker(*peer, hello, welcome);
    std::string served;
    for (const WorkerQueue& wq : peer->worker->queues) {
      served += (served.empty() ? "" : ",") + wq.queue->name;
    }
    Log(LogLevel::kInfo, "worker_joined",
        {{"worker", peer->name},
         {"session", peer->session - config_.first_number()},
         {"slots", uint64_t{peer->worker->slots}},
         {"queues", served},
         {"leases_kept", static_cast<uint64_t>(welcome->leases_kept_size())},
         {"again", !is_new}});
  }
  CountPeer(*peer);
  peer->silence_max = SilenceMax(*peer);
  welcome->set_lease_duration_ms(static_cast<uint32_t>(ToMilliseconds(peer->silence_max)));
  welcome->set_heartbeat_interval_ms(
      static_cast<uint32_t>(ToMilliseconds(peer->silence_max / kHeartbeatsPerLease)));
  SetTimer(*peer, now_.mono + peer->silence_max);
  peer->welcome_commit = CommitOf(*peer);
  if (!config_.store_id.empty()) welcome->set_store_id(config_.store_id);
  SendTo(*peer, std::move(message), outgoing_.durable());
  if (peer->producer) ResumeGroups(*peer, hello, same_start && !is_new);
}

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

void Broker::WelcomeProducer(Peer& peer, const wire::Hello& hello, Claimant claimant,
                             wire::Welcome* welcome) {
  if (!peer.producer) peer.producer = std::make_unique<ProducerState>();
  ProducerState& producer = *peer.producer;
  if (producer.named != hello.named() && producer.durable) NoteProducer(peer);
  producer.named = hello.named();
  producer.outcome_bytes_in_flight = 0;
  producer.unsent.clear();
  producer.stored_streams.clear();
  // What is not acknowledged is sent again, with new ordinals.
  ForEachStream(producer, [](Stream& stream) {
    stream.outcomes.Restart();
    stream.session_bytes = 0;
    stream.told = {};
    stream.update_at = kNever;
    stream.gap_told = false;
    stream.claimed = false;
  });
  for (const wire::StreamClaim& claim : hello.streams()) {
    if (claim.follow_on()) {
      const auto it = producer.follow_on_streams.find(claim.queue());
      if (it != producer.follow_on_streams.end() && it->second == claim.stream()) {
        DropSettled(*streams_.at(it->second), claim.wanted());
      }
      continue;
    }
    ClaimStream(peer, claim, claimant, welcome->add_streams());
  }
  // The producer listens to follow-on outcomes from the start.
  for (const auto& [queue, number] : producer.follow_on_streams) {
    Stream& stream = *streams_.at(number);
    MarkClaimed(stream);
    if (stream.rows == nullptr) continue;
    wire::StreamUpdate* update = welcome->add_streams();
    update->set_queue(queue);
    update->set_follow_on(true);
    update->set_stream(number);
  }
  welcome->set_first_jobs_limit(std::min(kStreamWindowJobs, policies_.defaults.capacity_jobs));
  welcome->set_first_bytes_limit(
      std::min(config_.window_bytes(), policies_.defaults.capacity_bytes));
}

void Broker::WelcomeWorker(Peer& peer, const wire::Hello& hello, wire::Welcome* welcome) {
  if (!peer.worker) peer.worker = std::make_unique<WorkerState>();
  WorkerState& worker = *peer.worker;
  for (const WorkerQueue& wq : worker.queues) {
    wq.queue->workers.erase(peer.number);
    wq.queue->ready.erase(peer.number);
    wq.queue->ready_to_hold.erase(peer.number);
  }
  worker.queues.clear();
  worker.queue_at.clear();
  worker.refused.clear();
  worker.slots = hello.slots();
  worker.turn = 0;
  worker.draining = false;
  worker.report_next = 1;
  worker.held_reports = {};
  worker.deliveries.Clear();
  for (const wire::Credit& credit : hello.credits()) {
    absl::Status error;
    Queue* queue = OpenQueue(credit.queue(), &error);
    if (queue == nullptr) {
      Log(LogLevel::kWarning, "queue_refused",
          {{"worker", peer.name}, {"error", std::string(error.message())}});
      worker.refused.insert(credit.queue());
      wire::RefusedQueue* refused = welcome->add_refused();
      refused->set_queue(credit.queue());
      *refused->mutable_status() = ToWire(error);
      continue;
    }
    if (!queue->workers.insert(peer.number).second) continue;  // named twice
    worker.queue_at.emplace(queue, worker.queues.size());
    WorkerQueue& wq = worker.queues.emplace_back();
    wq.queue = queue;
    wq.jobs_limit = credit.jobs_limit();
    wq.held_max = std::min(credit.held_max(), kHeldMax);
    wq.service_time_ns = credit.service_time_ns();
  }
  // What it lists goes on; what it does not list it never had, or has no more.
  absl::flat_hash_map<uint64_t, uint64_t> listed;  // secrets by token
  const int leases = std::min(hello.leases_size(), hello.lease_secrets_size());
  listed.reserve(static_cast<size_t>(leases));
  for (int i = 0; i < leases; ++i) listed.emplace(hello.leases(i), hello.lease_secrets(i));
  std::vector<uint64_t> gone;
  worker.leased = 0;
  for (uint64_t token : worker.leases) {
    Lease& lease = *leases_.Find(token);
    worker.leased += lease.starts();
    if (WorkerQueue* wq = worker.Find(*lease.queue)) {
      wq->leased += lease.starts();
      wq->held += lease.held();
    }
    const auto it = listed.find(token);
    if (it == listed.end() || it->second != secrets_.OfLease(token)) {
      gone.push_back(token);
      continue;
    }
    lease.delivered = true;
    if (lease.sends == 0) overdue_.OnDeliverySent(lease);  // it says so
    lease.asked_at = kNever;
    if (!lease.cancelled.empty() || !lease.revoked.empty()) {  // ask again, after the welcome
      lease.asked_at = now_.mono - kRepeatAfter;
      SetTimer(peer, now_.mono);
    }
    welcome->add_leases_kept(token);
  }
  departures_.End(peer, std::move(gone), true, "not listed by its worker");
  Overdue::OnWelcome(worker, hello, welcome->leases_kept());
  // What was asked back before is asked back again.
  for (const WorkerQueue& wq : worker.queues) {
    Queue& queue = *wq.queue;
    if (queue.paused || now_.mono < queue.held_until || !queue.may_hold())
      AskBackLater(peer, queue);
  }
  UpdateReady(peer);
  woken_workers_.insert(peer.number);
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
    departures_.Forget(peer, "said goodbye");
  } else if (!peer.producer->named) {
    ForgetProducer(peer, false);
  }
}

void Broker::ForgetProducer(Peer& peer, bool may_return) {
  // It may come back to another start of the broker, which has its durable jobs no more; those of a
  // name may have been accepted from a process before.
  const bool is_kept = peer.producer->named || peer.producer->durable;
  if (may_return && is_kept && !peer.producer->streams.empty()) {
    expired_names_[peer.name] = {now_.mono + kNamedProducerRetention, peer.producer->durable};
  }
  CancelUnclosedGroups(peer);
  peer.producer->stopped = false;
  ForEachStream(*peer.producer, [this](Stream& stream) { DropStream(stream); });
  ErasePeer(peer);
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
    DropStream(stream);
    return true;
  });
  const bool is_used =
      producer.durable || !producer.streams.empty() || !producer.follow_on_streams.empty();
  const MonoTime until =
      peer.lost_at + (producer.named && is_used ? kNamedProducerRetention : kProducerRetention);
  if (now_.mono >= until) {
    ForgetProducer(peer, true);
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

void Broker::ErasePeer(Peer& peer) {
  SetRoute(peer, "");
  if (peer.producer && peer.producer->durable) {
    record::Record* row = Write();
    row->mutable_producer()->set_name(peer.name);
    const bool forgotten = expired_names_.contains(peer.name);
    row->set_erased(!forgotten);
    row->mutable_producer()->set_forgotten(forgotten);
    for (const auto& [number, group] : peer.producer->groups) {
      if (group.durable) EraseGroupRow(peer, number);
    }
  }
  if (peer.connected()) peer_by_session_.erase(peer.session);
  if (peer.timer != kNever) peer_timers_.erase({peer.timer, peer.number});
  if (peer.worker) {
    for (const WorkerQueue& wq : peer.worker->queues) {
      wq.queue->workers.erase(peer.number);
      wq.queue->ready.erase(peer.number);
      wq.queue->ready_to_hold.erase(peer.number);
    }
  }
  if (peer.producer) {
    for (const auto& [number, group] : peer.producer->groups) UncountGroup(group);
  }
  CountTable(-static_cast<int64_t>(peer.counted_bytes));
  peer_by_name_.erase(peer.name);
  peers_.erase(peer.number);
}

}  // namespace whippletree::core
