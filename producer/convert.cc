#include "producer/convert.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string>

#include "common/codec.h"
#include "common/status.h"
#include "common/utf8.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

OutcomeKind KindOf(const wire::OutcomeRange& range) {
  constexpr auto kRepeats = static_cast<int>(absl::StatusCode::kAlreadyExists);
  switch (range.kind()) {
    case wire::OutcomeRange::COMPLETED:
      return OutcomeKind::kCompleted;
    case wire::OutcomeRange::DEAD:
      return OutcomeKind::kDead;
    case wire::OutcomeRange::CANCELLED:
      return OutcomeKind::kCancelled;
    case wire::OutcomeRange::EXPIRED:
      return OutcomeKind::kExpired;
    case wire::OutcomeRange::REJECTED:
      return range.status().code() == kRepeats ? OutcomeKind::kRepeated : OutcomeKind::kRejected;
    default:
      return OutcomeKind::kUnknown;
  }
}

// Milliseconds since 1970; 0 if unset.
uint64_t WallMilliseconds(WallTime time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, ToMilliseconds(time.time_since_epoch())));
}

}  // namespace

std::string_view ToString(OutcomeKind kind) {
  constexpr std::string_view kNames[] = {"completed", "dead",     "cancelled", "expired",
                                         "rejected",  "repeated", "unknown"};
  return kNames[static_cast<int>(kind)];
}

absl::Status CheckName(std::string_view name) {
  if (name.size() <= 256 && IsUtf8(name)) return absl::OkStatus();
  return absl::InvalidArgumentError("a job's name is UTF-8 text of at most 256 bytes");
}

absl::Status CheckOptions(const JobOptions& options) {
  if (ToUtf8(options.key, options.key.size()) != options.key || options.key.size() > kKeyBytesMax) {
    return absl::InvalidArgumentError("a job's key is UTF-8 text of at most 256 bytes");
  }
  if (options.max_attempts > kAttemptsMax) {
    return absl::InvalidArgumentError("a job has at most 1000 attempts");
  }
  if (options.not_before < WallTime{} || options.expires_at < WallTime{}) {
    return absl::InvalidArgumentError("a job's not_before and expires_at are not before 1970");
  }
  if (options.expires_at != WallTime{} && options.expires_at <= options.not_before) {
    return absl::InvalidArgumentError(
        "a job that expires before it may be started is never run: expires_at must be later than "
        "not_before");
  }
  return absl::OkStatus();
}

absl::Status CheckJobs(const std::string& queue, size_t jobs,
                       std::span<const std::string_view> names, const JobOptions& options) {
  if (std::string error = QueueNameError(queue); !error.empty()) {
    return absl::InvalidArgumentError("'" + queue + "': " + error);
  }
  if (jobs == 0) return absl::InvalidArgumentError("no job to submit");
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  if (names.size() != (options.name.empty() && names.empty() ? 0 : jobs)) {
    return absl::InvalidArgumentError("each job has a name of its own: as many names as payloads");
  }
  for (const std::string_view name : names) {
    if (absl::Status status = CheckName(name); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckSizes(std::span<const std::string_view> payloads, uint64_t bytes_max) {
  for (const std::string_view payload : payloads) {
    if (payload.size() <= bytes_max) continue;
    return absl::InvalidArgumentError("payload of " + std::to_string(payload.size()) +
                                      " bytes; the broker takes at most " +
                                      std::to_string(bytes_max));
  }
  return absl::OkStatus();
}

wire::JobOptions ToWire(const JobOptions& options) {
  wire::JobOptions out;
  out.set_timeout_ms(
      static_cast<uint32_t>(std::clamp<int64_t>(ToMilliseconds(options.timeout), 0, UINT32_MAX)));
  out.set_max_attempts(options.max_attempts);
  out.set_key(options.key);
  out.set_discard_outcome(options.discard_outcome);
  out.set_not_before_ms(WallMilliseconds(options.not_before));
  out.set_expires_at_ms(WallMilliseconds(options.expires_at));
  out.set_group(options.group);
  return out;
}

size_t FillRun(std::span<const std::string_view> payloads, std::span<const std::string_view> names,
               size_t begin, RunData* run, RunData* run_names) {
  constexpr uint64_t kBytes = 64 << 10;
  uint64_t bytes = 0;
  size_t end = begin;
  for (; end < payloads.size() && end - begin < kJobsPerRunMax; ++end) {
    const uint64_t more = payloads[end].size() + (names.empty() ? 0 : names[end].size());
    if (end > begin && bytes + more > kBytes) break;
    bytes += more;
  }
  run->Reserve(bytes);  // that of names is little
  for (size_t i = begin; i < end; ++i) {
    if (!names.empty()) run_names->Append(names[i]);
    run->Append(payloads[i]);
  }
  return end;
}

GroupEnd FromWire(const wire::GroupEnd& end) {
  GroupEnd out;
  out.group = end.group();
  out.completed = end.completed();
  out.dead = end.dead();
  out.cancelled = end.cancelled();
  out.expired = end.expired();
  out.rejected = end.rejected();
  if (end.lost()) out.status = absl::UnavailableError("the broker restarted");
  return out;
}

OutcomeMaker::OutcomeMaker(SettledJobs* jobs) : jobs_(*jobs) {
  if (jobs->range.kind() == wire::OutcomeRange::COMPLETED) {
    results_.emplace(jobs->range.mutable_results());
  }
}

Outcome& OutcomeMaker::Make(uint64_t number) {
  const wire::OutcomeRange& range = jobs_.range;
  // All of it: whoever got the last one may have taken it apart. What is left keeps its memory.
  outcome_.queue = jobs_.queue;
  outcome_.number = number;
  outcome_.id.clear();
  absl::StrAppend(&outcome_.id, jobs_.stream, "-", number);
  outcome_.kind = KindOf(range);
  if (results_) {
    if (results_->count() == 1) {
      outcome_.result = results_->Take();
    } else {
      outcome_.result = results_->payload(static_cast<uint32_t>(number - range.first()));
    }
    outcome_.status = absl::OkStatus();
  } else {
    outcome_.result.clear();
    outcome_.status = FromWire(range.status());
  }
  outcome_.attempts = range.attempts();
  outcome_.worker = range.worker();
  outcome_.group = range.group();
  outcome_.follow_on = jobs_.follow_on;
  return outcome_;
}

}  // namespace whippletree
