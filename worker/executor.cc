#include "worker/executor.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "common/clock.h"

namespace whippletree {
namespace {

// To wake the session's thread for each of these would cost more than they do.
constexpr Duration kQuick = microseconds(50);
// It comes by itself after this while there are such.
constexpr Duration kQuickInterval = milliseconds(1);
// More than these are not kept from it.
constexpr size_t kQuickEventsMax = 1024;

}  // namespace

Executor::Executor(uint32_t slots, std::map<std::string, QueueHandlers> handlers,
                   std::function<void()> notify)
    : handlers_(std::move(handlers)), notify_(std::move(notify)), slots_(slots) {
  for (Slot& slot : slots_) threads_.emplace_back([this, &slot] { RunSlot(&slot); });
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

// REQUIRES: mutex_ is held.
void Executor::AddQuickEvent() {
  if (!quick_ || leases_.empty()) AddEvent();
}

// REQUIRES: mutex_ is held.
void Executor::AddFinished(Events::Finished finished) {
  const bool quick = finished.run_time < kQuick && !leases_.empty();
  if (finished.result.ok() && finished.result->size() <= kJoinedResultBytesMax &&
      finished.follow_ons.empty()) {
    AddCompleted(finished.token, finished.index, *std::move(finished.result), finished.run_time,
                 &events_.completed);
  } else {
    events_.finished.push_back(std::move(finished));
  }
  ++events_.jobs;
  if (!quick_ || !quick || events_.jobs >= kQuickEventsMax) AddEvent();
  quick_ = quick;
}

void Executor::Events::Clear() {
  started.clear();
  completed.clear();
  finished.clear();
  jobs = 0;
  finished_batches.clear();
  recalled.clear();
  worker_failure = absl::OkStatus();
}

void Executor::TakeEvents(Events* events) {
  events->Clear();
  const std::lock_guard lock(mutex_);
  notified_ = false;
  std::swap(*events, events_);
  // What runs now is not quick: nobody is to come just to see that.
  if (events->jobs == 0) quick_ = false;
}

void Executor::Run(wire::Delivery delivery) {
  auto lease = std::make_shared<Lease>();
  lease->run = RunData(delivery.mutable_run());
  lease->delivery = std::move(delivery);
  lease->handlers = &handlers_.at(lease->delivery.queue());
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

void Executor::Slot::Take(uint64_t new_token, std::span<const uint32_t> new_indexes) {
  token = new_token;
  indexes = new_indexes;
  handed_back = false;
  if (!cancelled.empty()) cancelled = IntervalSet();
}

bool Executor::Slot::AllCancelled() const {
  return std::all_of(indexes.begin(), indexes.end(),
                     [this](uint32_t index) { return cancelled.Contains(index); });
}

// REQUIRES: mutex_ is held.
void Executor::CancelRunning(uint64_t token, uint64_t begin, uint64_t end) {
  for (Slot& slot : slots_) {
    if (slot.token != token) continue;
    slot.cancelled.Add(begin, end);
    if (slot.context != nullptr && slot.AllCancelled()) {
      slot.context->End(absl::StatusCode::kCancelled);
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
  for (const Slot& slot : slots_) {
    if (slot.context != nullptr) slot.context->End(absl::StatusCode::kCancelled);
  }
}

MonoTime Executor::CheckDeadlines(MonoTime now) {
  const std::lock_guard lock(mutex_);
  MonoTime next = quick_ ? now + kQuickInterval : kNever;
  for (const Slot& slot : slots_) {
    if (slot.context == nullptr) continue;
    if (slot.context->deadline() <= now) {
      slot.context->End(absl::StatusCode::kDeadlineExceeded);
    } else {
      next = std::min(next, slot.context->deadline());
    }
  }
  return next;
}

void Executor::RunSlot(Slot* slot) {
  const auto ready = [this] { return ending_ || !leases_.empty(); };
  std::shared_ptr<Lease> lease;
  std::unique_lock lock(mutex_);
  slot->now = ReadMonoClock();
  while (true) {
    if (!ready()) {
      lease.reset();
      work_.wait(lock, ready);
      slot->now = ReadMonoClock();
    }
    if (ending_) return;
    if (lease != leases_.front()) lease = leases_.front();
    if (lease->delivery.batch()) {
      leases_.pop_front();
      RunBatch(slot, *lease, lock);
    } else {
      const uint32_t position = lease->waiting.front();
      lease->waiting.pop_front();
      if (lease->waiting.empty()) leases_.pop_front();
      RunJob(slot, *lease, position, lock);
    }
    slot->token = 0;
  }
}

namespace {

MonoTime DeadlineOf(MonoTime begin, uint32_t timeout_ms) {
  return timeout_ms > 0 ? begin + milliseconds(timeout_ms) : kNever;
}

BatchContext::Job BatchJob(const DeliveredJob& job) {
  return {absl::StrCat(job.stream, "-", job.number), job.attempt};
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
Result Executor::InCall(Slot* slot, CallContext* context, uint32_t timeout_ms,
                        std::vector<wire::FollowOn>* follow_ons, std::unique_lock<std::mutex>& lock,
                        const Call& call) {
  slot->context = context;
  if (stopped_ || slot->AllCancelled()) context->End(absl::StatusCode::kCancelled);
  if (timeout_ms > 0) AddEvent();  // the session's thread looks at deadlines when it wakes
  lock.unlock();
  Result result = call();
  const absl::Status ended = context->status();
  const absl::Status failure = context->worker_failure();
  for (wire::FollowOn& each : ToWire(context->TakeFollowOns(), slot->indexes)) {
    follow_ons->push_back(std::move(each));
  }
  const MonoTime now = ReadMonoClock();
  lock.lock();
  slot->now = now;
  slot->context = nullptr;
  if (!failure.ok()) events_.worker_failure = failure;
  slot->handed_back = context->handed_back();
  if (absl::IsDeadlineExceeded(ended)) {
    result = absl::DeadlineExceededError("timed out after " + std::to_string(timeout_ms) + " ms");
  } else if (stopped_) {
    ReplaceFailures(&result);
  }
  return result;
}

absl::StatusOr<std::string> Executor::RunOne(Slot* slot, const Lease& lease, uint32_t position,
                                             const DeliveredJob& job,
                                             std::vector<wire::FollowOn>* follow_ons,
                                             std::unique_lock<std::mutex>& lock) {
  JobContext context({.queue = lease.delivery.queue(),
                      .attempt = job.attempt,
                      .deadline = DeadlineOf(slot->now, job.timeout_ms),
                      .stream = job.stream,
                      .number = job.number});
  return InCall<absl::StatusOr<std::string>>(slot, &context, job.timeout_ms, follow_ons, lock, [&] {
    return CallHandler(lease.handlers->job, context, lease.run.payload(position));
  });
}

absl::StatusOr<std::string> Executor::RunBatchOfOne(Slot* slot, const Lease& lease,
                                                    uint32_t position, const DeliveredJob& job,
                                                    std::vector<wire::FollowOn>* follow_ons,
                                                    std::unique_lock<std::mutex>& lock) {
  BatchContext context(lease.delivery.queue(), {BatchJob(job)},
                       DeadlineOf(slot->now, job.timeout_ms));
  return InCall<absl::StatusOr<std::string>>(slot, &context, job.timeout_ms, follow_ons, lock, [&] {
    return CallWithOne(lease.handlers->batch, context, lease.run.payload(position));
  });
}

void Executor::RunJob(Slot* slot, const Lease& lease, uint32_t position,
                      std::unique_lock<std::mutex>& lock) {
  const wire::Delivery& delivery = lease.delivery;
  const uint64_t token = delivery.token();
  const uint32_t index = IndexOf(delivery, position);
  slot->Take(token, {&index, 1});
  if (position >= delivery.started()) {
    AddStarted(token, index, &events_.started);
    AddQuickEvent();  // the session marks the start
  }
  const MonoTime begin = slot->now;
  const DeliveredJob job = JobReader(delivery).At(position);
  std::vector<wire::FollowOn> follow_ons;
  absl::StatusOr<std::string> result =
      lease.handlers->job != nullptr ? RunOne(slot, lease, position, job, &follow_ons, lock)
                                     : RunBatchOfOne(slot, lease, position, job, &follow_ons, lock);
  if (slot->handed_back) return HandBack(*slot);
  AddFinished({token, index, std::move(result), slot->now - begin, std::move(follow_ons)});
}

// REQUIRES: mutex_ is held.
void Executor::HandBack(const Slot& slot) {
  for (const uint32_t index : slot.indexes) events_.recalled.emplace_back(slot.token, index);
  AddEvent();
}

void Executor::RunBatch(Slot* slot, const Lease& lease, std::unique_lock<std::mutex>& lock) {
  BatchOutcome outcome;
  for (const uint32_t position : lease.waiting) {
    outcome.indexes.push_back(IndexOf(lease.delivery, position));
  }
  slot->Take(lease.delivery.token(), outcome.indexes);
  const MonoTime begin = slot->now;
  BatchResults results = lease.handlers->batch != nullptr
                             ? RunWhole(slot, lease, &outcome.follow_ons, lock)
                             : RunInTurn(slot, lease, &outcome.follow_ons, lock);
  if (slot->handed_back) return HandBack(*slot);
  if (results.ok()) {
    outcome.results = *std::move(results);
  } else {
    outcome.status = results.status();
  }
  events_.finished_batches.push_back(
      {lease.delivery.token(), std::move(outcome), slot->now - begin});
  AddEvent();
}

BatchResults Executor::RunWhole(Slot* slot, const Lease& lease,
                                std::vector<wire::FollowOn>* follow_ons,
                                std::unique_lock<std::mutex>& lock) {
  JobReader reader(lease.delivery);
  std::vector<std::string_view> payloads;
  std::vector<BatchContext::Job> jobs;
  uint32_t timeout_ms = 0;
  for (const uint32_t position : lease.waiting) {
    const DeliveredJob job = reader.At(position);
    payloads.push_back(lease.run.payload(position));
    jobs.push_back(BatchJob(job));
    if (job.timeout_ms > 0 && (timeout_ms == 0 || job.timeout_ms < timeout_ms)) {
      timeout_ms = job.timeout_ms;
    }
  }
  BatchContext context(lease.delivery.queue(), std::move(jobs), DeadlineOf(slot->now, timeout_ms));
  return InCall<BatchResults>(slot, &context, timeout_ms, follow_ons, lock, [&] {
    return CallBatchHandler(lease.handlers->batch, context, payloads);
  });
}

BatchResults Executor::RunInTurn(Slot* slot, const Lease& lease,
                                 std::vector<wire::FollowOn>* follow_ons,
                                 std::unique_lock<std::mutex>& lock) {
  const std::span<const uint32_t> indexes = slot->indexes;
  const auto& parts = lease.delivery.parts();
  const bool timed = std::any_of(parts.begin(), parts.end(), [](const wire::DeliveryPart& part) {
    return part.options().timeout_ms() > 0;
  });
  JobReader reader(lease.delivery);
  std::vector<absl::StatusOr<std::string>> results;
  for (const uint32_t position : lease.waiting) {
    slot->indexes = indexes.subspan(results.size(), 1);
    if (stopped_ || !events_.worker_failure.ok()) {
      results.push_back(Stopped());
    } else if (slot->AllCancelled()) {
      results.push_back(absl::CancelledError("the job was cancelled"));
    } else {
      // Each has its own time: the broker is told when it begins.
      if (timed) AddStarted(lease.delivery.token(), slot->indexes.front(), &events_.started);
      results.push_back(RunOne(slot, lease, position, reader.At(position), follow_ons, lock));
      // A batch goes back as a whole or not at all.
      if (std::exchange(slot->handed_back, false)) {
        results.back() = absl::UnavailableError("its worker cannot run it now");
      }
    }
  }
  return results;
}

}  // namespace whippletree
