#include "broker/config.h"

#include <gtest/gtest.h>

#include <string>

#include "broker/config_value.h"

namespace whippletree {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

// The policies of a file that is right.
core::Policies Read(const std::string& text, const config::Queue& overrides = {}) {
  const absl::StatusOr<config::Config> config = ParseConfig(text, "b.yaml");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? PoliciesOf(*config, core::QueuePolicy(), overrides) : core::Policies();
}

// Every setting of a policy is something else than what is built in.
core::QueuePolicy Unusual() {
  core::QueuePolicy policy;
  policy.capacity_jobs = 123;
  policy.capacity_bytes = 1'000'001;
  policy.batch = {7, 1 << 19, milliseconds(1500)};
  policy.rate = {90, minutes(1), true, 3};
  policy.concurrency = 9;
  policy.keys = {true, 6, {40, hours(1), false, 2}};
  policy.lease_duration = seconds(90);
  policy.timeout = milliseconds(250);
  policy.max_attempts = 11;
  policy.backoff_min = milliseconds(10);
  policy.backoff_max = hours(2);
  policy.breaker = {4, 1.0 / 3, seconds(7), 8, milliseconds(200), 2};
  policy.durable = true;
  policy.names_window = hours(3);
  policy.dead_jobs_max = 12;
  policy.dead_bytes_max = 1 << 21;
  return policy;
}

TEST(ConfigTest, ReadsEverySetting) {
  const core::Policies policies = Read(R"(queues:
  api:
    capacity: {jobs: 1000000, bytes: 1GiB}
    batch: {max_jobs: 4, max_bytes: 1MiB, linger: 2s}
    rate: 50/s
    burst: 5
    concurrency: 8
    keys: {order: true, concurrency: 2, rate: 10/min, burst: 7}
    lease: 30s
    timeout: 5m
    retry: {max_attempts: 6, backoff: 2s..6m}
    breaker: {failures: 3, ratio: 0.5, window: 20s, min_jobs: 9, open: 200ms, probes: 2}
    durable: true
    job_names: {window: 2h}
    dead: {jobs: 50, bytes: 1MiB}
defaults: {concurrency: 100}
unknown_queues: refuse
)");
  EXPECT_FALSE(policies.unknown_queues);
  EXPECT_EQ(policies.defaults.concurrency, 100u);
  ASSERT_EQ(policies.queues.size(), 1u);
  const core::QueuePolicy& api = policies.queues.at("api");
  EXPECT_EQ(api.capacity_jobs, 1'000'000u);
  EXPECT_EQ(api.capacity_bytes, 1u << 30);
  EXPECT_EQ(api.batch.max_jobs, 4u);
  EXPECT_EQ(api.batch.max_bytes, 1u << 20);
  EXPECT_EQ(api.batch.linger, seconds(2));
  EXPECT_EQ(api.rate.count, 50u);
  EXPECT_EQ(api.rate.period, seconds(1));
  EXPECT_FALSE(api.rate.of_batches);
  EXPECT_EQ(api.rate.burst, 5u);
  EXPECT_EQ(api.concurrency, 8u);
  EXPECT_TRUE(api.keys.ordered);
  EXPECT_EQ(api.keys.concurrency, 2u);
  EXPECT_EQ(api.keys.rate, (core::RatePolicy{10, minutes(1), false, 7}));
  EXPECT_EQ(api.lease_duration, seconds(30));
  EXPECT_EQ(api.timeout, minutes(5));
  EXPECT_EQ(api.max_attempts, 6u);
  EXPECT_EQ(api.backoff_min, seconds(2));
  EXPECT_EQ(api.backoff_max, minutes(6));
  EXPECT_EQ(api.breaker.failures, 3u);
  EXPECT_EQ(api.breaker.ratio, 0.5);
  EXPECT_EQ(api.breaker.window, seconds(20));
  EXPECT_EQ(api.breaker.min_jobs, 9u);
  EXPECT_EQ(api.breaker.open, milliseconds(200));
  EXPECT_EQ(api.breaker.probes, 2u);
  EXPECT_TRUE(api.durable);
  EXPECT_EQ(api.names_window, hours(2));
  EXPECT_EQ(api.dead_jobs_max, 50u);
  EXPECT_EQ(api.dead_bytes_max, 1u << 20);
}

TEST(ConfigTest, NamesAndDeadJobsMayBeNone) {
  const core::Policies policies =
      Read("queues: {a: {job_names: none, dead: none}, b: {dead: {jobs: none}}}");
  EXPECT_EQ(policies.queues.at("a").names_window, Duration(0));
  EXPECT_EQ(policies.queues.at("a").dead_jobs_max, 0u);
  EXPECT_EQ(policies.queues.at("b").dead_jobs_max, 0u);
  EXPECT_EQ(policies.defaults.names_window, hours(24));
  EXPECT_EQ(policies.defaults.dead_jobs_max, 10'000u);
}

TEST(ConfigTest, AFileThatSaysNothingChangesNothing) {
  for (const char* text : {"queues: {}\n", "queues: {}\ndefaults: {}\n"}) {
    const core::Policies policies = Read(text);
    EXPECT_EQ(ConfigChanges(core::Policies(), policies), std::vector<ConfigChange>()) << text;
    EXPECT_TRUE(policies.unknown_queues);
  }
}

TEST(ConfigTest, QueuesInheritFieldByField) {
  const core::Policies policies = Read(R"(
queues:
  a: {batch: {max_jobs: 9}, breaker: {open: 1s}}
  b:
defaults: {batch: {linger: 3s}, breaker: {failures: 2, probes: 4}, rate: 5/min}
)");
  const core::QueuePolicy& a = policies.queues.at("a");
  EXPECT_EQ(a.batch.max_jobs, 9u);
  EXPECT_EQ(a.batch.linger, seconds(3));
  EXPECT_EQ(a.batch.max_bytes, core::BatchPolicy().max_bytes);
  EXPECT_EQ(a.breaker.failures, 2u);
  EXPECT_EQ(a.breaker.probes, 4u);
  EXPECT_EQ(a.breaker.open, seconds(1));
  EXPECT_EQ(policies.queues.at("b").rate.count, 5u);
  EXPECT_EQ(policies.queues.at("b").rate.period, minutes(1));
  EXPECT_EQ(policies.defaults.breaker.open, core::BreakerPolicy().open);
}

TEST(ConfigTest, NoneTakesALimitAway) {
  const core::Policies policies = Read(R"(
queues:
  a: {rate: none, concurrency: none, timeout: none, breaker: none}
  b: {breaker: {ratio: none}}
defaults: {rate: 2 batches/h, concurrency: 3, timeout: 1s, breaker: {failures: 3, ratio: 0.5}}
)");
  const core::QueuePolicy& a = policies.queues.at("a");
  EXPECT_EQ(a.rate.count, 0u);
  EXPECT_EQ(a.concurrency, 0u);
  EXPECT_EQ(a.timeout, Duration(0));
  EXPECT_FALSE(a.breaker.enabled());
  const core::BreakerPolicy& b = policies.queues.at("b").breaker;
  EXPECT_EQ(b.failures, 3u);
  EXPECT_EQ(b.ratio, 0);
}

TEST(ConfigTest, KeysInheritSettingBySettingAndNoneTakesAllAway) {
  const core::Policies policies = Read(R"(
queues:
  a: {keys: {order: false, burst: 5}}
  b: {keys: none}
  c: {keys: {rate: none}}
  d: {keys: {}}
defaults: {keys: {order: true, concurrency: 2, rate: 3/s}}
)");
  const core::KeyPolicy& a = policies.queues.at("a").keys;
  EXPECT_FALSE(a.ordered);
  EXPECT_EQ(a.concurrency, 2u);
  EXPECT_EQ(a.rate, (core::RatePolicy{3, seconds(1), false, 5}));
  EXPECT_FALSE(policies.queues.at("b").keys.limits());
  EXPECT_TRUE(policies.queues.at("c").keys.ordered);
  EXPECT_EQ(policies.queues.at("c").keys.rate.count, 0u);
  EXPECT_EQ(policies.queues.at("d").keys, policies.defaults.keys);
}

TEST(ConfigTest, RatesHaveAUnitAndAPeriod) {
  const auto rate = [](const std::string& text) {
    return Read("defaults: {rate: \"" + text + "\"}").defaults.rate;
  };
  EXPECT_EQ(rate("300/min").period, minutes(1));
  EXPECT_EQ(rate("1/h").period, hours(1));
  EXPECT_FALSE(rate("10 jobs/s").of_batches);
  EXPECT_FALSE(rate("1job/s").of_batches);
  EXPECT_TRUE(rate("2 batches/s").of_batches);
  EXPECT_TRUE(rate("1 batch / min").of_batches);
  EXPECT_EQ(rate("2 batches/s").count, 2u);
}

TEST(ConfigTest, ADurableQueueHasTheCapacityThatIsSaid) {
  core::QueuePolicy built_in;
  built_in.durable = true;
  const auto config = ParseConfig(R"(queues:
  plain: {}
  bounded: {capacity: {jobs: 5}}
  memory: {durable: false}
  free: {durable: false, capacity: {jobs: none}}
)",
                                  "b.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  const core::Policies policies = PoliciesOf(*config, built_in, {});
  EXPECT_EQ(policies.defaults.capacity_jobs, kNoLimit);
  EXPECT_EQ(policies.defaults.capacity_bytes, kNoLimit);
  EXPECT_EQ(policies.queues.at("plain").capacity_jobs, kNoLimit);
  EXPECT_EQ(policies.queues.at("bounded").capacity_jobs, 5u);
  EXPECT_EQ(policies.queues.at("bounded").capacity_bytes, kNoLimit);
  EXPECT_EQ(policies.queues.at("memory").capacity_jobs, built_in.capacity_jobs);
  EXPECT_EQ(policies.queues.at("memory").capacity_bytes, built_in.capacity_bytes);
  EXPECT_EQ(policies.queues.at("free").capacity_jobs, kNoLimit);
  // Shown as it is read.
  const std::string text = ConfigText(ConfigOf(policies));
  EXPECT_NE(text.find("capacity: {jobs: none, bytes: none}"), std::string::npos) << text;
  EXPECT_EQ(ConfigText(ConfigOf(PoliciesOf(*ParseConfig(text, "b.yaml"), built_in, {}))), text);
}

TEST(ConfigTest, OverridesGoBeforeTheDefaultsButNotBeforeAQueue) {
  config::Queue overrides;
  overrides.set_lease(Duration(seconds(7)).count());
  const core::Policies policies =
      Read("queues: {a: {lease: 1s}, b: {}}\ndefaults: {lease: 2s, retry: {max_attempts: 9}}",
           overrides);
  EXPECT_EQ(policies.defaults.lease_duration, seconds(7));
  EXPECT_EQ(policies.defaults.max_attempts, 9u);
  EXPECT_EQ(policies.queues.at("b").lease_duration, seconds(7));
  EXPECT_EQ(policies.queues.at("a").lease_duration, seconds(1));
}

TEST(ConfigTest, SettingsAreSaidByTheirNamesInTheFile) {
  config::Queue queue;
  EXPECT_TRUE(SetSetting("rate", "2 batches/s", &queue).ok());
  EXPECT_TRUE(SetSetting("retry.backoff", "1s...5m", &queue).ok());
  EXPECT_EQ(SettingText("rate", queue), "2 batches/s");
  EXPECT_EQ(SettingText("retry.backoff", queue), "1s..5m");
  EXPECT_EQ(SetSetting("burst", "0", &queue).message(),
            "\"0\" is out of range: expected a whole number from 1 to 1000000");
  EXPECT_FALSE(queue.has_burst());
}

TEST(ConfigTest, TheRangeOfABackoffMayHaveBlanksAndThreeDots) {
  for (const char* text : {"10ms..5m", "10ms...5m", "10ms .. 5m", " 10ms ...  5m "}) {
    const core::QueuePolicy policy =
        Read(std::string("defaults: {retry: {backoff: '") + text + "'}}").defaults;
    EXPECT_EQ(policy.backoff_min, milliseconds(10)) << text;
    EXPECT_EQ(policy.backoff_max, minutes(5)) << text;
  }
}

TEST(ConfigTest, WhatIsPrintedIsReadAgainTheSame) {
  core::Policies policies;
  policies.defaults = Unusual();
  policies.unknown_queues = false;
  policies.queues["built.in"] = core::QueuePolicy();
  policies.queues["a:/-_b"] = Unusual();
  for (const char* name : {"null", "123", "-", "true", ":", "a:", "1.5", "yes", "0x1f"}) {
    policies.queues[name] = Unusual();
    policies.queues[name].concurrency = 77;
  }
  const std::string text = ConfigText(ConfigOf(policies));
  const core::Policies again = Read(text);
  EXPECT_EQ(ConfigChanges(policies, again), std::vector<ConfigChange>()) << text;
  EXPECT_EQ(ConfigText(ConfigOf(again)), text);
  EXPECT_EQ(again.defaults.breaker.ratio, 1.0 / 3);
}

TEST(ConfigTest, PrintsOneLineForEachSetting) {
  core::Policies policies;
  policies.queues["q"] = Unusual();
  EXPECT_EQ(ConfigText(ConfigOf(policies)), R"(queues:
  q:
    capacity: {jobs: 123, bytes: 1000001}
    batch: {max_jobs: 7, max_bytes: 512KiB, linger: 1.5s}
    rate: 90 batches/min
    burst: 3
    concurrency: 9
    keys: {order: true, concurrency: 6, rate: 40/h, burst: 2}
    lease: 1m30s
    timeout: 250ms
    retry: {max_attempts: 11, backoff: 10ms..2h}
    breaker: {failures: 4, ratio: 0.3333333333333333, window: 7s, min_jobs: 8, open: 200ms, probes: 2}
    durable: true
    job_names: {window: 3h}
    dead: {jobs: 12, bytes: 2MiB}
defaults:
  capacity: {jobs: 1000000, bytes: 128MiB}
  batch: {max_jobs: 1, max_bytes: 1MiB, linger: 0}
  rate: none
  burst: 1
  concurrency: none
  keys: {order: false, concurrency: none, rate: none, burst: 1}
  lease: 10s
  timeout: none
  retry: {max_attempts: 5, backoff: 1s..5m}
  breaker: {failures: none, ratio: none, window: 10s, min_jobs: 20, open: 10s, probes: 1}
  durable: false
  job_names: {window: 24h}
  dead: {jobs: 10000, bytes: 64MiB}
unknown_queues: accept
)");
}

TEST(ConfigTest, EveryFieldOfTheSchemaIsUsed) {
  // A field that nobody converts would be printed without a value, or not at all.
  core::Policies policies;
  policies.defaults = Unusual();
  const auto all = ConfigChanges(core::Policies(), policies);
  size_t fields = 0;
  for (const auto* type :
       {config::Queue::descriptor(), config::Capacity::descriptor(), config::Batch::descriptor(),
        config::Keys::descriptor(), config::Retry::descriptor(), config::Breaker::descriptor(),
        config::JobNames::descriptor(), config::Dead::descriptor()}) {
    for (int i = 0; i < type->field_count(); ++i) {
      fields += type->field(i)->options().GetExtension(config::setting).kind() != config::GROUP;
    }
  }
  EXPECT_EQ(all.size(), fields);
}

TEST(ConfigChangesTest, NamesQueueSettingAndBothValues) {
  const core::Policies before =
      Read("queues: {a: {rate: 5/s}, gone: {lease: 1s}}\ndefaults: {concurrency: 2}");
  const core::Policies after = Read(
      "queues: {a: {rate: 2 batches/s, burst: 2}, fresh: {batch: {max_jobs: 8}}}\n"
      "defaults: {lease: 3s}\nunknown_queues: refuse");
  const std::vector<ConfigChange> expected = {
      {"*", "concurrency", "2", "none"},
      {"*", "lease", "10s", "3s"},
      {"*", "unknown_queues", "accept", "refuse"},
      {"a", "rate", "5/s", "2 batches/s"},
      {"a", "burst", "1", "2"},
      {"a", "concurrency", "2", "none"},
      {"a", "lease", "10s", "3s"},
      {"fresh", "named", "no", "yes"},
      {"fresh", "batch.max_jobs", "1", "8"},
      {"fresh", "concurrency", "2", "none"},
      {"fresh", "lease", "10s", "3s"},
      {"gone", "named", "yes", "no"},
      {"gone", "concurrency", "2", "none"},
      {"gone", "lease", "1s", "3s"},
  };
  EXPECT_EQ(ConfigChanges(before, after), expected);
  EXPECT_EQ(ConfigChanges(after, after), std::vector<ConfigChange>());
}

}  // namespace
}  // namespace whippletree
