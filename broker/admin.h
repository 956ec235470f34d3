// Asks a running broker at its door. For command lines.
#pragma once

#include <absl/status/statusor.h>

#include "common/address.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// Sends `request`, whose id is set here, and returns what answers it.
// UNAVAILABLE: no broker answers within `timeout`; FAILED_PRECONDITION: it speaks another version,
// or does not know such a request; else the error that the broker answers with.
absl::StatusOr<wire::AdminReply> Ask(const HostPort& broker, wire::AdminRequest request,
                                     Duration timeout);

}  // namespace whippletree
