// Looks at the bytes of an envelope before they are parsed: a few bytes on the wire may be a large
// object in memory, and an empty entry of a list has two. One pass, which steps over payloads and
// needs no memory of its own.
#pragma once

#include <absl/status/status.h>

#include <string_view>

namespace whippletree {

// Who reads a message: one of the broker's sockets, or a peer of the broker.
enum class Receiver { kDoor, kSubmit, kComplete, kPeer };

// INVALID_ARGUMENT: these bytes are no envelope, or one that has no body for this receiver.
// OUT_OF_RANGE: something in it is beyond its limit; says what, and what to do.
// OK: protobuf may parse it; what the parsed message takes is bounded, by the limits and by the
// frame. `has_unknown_fields` is set then: protobuf would keep them.
absl::Status GuardWire(std::string_view frame, Receiver receiver, bool* has_unknown_fields);

}  // namespace whippletree
