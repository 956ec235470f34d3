#include "broker/core/retry_policy.h"

#include <algorithm>

#include "common/check.h"

namespace whippletree::core {

Duration BackoffDelay(const QueuePolicy& policy, uint32_t attempts, Prng* prng) {
  WT_CHECK(attempts > 0);
  Duration bound = policy.backoff_min;
  for (uint32_t i = 1; i < attempts && bound < policy.backoff_max; ++i) bound *= 2;
  bound = std::min(bound, policy.backoff_max);
  return Duration(static_cast<int64_t>(prng->Between(0, static_cast<uint64_t>(bound.count()))));
}

}  // namespace whippletree::core
