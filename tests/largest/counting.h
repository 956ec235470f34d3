// How much work the core does, in basic blocks of its code: what a compiler marks with
// -fsanitize-coverage=trace-pc. It is the same on every machine and under any load.
#pragma once

#include <cstdint>

namespace whippletree::core {

// Basic blocks that were run so far, of all code that is marked.
uint64_t BlocksRun();

}  // namespace whippletree::core
