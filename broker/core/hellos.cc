#include "broker/core/hellos.h"

#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/codec.h"
#include "common/status.h"
#include "common/version.h"

namespace whippletree::core {
namespace {

// How much there is to be looked at of a peer that says hello.
uint64_t SizeOf(const Peer& peer) {
  if (peer.worker) return peer.worker->queues.size() + peer.worker->leases.size();
  return peer.producer->streams.size() + peer.producer->follow_on_streams.size() +
         peer.producer->groups.size();
}

std::string_view RoleName(wire::Role role) { return role == wire::WORKER ? "worker" : "producer"; }

}  // namespace

absl::Status Hellos::Error(const wire::Hello& hello) const {
  if (hello.role() != wire::PRODUCER && hello.role() != wire::WORKER) {
    return absl::InvalidArgumentError("hello without a role");
  }
  if (hello.name().empty() || hello.name().size() > kPeerNameBytesMax) {
    return absl::InvalidArgumentError("a peer's name has 1 to 128 bytes");
  }
  if (hello.role() == wire::PRODUCER) {
    for (const wire::StreamClaim& claim : hello.streams()) {
      if (std::string error = QueueNameError(claim.queue()); !error.empty()) {
        return absl::InvalidArgumentError(error);
      }
    }
    return absl::OkStatus();
  }
  if (hello.slots() < 1 || hello.slots() > kSlotsMax) {
    return absl::InvalidArgumentError("a worker has 1 to 4096 slots");
  }
  if (hello.credits_size() < 1) {
    return absl::InvalidArgumentError("a worker serves 1 to 1024 queues");
  }
  for (const wire::Credit& credit : hello.credits()) {
    if (std::string error = QueueNameError(credit.queue()); !error.empty()) {
      return absl::InvalidArgumentError(error);
    }
  }
  return absl::OkStatus();
}

absl::Status Hellos::CommitsError(const wire::Hello& hello) const {
  if (b_.config_.store_id.empty() || hello.store_id() != b_.config_.store_id)
    return absl::OkStatus();
  if (hello.commit() == 0) return absl::OkStatus();
  // Else anybody could stop a broker by naming a commit.
  if (hello.receipt() != b_.secrets_.Receipt(hello.commit()) && !Planted("trust_receipts")) {
    return absl::PermissionDeniedError(
        "the receipt of commit " + std::to_string(hello.commit()) +
        " is not one of this store: say Envelope.commit and Envelope.receipt back as they came");
  }
  // What an earlier start told of was in the store when this one opened it. This start may have
  // given the same numbers to other commits since.
  const bool same_start = hello.broker_start() == b_.config_.broker_start;
  const uint64_t have = same_start ? b_.outgoing_.durable() : b_.config_.last_commit;
  if (hello.commit() <= have) return absl::OkStatus();
  return absl::DataLossError(std::string(RoleName(hello.role())) + " " + hello.name() +
                             " was told of commit " + std::to_string(hello.commit()) +
                             ", and the store has none after " + std::to_string(have) +
                             ": what was confirmed since is lost");
}

bool Hellos::On(const std::string& route, const wire::Hello& hello, bool is_rest) {
  if (!is_rest && !Admit(route, hello)) return true;
  if (hello.role() == wire::PRODUCER && !ClaimStreams(hello)) return false;
  BeginSession(route, hello);
  if (hello.role() == wire::PRODUCER) {
    WelcomeProducer();
  } else {
    WelcomeWorker(hello);
  }
  LogJoined();
  SendWelcome(hello);
  b_.Work(SizeOf(*guest_->peer) / 16);
  guest_.reset();
  return true;
}

void Hellos::Refuse(const std::string& route, const absl::Status& status) {
  b_.Count("rejected_hellos");
  b_.Refuse(route, status, wire::Refusal::GIVE_UP);
}

bool Hellos::Admit(const std::string& route, const wire::Hello& hello) {
  if (const absl::Status status = Error(hello); !status.ok()) {
    b_.Log(LogLevel::kWarning, "rejected_hello", {{"error", std::string(status.message())}});
    Refuse(route, status);
    return false;
  }
  const absl::Status lost = CommitsError(hello);
  if (absl::IsPermissionDenied(lost)) {
    b_.Count("wrong_receipts");
    b_.Log(LogLevel::kWarning, "wrong_receipt",
           {{"peer", hello.name()}, {"error", std::string(lost.message())}});
    b_.Refuse(route, lost, wire::Refusal::GIVE_UP);
    return false;
  }
  if (!lost.ok()) {
    b_.Log(LogLevel::kError, "commits_lost",
           {{"error", std::string(lost.message())}, {"accepted", b_.config_.accept_data_loss}});
    if (!b_.config_.accept_data_loss) {
      // The peer tries again, and what it knows is there for a broker with the right store.
      b_.Refuse(route, lost, wire::Refusal::NONE);
      b_.effects_->lost_commits.Update(lost);
      return false;
    }
  }
  Peer* peer = nullptr;
  if (auto it = b_.peer_by_name_.find(hello.name()); it != b_.peer_by_name_.end()) {
    peer = b_.peers_.at(it->second).get();
    if (!MayTakeOver(*peer, route, hello)) return false;
    if (peer->connected()) b_.LoseSession(*peer, "newer session");
  }
  const bool is_new = peer == nullptr;
  if (is_new) {
    if (!HasRoom(route)) return false;
    peer = &b_.AddPeer(hello.role(), hello.name());
  }
  Guest& guest = guest_.emplace();
  guest.peer = peer;
  guest.is_new = is_new;
  guest.same_start = hello.broker_start() == b_.config_.broker_start;
  guest.claimant = !guest.same_start ? Claimant::kNew
                   : is_new          ? Claimant::kForgotten
                                     : Claimant::kKnown;
  if (hello.role() == wire::WORKER) {
    if (!peer->worker) peer->worker = std::make_unique<WorkerState>();
    return true;
  }
  if (!peer->producer) peer->producer = std::make_unique<ProducerState>();
  ProducerState& producer = *peer->producer;
  if (producer.named != hello.named() && producer.durable) b_.NoteProducer(*peer);
  producer.named = hello.named();
  Restart(producer);
  return true;
}

// Whether the peer of this name may be the one that says hello.
bool Hellos::MayTakeOver(Peer& peer, const std::string& route, const wire::Hello& hello) {
  if (peer.role != hello.role()) {
    Refuse(route,
           absl::FailedPreconditionError("the name " + hello.name() + " is that of another peer"));
    return false;
  }
  if (peer.process == hello.process()) {
    if (hello.attempt() > peer.hello_attempt) return true;
    b_.Count("repeated_hellos");  // by the network
    return false;
  }
  if (peer.worker) {
    // The other process may still run jobs: its leases must end first.
    Refuse(route, absl::FailedPreconditionError("another worker has the name " + hello.name()));
    return false;
  }
  if (peer.connected()) {
    b_.Refuse(peer.route,
              absl::FailedPreconditionError("a newer process took over the name " + hello.name()),
              wire::Refusal::GIVE_UP);
  }
  return true;
}

// For a peer that is not known.
bool Hellos::HasRoom(const std::string& route) {
  if (const absl::Status full = b_.PeersFull(); !full.ok()) {
    b_.Count("refused_peers");
    b_.Log(LogLevel::kWarning, "refused_peer",
           {{"error", std::string(full.message())}, {"peers_max", uint64_t{b_.config_.peers_max}}});
    b_.Refuse(route, full, wire::Refusal::NONE);
    return false;
  }
  const auto brought = b_.peers_by_route_.find(route);
  if (brought == b_.peers_by_route_.end() || brought->second < kPeersPerRouteMax) return true;
  b_.Count("refused_peers");
  b_.Refuse(route,
            absl::ResourceExhaustedError("this connection has brought " +
                                         std::to_string(kPeersPerRouteMax) +
                                         " peers already: each needs a connection of its own"),
            wire::Refusal::NONE);
  return false;
}

// What is not acknowledged is sent again, with new ordinals.
void Hellos::Restart(ProducerState& producer) {
  producer.outcome_bytes_in_flight = 0;
  producer.unsent.clear();
  producer.stored_streams.clear();
  b_.ForEachStream(producer, [](Stream& stream) {
    stream.outcomes.Restart();
    stream.session_bytes = 0;
    stream.told = {};
    stream.update_at = kNever;
    stream.gap_told = false;
    stream.claimed = false;
  });
}

bool Hellos::ClaimStreams(const wire::Hello& hello) {
  Peer& peer = *guest_->peer;
  const ProducerState& producer = *peer.producer;
  bool first = true;  // it gets on in each step
  for (; guest_->claims < hello.streams_size(); ++guest_->claims) {
    if (!std::exchange(first, false) && b_.IsExhausted()) return false;
    const uint64_t last_stream = b_.last_stream_;
    const wire::StreamClaim& claim = hello.streams(guest_->claims);
    if (!claim.follow_on()) {
      b_.ClaimStream(peer, claim, guest_->claimant,
                     guest_->message.mutable_welcome()->add_streams());
    } else if (const auto it = producer.follow_on_streams.find(claim.queue());
               it != producer.follow_on_streams.end() && it->second == claim.stream()) {
      b_.DropSettled(*b_.streams_.at(it->second), claim.wanted());
    }
    b_.Work(b_.last_stream_ > last_stream ? kOpenWork : 1);
  }
  return true;
}

void Hellos::BeginSession(const std::string& route, const wire::Hello& hello) {
  Peer& peer = *guest_->peer;
  peer.process = hello.process();
  peer.hello_attempt = hello.attempt();
  peer.software = hello.software();
  peer.session = ++b_.last_session_;
  peer.secret = b_.secrets_.OfSession(peer.session);
  b_.SetRoute(peer, route);
  peer.last_heard = b_.now_.mono;
  peer.lost_at = kNever;
  b_.peer_by_session_[peer.session] = peer.number;
}

void Hellos::WelcomeProducer() {
  Peer& peer = *guest_->peer;
  wire::Welcome* welcome = guest_->message.mutable_welcome();
  // What was full when it was claimed, some steps ago, may have room by now.
  for (wire::StreamUpdate& update : *welcome->mutable_streams()) {
    if (update.state() != wire::StreamUpdate::FULL) continue;
    update.clear_state();
    update.clear_status();
    b_.FillUpdate(*b_.streams_.at(update.stream()), &update);
  }
  // The producer listens to follow-on outcomes from the start.
  for (const auto& [queue, number] : peer.producer->follow_on_streams) {
    Stream& stream = *b_.streams_.at(number);
    b_.MarkClaimed(stream);
    if (stream.rows == nullptr) continue;
    wire::StreamUpdate* update = welcome->add_streams();
    update->set_queue(queue);
    update->set_follow_on(true);
    update->set_stream(number);
  }
  const QueuePolicy& policy = b_.policies_.defaults;
  welcome->set_first_jobs_limit(std::min(kStreamWindowJobs, policy.capacity_jobs));
  welcome->set_first_bytes_limit(std::min(b_.config_.window_bytes(), policy.capacity_bytes));
  b_.outcome_peers_.insert(peer.number);  // of streams that were claimed in steps before
}

void Hellos::WelcomeWorker(const wire::Hello& hello) {
  Peer& peer = *guest_->peer;
  WorkerState& worker = *peer.worker;
  wire::Welcome* welcome = guest_->message.mutable_welcome();
  worker.slots = hello.slots();
  worker.turn = 0;
  worker.draining = false;
  worker.report_next = 1;
  worker.held_reports = {};
  worker.deliveries.Clear();
  ServeQueues(peer, hello, welcome);
  GoOnWithLeases(peer, hello, welcome);
  Overdue::OnWelcome(worker, hello, welcome->leases_kept());
  // What was asked back before is asked back again.
  for (const WorkerQueue& wq : worker.queues) {
    Queue& queue = *wq.queue;
    if (queue.paused || b_.now_.mono < queue.held_until || !queue.may_hold()) {
      b_.AskBackLater(peer, queue);
    }
  }
  b_.UpdateReady(peer);
  b_.woken_workers_.insert(peer.number);
}

void Hellos::ServeQueues(Peer& peer, const wire::Hello& hello, wire::Welcome* welcome) {
  WorkerState& worker = *peer.worker;
  b_.LeaveQueues(peer);
  worker.queues.clear();
  worker.queue_at.clear();
  worker.refused.clear();
  for (const wire::Credit& credit : hello.credits()) {
    absl::Status error;
    Queue* queue = b_.OpenQueue(credit.queue(), &error);
    if (queue == nullptr) {
      b_.Log(LogLevel::kWarning, "queue_refused",
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
}

// What it lists goes on; what it does not list it never had, or has no more.
void Hellos::GoOnWithLeases(Peer& peer, const wire::Hello& hello, wire::Welcome* welcome) {
  WorkerState& worker = *peer.worker;
  absl::flat_hash_map<uint64_t, uint64_t> listed;  // secrets by token
  const int leases = std::min(hello.leases_size(), hello.lease_secrets_size());
  listed.reserve(static_cast<size_t>(leases));
  for (int i = 0; i < leases; ++i) listed.emplace(hello.leases(i), hello.lease_secrets(i));
  std::vector<uint64_t> gone;
  worker.leased = 0;
  for (uint64_t token : worker.leases) {
    Lease& lease = *b_.leases_.Find(token);
    worker.leased += lease.starts();
    if (WorkerQueue* wq = worker.Find(*lease.queue)) {
      wq->leased += lease.starts();
      wq->held += lease.held();
    }
    const auto it = listed.find(token);
    if (it == listed.end() || it->second != b_.secrets_.OfLease(token)) {
      gone.push_back(token);
      continue;
    }
    lease.delivered = true;
    if (lease.sends == 0) b_.overdue_.OnDeliverySent(lease);  // it says so
    lease.asked_at = kNever;
    if (!lease.cancelled.empty() || !lease.revoked.empty()) {  // ask again, after the welcome
      lease.asked_at = b_.now_.mono - kRepeatAfter;
      b_.SetTimer(peer, b_.now_.mono);
    }
    welcome->add_leases_kept(token);
  }
  b_.departures_.End(peer, std::move(gone), true, "not listed by its worker");
}

void Hellos::LogJoined() const {
  const Peer& peer = *guest_->peer;
  const uint64_t session = peer.session - b_.config_.first_number();
  if (peer.producer) {
    b_.Log(LogLevel::kInfo, "producer_joined",
           {{"producer", peer.name}, {"session", session}, {"again", !guest_->is_new}});
    return;
  }
  std::string served;
  for (const WorkerQueue& wq : peer.worker->queues) {
    served += (served.empty() ? "" : ",") + wq.queue->name;
  }
  const int kept = guest_->message.welcome().leases_kept_size();
  b_.Log(LogLevel::kInfo, "worker_joined",
         {{"worker", peer.name},
          {"session", session},
          {"slots", uint64_t{peer.worker->slots}},
          {"queues", served},
          {"leases_kept", static_cast<uint64_t>(kept)},
          {"again", !guest_->is_new}});
}

void Hellos::SendWelcome(const wire::Hello& hello) {
  Peer& peer = *guest_->peer;
  const Config& config = b_.config_;
  b_.CountPeer(peer);
  peer.silence_max = b_.SilenceMax(peer);
  b_.SetTimer(peer, b_.now_.mono + peer.silence_max);
  peer.welcome_commit = b_.CommitOf(peer);
  wire::Welcome* welcome = guest_->message.mutable_welcome();
  welcome->set_session(peer.session);
  welcome->set_secret(peer.secret);
  welcome->set_broker_start(config.broker_start);
  welcome->set_submit_port(config.submit_port);
  welcome->set_complete_port(config.complete_port);
  welcome->set_payload_bytes_max(config.payload_bytes_max);
  welcome->set_result_bytes_max(config.result_bytes_max);
  welcome->set_window_bytes(static_cast<uint32_t>(config.window_bytes()));
  welcome->set_software(kSoftware);
  welcome->set_lease_duration_ms(static_cast<uint32_t>(ToMilliseconds(peer.silence_max)));
  welcome->set_heartbeat_interval_ms(
      static_cast<uint32_t>(ToMilliseconds(peer.silence_max / kHeartbeatsPerLease)));
  if (!config.store_id.empty()) welcome->set_store_id(config.store_id);
  b_.SendTo(peer, std::move(guest_->message), b_.outgoing_.durable());
  const bool known = guest_->same_start && !guest_->is_new;
  if (peer.producer) b_.ResumeGroups(peer, hello, known);
}

}  // namespace whippletree::core
