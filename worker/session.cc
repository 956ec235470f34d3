#include "worker/session.h"

#include <algorithm>
#include <limits>

#include "common/check.h"
#include "common/run.h"
#include "common/status.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

bool PartsFit(const wire::Delivery& batch) {
  uint64_t jobs = 0;
  for (const wire::DeliveryPart& part : batch.parts()) jobs += part.count();
  return jobs == static_cast<uint64_t>(batch.run().sizes_size());
}

}  // namespace

WorkerSession::WorkerSession(Config config) : config_(std::move(config)), link_(config_.seed) {
  for (const std::string& name : config_.queues) {
    if (!queue_by_name_.emplace(name, queues_.size()).second) continue;
    queues_.push_back({.name = name, .window = PrefetchWindow(config_.slots)});
  }
}

void WorkerSession::OnBadFrame(const absl::Status& error) {
  if (absl::IsFailedPrecondition(error)) fatal_ = error;
}

void WorkerSession::OnDoor(Instant now, wire::Envelope& message, WorkerOutput* out) {
  if (message.has_refusal()) {
    const absl::Status status = FromWire(message.refusal().status());
    if (message.refusal().action() == wire::Refusal::GIVE_UP) {
      fatal_ = status;
    } else if (message.refusal().action() == wire::Refusal::SAY_HELLO) {
      link_.OnSayHello(now.mono);
      // Nothing was lost if the broker only has more queues for us than before.
      if (absl::IsUnavailable(status)) link_.TakeLost();
    } else if (link_.OnRefused(status)) {
      out->log.push_back("the broker refused a message: " + std::string(status.message()));
    }
    return;
  }
  if (message.has_welcome()) {
    OnWelcome(now, message, out);
    return;
  }
  uint64_t session = 0;
  if (message.has_heartbeat()) session = message.heartbeat().session();
  if (message.has_deliveries()) session = message.deliveries().session();
  if (message.has_revoke()) session = message.revoke().session();
  if (message.has_cancel_jobs()) session = message.cancel_jobs().session();
  if (message.has_report_ack()) session = message.report_ack().session();
  if (!link_.connected() || session != link_.session()) return;  // of another session
  link_.OnHeard(now.mono, message);
  if (message.has_deliveries()) OnDeliveries(now, message.mutable_deliveries(), out);
  if (message.has_report_ack()) OnReportAck(now, message.report_ack());
  if (message.has_revoke()) {
    for (const wire::JobRange& range : message.revoke().ranges()) {
      if (leases_.contains(range.token())) out->recall.push_back(range);
    }
  }
  if (message.has_cancel_jobs()) {
    for (const wire::JobRange& range : message.cancel_jobs().ranges()) {
      if (leases_.contains(range.token())) out->cancel.push_back(range);
    }
  }
}

void WorkerSession::SendHello(WorkerOutput* out) {
  wire::Hello* hello = out->door.emplace_back().mutable_hello();
  hello->set_role(wire::WORKER);
  hello->set_name(config_.name);
  hello->set_process(config_.process);
  hello->set_attempt(link_.NextAttempt());
  out->reopen_door = hello->attempt() > 1;
  hello->set_software(config_.software);
  hello->set_broker_start(link_.broker_start());
  hello->set_store_id(link_.store_id());
  hello->set_commit(link_.commit());
  hello->set_receipt(link_.receipt());
  hello->set_slots(config_.slots);
  // Credit counts anew in the coming session.
  for (Queue& queue : queues_) {
    queue.received = queue.jobs_limit = 0;
    queue.told = false;
  }
  UpdateCredits();
  for (Queue& queue : queues_) *hello->add_credits() = CreditOf(queue);
  // The broker grants fewer; those that it does not know any more are not missed.
  for (const auto& [token, lease] : leases_) {
    if (hello->leases_size() == kLeasesPerHelloMax) break;
    hello->add_leases(token);
    hello->add_lease_secrets(lease.secret);
  }
  hello->set_end_grace_ms(static_cast<uint32_t>(std::clamp<int64_t>(
      ToMilliseconds(config_.end_grace), 0, std::numeric_limits<uint32_t>::max())));
}

