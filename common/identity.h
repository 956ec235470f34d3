// Names that no other process has. Reads the system's random device: for shells.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace whippletree {

uint64_t RandomNumber();
// The same, of 128 bits.
std::array<uint8_t, 16> RandomKey();
// "<prefix>-<8 hex digits>"; without a prefix the host's name and the process id stand there.
std::string UniqueName(const std::string& prefix);

}  // namespace whippletree
