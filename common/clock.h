// The only reader of clocks.
#pragma once

#include "common/time.h"

namespace whippletree {

// Reads CLOCK_MONOTONIC and CLOCK_REALTIME. Thread-safe.
Instant ReadClock();

}  // namespace whippletree
