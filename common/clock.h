// The only reader of clocks.
#pragma once

#include "common/time.h"

namespace whippletree {

// Reads CLOCK_MONOTONIC and CLOCK_REALTIME. Thread-safe.
Instant ReadClock();
// Reads CLOCK_MONOTONIC alone, for half the cost. Thread-safe.
MonoTime ReadMonoClock();

}  // namespace whippletree
