// How many descriptors (files, sockets, pipes) this process may have open.
#pragma once

#include <cstdint>

namespace whippletree {

// Raises the limit as far as the system lets a process do by itself (to the hard limit), at most to
// `most`; a higher one stays. Returns the limit that holds then.
uint64_t RaiseDescriptorLimit(uint64_t most);

// The limit that this process was started with, before it raised its own: what programs get that it
// starts.
uint64_t InheritedDescriptorLimit();

}  // namespace whippletree
