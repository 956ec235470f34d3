// CallContext: one mutex guards everything but the code, which status() reads without it, and the
// word that the handler asked for something at all.
// The wake-up runs under that mutex; that is what makes OnEnd(nullptr) wait for one under way.
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/check.h"
#include "common/clock.h"
#include "common/codec.h"
#include "common/status.h"
#include "common/utf8.h"
#include "common/wire_limits.h"
#include "worker/worker.h"

namespace whippletree {

namespace {

// Keeps the sum of a clock's time and a duration from overflowing.
constexpr Duration kSleepMax = std::chrono::hours(24 * 365);

absl::Status CheckFollowOn(std::string_view queue, const FollowOnOptions& options) {
  if (const std::string error = QueueNameError(queue); !error.empty()) {
    return absl::InvalidArgumentError("follow-on job: queue \"" + ToUtf8(queue, 128) +
                                      "\": " + error);
  }
  if (options.timeout < Duration(0)) {
    return absl::InvalidArgumentError("follow-on job: a timeout is not below 0");
  }
  if (options.max_attempts > kAttemptsMax) {
    return absl::InvalidArgumentError("follow-on job: a job has at most 1000 attempts");
  }
  if (options.key.size() > kKeyBytesMax || !IsUtf8(options.key)) {
    return absl::InvalidArgumentError("follow-on job: a key has at most 256 bytes of UTF-8");
  }
  return absl::OkStatus();
}

}  // namespace

Duration CallContext::time_left() const {
  if (deadline_ == kNever) return Duration::max();
  return std::max(Duration(0), deadline_ - ReadMonoClock());
}

absl::Status CallContext::status() const {
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

absl::Status CallContext::SleepFor(Duration duration) {
  std::unique_lock lock(mutex_);
  ended_.wait_for(lock, std::min(duration, kSleepMax), [this] { return code_.load() != 0; });
  return status();
}

void CallContext::OnEnd(std::function<void()> wake) {
  std::unique_lock lock(mutex_);
  wake_ = std::move(wake);
  if (wake_ == nullptr || code_.load() == 0) return;
  const std::function<void()> due = std::exchange(wake_, nullptr);
  due();
}

void CallContext::FailWorker(absl::Status why) {
  WT_CHECK(!why.ok());
  std::unique_lock lock(mutex_);
  if (worker_failure_.ok()) worker_failure_ = std::move(why);
  asked_.store(true, std::memory_order_release);
}

void CallContext::HandBack() { handed_back_.store(true, std::memory_order_release); }

void CallContext::End(absl::StatusCode code) {
  WT_CHECK(code != absl::StatusCode::kOk);
  std::unique_lock lock(mutex_);
  if (code_.load() != 0) return;  // the first reason stands
  code_.store(static_cast<int>(code), std::memory_order_release);
  ended_.notify_all();
  const std::function<void()> due = std::exchange(wake_, nullptr);
  if (due != nullptr) due();
}

absl::Status CallContext::worker_failure() const {
  if (!asked_.load(std::memory_order_acquire)) return absl::OkStatus();
  std::unique_lock lock(mutex_);
  return worker_failure_;
}

absl::Status CallContext::AddFollowOn(size_t job, std::string queue, std::string_view payload,
                                      FollowOnOptions options) {
  if (absl::Status status = CheckFollowOn(queue, options); !status.ok()) return status;
  std::unique_lock lock(mutex_);
  if (follow_on_jobs_ >= kFollowOnJobsMax) {
    return absl::ResourceExhaustedError("more than " + std::to_string(kFollowOnJobsMax) +
                                        " follow-on jobs; submit fewer, or from several jobs");
  }
  if (payload.size() > kFollowOnBytesMax - follow_on_bytes_) {
    return absl::ResourceExhaustedError("more than " + std::to_string(kFollowOnBytesMax) +
                                        " bytes of follow-on jobs; submit fewer or smaller ones");
  }
  if (follow_ons_.empty() || follow_ons_.back().job != job || follow_ons_.back().queue != queue ||
      follow_ons_.back().options != options) {
    follow_ons_.push_back({job, std::move(queue), std::move(options), {}, {}});
  }
  follow_ons_.back().sizes.push_back(static_cast<uint32_t>(payload.size()));
  follow_ons_.back().block.append(payload);
  ++follow_on_jobs_;
  follow_on_bytes_ += payload.size();
  asked_.store(true, std::memory_order_release);
  return absl::OkStatus();
}

std::vector<FollowOnRun> CallContext::TakeFollowOns() {
  if (!asked_.load(std::memory_order_acquire)) return {};
  std::unique_lock lock(mutex_);
  return std::exchange(follow_ons_, {});
}

const std::string& JobContext::id() const {
  std::call_once(id_made_, [this] {
    if (id_.empty() && stream_ > 0) id_ = absl::StrCat(stream_, "-", number_);
  });
  return id_;
}

absl::Status BatchContext::Submit(std::string queue, std::string_view payload,
                                  FollowOnOptions options, size_t i) {
  WT_CHECK(i < size());
  return AddFollowOn(i, std::move(queue), payload, std::move(options));
}

BatchResults CompletedAll(size_t n) {
  return std::vector<absl::StatusOr<std::string>>(n, std::string());
}

absl::Status RetryAfter(Duration delay, std::string_view message) {
  return RetryAfterStatus(delay, message);
}

}  // namespace whippletree
