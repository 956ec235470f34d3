// What this build is called in messages, logs and --version.
#pragma once

namespace whippletree {

inline constexpr char kVersion[] = "0.1.0";
inline constexpr char kSoftware[] = "whippletree 0.1.0";
// The version of the wire protocol.
inline constexpr unsigned kProtocolVersion = 1;

}  // namespace whippletree
