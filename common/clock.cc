#include "common/clock.h"

#include <time.h>

namespace whippletree {
namespace {

Duration Read(clockid_t id) {
  timespec ts;
  clock_gettime(id, &ts);
  return seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

}  // namespace

Instant ReadClock() { return {ReadMonoClock(), WallTime(Read(CLOCK_REALTIME))}; }

MonoTime ReadMonoClock() { return MonoTime(Read(CLOCK_MONOTONIC)); }

}  // namespace whippletree
