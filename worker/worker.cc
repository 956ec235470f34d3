// The worker's shell: moves frames between sockets and session, jobs between session and executor.
#include "worker/worker.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "common/address.h"
#include "common/client_sockets.h"
#include "common/clock.h"
#include "common/crash_point.h"
#include "common/identity.h"
#include "common/name_check.h"
#include "common/port_check.h"
#include "common/version.h"
#include "worker/executor.h"
#include "worker/session.h"
#include "worker/stop_signals.h"

namespace whippletree {

class Worker::Impl {
 public:
  explicit Impl(WorkerOptions options) : options_(std::move(options)) {}

  void Handle(std::string queue, Handler handler) {
    handlers_[std::move(queue)].job = std::move(handler);
  }
  void HandleBatch(std::string queue, BatchHandler handler) {
    handlers_[std::move(queue)].batch = std::move(handler);
  }
  void Signal(int level) {
    int seen = signal_.load();
    while (seen < level && !signal_.compare_exchange_weak(seen, level)) {
    }
    wake_.Notify();
  }
  absl::Status Run();

 private:
  // How long a stopped worker waits for the broker's word before it leaves.
  static constexpr Duration kStopPatience = seconds(5);

  void FromExecutor(Executor& executor, Executor::Events* events, WorkerSession& session,
                    absl::Status* failure);
  void ToExecutor(Executor& executor, WorkerOutput& out);
  void Log(std::string_view line) {
    if (options_.log) options_.log(line);
  }

