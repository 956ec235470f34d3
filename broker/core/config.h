// What the core is told when it starts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "broker/core/secrets.h"
#include "common/time.h"

namespace whippletree::core {

// Jobs are given to a handler several at a time.
struct BatchPolicy {
  uint32_t max_jobs = 1;  // 1: no batches
  uint64_t max_bytes = 1 << 20;
  // How long the oldest job of an incomplete batch waits for others; zero: not at all.
  Duration linger{0};
};

// `count` per `period`. A count of 0: no limit.
struct RatePolicy {
  uint64_t count = 0;
  Duration period = seconds(1);
  bool of_batches = false;  // else of jobs
  uint64_t burst = 1;       // in the same unit

  friend bool operator==(const RatePolicy&, const RatePolicy&) = default;
};

// Failures are those that may be retried, time-outs and lost workers.
struct BreakerPolicy {
  // Opens after so many in a row; 0: not by this.
  uint32_t failures = 0;
  // Opens when this share of the last `window` failed, of at least `min_jobs`; 0: not by this.
  double ratio = 0;
  Duration window = seconds(10);
  uint32_t min_jobs = 20;
  Duration open = seconds(10);
  uint32_t probes = 1;

  bool enabled() const { return failures > 0 || ratio > 0; }
  friend bool operator==(const BreakerPolicy&, const BreakerPolicy&) = default;
};

// How jobs that have the same key are treated. Those without a key are free of it.
struct KeyPolicy {
  // One at a time: the next starts when the one before has its outcome.
  bool ordered = false;
  uint32_t concurrency = 0;  // jobs of a key at a time; 0: no limit
  RatePolicy rate{};         // of the jobs of a key

  bool limits() const { return ordered || concurrency > 0 || rate.count > 0; }
  friend bool operator==(const KeyPolicy&, const KeyPolicy&) = default;
};

// How one queue treats its jobs.
struct QueuePolicy {
  uint64_t capacity_jobs = 1'000'000;
  uint64_t capacity_bytes = 128ull << 20;
  BatchPolicy batch{};
  RatePolicy rate{};
  uint32_t concurrency = 0;  // handler calls at a time; 0: no limit
  KeyPolicy keys{};
  Duration lease_duration = seconds(10);
  Duration timeout{0};  // of an attempt, where the job says nothing; zero: no limit
  uint32_t max_attempts = 5;
  Duration backoff_min = seconds(1);
  Duration backoff_max = std::chrono::minutes(5);
  BreakerPolicy breaker{};
  bool durable = false;
  // How long a job's name stands for it, from its acceptance on; zero: names are not looked at.
  Duration names_window = std::chrono::hours(24);
  // Dead jobs that are kept, and their payload and history; 0 jobs: none.
  uint64_t dead_jobs_max = 10'000;
  uint64_t dead_bytes_max = 64ull << 20;

  bool batches() const { return batch.max_jobs > 1; }
};

// What can change while the broker runs.
struct Policies {
  QueuePolicy defaults{};  // of queues not named
  std::map<std::string, QueuePolicy> queues{};
  bool unknown_queues = true;  // false: only the queues above exist
};

struct Config {
  // In the high bits of tokens and sessions; higher at each start of the broker.
  uint32_t epoch = 1;
  // Where their low bits begin, for starts with the same epoch.
  uint32_t epoch_offset = 0;
  // Of the store that keeps durable queues; empty: nothing outlives the broker.
  std::string store_id{};
  // Made with the store; without one, at each start. From the system's source of randomness.
  SecretKey secret_key{};
  // What the store has, if it has something: the last commit.
  uint64_t last_commit = 0;
  // Go on with a store that has less than what peers were told of.
  bool accept_data_loss = false;
  // Identifies this start to peers.
  uint64_t broker_start = 1;
  uint64_t seed = 1;
  // Bound of the process. Payloads and outcomes together take at most half of it; the rest is for
  // sockets, messages under way and the allocator.
  uint64_t memory_limit_bytes = 1ull << 30;
  // Payload bytes of one durable queue that are kept in memory as well; 0: an eighth of the budget.
  uint64_t queue_memory_bytes = 0;
  uint32_t payload_bytes_max = 16u << 20;
  uint32_t result_bytes_max = 16u << 20;
  uint32_t peers_max = 4096;
  // About so many ranges, jobs, rows or messages are worked on in one step: a millisecond or some.
  uint64_t step_work_max = 1000;
  // How long acceptances and acknowledgements may be held back (see ack_delay.cc).
  Duration ack_delay{0};
  uint32_t submit_port = 0;
  uint32_t complete_port = 0;
  bool insecure = false;
  QueuePolicy default_policy{};
  std::map<std::string, QueuePolicy> queues{};
  // False: only the queues above exist.
  bool unknown_queues = true;

  uint64_t first_number() const { return (uint64_t{epoch} << 32) + epoch_offset; }
  uint64_t budget_bytes() const { return memory_limit_bytes / 2; }
  uint64_t queue_share_bytes() const {
    return queue_memory_bytes > 0 ? queue_memory_bytes : budget_bytes() / 8;
  }
  // What may be under way, unacknowledged, on one channel: the runs of a stream, the outcomes of a
  // producer, the deliveries to a worker, its reports. One item more than this is always allowed
  // when nothing else is under way.
  uint64_t window_bytes() const {
    return std::clamp<uint64_t>(memory_limit_bytes / 4096, 64 << 10, 1 << 20);
  }
};

}  // namespace whippletree::core
