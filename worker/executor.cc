#include "worker/executor.h"

#include <algorithm>
#include <limits>

#include "common/clock.h"

namespace whippletree {

Executor::Executor(uint32_t slots, std::map<std::string, QueueHandlers> handlers,
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
  const uint32_t starts = lease->delivery.batch() ? 1 : lease->run.count();
  {
    const std::lock_guard lock(mutex_);
    leases_.push_back(std::move(lease));
  }
  if (starts == 1) {
    work_.notify_one();
  } else {
    work_.notify_all();
  }
}

// REQUIRES: mutex_ is held.
void Executor::TakeBack(Lease& lease, const wire::JobRange& range) {
  std::erase_if(lease.waiting, [&](uint32_t position) {
    const uint64_t index = IndexOf(lease.delivery, position);
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

bool Executor::Running::AllCancelled() const {
  return std::all_of(indexes.begin(), indexes.end(),
                     [this](uint32_t index) { return cancelled.Contains(index); });
}

// REQUIRES: mutex_ is held.
void Executor::CancelRunning(uint64_t token, uint64_t begin, uint64_t end) {
  for (Running* running : running_) {
    if (running->token != token) continue;
    running->cancelled.Add(begin, end);
    if (running->context != nullptr && running->AllCancelled()) {
      running->context->End(absl::StatusCode::kCancelled);
    }
  }
}

void Executor::Cancel(const wire::JobRange& range) {
  Recall(range);
  const std::lock_guard lock(mutex_);
  CancelRunning(range.token(), range.first(), uint64_t{range.first()} + range.count());
}

void Executor::Drop(uint64_t token) {
  const std::lock_guard lock(mutex_);
  std::erase_if(leases_, [&](const auto& lease) { return lease->delivery.token() == token; });
  CancelRunning(token, 0, std::numeric_limits<uint64_t>::max());
}

void Executor::StopAll() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (const Running* running : running_) {
    if (running->context != nullptr) running->context->End(absl::StatusCode::kCancelled);
  }
}

MonoTime Executor::CheckDeadlines(MonoTime now) {
  const std::lock_guard lock(mutex_);
  MonoTime next = kNever;
  for (const Running* running : running_) {
    if (running->context == nullptr) continue;
    if (running->context->deadline() <= now) {
      running->context->End(absl::StatusCode::kDeadlineExceeded);
    } else {
      next = std::min(next, running->context->deadline());
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
    if (lease->delivery.batch()) {
      leases_.pop_front();
      RunBatch(*lease, lock);
      continue;
    }
    const uint32_t position = lease->waiting.front();
    lease->waiting.pop_front();
    if (lease->waiting.empty()) leases_.pop_front();
    RunJob(*lease, position, lock);
  }
}

namespace {

MonoTime DeadlineOf(MonoTime begin, uint32_t timeout_ms) {
  return timeout_ms > 0 ? begin + milliseconds(timeout_ms) : kNever;
}

JobContext::Job ContextJob(const wire::Delivery& delivery, DeliveredJob job, MonoTime begin) {
  return {.id = std::move(job.id),
          .queue = delivery.queue(),
          .attempt = job.attempt,
          .deadline = DeadlineOf(begin, job.timeout_ms)};
}

absl::Status Stopped() { return absl::UnavailableError("its worker was stopped"); }

void ReplaceFailures(absl::StatusOr<std::string>* result) {
  if (!result->ok()) *result = Stopped();
}

void ReplaceFailures(BatchResults* results) {
  if (!results->ok()) {
    *results = Stopped();
    return;
  }
  for (absl::StatusOr<std::string>& result : **results) ReplaceFailures(&result);
}

}  // namespace

template <typename Result, typename Call>
Result Executor::InCall(CallContext* context, uint32_t timeout_ms, Running* running,
                        std::unique_lock<std::mutex>& lock, const Call& call) {
  running->context = context;
  if (stopped_ || running->AllCancelled()) context->End(absl::StatusCode::kCancelled);
  if (timeout_ms > 0) AddEvent();  // the session's thread looks at deadlines when it wakes
  lock.unlock();
  Result result = call();
  const absl::Status ended = context->status();
  const absl::Status failure = context->worker_failure();
  lock.lock();
  running->context = nullptr;
  if (!failure.ok()) events_.worker_failure = failure;
  if (absl::IsDeadlineExceeded(ended)) {
    return absl::DeadlineExceededError("timed out after " + std::to_string(timeout_ms) + " ms");
  }
  if (stopped_) ReplaceFailures(&result);
  return result;
}

void Executor::RunJob(const Lease& lease, uint32_t position, std::unique_lock<std::mutex>& lock) {
  const wire::Delivery& delivery = lease.delivery;
  const uint64_t token = delivery.token();
  const uint32_t index = IndexOf(delivery, position);
  const QueueHandlers& handlers = handlers_.at(delivery.queue());
  const std::string_view payload = lease.run.payload(position);
  DeliveredJob job = JobReader(delivery).At(position);
  const uint32_t timeout_ms = job.timeout_ms;
  Running running{token, {index}};
  running_.push_back(&running);
  if (position >= delivery.started()) {
    events_.started.emplace_back(token, index);
    AddEvent();  // the session marks the start
  }

  const MonoTime begin = ReadClock().mono;
  absl::StatusOr<std::string> result = "";
  std::vector<FollowOnRun> follow_ons;
  if (handlers.job != nullptr) {
    JobContext context(ContextJob(delivery, std::move(job), begin));
    result = InCall<absl::StatusOr<std::string>>(&context, timeout_ms, &running, lock, [&] {
      return CallHandler(handlers.job, context, payload);
    });
    follow_ons = context.TakeFollowOns();
  } else {
    BatchContext context(delivery.queue(), {{std::move(job.id), job.attempt}},
                         DeadlineOf(begin, timeout_ms));
    result = InCall<absl::StatusOr<std::string>>(&context, timeout_ms, &running, lock, [&] {
      return CallWithOne(handlers.batch, context, payload);
    });
    follow_ons = context.TakeFollowOns();
  }
  std::erase(running_, &running);
  events_.finished.push_back({token, index, std::move(result), ReadClock().mono - begin,
                              ToWire(std::move(follow_ons), running.indexes)});
  AddEvent();
}

void Executor::RunBatch(const Lease& lease, std::unique_lock<std::mutex>& lock) {
  const QueueHandlers& handlers = handlers_.at(lease.delivery.queue());
  Running running{lease.delivery.token(), {}};
  for (const uint32_t position : lease.waiting) {
    running.indexes.push_back(IndexOf(lease.delivery, position));
  }
  BatchOutcome outcome;
  outcome.indexes = running.indexes;
  running_.push_back(&running);
  const MonoTime begin = ReadClock().mono;
  BatchResults results = handlers.batch != nullptr
                             ? RunWhole(handlers.batch, lease, &running, &outcome.follow_ons, lock)
                             : RunInTurn(handlers.job, lease, &running, &outcome.follow_ons, lock);
  std::erase(running_, &running);
  if (results.ok()) {
    outcome.results = *std::move(results);
  } else {
    outcome.status = results.status();
  }
  events_.finished_batches.push_back(
      {lease.delivery.token(), std::move(outcome), ReadClock().mono - begin});
  AddEvent();
}

BatchResults Executor::RunWhole(const BatchHandler& handler, const Lease& lease, Running* running,
                                std::vector<wire::FollowOn>* follow_ons,
                                std::unique_lock<std::mutex>& lock) {
  JobReader reader(lease.delivery);
  std::vector<std::string_view> payloads;
  std::vector<BatchContext::Job> jobs;
  uint32_t timeout_ms = 0;
  for (const uint32_t position : lease.waiting) {
    DeliveredJob job = reader.At(position);
    payloads.push_back(lease.run.payload(position));
    jobs.push_back({std::move(job.id), job.attempt});
    if (job.timeout_ms > 0 && (timeout_ms == 0 || job.timeout_ms < timeout_ms)) {
      timeout_ms = job.timeout_ms;
    }
  }
  BatchContext context(lease.delivery.queue(), std::move(jobs),
                       DeadlineOf(ReadClock().mono, timeout_ms));
  BatchResults results = InCall<BatchResults>(&context, timeout_ms, running, lock, [&] {
    return CallBatchHandler(handler, context, payloads);
  });
  *follow_ons = ToWire(context.TakeFollowOns(), running->indexes);
  return results;
}

BatchResults Executor::RunInTurn(const Handler& handler, const Lease& lease, Running* running,
                                 std::vector<wire::FollowOn>* follow_ons,
                                 std::unique_lock<std::mutex>& lock) {
  JobReader reader(lease.delivery);
  std::vector<absl::StatusOr<std::string>> results;
  for (const uint32_t position : lease.waiting) {
    running->indexes = {IndexOf(lease.delivery, position)};
    if (stopped_ || !events_.worker_failure.ok()) {
      results.push_back(Stopped());
      continue;
    }
    if (running->AllCancelled()) {
      results.push_back(absl::CancelledError("the job was cancelled"));
      continue;
    }
    DeliveredJob job = reader.At(position);
    const uint32_t timeout_ms = job.timeout_ms;
    JobContext context(ContextJob(lease.delivery, std::move(job), ReadClock().mono));
    results.push_back(InCall<absl::StatusOr<std::string>>(&context, timeout_ms, running, lock, [&] {
      return CallHandler(handler, context, lease.run.payload(position));
    }));
    for (wire::FollowOn& each : ToWire(context.TakeFollowOns(), running->indexes)) {
      follow_ons->push_back(std::move(each));
    }
  }
  return results;
}

}  // namespace whippletree
