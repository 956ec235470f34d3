#include "worker/executor.h"

#include <algorithm>
#include <exception>

#include "common/clock.h"

namespace whippletree {

Executor::Executor(uint32_t slots, std::map<std::string, Handler> handlers,
                   std::function<void()> notify)
    : handlers_(std::move(handlers)), notify_(std::move(notify)) {
  for (uint32_t i = 0; i < slots; ++i) threads_.emplace_back([this] { RunSlot(); });
}

Executor::~Executor() {
  StopAll();
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    leases_.clear();
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// REQUIRES: mutex_ is held.
void Executor::AddEvent() {
  if (notified_) return;
  notified_ = true;
  notify_();
}

void Executor::TakeEvents(Events* events) {
  const std::lock_guard lock(mutex_);
  notified_ = false;
  *events = std::exchange(events_, Events{});
}

void Executor::Run(wire::Delivery delivery) {
  auto lease = std::make_shared<Lease>();
  lease->run = RunData(delivery.mutable_run());
  lease->delivery = std::move(delivery);
  for (uint32_t i = 0; i < lease->run.count(); ++i) lease->waiting.push_back(i);
  const uint32_t count = lease->run.count();
  {
    const std::lock_guard lock(mutex_);
    leases_.push_back(std::move(lease));
  }
  if (count == 1) {
    work_.notify_one();
  } else {
    work_.notify_all();
  }
}

// REQUIRES: mutex_ is held.
void Executor::TakeBack(Lease& lease, const wire::JobRange& range) {
  std::erase_if(lease.waiting, [&](uint32_t position) {
    const uint64_t index = lease.IndexOf(position);
    if (index < range.first() || index >= uint64_t{range.first()} + range.count()) return false;
    events_.recalled.emplace_back(range.token(), static_cast<uint32_t>(index));
    AddEvent();
    return true;
  });
}

void Executor::Recall(const wire::JobRange& range) {
  const std::lock_guard lock(mutex_);
  for (auto& lease : leases_) {
    if (lease->delivery.token() == range.token()) TakeBack(*lease, range);
  }
  std::erase_if(leases_, [](const auto& lease) { return lease->waiting.empty(); });
}

void Executor::Cancel(const wire::JobRange& range) {
  Recall(range);
  const std::lock_guard lock(mutex_);
  for (const Running& running : running_) {
    if (running.token == range.token() && running.index >= range.first() &&
        running.index < uint64_t{range.first()} + range.count()) {
      running.context->End(absl::StatusCode::kCancelled);
    }
  }
}

void Executor::Drop(uint64_t token) {
  const std::lock_guard lock(mutex_);
  std::erase_if(leases_, [&](const auto& lease) { return lease->delivery.token() == token; });
  for (const Running& running : running_) {
    if (running.token == token) running.context->End(absl::StatusCode::kCancelled);
  }
}

void Executor::StopAll() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const Running& running : running_) running.context->End(absl::StatusCode::kCancelled);
}

MonoTime Executor::CheckDeadlines(MonoTime now) {
  const std::lock_guard lock(mutex_);
  MonoTime next = kNever;
  for (const Running& running : running_) {
    if (running.context->deadline() <= now) {
      running.context->End(absl::StatusCode::kDeadlineExceeded);
    } else {
      next = std::min(next, running.context->deadline());
    }
  }
  return next;
}

void Executor::RunSlot() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return ending_ || !leases_.empty(); });
    if (ending_) return;
    const std::shared_ptr<Lease> lease = leases_.front();
    const uint32_t position = lease->waiting.front();
    lease->waiting.pop_front();
    if (lease->waiting.empty()) leases_.pop_front();
    const wire::Delivery& delivery = lease->delivery;
    const uint64_t token = delivery.token();
    const uint32_t index = lease->IndexOf(position);

    const MonoTime begin = ReadClock().mono;
    JobContext::Job job;
    job.id = std::to_string(delivery.stream()) + "-" + std::to_string(delivery.first() + index);
    job.queue = delivery.queue();
    job.attempt = delivery.attempt();
    if (delivery.options().timeout_ms() > 0) {
      job.deadline = begin + milliseconds(delivery.options().timeout_ms());
    }
    const bool timed = job.deadline != kNever;
    JobContext context(std::move(job));
    running_.push_back({token, index, &context});
    if (stopped_) context.End(absl::StatusCode::kCancelled);
    if (position >= delivery.started()) events_.started.emplace_back(token, index);
    // The session's thread looks at deadlines when it wakes, and marks the start.
    if (position >= delivery.started() || timed) AddEvent();
    lock.unlock();

    absl::StatusOr<std::string> result = absl::InternalError("no handler");
    try {
      result = handlers_.at(delivery.queue())(context, lease->run.payload(position));
    } catch (const std::exception& error) {
      result = absl::InternalError(std::string("the handler threw: ") + error.what());
    } catch (...) {
      result = absl::InternalError("the handler threw");
    }
    const Duration run_time = ReadClock().mono - begin;
    const absl::Status ended = context.status();
    const absl::Status failure = context.worker_failure();

    lock.lock();
    std::erase_if(running_, [&](const Running& r) { return r.context == &context; });
    if (absl::IsDeadlineExceeded(ended)) {
      result = absl::DeadlineExceededError("timed out after " +
                                           std::to_string(delivery.options().timeout_ms()) + " ms");
    } else if (stopped_ && !result.ok()) {
      result = absl::UnavailableError("its worker was stopped");
    }
    if (!failure.ok()) events_.worker_failure = failure;
    events_.finished.push_back({token, index, std::move(result), run_time});
    AddEvent();
  }
}

}  // namespace whippletree
