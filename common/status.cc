#include "common/status.h"

#include <absl/strings/cord.h>
#include <absl/strings/numbers.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "common/utf8.h"

namespace whippletree {
namespace {

// The payload of a status: milliseconds in decimal.
constexpr char kRetryAfterUrl[] = "whippletree/retry-after-ms";
// These are decimal numbers too.
constexpr char kExitCodeUrl[] = "whippletree/exit-code";
constexpr char kSignalUrl[] = "whippletree/signal";

// 0: the status does not have it.
uint32_t NumberOf(const absl::Status& status, const char* url) {
  uint32_t number = 0;
  const auto payload = status.GetPayload(url);
  return payload.has_value() && absl::SimpleAtoi(std::string(*payload), &number) ? number : 0;
}

uint32_t RetryAfterMs(const absl::Status& status) { return NumberOf(status, kRetryAfterUrl); }

absl::Status WithRetryAfterMs(absl::Status status, uint32_t ms) {
  if (ms > 0 && absl::IsResourceExhausted(status)) {
    status.SetPayload(kRetryAfterUrl, absl::Cord(std::to_string(ms)));
  }
  return status;
}

}  // namespace

absl::Status RetryAfterStatus(Duration delay, std::string_view message) {
  constexpr Duration kMax = milliseconds(std::numeric_limits<uint32_t>::max());
  delay = std::clamp(delay, Duration(0), kMax);
  const auto ms = std::chrono::ceil<milliseconds>(delay).count();
  return WithRetryAfterMs(
      absl::ResourceExhaustedError(absl::string_view(message.data(), message.size())),
      static_cast<uint32_t>(ms));
}

Duration RetryAfterOf(const absl::Status& status) { return milliseconds(RetryAfterMs(status)); }

absl::Status WithProgramEnd(absl::Status status, ProgramEnd end) {
  const std::pair<const char*, uint32_t> numbers[] = {{kExitCodeUrl, end.exit_code},
                                                      {kSignalUrl, end.signal}};
  for (const auto& [url, number] : numbers) {
    if (number > 0) status.SetPayload(url, absl::Cord(std::to_string(number)));
  }
  return status;
}

ProgramEnd ProgramEndOf(const absl::Status& status) {
  return {NumberOf(status, kExitCodeUrl), NumberOf(status, kSignalUrl)};
}

wire::Status WireStatus(absl::StatusCode code, std::string_view message) {
  wire::Status out;
  out.set_code(static_cast<int>(code));
  // A message with a string that is no UTF-8 cannot be read: whoever gets it would never answer.
  out.set_message(CutMiddle(message, kStatusMessageBytesMax));
  return out;
}

wire::Status ToWire(const absl::Status& status) {
  wire::Status out =
      WireStatus(status.code(), std::string_view(status.message().data(), status.message().size()));
  out.set_retry_after_ms(RetryAfterMs(status));
  const ProgramEnd end = ProgramEndOf(status);
  out.set_exit_code(end.exit_code);
  out.set_signal(end.signal);
  return out;
}

absl::Status FromWire(const wire::Status& status) {
  const absl::StatusCode code = status.code() >= 0 && status.code() <= 16
                                    ? static_cast<absl::StatusCode>(status.code())
                                    : absl::StatusCode::kUnknown;
  return WithProgramEnd(
      WithRetryAfterMs(absl::Status(code, status.message()), status.retry_after_ms()),
      {status.exit_code(), status.signal()});
}

bool IsRetryable(int code) {
  switch (static_cast<absl::StatusCode>(code)) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return false;
    default:
      return true;
  }
}

std::string CodeName(int code) {
  if (code < 0 || code > 16) return "UNKNOWN";
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

}  // namespace whippletree
