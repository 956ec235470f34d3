// The flags of the broker that serves, and what follows from them.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

#include "broker/core/config.h"
#include "common/address.h"
#include "common/log.h"
#include "common/time.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
}

namespace whippletree {

// How queues are treated: the configuration file, and flags that go before its defaults.
struct PolicyOptions {
  std::string config;    // the file; empty: none
  std::string data_dir;  // of durable queues; empty: everything is in memory
  uint64_t memory_limit = 1ull << 30;
  uint64_t queue_capacity = 1'000'000;
  uint64_t queue_bytes = 0;
  uint32_t max_attempts = 5;
  Duration lease = seconds(10);
  Duration backoff_min = seconds(1);
  Duration backoff_max = std::chrono::minutes(5);
  Duration names_window = std::chrono::hours(24);
  uint64_t dead_jobs = 10'000;
  uint64_t dead_bytes = 64ull << 20;
  // Knows which flags were given. Constant after AddPolicyOptions.
  const CLI::App* command = nullptr;
};

struct ServeOptions {
  std::string host = "127.0.0.1";
  uint32_t port = kDoorPortDefault;
  uint32_t http_port = 7780;
  bool insecure = false;
  bool accept_data_loss = false;  // of a store that has less than what peers were told of
  uint64_t payload_max = 16u << 20;
  uint64_t disk_reserve = 0;  // 0: by the sizes of disk and store
  PolicyOptions policy;
  LogOptions log;
};

// `options` must outlive `command`.
void AddPolicyOptions(CLI::App* command, PolicyOptions* options);
void AddServeOptions(CLI::App* command, ServeOptions* options);

// Reads the file, if there is one, and puts the flags that were given over it.
// INVALID_ARGUMENT: a flag or the file is wrong, a line for each error; UNKNOWN: the file cannot be
// read.
// REQUIRES: AddPolicyOptions; the command line is parsed.
absl::StatusOr<core::Policies> LoadPolicies(const PolicyOptions& options);

// INVALID_ARGUMENT: values that parse, but cannot be.
absl::Status CheckOptions(const ServeOptions& options);

}  // namespace whippletree
