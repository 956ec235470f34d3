// JobContext: one mutex guards everything but the code, which status() reads without it.
// The wake-up runs under that mutex; that is what makes OnEnd(nullptr) wait for one under way.
#include <algorithm>
#include <chrono>
#include <utility>

#include "common/check.h"
#include "worker/worker.h"

namespace whippletree {

namespace {

// Keeps the sum of a clock's time and a duration from overflowing.
constexpr Duration kSleepMax = std::chrono::hours(24 * 365);

}  // namespace

absl::Status JobContext::status() const {
  switch (static_cast<absl::StatusCode>(code_.load(std::memory_order_acquire))) {
    case absl::StatusCode::kOk:
      return absl::OkStatus();
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError("the attempt ran longer than the job's timeout");
    case absl::StatusCode::kCancelled:
      return absl::CancelledError("the job was cancelled, or its worker stops");
    default:
      return absl::Status(static_cast<absl::StatusCode>(code_.load()), "the job was ended");
  }
}

absl::Status JobContext::SleepFor(Duration duration) {
  std::unique_lock lock(mutex_);
  ended_.wait_for(lock, std::min(duration, kSleepMax), [this] { return code_.load() != 0; });
  return status();
}

void JobContext::OnEnd(std::function<void()> wake) {
  std::unique_lock lock(mutex_);
  wake_ = std::move(wake);
  if (wake_ == nullptr || code_.load() == 0) return;
  const std::function<void()> due = std::exchange(wake_, nullptr);
  due();
}

void JobContext::FailWorker(absl::Status why) {
  WT_CHECK(!why.ok());
  std::unique_lock lock(mutex_);
  if (worker_failure_.ok()) worker_failure_ = std::move(why);
}

void JobContext::End(absl::StatusCode code) {
  WT_CHECK(code != absl::StatusCode::kOk);
  std::unique_lock lock(mutex_);
  if (code_.load() != 0) return;  // the first reason stands
  code_.store(static_cast<int>(code), std::memory_order_release);
  ended_.notify_all();
  const std::function<void()> due = std::exchange(wake_, nullptr);
  if (due != nullptr) due();
}

absl::Status JobContext::worker_failure() const {
  std::unique_lock lock(mutex_);
  return worker_failure_;
}

}  // namespace whippletree
