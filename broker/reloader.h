// Loads the policies again while the broker runs, on a thread of its own, and logs what differs.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "broker/core/config.h"
#include "common/socket.h"

namespace whippletree {

// Logs `config_warning` for each of ConfigWarnings(policies).
void LogConfigWarnings(const core::Policies& policies);

class Reloader {
 public:
  struct Options {
    std::string path;         // of the configuration file; empty: there is none
    core::Policies in_force;  // as the broker began with
    // Called by the reloader's thread.
    std::function<absl::StatusOr<core::Policies>()> load;
    std::function<void(core::Policies)> apply;
  };

  explicit Reloader(Options options);
  ~Reloader();  // ends the thread, after what it does just then
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

  // Loads and applies soon; several requests may become one. The log says what came of it:
  // `config_changed` for each difference, `config_warning`, then `config_reloaded`; or
  // `config_rejected` for each error, and nothing changes.
  // Thread-safe and async-signal-safe.
  void Request();

 private:
  void Run();
  void Reload();

  Options options_;
  WakeEvent wake_;
  std::atomic<bool> requested_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: it uses the others
};

}  // namespace whippletree
