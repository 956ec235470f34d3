// When a failed job is tried again.
#pragma once

#include "broker/core/config.h"
#include "common/prng.h"

namespace whippletree::core {

// How long a job waits before its next attempt, after `attempts` charged ones: uniform in
// [0, min(backoff_max, backoff_min · 2^(attempts − 1))].
// "Full jitter", from M. Brooker, "Exponential Backoff And Jitter", 2015.
// REQUIRES: attempts > 0.
Duration BackoffDelay(const QueuePolicy& policy, uint32_t attempts, Prng* prng);

}  // namespace whippletree::core