void WorkerSession::OnWelcome(Instant now, const wire::Envelope& message, WorkerOutput* out) {
  if (!link_.OnWelcome(now.mono, message)) return;
  const wire::Welcome& welcome = message.welcome();
  out->reopen_complete_port = welcome.complete_port();
  out->complete.clear();  // of the session before
  payload_bytes_max_ = welcome.payload_bytes_max();
  result_bytes_max_ = welcome.result_bytes_max();
  window_bytes_ = welcome.window_bytes();
  out->log.push_back("connected");
  NoteRefused(welcome, out);
  received_ = IntervalSet();
  untold_bytes_ = 0;
  const std::set<uint64_t> kept(welcome.leases_kept().begin(), welcome.leases_kept().end());
  for (auto it = leases_.begin(); it != leases_.end();) {
    if (kept.contains(it->first)) {
      ++it;
      continue;
    }
    out->drop.push_back(it->first);
    AddStarts(it->second.queue, -static_cast<int64_t>(it->second.starts()));
    unmarked_ -= it->second.unmarked.size();
    it = leases_.erase(it);
  }
  recent_lease_ = {};
  reports_.RemoveIf([&](const Reported& report) { return !leases_.contains(report.item.token()); });
  timed_ordinal_ = 0;
  draining_told_ = false;
  goodbye_said_ = false;
  for (Queue& queue : queues_) queue.told = false;
}

void WorkerSession::NoteRefused(const wire::Welcome& welcome, WorkerOutput* out) {
  std::set<std::string> refused;
  for (const wire::RefusedQueue& queue : welcome.refused()) {
    refused.insert(queue.queue());
    if (refused_.contains(queue.queue())) continue;
    out->log.push_back("no jobs of queue " + queue.queue() + ": " + queue.status().message() +
                       "; they are taken as soon as the broker allows it");
  }
  for (const std::string& queue : refused_) {
    if (!refused.contains(queue)) out->log.push_back("jobs of queue " + queue + " are taken now");
  }
  refused_ = std::move(refused);
}

void WorkerSession::OnDeliveries(Instant now, wire::Deliveries* deliveries, WorkerOutput* out) {
  uint64_t ordinal = deliveries->first_ordinal();
  for (wire::Delivery& delivery : *deliveries->mutable_deliveries()) {
    const uint64_t at = ordinal++;
    untold_bytes_ += delivery.run().block().size();
    // The broker's window must not stand still while these jobs run.
    const Duration wait = untold_bytes_ * 4 > window_bytes_ ? Duration(0) : kTellDeliveriesAfter;
    tell_deliveries_at_ = std::min(tell_deliveries_at_, now.mono + wait);
    if (received_.Contains(at)) continue;
    received_.Add(at, at + 1);
    TakeDelivery(std::move(delivery), out);
  }
}

void WorkerSession::TakeDelivery(wire::Delivery delivery, WorkerOutput* out) {
  const uint64_t token = delivery.token();
  auto queue = queue_by_name_.find(delivery.queue());
  if (token == 0 || queue == queue_by_name_.end() || leases_.contains(token)) return;
  const uint32_t count = static_cast<uint32_t>(delivery.run().sizes_size());
  if (delivery.batch() && !PartsFit(delivery)) {
    out->log.push_back("the broker sent a batch of " + std::to_string(count) +
                       " jobs whose parts do not add up; it is not run");
    return;
  }
  Lease& lease = leases_[token];
  lease.queue = queue->second;
  lease.secret = delivery.secret();
  lease.batch = delivery.batch();
  const uint32_t started = lease.batch ? count : std::min(delivery.started(), count);
  if (delivery.indexes_size() == 0) {
    lease.open.Add(0, count);
    lease.held.Add(started, count);
  }
  for (int i = 0; i < delivery.indexes_size(); ++i) {
    const uint32_t index = delivery.indexes(i);
    lease.open.Add(index, index + 1);
    if (static_cast<uint32_t>(i) >= started) lease.held.Add(index, index + 1);
  }
  const uint32_t starts = lease.batch ? 1 : count;
  lease.payload_bytes = delivery.run().block().size() / std::max(1u, starts);
  AddStarts(lease.queue, static_cast<int64_t>(lease.starts()));
  queues_[lease.queue].received += starts;
  out->run.push_back(std::move(delivery));
  if (draining_) {  // crossed our word that we take nothing new
    wire::JobRange range;
    range.set_token(token);
    range.set_count(kJobsPerRunMax);
    out->recall.push_back(range);
  }
}

void WorkerSession::Drain(WorkerOutput* out) {
  if (draining_) return;
  draining_ = true;
  for (const auto& [token, lease] : leases_) {
    wire::JobRange range;
    range.set_token(token);
    range.set_count(kJobsPerRunMax);
    out->recall.push_back(range);
  }
}

