#include "worker/session.h"

#include <algorithm>

#include "common/check.h"
#include "common/run.h"
#include "common/status.h"

namespace whippletree {

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
    } else {
      out->log.push_back("the broker refused a message: " + std::string(status.message()));
    }
    return;
  }
  if (message.has_welcome()) {
    OnWelcome(now, message.welcome(), out);
    return;
  }
  uint64_t session = 0;
  if (message.has_heartbeat()) session = message.heartbeat().session();
  if (message.has_deliveries()) session = message.deliveries().session();
  if (message.has_revoke()) session = message.revoke().session();
  if (message.has_cancel_jobs()) session = message.cancel_jobs().session();
  if (message.has_report_ack()) session = message.report_ack().session();
  if (!link_.connected() || session != link_.session()) return;  // of another session
  link_.OnHeard(now.mono);
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
  hello->set_slots(config_.slots);
  // Credit counts anew in the coming session.
  for (Queue& queue : queues_) {
    queue.received = queue.jobs_limit = 0;
    queue.told = false;
  }
  UpdateCredits();
  for (Queue& queue : queues_) *hello->add_credits() = CreditOf(queue);
  for (const auto& [token, lease] : leases_) hello->add_leases(token);
}

void WorkerSession::OnWelcome(Instant now, const wire::Welcome& welcome, WorkerOutput* out) {
  if (!link_.OnWelcome(now.mono, welcome)) return;
  out->reopen_complete_port = welcome.complete_port();
  out->complete.clear();  // of the session before
  result_bytes_max_ = welcome.result_bytes_max();
  window_bytes_ = welcome.window_bytes();
  out->log.push_back("connected");
  received_ = IntervalSet();
  untold_bytes_ = 0;
  const std::set<uint64_t> kept(welcome.leases_kept().begin(), welcome.leases_kept().end());
  for (auto it = leases_.begin(); it != leases_.end();) {
    if (kept.contains(it->first)) {
      ++it;
      continue;
    }
    out->drop.push_back(it->first);
    possessed_ -= it->second.open.size();
    it = leases_.erase(it);
  }
  std::erase_if(unmarked_, [&](const auto& start) { return !leases_.contains(start.first); });
  reports_.RemoveIf([&](const wire::ReportItem& item) { return !leases_.contains(item.token()); });
  timed_ordinal_ = 0;
  draining_told_ = false;
  goodbye_said_ = false;
  for (Queue& queue : queues_) queue.told = false;
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
    auto queue = queue_by_name_.find(delivery.queue());
    if (delivery.token() == 0 || queue == queue_by_name_.end() ||
        leases_.contains(delivery.token())) {
      continue;
    }
    Lease& lease = leases_[delivery.token()];
    lease.queue = queue->second;
    const uint32_t count = static_cast<uint32_t>(delivery.run().sizes_size());
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t index =
          delivery.indexes_size() > 0 ? delivery.indexes(static_cast<int>(i)) : i;
      lease.open.Add(index, index + 1);
      if (i >= delivery.started()) lease.held.Add(index, index + 1);
    }
    lease.payload_bytes = delivery.run().block().size() / std::max(1u, count);
    possessed_ += lease.open.size();
    queues_[queue->second].received += count;
    const uint64_t token = delivery.token();
    out->run.push_back(std::move(delivery));
    if (draining_) {  // crossed our word that we take nothing new
      wire::JobRange range;
      range.set_token(token);
      range.set_count(kJobsPerRunMax);
      out->recall.push_back(range);
    }
  }
}

void WorkerSession::OnReportAck(Instant now, const wire::ReportAck& ack) {
  if (ack.next() > reports_.sent_below()) return;  // never sent
  reports_.Acknowledge(ack.next(), now.mono, [this](const wire::ReportItem& item) {
    auto it = leases_.find(item.token());
    if (it == leases_.end() || item.kind() == wire::ReportItem::STARTED) return;
    it->second.unacknowledged -= item.count();
    if (it->second.open.empty() && it->second.unacknowledged == 0) leases_.erase(it);
  });
  if (timed_ordinal_ != 0 && ack.next() > timed_ordinal_) {
    for (Queue& queue : queues_) queue.window.OnTurnaround(now.mono - timed_at_);
    timed_ordinal_ = 0;
  }
}

void WorkerSession::OnStarted(uint64_t token, uint32_t index) {
  auto it = leases_.find(token);
  if (it == leases_.end() || !it->second.held.Contains(index)) return;
  it->second.held.Remove(index, index + 1);
  unmarked_.emplace(token, index);
}

bool WorkerSession::CloseJob(uint64_t token, uint32_t index) {
  auto it = leases_.find(token);
  if (it == leases_.end() || it->second.open.Remove(index, index + 1) == 0) return false;
  it->second.held.Remove(index, index + 1);
  ++it->second.unacknowledged;
  unmarked_.erase({token, index});
  --possessed_;
  return true;
}

