#include "broker/serve_options.h"

#include <absl/strings/str_cat.h>

#include <CLI/CLI.hpp>
#include <string_view>

#include "broker/config.h"
#include "broker/config_value.h"
#include "common/cli.h"
#include "common/printable.h"

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

// A flag that says a setting of the configuration file, for all queues of which the file does not
// say it.
struct SettingFlag {
  const char* flag;
  const char* setting;
  const char* type;
  const char* description;
};
constexpr SettingFlag kSettingFlags[] = {
    {"--queue-capacity", "capacity.jobs", "N", "Jobs that a queue takes; then its producers wait"},
    {"--queue-bytes", "capacity.bytes", "SIZE", "Payload bytes that a queue takes"},
    {"--batch-max-jobs", "batch.max_jobs", "N", "Most jobs of a batch; 1: no batches"},
    {"--batch-max-bytes", "batch.max_bytes", "SIZE", "Most payload bytes of a batch"},
    {"--batch-linger", "batch.linger", "DURATION",
     "How long the oldest job of an incomplete batch waits for others"},
    {"--rate", "rate", "RATE", "Most starts in a time: 50/s, 300/min, \"2 batches/s\" or none"},
    {"--burst", "burst", "N", "Starts at once after a pause, in the unit of --rate"},
    {"--concurrency", "concurrency", "N", "Most handler calls at a time, or none"},
    {"--lease", "lease", "DURATION",
     "How long a silent worker keeps its jobs; it sends a heartbeat five times as often"},
    {"--timeout", "timeout", "DURATION", "How long an attempt may run, or none"},
    {"--max-attempts", "retry.max_attempts", "N", "The most starts of a job"},
    {"--retry-backoff", "retry.backoff", "MIN..MAX",
     "A failed job waits a random time up to the first; that doubles with each attempt, up to the "
     "second"},
    {"--breaker-failures", "breaker.failures", "N",
     "The breaker opens after so many failures in a row, or none"},
    {"--breaker-ratio", "breaker.ratio", "RATIO",
     "... or when this share of the last window failed, as 0.5, or none"},
    {"--breaker-window", "breaker.window", "DURATION", "What --breaker-ratio looks at"},
    {"--breaker-min-jobs", "breaker.min_jobs", "N", "Fewer jobs in the window do not open it"},
    {"--breaker-open", "breaker.open", "DURATION", "How long it stays open, before probes"},
    {"--breaker-probes", "breaker.probes", "N", "Jobs that are let through then, to see"},
    {"--names-window", "job_names.window", "DURATION",
     "How long a job's name stands for it, or none: names are not looked at"},
    {"--dead-jobs", "dead.jobs", "N", "Dead jobs that a queue keeps, the oldest go first, or none"},
    {"--dead-bytes", "dead.bytes", "SIZE", "What these may take"},
};

void AddSettingFlag(CLI::App* command, const SettingFlag& flag, PolicyOptions* options) {
  const auto read = [flag, options](const std::string& text) {
    const absl::Status status = SetSetting(flag.setting, text, &options->overrides);
    if (!status.ok()) throw CLI::ValidationError(flag.flag, std::string(status.message()));
  };
  const config::Queue built_in = ConfigOf({}).defaults();
  const std::string_view setting = flag.setting;
  std::string value = setting == "capacity.bytes" ? "an eighth of --memory-limit"
                                                  : SettingText(flag.setting, built_in);
  if (setting.starts_with("capacity.")) value += "; none for durable queues";
  command->add_option_function<std::string>(flag.flag, read, flag.description)
      ->type_name(flag.type)
      ->default_str(value)
      ->group("Defaults of queues");
}

absl::Status CheckPolicyOptions(const PolicyOptions& options) {
  if (options.memory_limit < (64u << 20)) return Wrong("--memory-limit: expected at least 64MiB");
  return absl::OkStatus();
}

}  // namespace

void AddPolicyOptions(CLI::App* command, PolicyOptions* options) {
  command->add_option("--config", options->config, "Configuration file: a policy for each queue")
      ->type_name("FILE");
  command
      ->add_option("--data-dir", options->data_dir,
                   "Directory of durable queues, which outlive the broker; without it all queues "
                   "are in memory")
      ->type_name("DIR");
  AddByteSize(command, "--memory-limit", &options->memory_limit, "What the process may take");
  for (const SettingFlag& flag : kSettingFlags) AddSettingFlag(command, flag, options);
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
  core::Policies policies = PoliciesOf(config, BuiltIn(options), options.overrides);
  if (!options.data_dir.empty()) return policies;
  const auto needs_directory = [&](const std::string& place) {
    return absl::InvalidArgumentError(
        absl::StrCat(Printable(options.config), ": ", place,
                     ".durable: true needs a directory for it: add --data-dir DIR"));
  };
  if (policies.defaults.durable) return needs_directory("defaults");
  for (const auto& [name, policy] : policies.queues) {
    if (policy.durable) return needs_directory("queues." + name);
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
