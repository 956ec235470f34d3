// Asks a running broker at its door. For command lines.
#pragma once

#include <absl/status/statusor.h>

#include "common/address.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// UNAVAILABLE: no broker answers within `timeout`; FAILED_PRECONDITION: it speaks another version.
absl::StatusOr<wire::StatusReply> AskStatus(const HostPort& broker, Duration timeout);

}  // namespace whippletree
