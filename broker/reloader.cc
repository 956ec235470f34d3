#include "broker/reloader.h"

#include <absl/strings/str_split.h>

#include <utility>

#include "broker/config.h"
#include "common/log.h"

namespace whippletree {

void LogConfigWarnings(const core::Policies& policies) {
  for (const ConfigWarning& one : ConfigWarnings(policies)) {
    Log(LogLevel::kWarning, "config_warning", {{"queue", one.queue}, {"warning", one.warning}});
  }
}

Reloader::Reloader(Options options) : options_(std::move(options)), thread_([this] { Run(); }) {}

Reloader::~Reloader() {
  stopping_ = true;
  wake_.Notify();
  thread_.join();
}

void Reloader::Request() {
  requested_ = true;
  wake_.Notify();
}

void Reloader::Run() {
  while (!stopping_) {
    wake_.Wait();
    if (requested_.exchange(false)) Reload();
  }
}

void Reloader::Reload() {
  const auto rejected = [this](std::string error) {
    Log(LogLevel::kError, "config_rejected",
        {{"file", options_.path}, {"error", std::move(error)}});
  };
  if (options_.path.empty()) {
    return rejected("nothing to reload: the broker was started without --config");
  }
  absl::StatusOr<core::Policies> policies = options_.load();
  if (!policies.ok()) {
    for (const auto& line : absl::StrSplit(policies.status().message(), '\n')) {
      rejected(std::string(line));
    }
    return;
  }
  const std::vector<ConfigChange> changes = ConfigChanges(options_.in_force, *policies);
  for (const ConfigChange& change : changes) {
    Log(LogLevel::kInfo, "config_changed",
        {{"queue", change.queue},
         {"setting", change.setting},
         {"from", change.from},
         {"to", change.to}});
  }
  LogConfigWarnings(*policies);
  options_.in_force = *policies;
  options_.apply(*std::move(policies));
  Log(LogLevel::kInfo, "config_reloaded",
      {{"file", options_.path},
       {"queues", uint64_t{options_.in_force.queues.size()}},
       {"changes", uint64_t{changes.size()}}});
}

}  // namespace whippletree
