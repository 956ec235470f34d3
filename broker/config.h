// The broker's configuration file: from YAML to the core's policies and back.
//
//   file ── ParseConfig ─▶ config::Config ── PoliciesOf ─▶ core::Policies ── ConfigOf ─▶
//   config::Config
//                                                                    ── ConfigText ─▶ YAML
//
// What a message does not say is inherited, so a message says only what somebody has written; one
// from ConfigOf says everything. Stateless, thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/config.h"
#include "config.pb.h"

namespace whippletree {

// A queue's capacity where there is none: durable queues, unless somebody says one.
inline constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// Reads the text of a file; `name` is what errors call the file.
// INVALID_ARGUMENT: one line for each error, at most 20, like
//   broker.yaml:7:12: queues.api.lease: "1" has no unit: expected a duration from 500ms …
absl::StatusOr<config::Config> ParseConfig(std::string_view text, const std::string& name);

// Reads a file. Errors as ParseConfig; UNKNOWN, with the path and the reason: it cannot be read.
absl::StatusOr<config::Config> ReadConfig(const std::string& path);

// `policy` with what `settings` say.
core::QueuePolicy WithSettings(core::QueuePolicy policy, const config::Queue& settings);

// The policies of a file. Each queue inherits from the defaults: `built_in`, changed by the file's
// `defaults`, changed by `overrides` (the command line's).
core::Policies PoliciesOf(const config::Config& config, const core::QueuePolicy& built_in,
                          const config::Queue& overrides);

// The same with every setting said. ParseConfig(ConfigText(ConfigOf(policies))) gives the same
// policies.
config::Config ConfigOf(const core::Policies& policies);

// A configuration file that says what `config` says. Ends with a newline.
std::string ConfigText(const config::Config& config);

// A setting that is not what it was.
struct ConfigChange {
  std::string queue;  // "*": the defaults, and what is not of a queue
  std::string
      setting;  // as in the file, "batch.max_jobs"; "named": whether the file names the queue
  std::string from;
  std::string to;

  bool operator==(const ConfigChange&) const = default;
};

// What differs, the defaults first. A queue that only one of the two names is compared with the
// defaults of the other: that is what it had, or has now.
std::vector<ConfigChange> ConfigChanges(const core::Policies& before, const core::Policies& after);

// Settings that are right each for itself and defeat each other.
struct ConfigWarning {
  std::string queue;  // "*": the defaults
  std::string warning;
};

// All of them, the defaults' first; a queue does not repeat what is theirs.
std::vector<ConfigWarning> ConfigWarnings(const core::Policies& policies);

}  // namespace whippletree
