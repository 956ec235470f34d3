// Settings that defeat each other, in the exact words.
#include <gtest/gtest.h>

#include <string>

#include "broker/config.h"

namespace whippletree {
namespace {

// The warnings of a file, a line each: "QUEUE: what".
std::string Warnings(const std::string& text) {
  const absl::StatusOr<config::Config> config = ParseConfig(text, "b.yaml");
  EXPECT_TRUE(config.ok()) << config.status();
  if (!config.ok()) return "";
  std::string lines;
  for (const ConfigWarning& one : ConfigWarnings(PoliciesOf(*config, core::QueuePolicy(), {}))) {
    lines += one.queue + ": " + one.warning + "\n";
  }
  return lines;
}

// Those of the settings of one queue, without its name.
std::string Of(const std::string& settings, const std::string& defaults = "") {
  const std::string line =
      Warnings("queues: {q: {" + settings + "}}\ndefaults: {" + defaults + "}");
  if (line.empty()) return "";
  EXPECT_EQ(line.substr(0, 3), "q: ");
  return line.substr(3, line.size() - 4);
}

TEST(ConfigWarningsTest, ThereAreNoneOfWhatIsBuiltInAndOfWhatIsUsual) {
  EXPECT_EQ(Warnings("queues: {}"), "");
  EXPECT_EQ(Warnings(R"(queues:
  mail: {batch: {max_jobs: 50, linger: 2s}, rate: 2 batches/s}
  api: {concurrency: 8, timeout: 30s, breaker: {failures: 3, open: 10s}}
  orders: {keys: {order: true}}
  customers: {keys: {concurrency: 2, rate: 10/s, burst: 5}}
  strict: {retry: {max_attempts: 1}, rate: 1/h}
defaults: {lease: 30s}
)"),
            "");
}

TEST(ConfigWarningsTest, BatchesThatTheRateOrTheCapacityCuts) {
  EXPECT_EQ(Of("batch: {max_jobs: 50}, rate: 10/s, burst: 5"),
            "batches have at most 5 jobs: the rate counts jobs and its burst is 5; raise burst or "
            "count batches");
  EXPECT_EQ(Of("batch: {max_jobs: 50}, rate: 10/s"),
            "batches have at most 1 job: the rate counts jobs and its burst is 1; raise burst or "
            "count batches");
  EXPECT_EQ(Of("batch: {max_jobs: 50}, rate: 10/s, burst: 50"), "");
  EXPECT_EQ(Of("batch: {max_jobs: 50}, rate: 10 batches/s"), "");
  EXPECT_EQ(Of("batch: {max_jobs: 50}, capacity: {jobs: 49}"),
            "a batch never has batch.max_jobs jobs: the queue takes 49; raise capacity.jobs or "
            "lower batch.max_jobs");
  EXPECT_EQ(Of("batch: {max_jobs: 50}, capacity: {jobs: 50}"), "");
}

TEST(ConfigWarningsTest, BatchesThatCannotBeHalved) {
  EXPECT_EQ(Of("batch: {max_jobs: 50}, retry: {max_attempts: 1}"),
            "a batch that fails takes all its jobs with it: with retry.max_attempts 1 it is not "
            "halved to find the one at fault; allow 2 attempts");
  EXPECT_EQ(Of("batch: {max_jobs: 50}, retry: {max_attempts: 2}"), "");
}

TEST(ConfigWarningsTest, BatchesOfJobsWhoseKeysKeepThemApart) {
  const auto text = [](const std::string& jobs, const std::string& by) {
    return "a batch has at most " + jobs + " of each key, because of keys." + by +
           ": those of few keys never fill one; lower batch.max_jobs, or do without keys." + by;
  };
  EXPECT_EQ(Of("batch: {max_jobs: 4}, keys: {order: true}"), text("1 job", "order"));
  EXPECT_EQ(Of("batch: {max_jobs: 4}, keys: {concurrency: 3}"), text("3 jobs", "concurrency"));
  EXPECT_EQ(Of("batch: {max_jobs: 4}, keys: {rate: 9/s, burst: 2, concurrency: 3}"),
            text("2 jobs", "burst"));
  EXPECT_EQ(Of("batch: {max_jobs: 4}, keys: {rate: 9/s, burst: 4, concurrency: 4}"), "");
  EXPECT_EQ(Of("batch: {max_jobs: 1}, keys: {order: true}"), "");
}

TEST(ConfigWarningsTest, WhatIsForBatchesWithoutBatches) {
  EXPECT_EQ(Of("batch: {max_jobs: 1, linger: 2s}"),
            "batch.linger has no effect: with batch.max_jobs 1 there are no batches");
  EXPECT_EQ(Of("rate: 2 batches/s"),
            "the rate counts batches, but there are none, so each job counts as one: raise "
            "batch.max_jobs or count jobs");
}

TEST(ConfigWarningsTest, AQueueMayLeaveUnusedWhatTheDefaultsSay) {
  EXPECT_EQ(Of("batch: {max_jobs: 1}", "batch: {max_jobs: 50, linger: 2s}"), "");
  EXPECT_EQ(Of("batch: {max_jobs: 1}", "batch: {max_jobs: 50}, rate: 2 batches/s"), "");
  EXPECT_EQ(Of("batch: {max_jobs: 9}", "batch: {linger: 2s}, rate: 2 batches/s"), "");
  EXPECT_EQ(Of("keys: {order: true}", "keys: {concurrency: 2}"), "");
  EXPECT_EQ(Of("concurrency: 1", "keys: {concurrency: 2}"), "");
  EXPECT_EQ(Of("rate: 1/s", "keys: {rate: 2/s}"), "");
}

TEST(ConfigWarningsTest, LimitsOfKeysThatAnotherOneHides) {
  EXPECT_EQ(Of("keys: {order: true, concurrency: 2}"),
            "keys.concurrency has no effect: with keys.order jobs of a key run one at a time");
  EXPECT_EQ(Of("keys: {concurrency: 8}, concurrency: 8"),
            "keys.concurrency has no effect: concurrency lets 8 jobs of all keys together run; "
            "make it less than that");
  EXPECT_EQ(Of("keys: {concurrency: 7}, concurrency: 8"), "");
  EXPECT_EQ(Of("keys: {concurrency: 8}, concurrency: 2, batch: {max_jobs: 8}"), "");
  EXPECT_EQ(Of("keys: {rate: 60/min}, rate: 1/s"),
            "keys.rate has no effect: the rate of all keys together is no higher; make it less "
            "than that");
  EXPECT_EQ(Of("keys: {rate: 59/min}, rate: 1/s"), "");
  EXPECT_EQ(Of("keys: {rate: 60/min}, rate: 1/s, burst: 2"), "");
}

TEST(ConfigWarningsTest, ABreakerThatNeverSeesEnoughStarts) {
  EXPECT_EQ(Of("breaker: {ratio: 0.5}, rate: 1/s"),
            "breaker.ratio never opens: the rate lets at most 11 starts into breaker.window, and "
            "breaker.min_jobs is 20; make the window longer or min_jobs smaller");
  EXPECT_EQ(Of("breaker: {ratio: 0.5, window: 19s}, rate: 1/s"), "");
  EXPECT_EQ(Of("breaker: {ratio: 0.5, min_jobs: 11}, rate: 1/s"), "");
  EXPECT_EQ(Of("breaker: {failures: 3}, rate: 1/s"), "");
}

TEST(ConfigWarningsTest, AQueueDoesNotRepeatThoseOfTheDefaults) {
  const std::string defaults = "defaults: {batch: {max_jobs: 9}, retry: {max_attempts: 1}}\n";
  const std::string text =
      "a batch that fails takes all its jobs with it: with retry.max_attempts 1 it is not halved "
      "to find the one at fault; allow 2 attempts\n";
  EXPECT_EQ(Warnings(defaults + "queues: {a: {}, b: {lease: 1s}}"), "*: " + text);
  EXPECT_EQ(Warnings(defaults + "queues: {a: {}, b: {retry: {max_attempts: 2}}}\n"
                                "unknown_queues: refuse"),
            "a: " + text);
}

}  // namespace
}  // namespace whippletree
