// What one run is like: everything is drawn from its seed ("swarm testing", A. Groce et al., 2012:
// each run leaves out many features, so that the others are met in rare mixtures).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/core/config.h"
#include "common/prng.h"
#include "common/time.h"

namespace whippletree::sim {

struct NetworkOptions {
  bool hostile = false;  // loses, repeats and reorders; else like TCP
  Duration delay_base = microseconds(50);
  Duration delay_mean{};     // of the exponential part
  uint64_t loss = 0;         // per mille
  uint64_t repeat = 0;       // per mille
  uint64_t socket_full = 0;  // per mille of the broker's sends: EAGAIN
};

// How often each fault happens, as the mean time between two; 0: never.
struct FaultOptions {
  Duration worker_kill{};
  Duration worker_pause{};
  Duration worker_drain{};
  Duration worker_stop{};
  Duration producer_pause{};
  Duration producer_kill{};
  Duration broker_pause{};
  Duration broker_crash{};
  Duration reset_door{};
  Duration reset_data{};
  Duration isolate{};
  Duration long_isolate{};
  Duration store_stall{};
  Duration disk_low{};
  uint64_t row_damaged = 0;  // per mille of the rows that are read
  // In each life of the broker the store fails at a commit up to this one; 0: never.
  uint64_t store_fails_at_max = 0;
};

struct LoadOptions {
  uint32_t jobs = 100;         // of each producer
  uint32_t run_jobs_max = 10;  // submitted at once
  Duration gap_mean = milliseconds(20);
  Duration service_mean = milliseconds(1);
  uint32_t payload_bytes_max = 100;
  uint32_t result_bytes_max = 100;
  // Per mille of the jobs.
  uint64_t cancel = 0;
  uint64_t discard = 0;
  uint64_t keyed = 0;  // of the runs
  uint64_t own_attempts = 0;
  uint64_t oversized = 0;
  uint64_t large_result = 0;
  uint64_t fail = 0;
  uint64_t fatal = 0;
  uint64_t poison = 0;
  uint64_t slow = 0;  // seconds instead of the mean
  uint64_t timeout = 0;
  uint64_t ignores_cancel = 0;
  uint64_t scheduled = 0;
  uint64_t expires = 0;
  uint64_t follow_on = 0;
  uint64_t group = 0;  // of the producers
  uint64_t keys = 4;   // different ones
  uint64_t named = 0;  // with a job name …
  uint64_t names = 1;  // … of so many different ones
};

struct Options {
  uint64_t seed = 0;
  core::Config broker;
  std::vector<std::string> queues;
  NetworkOptions network;
  FaultOptions faults;
  LoadOptions load;
  uint32_t producers = 1;
  uint32_t named_producers = 0;  // of these
  uint32_t deaf_producers = 0;   // the last of these: they read no outcomes until faults end
  uint32_t workers = 1;
  uint32_t slots_max = 4;
  // Workers, beyond these, that take all they can and tell nothing of it …
  uint32_t hoarders = 0;
  Duration hoard_mean{};              // … for so long, and then go on as the others; 0: for ever
  Duration active = seconds(10);      // while faults happen
  Duration ack_delay{};               // of the producers; the broker's is its own
  Duration application_delay_mean{};  // from outcomes to their acknowledgement
  Duration store_delay_mean{};
  bool durable = false;  // some queue is
  // The run ends only when the broker has forgotten producers that died, and what was for them.
  // That takes a minute of heartbeats, so most runs do without.
  bool await_forgotten = false;
  // What an admin does, as the mean time between two; 0: nothing.
  Duration pause_queue{};
  Duration reload{};
  Duration dead_jobs{};   // requeues or drops some
  Duration cancel_job{};  // cancels one
  Duration forge{};       // what a stranger does, the same
};

Options DrawOptions(uint64_t seed);

// Other limits for a queue; what a job is accepted with stays.
core::QueuePolicy DrawOtherLimits(Prng* prng, core::QueuePolicy policy);

// Exponentially distributed without floating point: the sum's tail is what matters, not its shape.
Duration DrawDuration(Prng* prng, Duration mean);

}  // namespace whippletree::sim
