#include "common/status.h"

#include "common/utf8.h"

namespace whippletree {

wire::Status WireStatus(absl::StatusCode code, std::string_view message) {
  wire::Status out;
  out.set_code(static_cast<int>(code));
  // A message with a string that is no UTF-8 cannot be read: whoever gets it would never answer.
  out.set_message(ToUtf8(message, kStatusMessageBytesMax));
  return out;
}

wire::Status ToWire(const absl::Status& status) {
  return WireStatus(status.code(),
                    std::string_view(status.message().data(), status.message().size()));
}

absl::Status FromWire(const wire::Status& status) {
  const absl::StatusCode code = status.code() >= 0 && status.code() <= 16
                                    ? static_cast<absl::StatusCode>(status.code())
                                    : absl::StatusCode::kUnknown;
  return absl::Status(code, status.message());
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
