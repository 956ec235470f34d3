// Envelopes to bytes and back. Everything that arrives is checked here before anyone trusts it.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

#include "common/wire_guard.h"
#include "wire.pb.h"

namespace whippletree {

// Sets the version, and appends the bytes of `envelope` to `frame`.
void Encode(wire::Envelope* envelope, std::string* frame);

// The same in two steps, without a copy: how many bytes it has, and writing them to `frame`.
size_t BeginEncode(wire::Envelope* envelope);
// REQUIRES: BeginEncode was called, and `envelope` did not change since.
void FinishEncode(const wire::Envelope& envelope, char* frame);

// INVALID_ARGUMENT: these bytes are no envelope, or one that `receiver` never gets, or with a
// broken part (a run whose sizes and block disagree, a range of nothing). OUT_OF_RANGE: something
// is beyond a limit (see wire_limits.h); nothing was parsed then. FAILED_PRECONDITION: another
// version of the protocol. `envelope` is then unspecified. Fields that this version does not know
// are left out.
absl::Status Decode(std::string_view frame, Receiver receiver, wire::Envelope* envelope);

// For programs: protobuf prints nothing by itself. What it would say of bytes from outside, Decode
// returns.
void SilenceProtobuf();

// Whether runs with these options may be joined: every field counts.
bool SameOptions(const wire::JobOptions& a, const wire::JobOptions& b);

// "" or what is wrong with a queue's name: 1 to 128 of the characters A–Z a–z 0–9 . _ - : /
std::string QueueNameError(std::string_view name);

}  // namespace whippletree