void WorkerSession::AddStarts(size_t queue, int64_t more) {
  possessed_ += static_cast<uint64_t>(more);
  queues_[queue].possessed += static_cast<uint64_t>(more);
}

void WorkerSession::UpdateCredits() {
  constexpr Duration kLong = seconds(1);  // not quick, whatever the turnaround
  Duration busy{0};
  Duration longest{0};  // of what is here
  for (Queue& queue : queues_) {
    queue.window.Update();
    if (queue.possessed == 0) continue;
    const Duration service = queue.window.service_time();
    const Duration counted = service > Duration(0) ? std::min(service, kLong) : kLong;
    busy += static_cast<int64_t>(queue.possessed) * counted;
    longest = std::max(longest, counted);
  }
  // What waits behind the jobs that run, on average.
  const uint64_t waiting = possessed_ > config_.slots ? possessed_ - config_.slots : 0;
  if (waiting > 0) {
    busy = busy / static_cast<int64_t>(possessed_) * static_cast<int64_t>(waiting);
  } else {
    busy = Duration(0);
  }
  for (Queue& queue : queues_) {
    const uint32_t window = draining_ ? 0 : queue.window.jobs();
    uint64_t room = window > possessed_ ? window - possessed_ : 0;
    // All slots, as far as other queues go: the broker knows when one is free.
    const uint64_t slots = draining_ ? 0 : config_.slots;
    if (slots > queue.possessed) room = std::max(room, slots - queue.possessed);
    // Jobs of other queues count by their time, if all are known to be quick.
    const Duration service = queue.window.service_time();
    const Duration most = queue.window.ahead();
    if (service > Duration(0) && longest <= most && busy < most && window > queue.possessed) {
      const auto fitting = static_cast<uint64_t>((most - busy) / service);
      room = std::max(room, std::min(window - queue.possessed, fitting));
    }
    if (service > 2 * queue.service_told || 2 * service < queue.service_told) queue.told = false;
    const uint64_t limit = std::max(queue.jobs_limit, queue.received + room);
    const uint32_t held_max = window > config_.slots ? window - config_.slots : 0;
    if (limit != queue.jobs_limit || held_max != queue.held_max) queue.told = false;
    queue.jobs_limit = limit;
    queue.held_max = held_max;
  }
}

wire::Credit WorkerSession::CreditOf(Queue& queue) {
  wire::Credit credit;
  credit.set_queue(queue.name);
  credit.set_jobs_limit(queue.jobs_limit);
  credit.set_held_max(queue.held_max);
  credit.set_service_time_ns(static_cast<uint64_t>(queue.window.service_time().count()));
  queue.service_told = queue.window.service_time();
  queue.told = true;
  return credit;
}

void WorkerSession::Poll(Instant now, WorkerOutput* out) {
  DoWhatIsDue(now, out);
  link_.Sign(&out->door);
  link_.Sign(&out->complete);
}

void WorkerSession::DoWhatIsDue(Instant now, WorkerOutput* out) {
  if (!fatal_.ok() || done_) return;
  for (SessionLink::Action action; (action = link_.Poll(now.mono)) != SessionLink::Action::kNone;) {
    if (action == SessionLink::Action::kHello) {
      if (draining_ && possessed_ == 0 && reports_.empty()) {  // nobody waits for us
        done_ = true;
        return;
      }
      SendHello(out);
      continue;
    }
    wire::Heartbeat* heartbeat = out->door.emplace_back().mutable_heartbeat();
    heartbeat->set_session(link_.session());
    UpdateCredits();
    for (Queue& queue : queues_) *heartbeat->add_credits() = CreditOf(queue);
    heartbeat->set_deliveries_next(DeliveriesNext());
    heartbeat->set_draining(draining_);
  }
  if (link_.TakeLost()) out->log.push_back("connection lost; trying again");
  if (!link_.connected()) return;
  MarkStarts(now);
  if (now.mono >= reports_.resend_at()) reports_.Rewind();
  SendReports(now, out);
  if (draining_ && possessed_ == 0 && reports_.empty() && !goodbye_said_) {
    out->door.emplace_back().mutable_goodbye()->set_session(link_.session());
    goodbye_said_ = true;
    done_ = true;
  }
}

MonoTime WorkerSession::NextDeadline() const {
  MonoTime next = link_.NextDeadline();
  if (!link_.connected()) return next;
  if (unmarked_ > 0) next = std::min(next, last_report_ + kMarkAfter);
  return std::min({next, reports_.resend_at(), tell_deliveries_at_});
}

}  // namespace whippletree
