// Names that no other process has. Reads the system's random device: for shells.
#pragma once

#include <cstdint>
#include <string>

namespace whippletree {

uint64_t RandomNumber();
// "<prefix>-<8 hex digits>"; without a prefix the host's name and the process id stand there.
std::string UniqueName(const std::string& prefix);

}  // namespace whippletree
