// How the commands reach the broker.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "broker/admin.h"
#include "common/time.h"
#include "wire.pb.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
}

namespace whippletree {

struct ClientOptions {
  std::string broker;
  Duration timeout = seconds(5);
};

// `options` must outlive `command`.
void AddClientOptions(CLI::App* command, ClientOptions* options);

// INVALID_ARGUMENT for an address that is none. For several requests that belong together.
absl::StatusOr<std::unique_ptr<AdminClient>> MakeClient(const ClientOptions& options);
// Errors as those of MakeClient() and AdminClient.
absl::StatusOr<wire::AdminReply> Ask(const ClientOptions& options, wire::AdminRequest request);
absl::StatusOr<wire::StatusReply> AskStatus(const ClientOptions& options);

// Prints the error and returns the exit code. `answered`: it may be the broker's own word, so what
// it does not know is no fault of this machine.
int FailCommand(const absl::Status& status, bool answered = false);

}  // namespace whippletree
