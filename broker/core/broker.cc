#include "broker/core/broker.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "broker/core/restoring.h"
#include "common/check.h"
#include "common/status.h"
#include "common/version.h"

namespace whippletree::core {

Broker::Broker(Config config)
    : config_(std::move(config)),
      secrets_(config_.secret_key),
      policies_{config_.default_policy, config_.queues, config_.unknown_queues},
      prng_(config_.seed),
      last_session_(config_.first_number()),
      leases_(Planted("forget_epoch") ? 0 : config_.first_number()),
      commit_(config_.last_commit) {
  outgoing_.OnDurable(commit_);
}

Broker::~Broker() = default;

void Broker::Start(Instant now) {
  started_ = true;
  start_ = now_ = now;
  next_tick_ = now.mono + kTick;
  next_summary_ = now.mono + kSummaryInterval;
}

void Broker::Step(Instant now, std::span<Input> inputs, Effects* effects) {
  if (!started_) Start(now);
  WT_CHECK(now.mono >= now_.mono);
  const Duration gap = now.mono - now_.mono;
  now_ = now;
  effects_ = effects;
  effects->writes.swap(open_writes_);
  if (gap > kPause) {
    // We were stopped, not our peers: what they sent meanwhile is still to be read.
    for (auto& [number, peer] : peers_) peer->last_heard += gap;
    overdue_.OnPause(gap);
    if (!peers_.empty()) {
      Log(LogLevel::kWarning, "broker_paused", {{"gap_ms", ToMilliseconds(gap)}});
    }
  }
  work_ = 0;
  is_left_ = false;
  ApplyAll(inputs);
  // What is at hand goes before what is due.
  work_ = 0;
  if (!has_carried()) FireTimers();
  WakeFullStreams();
  work_ = 0;
  if (!configured_) Dispatch();
  AskForStored();
  FinishStep();
  effects_ = nullptr;
}

bool Broker::IsExhausted() const {
  return work_ >= config_.step_work_max && !Planted("endless_step");
}

void Broker::ApplyAll(std::span<Input> inputs) {
  const auto apply = [this](Input& input) {
    std::visit([this](auto& in) { Apply(in); }, input);
    Work();  // after it, so that the first one gets on, whatever it is
  };
  departures_.GoOn();
  if (configured_) ConfigureQueues();
  size_t applied = 0;
  while (carried_.empty() && applied < inputs.size() && !IsExhausted()) apply(inputs[applied++]);
  carried_.insert(carried_.end(), std::make_move_iterator(inputs.begin() + applied),
                  std::make_move_iterator(inputs.end()));
  while (!carried_.empty() && !IsExhausted()) {
    Input input = std::move(carried_.front());
    carried_.pop_front();
    apply(input);
  }
  if (has_carried()) Count("steps_exhausted");
}

MonoTime Broker::NextDeadline() const {
  if (!started_) return MonoTime{};
  if (has_more()) return now_.mono;
  MonoTime next = std::min({next_tick_, NextHeld(), overdue_.next()});
  if (!peer_timers_.empty()) next = std::min(next, peer_timers_.begin()->first);
  if (!queue_timers_.empty()) next = std::min(next, queue_timers_.begin()->first);
  // The calendar may jump; a tick is never far.
  if (!wall_timers_.empty() && wall_timers_.begin()->first < now_.wall + kTick) {
    next =
        std::min(next, now_.mono + std::max(Duration(0), wall_timers_.begin()->first - now_.wall));
  }
  return std::max(next, now_.mono);
}

void Broker::Apply(FrameIn& in) {
  if (in.channel == Channel::kDoor) {
    ApplyDoor(in);
  } else {
    ApplyData(in);
  }
}

void Broker::ApplyDoor(FrameIn& in) {
  wire::Envelope& message = in.message;
  switch (message.body_case()) {
    case wire::Envelope::kHello:
      if (!hellos_.On(in.route, message.hello(), in.is_rest)) CarryRest(in);
      return;
    case wire::Envelope::kHeartbeat: {
      const wire::Heartbeat& heartbeat = message.heartbeat();
      Peer* peer = FindSession(heartbeat.session(), wire::ROLE_UNSPECIFIED, in);
      if (peer == nullptr) return;
      wire::Envelope reply;
      reply.mutable_heartbeat()->set_session(peer->session);
      SendTo(*peer, std::move(reply));
      if (peer->worker) {
        OnWorkerState(*peer, heartbeat.credits(), heartbeat.deliveries_next(),
                      heartbeat.draining());
        OfferRefused(*peer);
      }
      return;
    }
    case wire::Envelope::kOpenStream:
      if (Peer* peer = FindSession(message.open_stream().session(), wire::PRODUCER, in)) {
        OnOpenStream(*peer, message.open_stream().claim());
      }
      return;
    case wire::Envelope::kOutcomeAck:
      if (Peer* peer = FindSession(message.outcome_ack().session(), wire::PRODUCER, in)) {
        OnOutcomeAck(*peer, message.outcome_ack());
      }
      return;
    case wire::Envelope::kGroupAck:
      if (Peer* peer = FindSession(message.group_ack().session(), wire::PRODUCER, in)) {
        if (!OnGroupAck(*peer, *message.mutable_group_ack())) CarryRest(in);
      }
      return;
    case wire::Envelope::kGoodbye:
      if (Peer* peer = FindSession(message.goodbye().session(), wire::ROLE_UNSPECIFIED, in)) {
        OnGoodbye(*peer);
      }
      return;
    case wire::Envelope::kAdminRequest: {
      if (!outgoing_.MayAnswer(in.route, message.admin_request())) return;
      uint64_t commit = 0;
      wire::AdminReply reply = OnAdmin(message.admin_request(), &commit);
      outgoing_.Answer(in.route, message.admin_request(), std::move(reply), commit);
      return;
    }
    default:
      Count("rejected_frames");
      Refuse(in.route, absl::InvalidArgumentError("this message does not belong at the door"),
             wire::Refusal::NONE);
  }
}

void Broker::Apply(AdminAnswer& in) {
  if (!outgoing_.MayAnswer(in.route, in.request)) return;
  outgoing_.Answer(in.route, in.request, std::move(in.reply), 0);
}

void Broker::ApplyData(FrameIn& in) {
  wire::Envelope& message = in.message;
  if (in.channel == Channel::kSubmit && message.has_submit()) {
    if (Peer* peer = FindSession(message.submit().session(), wire::PRODUCER, in)) {
      if (!OnSubmit(*peer, *message.mutable_submit(), in.is_rest)) CarryRest(in);
    }
  } else if (in.channel == Channel::kSubmit && message.has_cancel()) {
    if (Peer* peer = FindSession(message.cancel().session(), wire::PRODUCER, in)) {
      if (!OnCancel(*peer, *message.mutable_cancel())) CarryRest(in);
    }
  } else if (in.channel == Channel::kSubmit && message.has_close_group()) {
    if (Peer* peer = FindSession(message.close_group().session(), wire::PRODUCER, in)) {
      OnCloseGroup(*peer, message.close_group());
    }
  } else if (in.channel == Channel::kComplete && message.has_report()) {
    if (Peer* peer = FindSession(message.report().session(), wire::WORKER, in)) {
      if (!OnReport(*peer, *message.mutable_report())) CarryRest(in);
    }
  } else {
    Count("rejected_frames");
    Log(LogLevel::kWarning, "rejected_frame",
        {{"socket", std::string(in.channel == Channel::kSubmit ? "submit" : "complete")},
         {"error", std::string("this message does not belong on this socket")}});
  }
}

void Broker::CarryRest(FrameIn& in) {
  in.is_rest = true;
  carried_.emplace_front(std::move(in));
}

void Broker::Apply(BadFrame& in) {
  Count("rejected_frames");
  constexpr std::string_view kNames[] = {"door", "submit", "complete"};
  Log(LogLevel::kWarning, "rejected_frame",
      {{"socket", std::string(kNames[static_cast<int>(in.channel)])},
       {"error", std::string(in.error.message())}});
  if (in.channel != Channel::kDoor) return;
  // Of another version, or beyond a limit: it would be the same the next time.
  const bool is_hopeless = absl::IsFailedPrecondition(in.error) || absl::IsOutOfRange(in.error);
  Refuse(in.route, in.error, is_hopeless ? wire::Refusal::GIVE_UP : wire::Refusal::NONE);
}

void Broker::Apply(Durable& in) {
  WT_CHECK(in.commit <= commit_);
  outgoing_.OnDurable(in.commit + (Planted("release_early") ? 1 : 0));
  ReleaseWritten(in.commit);
}

void Broker::Apply(Policies& in) {
  if (Planted("keep_policies")) return;
  policies_ = std::move(in);
  configured_.emplace();
  ConfigureQueues();
}

void Broker::Apply(Disk& in) {
  const DiskState before = disk_.state();
  disk_.Set(in.free_bytes, in.reserve_bytes);
  OnDiskState(before);
}

void Broker::Apply(SendFailed& in) {
  // Only a frame of which nothing was sent fails.
  std::vector<uint64_t> never_left;
  for (const wire::Delivery& delivery : in.send.message.deliveries().deliveries()) {
    Lease* lease = leases_.Find(delivery.token());
    if (lease == nullptr) continue;
    overdue_.OnDeliveryNotSent(*lease);
    if (lease->sends == 0) never_left.push_back(lease->token);
  }
  auto it = peer_by_session_.find(in.send.session);
  Peer* peer = it == peer_by_session_.end() ? nullptr : peers_.at(it->second).get();
  if (in.reason == SendFailed::Reason::kAgain) {
    if (peer == nullptr) return;
    outgoing_.PutBack(*peer, std::move(in.send));  // in the order in which they were sent
    peer->retry_at = now_.mono + kOutboxRetry;
    SetTimer(*peer, peer->retry_at);
    if (peer->worker) UpdateReady(*peer);
    return;
  }
  if (peer != nullptr) {
    Count("unreachable_peers");
    LoseSession(*peer, "connection closed");
  }
  if (never_left.empty()) return;
  const uint64_t worker = leases_.Find(never_left.front())->worker;
  departures_.End(*peers_.at(worker), std::move(never_left), true, "not delivered");
}

void Broker::FireTimers() {
  ReleaseHeld();
  while (!queue_timers_.empty() && queue_timers_.begin()->first <= now_.mono) {
    Queue& queue = *queue_by_number_[queue_timers_.begin()->second];
    queue_timers_.erase(queue_timers_.begin());
    queue.timer = kNever;
    Work(1 + queue.jobs.ReleaseDue(now_, config_.step_work_max));
    CountMemory(queue);
    SetTimer(queue, queue.jobs.next_due());
    Wake(queue);
    if (IsExhausted()) break;
  }
  // A peer's check may set a timer for the same instant; each peer is checked once a step.
  std::vector<uint64_t> due;
  for (const auto& [at, number] : peer_timers_) {
    if (at > now_.mono) break;
    due.push_back(number);
  }
  for (uint64_t number : due) {
    auto it = peers_.find(number);
    if (it == peers_.end()) continue;
    Peer& peer = *it->second;
    peer_timers_.erase({peer.timer, number});
    peer.timer = kNever;
    Work();
    CheckPeer(peer);
    if (IsExhausted()) break;  // the timers of the others are left
  }
  if (departures_.empty()) overdue_.TakeDue();  // it may end leases that these are to end
  FireWallTimers();                             // after what may return jobs
  if (now_.mono >= next_tick_) Tick();
}

void Broker::SetTimer(Peer& peer, MonoTime at) {
  if (at >= peer.timer) return;
  if (peer.timer != kNever) peer_timers_.erase({peer.timer, peer.number});
  peer.timer = at;
  peer_timers_.emplace(at, peer.number);
}

void Broker::SetTimer(Queue& queue, MonoTime at) {
  at = std::max(at, now_.mono);  // what was due before is first
  if (at >= queue.timer) return;
  if (queue.timer != kNever) queue_timers_.erase({queue.timer, queue.number});
  queue.timer = at;
  queue_timers_.emplace(at, queue.number);
}

// Whatever is due for one peer, and the time of the next look.
void Broker::CheckPeer(Peer& peer) {
  const Duration silence_max = peer.silence_max;
  if (!peer.connected()) {
    if (peer.worker) {
      if (now_.mono >= peer.last_heard + silence_max && !Planted("forget_expiry")) {
        departures_.ForgetWorker(peer, "its lease ended");
      } else {
        SetTimer(peer, peer.last_heard + silence_max);
      }
      return;
    }
    return CheckLostProducer(peer);
  }
  if (now_.mono >= peer.last_heard + silence_max) {
    LoseSession(peer, "silent for too long");
    if (peer.worker) {
      departures_.ForgetWorker(peer, "its lease ended");
    } else if (peer.producer->is_blank()) {  // nothing of it is to be kept
      departures_.ForgetProducer(peer, false);
    } else {
      SetTimer(peer, now_.mono + kProducerRetention);
    }
    return;
  }
  SetTimer(peer, peer.last_heard + silence_max);
  if (now_.mono >= peer.retry_at) {
    peer.retry_at = kNever;
    outgoing_.Flush(peer);
    (peer.worker ? woken_workers_ : outcome_peers_).insert(peer.number);
    if (peer.worker) peer.worker->is_stale = true;
    if (peer.worker) delivery_peers_.insert(peer.number);
  }
  SetTimer(peer, peer.retry_at);
  if (peer.worker) {
    WorkerState& worker = *peer.worker;
    if (now_.mono >= worker.deliveries.resend_at()) {
      Count("deliveries_sent_again");
      worker.deliveries.Rewind();
      delivery_peers_.insert(peer.number);
    }
    SetTimer(peer, worker.deliveries.resend_at());
    bool has_asked = false;  // one at least, else it would not get on
    for (uint64_t token : worker.leases) {
      Lease& lease = *leases_.Find(token);
      if (lease.asked_at == kNever) continue;
      if (now_.mono < lease.asked_at + kRepeatAfter) {
        SetTimer(peer, lease.asked_at + kRepeatAfter);
      } else if (has_asked && IsExhausted()) {
        SetTimer(peer, now_.mono);
        break;
      } else {
        has_asked = true;
        Work(1 + lease.cancelled.intervals().size() + lease.revoked.intervals().size());
        Ask(lease);
      }
    }
    Work(worker.leases.size() / 16);  // looked at
    return;
  }
  ForEachStream(*peer.producer, [&](Stream& stream) {
    if (now_.mono >= stream.outcomes.resend_at()) {
      Count("outcomes_sent_again");
      peer.producer->outcome_bytes_in_flight -= stream.outcomes.bytes_in_flight();
      stream.outcomes.Rewind();
      peer.producer->unsent.insert(stream.number);
      outcome_peers_.insert(peer.number);
    }
    SetTimer(peer, stream.outcomes.resend_at());
  });
  const MonoTime told_at = peer.producer->groups_told_at;
  if (told_at == kNever) return;
  if (now_.mono < told_at + kRepeatAfter) {
    SetTimer(peer, told_at + kRepeatAfter);
  } else {
    peer.producer->groups_told_at = kNever;
    peer.producer->updated_groups.merge(peer.producer->told_groups);
    group_peers_.insert(peer.number);
  }
}

void Broker::SendTo(Peer& peer, wire::Envelope message, uint64_t commit) {
  if (!peer.connected()) return;
  commit = std::max(commit, peer.welcome_commit);
  if (!config_.store_id.empty() && commit > 0) {
    message.set_commit(commit);
    message.set_receipt(secrets_.Receipt(commit));
  }
  if (Planted("send_before_commit") ||
      (Planted("confirm_before_commit") && message.has_report_ack())) {
    outgoing_.Release({peer.route, peer.session, std::move(message)});
    return;
  }
  outgoing_.Pass(commit, {peer.route, peer.session, std::move(message)});
}

void Broker::Answer(const std::string& route, wire::Envelope message, uint64_t commit) {
  outgoing_.Pass(commit, {route, 0, std::move(message)});
}

void Broker::Refuse(const std::string& route, const absl::Status& status,
                    wire::Refusal::Action action) {
  wire::Envelope reply;
  *reply.mutable_refusal()->mutable_status() = ToWire(status);
  reply.mutable_refusal()->set_action(action);
  Answer(route, std::move(reply));
}

void Broker::FinishStep() {
  SendUpdates();
  work_ = 0;
  for (uint64_t number : std::exchange(outcome_peers_, {})) {
    if (auto it = peers_.find(number); it != peers_.end()) SendOutcomes(*it->second);
  }
  work_ = 0;
  for (uint64_t number : std::exchange(group_peers_, {})) {
    if (auto it = peers_.find(number); it != peers_.end()) SendGroupUpdates(*it->second);
  }
  for (uint64_t number : std::exchange(delivery_peers_, {})) {
    if (auto it = peers_.find(number); it != peers_.end()) SendDeliveries(*it->second);
  }
  for (uint64_t number : std::exchange(report_peers_, {})) {
    if (auto it = peers_.find(number); it != peers_.end()) SendReportAck(*it->second);
  }
  for (uint64_t number : std::exchange(dying_streams_, {})) {
    auto it = streams_.find(number);
    if (it == streams_.end() || !it->second->open.empty() || !it->second->leases.empty()) continue;
    if (it->second->rows != nullptr) {
      record::Record* gone = Write();
      gone->set_erased(true);
      gone->mutable_stream()->set_number(number);
    }
    --it->second->queue->streams;
    streams_.erase(it);
    CountTable(-static_cast<int64_t>(kStreamOverheadBytes));
  }
  PruneHeld();
  WriteRows();
  if (follow_ons_.under_way() || departures_.holds_commit()) {
    effects_->writes.swap(open_writes_);  // all of them or none, with what the next steps write
  } else if (!effects_->writes.empty()) {
    effects_->commit = ++commit_;
  }
  effects_->is_awaited = outgoing_.holds() || !commit_queues_.empty();
}

}  // namespace whippletree::core
