#include "broker/client.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "broker/admin.h"
#include "common/cli.h"

namespace whippletree {

void AddClientOptions(CLI::App* command, ClientOptions* options) {
  AddBroker(command, &options->broker);
  AddDuration(command, "--connect-timeout", &options->timeout, "How long to wait for the broker");
}

absl::StatusOr<wire::AdminReply> Ask(const ClientOptions& options, wire::AdminRequest request) {
  const absl::StatusOr<HostPort> broker = ParseHostPort(options.broker);
  if (!broker.ok()) return broker.status();
  return Ask(*broker, std::move(request), options.timeout);
}

int FailCommand(const absl::Status& status, bool answered) {
  PrintErrors("whippletree-broker", status);
  return answered && absl::IsNotFound(status) ? kExitRefused : ExitCodeFor(status);
}

}  // namespace whippletree
