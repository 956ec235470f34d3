#include "tests/sim/options.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace whippletree::sim {
namespace {

// One of a few magnitudes.
Duration Pick(Prng* prng, std::initializer_list<Duration> choices) {
  return *(choices.begin() + prng->Below(choices.size()));
}

uint64_t Pick(Prng* prng, std::initializer_list<uint64_t> choices) {
  return *(choices.begin() + prng->Below(choices.size()));
}

Duration Sometimes(Prng* prng, uint64_t per_mille, Duration mean_min, Duration mean_max) {
  const auto low = static_cast<uint64_t>(mean_min.count());
  const auto high = static_cast<uint64_t>(mean_max.count());
  const auto mean = Duration(static_cast<int64_t>(prng->Between(low, high)));
  return prng->Chance(per_mille) ? mean : Duration(0);
}

core::QueuePolicy DrawPolicy(Prng* prng, bool tiny) {
  core::QueuePolicy policy;
  policy.lease_duration = seconds(2);
  policy.max_attempts = static_cast<uint32_t>(Pick(prng, {1, 2, 3, 3, 5}));
  policy.backoff_min = milliseconds(Pick(prng, {1, 20, 300}));
  policy.backoff_max = policy.backoff_min * static_cast<int64_t>(Pick(prng, {1, 4, 16}));
  if (tiny) {
    policy.capacity_jobs = Pick(prng, {1, 2, 3, 5, 10, 30});
    if (prng->Chance(500)) policy.capacity_bytes = Pick(prng, {64, 500, 4000});
  } else {  // no bound, as a broker without a configuration has it
    policy.capacity_jobs = policy.capacity_bytes = std::numeric_limits<uint64_t>::max();
  }
  return policy;
}

// What keeps jobs from dispatch; each is rare in a run, and they meet in some.
void DrawGates(Prng* prng, core::QueuePolicy* policy) {
  if (prng->Chance(250)) {
    policy->batch.max_jobs = static_cast<uint32_t>(Pick(prng, {2, 3, 8, 30}));
    policy->batch.max_bytes = Pick(prng, {100, 5000, 1 << 20});
    policy->batch.linger = Pick(prng, {Duration(0), milliseconds(20), milliseconds(700)});
  }
  if (prng->Chance(150)) {
    policy->rate.count = Pick(prng, {20, 70, 300, 1000});
    policy->rate.burst = Pick(prng, {1, 2, 5, 20});
    policy->rate.of_batches = policy->batches() && prng->Chance(500);
  }
  if (prng->Chance(150)) policy->concurrency = static_cast<uint32_t>(Pick(prng, {1, 2, 5}));
  if (prng->Chance(150)) {
    policy->breaker.failures = static_cast<uint32_t>(Pick(prng, {1, 2, 4}));
    if (prng->Chance(300)) {
      policy->breaker.failures = 0;
      policy->breaker.ratio = 0.3;
      policy->breaker.min_jobs = 4;
      policy->breaker.window = seconds(2);
    }
    policy->breaker.open = Pick(prng, {milliseconds(20), milliseconds(200), seconds(2)});
    policy->breaker.probes = static_cast<uint32_t>(Pick(prng, {1, 1, 3}));
  }
  if (prng->Chance(100)) policy->timeout = milliseconds(Pick(prng, {20, 200}));
}

void DrawKeys(Prng* prng, core::KeyPolicy* keys) {
  keys->ordered = prng->Chance(200);
  if (prng->Chance(180)) keys->concurrency = static_cast<uint32_t>(Pick(prng, {1, 2, 3, 8}));
  if (prng->Chance(180)) {
    keys->rate.count = Pick(prng, {8, 20, 100, 1000});
    keys->rate.burst = Pick(prng, {1, 2, 5, 20});
  }
}

NetworkOptions DrawNetwork(Prng* prng) {
  NetworkOptions net;
  net.hostile = prng->Chance(450);
  net.delay_base = Pick(prng, {microseconds(5), microseconds(100), milliseconds(1)});
  net.delay_mean = Pick(prng, {microseconds(5), microseconds(200), milliseconds(5)});
  if (net.hostile) {
    net.loss = prng->Chance(700) ? Pick(prng, {5, 30, 100, 300}) : 0;
    net.repeat = prng->Chance(700) ? Pick(prng, {5, 50, 200, 500}) : 0;
    if (prng->Chance(300)) net.delay_mean = milliseconds(50);
  }
  if (prng->Chance(300)) net.socket_full = Pick(prng, {5, 50, 200});
  return net;
}

FaultOptions DrawFaults(Prng* prng, bool durable) {
  FaultOptions f;
  f.worker_kill = Sometimes(prng, 500, milliseconds(500), seconds(5));
  f.worker_pause = Sometimes(prng, 350, seconds(1), seconds(5));
  f.worker_drain = Sometimes(prng, 350, seconds(1), seconds(5));
  f.worker_stop = Sometimes(prng, 200, seconds(1), seconds(5));
  f.producer_pause = Sometimes(prng, 250, seconds(1), seconds(5));
  f.producer_kill = Sometimes(prng, 300, seconds(1), seconds(5));
  f.broker_pause = Sometimes(prng, 250, seconds(2), seconds(5));
  f.broker_crash = Sometimes(prng, durable ? 750 : 550, seconds(1), seconds(4));
  f.reset_door = Sometimes(prng, 400, milliseconds(300), seconds(4));
  f.reset_data = Sometimes(prng, 400, milliseconds(300), seconds(4));
  f.isolate = Sometimes(prng, 350, seconds(1), seconds(4));
  f.long_isolate = Sometimes(prng, 20, seconds(2), seconds(5));
  return f;
}

LoadOptions DrawLoad(Prng* prng) {
  LoadOptions l;
  l.jobs = static_cast<uint32_t>(Pick(prng, {40, 205, 205, 240}));
  l.run_jobs_max = static_cast<uint32_t>(Pick(prng, {1, 5, 40, 150}));
  l.gap_mean = Pick(prng, {milliseconds(1), milliseconds(20), milliseconds(200)});
  l.service_mean =
      Pick(prng, {microseconds(1), microseconds(50), milliseconds(2), milliseconds(30)});
  l.payload_bytes_max = static_cast<uint32_t>(Pick(prng, {8, 60, 500, 3000}));
  l.result_bytes_max = static_cast<uint32_t>(Pick(prng, {0, 60, 500, 3000}));
  const auto rate = [&](uint64_t runs, std::initializer_list<uint64_t> rates) {
    const uint64_t picked = Pick(prng, rates);
    return prng->Chance(runs) ? picked : 0;
  };
  l.cancel = rate(400, {10, 100, 400});
  l.discard = rate(300, {50, 500, 1000});
  l.keyed = rate(300, {50, 500});
  l.own_attempts = rate(400, {50, 500});
  l.oversized = rate(200, {10, 50});
  l.large_result = rate(200, {10, 50});
  l.fail = rate(500, {20, 200, 500});
  l.fatal = rate(300, {10, 100});
  l.poison = rate(250, {5, 15});
  l.slow = rate(250, {3, 20});
  l.timeout = rate(250, {50, 500});
  l.ignores_cancel = rate(300, {100, 1000});
  l.scheduled = rate(250, {50, 500});
  l.expires = rate(250, {50, 500});
  if (l.discard == 0) l.follow_on = rate(300, {50, 500});
  if (l.discard == 0) l.group = rate(400, {500, 1000});
  return l;
}

// Where keys limit, most jobs have one of a few, and nobody backs off for long with its key.
void DrawKeyedLoad(Prng* prng, Options* options) {
  bool limits = false;
  for (auto& [name, policy] : options->broker.queues) {
    limits = limits || policy.keys.limits();
    if (!policy.keys.ordered) continue;
    policy.backoff_max = std::min<Duration>(policy.backoff_max, milliseconds(300));
  }
  options->load.keys = Pick(prng, {1, 2, 4, 12});
  const uint64_t keyed = Pick(prng, {300, 700, 1000});
  if (limits && prng->Chance(850)) options->load.keyed = keyed;
}

// Names that meet each other, and what an admin does with single jobs.
void DrawJobAdmin(Prng* prng, Options* options) {
  // Names need memory of their own.
  const bool small = options->broker.memory_limit_bytes < (64u << 20);
  if (prng->Chance(300) && !small) {
    options->load.named = Pick(prng, {100, 500, 1000});
    options->load.names = Pick(prng, {5, 50, 500});
    for (auto& [name, policy] : options->broker.queues) {
      policy.names_window = Pick(prng, {seconds(2), seconds(20), std::chrono::hours(24)});
    }
  }
  options->dead_jobs = Sometimes(prng, 300, milliseconds(300), seconds(3));
  options->forge = Sometimes(prng, 200, milliseconds(100), seconds(2));
  options->cancel_job = Sometimes(prng, 200, milliseconds(300), seconds(3));
  if (options->dead_jobs > Duration(0) && options->load.fatal == 0 && prng->Chance(700)) {
    options->load.fatal = Pick(prng, {20, 200});
  }
}

// Some read no outcomes, which fill the memory, beside others that do.
void DrawDeafProducers(Prng* prng, Options* options) {
  if (!prng->Chance(200)) return;
  options->producers = std::max(options->producers, 2u);
  options->deaf_producers = static_cast<uint32_t>(prng->Between(1, options->producers - 1));
  options->load.jobs = std::max(options->load.jobs, 100u);
  options->load.result_bytes_max = static_cast<uint32_t>(Pick(prng, {3000, 8000, 16'000}));
  options->load.payload_bytes_max = std::min(options->load.payload_bytes_max, 500u);
  options->load.discard = std::min<uint64_t>(options->load.discard, 50);
  options->load.named = 0;
  options->broker.memory_limit_bytes = Pick(prng, {1 << 20, 1 << 20, 2 << 20});
  if (options->faults.producer_kill > Duration(0)) options->faults.producer_kill = seconds(4);
}

// What they started without a timeout they would keep for ever.
void DrawHoarders(Prng* prng, Options* options) {
  if (!prng->Chance(150)) return;
  options->hoarders = static_cast<uint32_t>(prng->Between(1, 2));
  options->hoard_mean = Pick(prng, {Duration(0), seconds(3), seconds(8)});
  for (auto& [name, policy] : options->broker.queues) {
    if (policy.timeout == Duration(0)) {
      policy.timeout = Pick(prng, {milliseconds(100), milliseconds(500)});
    }
  }
}

}  // namespace

Duration DrawDuration(Prng* prng, Duration mean) {
  if (mean <= Duration(0)) return Duration(0);
  // Each leading zero of a random word is as likely as half of the one before.
  const int doublings = std::min(6, std::countl_zero(prng->Next()));
  const auto scale = static_cast<uint64_t>(mean.count()) * static_cast<uint64_t>(1 + doublings);
  return Duration(static_cast<int64_t>(prng->Below(scale) + 1));
}

core::QueuePolicy DrawOtherLimits(Prng* prng, core::QueuePolicy policy) {
  if (policy.batches()) {  // those that are sealed may be as large as the burst was
    if (policy.rate.count > 0) policy.rate.count = Pick(prng, {20, 70, 300, 1000});
  } else if (prng->Chance(400)) {
    policy.rate.count = Pick(prng, {0, 20, 70, 300, 1000});
    policy.rate.burst = Pick(prng, {1, 2, 5, 20});
  }
  if (prng->Chance(400)) policy.concurrency = static_cast<uint32_t>(Pick(prng, {0, 1, 2, 5}));
  if (prng->Chance(300)) {
    policy.breaker.failures = static_cast<uint32_t>(Pick(prng, {0, 1, 4}));
    policy.breaker.open = Pick(prng, {milliseconds(20), milliseconds(200), seconds(2)});
  }
  if (prng->Chance(300)) {
    core::KeyPolicy keys = policy.keys;
    keys.concurrency = static_cast<uint32_t>(Pick(prng, {0, 1, 3}));
    keys.rate.count = Pick(prng, {0, 20, 100, 1000});
    keys.rate.burst = Pick(prng, {1, 2, 5, 20});
    // As above: a batch that is sealed may have more jobs of a key than a new burst.
    if (policy.batches()) keys.rate = policy.keys.rate;
    policy.keys = keys;
  }
  if (prng->Chance(200)) policy.timeout = Pick(prng, {Duration(0), milliseconds(200)});
  if (prng->Chance(300)) policy.capacity_jobs = Pick(prng, {1, 10, 1000});
  return policy;
}

Options DrawOptions(uint64_t seed) {
  Prng prng(seed ^ 0x5eed);
  Options o;
  o.seed = seed;
  o.durable = prng.Chance(350);
  o.network = DrawNetwork(&prng);
  o.faults = DrawFaults(&prng, o.durable);
  o.load = DrawLoad(&prng);
  o.producers = static_cast<uint32_t>(prng.Between(1, 3));
  o.load.jobs = std::max(1u, o.load.jobs / o.producers);  // enough of them, in all
  o.named_producers = prng.Chance(400) ? static_cast<uint32_t>(prng.Below(o.producers + 1)) : 0;
  o.workers = static_cast<uint32_t>(prng.Between(1, 4));
  o.slots_max = static_cast<uint32_t>(Pick(&prng, {1, 2, 4, 16}));
  o.active = seconds(prng.Between(2, 5));
  if (prng.Chance(300)) o.application_delay_mean = Pick(&prng, {milliseconds(1), seconds(1)});
  o.store_delay_mean = Pick(&prng, {microseconds(20), milliseconds(2), milliseconds(100)});
  if (prng.Chance(100)) o.store_delay_mean = seconds(1);

  core::Config& broker = o.broker;
  broker.default_policy.lease_duration = seconds(2);
  broker.payload_bytes_max = 20'000;
  broker.result_bytes_max = 20'000;
  const bool tiny = prng.Chance(500);
  const size_t queues = prng.Between(1, 3);
  bool any_durable = false;
  for (size_t i = 0; i < queues; ++i) {
    const std::string name = "queue" + std::to_string(i);
    core::QueuePolicy policy = DrawPolicy(&prng, tiny);
    DrawGates(&prng, &policy);
    DrawKeys(&prng, &policy.keys);
    // The jobs of a group are all durable or none is.
    policy.durable = o.durable && (o.load.group > 0 || prng.Chance(600));
    if (o.durable && i + 1 == queues && !any_durable) policy.durable = true;
    any_durable = any_durable || policy.durable;
    broker.queues[name] = policy;
    o.queues.push_back(name);
  }
  DrawKeyedLoad(&prng, &o);
  if (prng.Chance(300)) broker.step_work_max = prng.Between(1, 20);
  // Room for the peers and for little else.
  if (prng.Chance(200)) {
    broker.memory_limit_bytes = 2 << 20;
    // Those that died are remembered for a while, and take room too.
    if (o.faults.producer_kill > Duration(0)) o.faults.producer_kill = seconds(4);
  }
  if (o.durable) {
    o.faults.store_stall = Sometimes(&prng, 400, seconds(1), seconds(8));
    if (prng.Chance(300)) o.faults.store_fails_at_max = Pick(&prng, {30, 300, 1000});
    // A start finds all of its jobs stored, whatever this is.
    if (prng.Chance(600)) broker.queue_memory_bytes = Pick(&prng, {1, 100, 1000, 10'000});
    if (prng.Chance(300)) o.faults.row_damaged = Pick(&prng, {20, 200});
  }
  // Crashes find jobs that back off, and such as were held by a worker that died.
  if (o.durable && prng.Chance(600)) {
    o.load.fail = Pick(&prng, {200, 500});
    for (auto& [name, policy] : broker.queues) {
      if (policy.keys.ordered) continue;
      policy.backoff_min = milliseconds(700);
      policy.backoff_max = seconds(3);
      policy.max_attempts = std::max(policy.max_attempts, 3u);
    }
  }
  if (o.durable && prng.Chance(600)) {
    o.faults.worker_kill = milliseconds(700);
    o.faults.broker_crash = seconds(1);
    o.slots_max = 1;
    o.load.run_jobs_max = 40;
  }
  o.pause_queue = Sometimes(&prng, 250, milliseconds(500), seconds(5));
  o.reload = Sometimes(&prng, 250, milliseconds(500), seconds(5));
  o.await_forgotten = prng.Chance(200);
  if (o.durable) o.faults.disk_low = Sometimes(&prng, 350, seconds(1), seconds(6));
  DrawJobAdmin(&prng, &o);
  o.ack_delay = Pick(&prng, {Duration(0), microseconds(500), milliseconds(50)});
  o.broker.ack_delay = Pick(&prng, {Duration(0), microseconds(500), milliseconds(50)});
  DrawDeafProducers(&prng, &o);
  DrawHoarders(&prng, &o);
  return o;
}

}  // namespace whippletree::sim