  const WorkerOptions options_;
  std::map<std::string, QueueHandlers> handlers_;
  WakeEvent wake_;
  std::atomic<int> signal_{0};  // 1: drain, 2: stop
};

void Worker::Impl::FromExecutor(Executor& executor, Executor::Events* events,
                                WorkerSession& session, absl::Status* failure) {
  executor.TakeEvents(events);
  for (const StartedJobs& jobs : events->started) {
    session.OnStarted(jobs.token, jobs.first, jobs.count);
  }
  for (const auto& [token, index] : events->recalled) session.OnRecalled(token, index);
  for (CompletedJobs& jobs : events->completed) session.OnCompleted(std::move(jobs));
  for (auto& f : events->finished) {
    session.OnFinished(f.token, f.index, std::move(f.result), f.run_time, std::move(f.follow_ons));
  }
  for (auto& f : events->finished_batches) {
    session.OnBatchFinished(f.token, std::move(f.outcome), f.run_time);
  }
  if (!events->worker_failure.ok() && failure->ok()) {
    *failure = events->worker_failure;
    Signal(2);
  }
}

void Worker::Impl::ToExecutor(Executor& executor, WorkerOutput& out) {
  for (uint64_t token : out.drop) executor.Drop(token);
  for (wire::Delivery& delivery : out.run) executor.Run(std::move(delivery));
  for (const wire::JobRange& range : out.recall) executor.Recall(range);
  for (const wire::JobRange& range : out.cancel) executor.Cancel(range);
  for (const std::string& line : out.log) Log(line);
}

absl::Status Worker::Impl::Run() {
  std::optional<StopSignals> signals;
  if (options_.handle_signals) {
    signals.emplace([](void* of, int count) { static_cast<Impl*>(of)->Signal(std::min(count, 2)); },
                    this);
  }
  const auto address = ParseHostPort(options_.broker);
  if (!address.ok()) return address.status();
  if (handlers_.empty()) return absl::FailedPreconditionError("a worker needs a handler");
  WorkerSession::Config config;
  config.name = UniqueName(options_.name);
  config.process = RandomNumber();
  config.seed = RandomNumber();
  config.slots = std::clamp<uint32_t>(options_.slots, 1, 4096);
  config.software = kSoftware;
  config.end_grace = options_.end_grace;
  for (const auto& [queue, handler] : handlers_) config.queues.push_back(queue);
  WorkerSession session(config);
  Executor executor(config.slots, handlers_, [this] { wake_.Notify(); });
  ClientSockets sockets(*address, ClientSockets::Tells::kLost);
  if (absl::Status status = sockets.ConnectDoor(); !status.ok()) return status;

  NameCheck name(address->host);
  const MonoTime begin = ReadClock().mono;
  MonoTime warn_at = begin + seconds(1);
  // What answers there instead, if it takes long.
  MonoTime look_at = begin + PortCheckDelay(options_.connect_timeout);
  std::optional<PortCheck> port;
  MonoTime leave_at = kNever;
  bool was_connected = false;
  bool stopped = false;
  absl::Status failure;
  WorkerOutput out;
  Executor::Events events;
  while (true) {
    Instant now = ReadClock();
    const MonoTime deadline_next = executor.CheckDeadlines(now.mono);
    const MonoTime next =
        std::min({session.NextDeadline(), deadline_next, warn_at, leave_at, look_at});
    sockets.Poll(&wake_, next - now.mono);
    now = ReadClock();
    out.Clear();
    sockets.Receive([&](wire::Envelope& message) { session.OnDoor(now, message, &out); },
                    [&](const absl::Status& error) { session.OnBadFrame(error); });
    if (sockets.TakeLost() && session.connected()) {
      Log("the broker has closed the connection; trying again");
    }
    const int signal = signal_.load();
    if (signal >= 1 && !session.draining()) {
      Log("draining: taking no new jobs, finishing " + std::to_string(session.held_jobs()));
      session.Drain(&out);
    }
    if (signal >= 2 && !stopped) {
      stopped = true;
      leave_at = now.mono + kStopPatience;
      executor.StopAll();
    }
    const bool has_run = !out.run.empty();
    if (has_run) CrashPoint("delivery.received");
    ToExecutor(executor, out);
    if (has_run) CrashPoint("delivery.started");
    out.run.clear();
    FromExecutor(executor, &events, session, &failure);
    session.Poll(now, &out);
    const bool reports = !out.complete.empty();
    if (reports) CrashPoint("report.before");
    if (absl::Status status =
            sockets.Carry(out.reopen_door, out.reopen_complete_port, out.door, out.complete);
        !status.ok()) {
      return status;
    }
    if (reports) CrashPoint("report.after");
    if (!session.fatal().ok()) return session.fatal();
    if (session.done() || now.mono >= leave_at) return failure;
    if (session.connected()) {
      was_connected = true;
      warn_at = look_at = kNever;
      continue;
    }
    // Unconfirmed results of a drained worker are kept until the broker is back, or a second
    // signal.
    if (session.draining() && !was_connected) return failure;
    if (!was_connected && options_.connect_timeout > Duration(0) &&
        now.mono >= begin + options_.connect_timeout) {
      if (!session.refusal().ok()) return session.refusal();
      return NoBrokerAnswers(*address, name.error(), port ? port->error() : "");
    }
    const bool warns = now.mono >= warn_at;
    if (now.mono >= look_at) {
      look_at = kNever;
      if (session.refusal().ok()) port.emplace(*address);
    }
    if (warns && session.refusal().ok()) {
      const std::string other = port && !was_connected ? port->error() : "";
      Log(NoBrokerAnswersYet(*address, name.error().empty() ? other : name.error()));
    }
    if (warns && !session.refusal().ok()) {
      Log("the broker refuses this worker: " + std::string(session.refusal().message()));
    }
    if (warns || warn_at == kNever) {
      warn_at = now.mono + seconds(10);
      name = NameCheck(address->host);  // for the next line
    }
  }
}

Worker::Worker(WorkerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Worker::~Worker() = default;
void Worker::Handle(std::string queue, Handler handler) {
  impl_->Handle(std::move(queue), std::move(handler));
}
void Worker::HandleBatch(std::string queue, BatchHandler handler) {
  impl_->HandleBatch(std::move(queue), std::move(handler));
}
absl::Status Worker::Run() { return impl_->Run(); }
void Worker::Drain() { impl_->Signal(1); }
void Worker::Stop() { impl_->Signal(2); }

}  // namespace whippletree
