// Descriptors (files, sockets, pipes): how many this process may have open, and the first three.
#pragma once

#include <cstdint>

namespace whippletree {

// Raises the limit as far as the system lets a process do by itself (to the hard limit), at most to
// `most`; a higher one stays. Returns the limit that holds then.
uint64_t RaiseDescriptorLimit(uint64_t most);

// The limit that this process was started with, before it raised its own: what programs get that it
// starts.
uint64_t InheritedDescriptorLimit();

// To be called first: opens /dev/null for those of descriptors 0, 1 and 2 that are closed, so that
// no file or socket gets their number, and what is meant for a person. kQuiet: what is written
// there goes nowhere, and there is nothing to read. kBroken: reading and writing fail as before.
enum class ClosedStreams { kQuiet, kBroken };
void OpenStandardStreams(ClosedStreams closed);

}  // namespace whippletree