void WorkerSession::Report(wire::ReportItem item) {
  const uint64_t bytes = item.results().block().size() + item.status().message().size() + 32;
  auto* back = reports_.UnsentBack();
  if (back != nullptr && back->value.token() == item.token() && back->value.kind() == item.kind() &&
      item.kind() != wire::ReportItem::FAILED &&
      back->value.first() + back->value.count() == item.first() && back->bytes < kReportBytes) {
    back->value.set_count(back->value.count() + item.count());
    if (item.kind() == wire::ReportItem::COMPLETED) {
      back->value.mutable_results()->mutable_block()->append(item.results().block());
      back->value.mutable_results()->mutable_sizes()->MergeFrom(item.results().sizes());
    }
    reports_.AddBytesToBack(bytes);
    return;
  }
  reports_.Push(std::move(item), bytes);
}

void WorkerSession::OnFinished(uint64_t token, uint32_t index, absl::StatusOr<std::string> result,
                               Duration run_time) {
  if (!CloseJob(token, index)) return;
  const Lease& lease = leases_.at(token);
  const uint64_t result_bytes = result.ok() ? result->size() : result.status().message().size();
  queues_[lease.queue].window.OnFinished(1, run_time, std::max(lease.payload_bytes, result_bytes));
  wire::ReportItem item;
  item.set_token(token);
  item.set_first(index);
  item.set_count(1);
  if (result.ok() && result->size() > result_bytes_max_) {
    result =
        absl::OutOfRangeError("result of " + std::to_string(result->size()) + " bytes; at most " +
                              std::to_string(result_bytes_max_) + " are taken");
  }
  if (result.ok()) {
    item.set_kind(wire::ReportItem::COMPLETED);
    item.mutable_results()->add_sizes(static_cast<uint32_t>(result->size()));
    *item.mutable_results()->mutable_block() = *std::move(result);
  } else {
    item.set_kind(wire::ReportItem::FAILED);
    *item.mutable_status() = ToWire(result.status());
  }
  Report(std::move(item));
}

void WorkerSession::OnRecalled(uint64_t token, uint32_t index) {
  if (!CloseJob(token, index)) return;
  wire::ReportItem item;
  item.set_kind(wire::ReportItem::HANDED_BACK);
  item.set_token(token);
  item.set_first(index);
  item.set_count(1);
  Report(std::move(item));
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

// Whoever runs a job for long tells the broker, so that a death of this process is charged to the
// right ones. Quick ones finish before their mark is due.
void WorkerSession::MarkStarts(Instant now) {
  if (unmarked_.empty() || now.mono < last_report_ + kMarkAfter) return;
  for (const auto& [token, index] : unmarked_) {
    wire::ReportItem item;
    item.set_kind(wire::ReportItem::STARTED);
    item.set_token(token);
    item.set_first(index);
    item.set_count(1);
    Report(std::move(item));
  }
  unmarked_.clear();
}

void WorkerSession::UpdateCredits() {
  for (Queue& queue : queues_) {
    queue.window.Update();
    const uint32_t window = draining_ ? 0 : queue.window.jobs();
    const uint64_t room = window > possessed_ ? window - possessed_ : 0;
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
  queue.told = true;
  return credit;
}

bool WorkerSession::MayReport() const {
  if (!reports_.has_unsent()) return false;
  const uint64_t under_way = reports_.bytes_in_flight();
  return under_way == 0 || under_way + reports_.PeekUnsent().bytes <= window_bytes_;
}

void WorkerSession::SendReports(Instant now, WorkerOutput* out) {
  UpdateCredits();
  const bool news =
      std::any_of(queues_.begin(), queues_.end(), [](const Queue& queue) { return !queue.told; });
  bool due = MayReport() || news || now.mono >= tell_deliveries_at_ || draining_told_ != draining_;
  while (due) {
    wire::Report* report = out->complete.emplace_back().mutable_report();
    report->set_session(link_.session());
    report->set_first_ordinal(reports_.next_to_send());
    uint64_t bytes = 0;
    while (MayReport() && bytes < kReportBytes) {
      bytes += reports_.PeekUnsent().bytes;
      *report->add_items() = reports_.PeekUnsent().value;
      reports_.MarkSent(now.mono);
    }
    for (Queue& queue : queues_) {
      if (!queue.told) *report->add_credits() = CreditOf(queue);
    }
    report->set_deliveries_next(DeliveriesNext());
    report->set_draining(draining_);
    tell_deliveries_at_ = kNever;
    untold_bytes_ = 0;
    draining_told_ = draining_;
    last_report_ = now.mono;
    if (timed_ordinal_ == 0 && report->items_size() > 0) {
      timed_ordinal_ = reports_.next_to_send() - 1;
      timed_at_ = now.mono;
    }
    due = MayReport();
  }
}

void WorkerSession::Poll(Instant now, WorkerOutput* out) {
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
  if (!unmarked_.empty()) next = std::min(next, last_report_ + kMarkAfter);
  return std::min({next, reports_.resend_at(), tell_deliveries_at_});
}

}  // namespace whippletree
