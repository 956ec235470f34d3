#include "broker/serve_options.h"

#include <absl/strings/str_cat.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "broker/config.h"
#include "common/cli.h"

namespace whippletree {
namespace {

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

absl::Status Wrong(const std::string& what) {
  return absl::InvalidArgumentError(what + " (see whippletree-broker serve --help)");
}

core::QueuePolicy BuiltIn(const PolicyOptions& options) {
  core::Config config;
  config.memory_limit_bytes = options.memory_limit;
  core::QueuePolicy policy;
  policy.capacity_bytes = config.budget_bytes() / 4;
  policy.durable = !options.data_dir.empty();
  return policy;
}

// What the flags say, as far as they were given.
config::Queue Overrides(const PolicyOptions& options) {
  const auto given = [&](const char* flag) { return options.command->count(flag) > 0; };
  config::Queue out;
  if (given("--queue-capacity")) out.mutable_capacity()->set_jobs(options.queue_capacity);
  if (given("--queue-bytes")) {
    out.mutable_capacity()->set_bytes(options.queue_bytes > 0 ? options.queue_bytes
                                                              : BuiltIn(options).capacity_bytes);
  }
  if (given("--lease")) out.set_lease(options.lease.count());
  if (given("--max-attempts")) out.mutable_retry()->set_max_attempts(options.max_attempts);
  if (given("--backoff-min")) {
    out.mutable_retry()->mutable_backoff()->set_min(options.backoff_min.count());
  }
  if (given("--backoff-max")) {
    out.mutable_retry()->mutable_backoff()->set_max(options.backoff_max.count());
  }
  return out;
}

absl::Status CheckPolicyOptions(const PolicyOptions& options) {
  if (options.memory_limit < (64u << 20)) return Wrong("--memory-limit: expected at least 64MiB");
  if (options.lease < milliseconds(500) || options.lease > std::chrono::hours(24)) {
    return Wrong("--lease: expected 500ms to 24h");
  }
  return absl::OkStatus();
}

}  // namespace

void AddPolicyOptions(CLI::App* command, PolicyOptions* options) {
  options->command = command;
  command->add_option("--config", options->config, "Configuration file: a policy for each queue")
      ->type_name("FILE");
  command
      ->add_option("--data-dir", options->data_dir,
                   "Directory of durable queues, which outlive the broker; without it all queues "
                   "are in memory")
      ->type_name("DIR");
  AddByteSize(command, "--memory-limit", &options->memory_limit, "What the process may take");
  AddNumber(command, "--queue-capacity", &options->queue_capacity,
            "Jobs that a queue takes; then its producers wait. Durable queues: none, if not given",
            1, 1ull << 40);
  AddByteSize(command, "--queue-bytes", &options->queue_bytes,
              "Payload bytes that a queue takes; 0: an eighth of --memory-limit. Durable queues: "
              "none, if not given");
  AddDuration(command, "--lease", &options->lease,
              "How long a silent worker keeps its jobs; it sends a heartbeat five times as often");
  AddNumber(command, "--max-attempts", &options->max_attempts, "The most starts of a job", 1, 1000);
  AddDuration(command, "--backoff-min", &options->backoff_min,
              "A failed job is tried again within this time; it doubles with each attempt");
  AddDuration(command, "--backoff-max", &options->backoff_max, "... up to this");
}

void AddServeOptions(CLI::App* command, ServeOptions* options) {
  command->add_option("--host", options->host, "Address to listen at")->capture_default_str();
  AddNumber(command, "--port", &options->port,
            "Port of the door; submit and complete get the next two; 0: the system chooses", 0,
            65'533);
  AddNumber(command, "--http-port", &options->http_port,
            "Port of health, metrics and the status page; 0: the system chooses", 0, 65'535);
  command->add_flag("--insecure", options->insecure,
                    "Allow an address beyond loopback without any protection");
  command->add_flag("--accept-data-loss", options->accept_data_loss,
                    "Go on with a data directory that lacks what was confirmed, as after an old "
                    "backup; for one start");
  AddByteSize(command, "--disk-reserve", &options->disk_reserve,
              "What durable queues leave free on the disk of --data-dir; 0: what fits it");
  AddByteSize(command, "--payload-max", &options->payload_max,
              "Largest payload, and largest result");
  AddPolicyOptions(command, &options->policy);
  AddLogOptions(command, &options->log);
}

absl::StatusOr<core::Policies> LoadPolicies(const PolicyOptions& options) {
  if (absl::Status status = CheckPolicyOptions(options); !status.ok()) return status;
  config::Config config;
  if (!options.config.empty()) {
    absl::StatusOr<config::Config> read = ReadConfig(options.config);
    if (!read.ok()) return read.status();
    config = *std::move(read);
  }
  core::Policies policies = PoliciesOf(config, BuiltIn(options), Overrides(options));
  if (!options.data_dir.empty()) return policies;
  const std::string needs = "durable: true needs a directory for it: add --data-dir DIR";
  if (policies.defaults.durable) return absl::InvalidArgumentError("defaults." + needs);
  for (const auto& [name, policy] : policies.queues) {
    if (policy.durable)
      return absl::InvalidArgumentError(absl::StrCat("queues.", name, ".", needs));
  }
  return policies;
}

absl::Status CheckOptions(const ServeOptions& options) {
  if (absl::Status status = CheckPolicyOptions(options.policy); !status.ok()) return status;
  if (options.payload_max < 1 || options.payload_max > (512u << 20)) {
    return Wrong("--payload-max: expected 1 to 512MiB");
  }
  if (options.accept_data_loss && options.policy.data_dir.empty()) {
    return Wrong("--accept-data-loss is about a data directory: add --data-dir DIR");
  }
  if (options.disk_reserve > 0 && options.policy.data_dir.empty()) {
    return Wrong("--disk-reserve is about the disk of a data directory: add --data-dir DIR");
  }
  if (!IsLoopback(options.host) && !options.insecure) {
    return absl::InvalidArgumentError(
        "--host " + options.host +
        ": anybody who reaches this address could submit and take jobs; listen on 127.0.0.1, or "
        "add --insecure on a private network");
  }
  return absl::OkStatus();
}

}  // namespace whippletree
