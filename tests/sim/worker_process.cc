#include "tests/sim/worker_process.h"

#include <algorithm>

namespace whippletree::sim {
namespace {

// As if there was room for more than there is.
void Exaggerate(std::vector<wire::Envelope>* messages) {
  for (wire::Envelope& message : *messages) {
    auto* credits = message.has_hello()       ? message.mutable_hello()->mutable_credits()
                    : message.has_heartbeat() ? message.mutable_heartbeat()->mutable_credits()
                    : message.has_report()    ? message.mutable_report()->mutable_credits()
                                              : nullptr;
    if (credits == nullptr) continue;
    for (wire::Credit& credit : *credits) {
      credit.set_jobs_limit(1'000'000);
      credit.set_held_max(100);
      credit.set_service_time_ns(1000);
    }
  }
}

}  // namespace

WorkerProcess::WorkerProcess(World* world, std::vector<std::string> queues, uint32_t slots)
    : Process(world, "worker" + std::to_string(world->last_process + 1), core::Channel::kComplete) {
  WorkerSession::Config config;
  config.name = name_;
  queues_ = queues.size();
  config.queues = std::move(queues);
  config.slots = slots;
  config.process = world_->prng.Next();
  config.seed = world_->prng.Next();
  session_ = std::make_unique<WorkerSession>(config);
  SimExecutor::Hooks hooks;
  hooks.notify = [this] { WakeAt(world_->loop.now()); };
  hooks.die = [this] { Kill(); };
  executor_ = std::make_unique<SimExecutor>(&world_->loop, &world_->history, name_, slots,
                                            world_->prng.Next(), std::move(hooks));
  WakeAt(world_->loop.now());
}

void WorkerProcess::Drain() {
  drain_ = true;
  WakeAt(world_->loop.now());
}

void WorkerProcess::Stop() {
  drain_ = stop_ = true;
  WakeAt(world_->loop.now());
}

void WorkerProcess::Hoard(MonoTime until) {
  hoard_until_ = until;
  if (until != kNever) WakeAt(until);
}

void WorkerProcess::Hurry() {
  if (executor_) executor_->Hurry();
}

void WorkerProcess::Pause() {
  Process::Pause();
  executor_->Pause();
}

void WorkerProcess::Resume() {
  if (!alive()) return;
  executor_->Resume();
  Process::Resume();
}

void WorkerProcess::Kill() {
  if (executor_ && executor_->running() > 0) world_->situations.Count("worker_death");
  Process::Kill();
  executor_.reset();
}

void WorkerProcess::Turn() {
  const Instant now = world_->loop.instant();
  WorkerOutput out;
  Receive([&](wire::Envelope& message) {
    if (message.report_ack().delay_us() > 0) world_->situations.Count("ack_held");
    if (message.has_welcome() && message.welcome().leases_kept_size() > 0) {
      world_->situations.Count("lease_kept");
    }
    session_->OnDoor(now, message, &out);
  });
  if (drain_ && !session_->draining()) session_->Drain(&out);
  if (stop_ && !stopped_) {
    stopped_ = true;
    leave_at_ = now.mono + seconds(5);
    executor_->StopAll();
  }
  executor_->Hoard(hoards());
  for (uint64_t token : out.drop) executor_->Drop(token);
  for (wire::Delivery& delivery : out.run) executor_->Run(std::move(delivery));
  for (const wire::JobRange& range : out.recall) executor_->Recall(range);
  for (const wire::JobRange& range : out.cancel) executor_->Cancel(range);
  for (const std::string& line : out.log) world_->Say(name_, line);
  out.run.clear();
  if (!hoards()) TakeEvents();
  session_->Poll(now, &out);
  if (hoards()) {
    Exaggerate(&out.door);
    Exaggerate(&out.complete);
  }
  Carry(out.reopen_door, out.reopen_complete_port, out.door, out.complete);
  if (!session_->fatal().ok()) {
    Violation("fatal", name_ + " gave up: " + std::string(session_->fatal().message()));
  }
  was_connected_ = was_connected_ || session_->connected();
  const bool hopeless = session_->draining() && !was_connected_;
  if (session_->done() || now.mono >= leave_at_ || hopeless) {
    if (session_->done()) world_->situations.Count(stop_ ? "worker_stopped" : "worker_drained");
    executor_.reset();
    Exit();
    return;
  }
  MonoTime next = std::min(session_->NextDeadline(), leave_at_);
  if (hoards()) next = std::min(next, hoard_until_);
  WakeAt(next);
}

void WorkerProcess::TakeEvents() {
  SimExecutor::Events events;
  executor_->TakeEvents(&events);
  for (const auto& [token, index] : events.started) session_->OnStarted(token, index);
  for (const auto& [token, index] : events.recalled) session_->OnRecalled(token, index);
  std::vector<CompletedJobs> completed;  // joined as by the executor
  for (auto& f : events.finished) {
    if (f.result.ok() && f.result->size() <= kJoinedResultBytesMax && f.follow_ons.empty()) {
      AddCompleted(f.token, f.index, *f.result, f.run_time, &completed);
    } else {
      session_->OnFinished(f.token, f.index, std::move(f.result), f.run_time,
                           std::move(f.follow_ons));
    }
  }
  for (CompletedJobs& jobs : completed) session_->OnCompleted(std::move(jobs));
  for (auto& f : events.batches) {
    session_->OnBatchFinished(f.token, std::move(f.outcome), f.run_time);
  }
}

}  // namespace whippletree::sim
