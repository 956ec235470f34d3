// Statuses between absl and the wire, and what a code says about trying again.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
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

// How the program of a job ended, if it did by itself; 0: it did not end so.
struct ProgramEnd {
  uint32_t exit_code = 0;
  uint32_t signal = 0;

  friend bool operator==(const ProgramEnd&, const ProgramEnd&) = default;
};
// The same status, of a job whose program ended so. REQUIRES: it is not OK.
absl::Status WithProgramEnd(absl::Status status, ProgramEnd end);
ProgramEnd ProgramEndOf(const absl::Status& status);

// These two keep what RetryAfterOf and ProgramEndOf say.
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
