// Statuses between absl and the wire, and what a code says about trying again.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// Longest message of a status on the wire; longer ones are cut.
inline constexpr size_t kStatusMessageBytesMax = 4096;

// RESOURCE_EXHAUSTED that asks for no start of the queue's jobs before `delay` has passed; rounded
// up to milliseconds.
absl::Status RetryAfterStatus(Duration delay, std::string_view message);
// What it asks for; zero: nothing.
Duration RetryAfterOf(const absl::Status& status);

// These two keep what RetryAfterOf says.
wire::Status ToWire(const absl::Status& status);
// A code that is no canonical one becomes UNKNOWN.
absl::Status FromWire(const wire::Status& status);
wire::Status WireStatus(absl::StatusCode code, std::string_view message);

// Whether a job that ended so may be tried again. False for what the job itself is at fault for:
// INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, UNAUTHENTICATED,
// FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED.
bool IsRetryable(int code);

// "UNAVAILABLE", …
std::string CodeName(int code);

}  // namespace whippletree
