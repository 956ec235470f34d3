#include "broker/client.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "common/cli.h"

namespace whippletree {

void AddClientOptions(CLI::App* command, ClientOptions* options) {
  AddBroker(command, &options->broker);
  AddDuration(command, "--connect-timeout", &options->timeout, "How long to wait for the broker");
}

absl::StatusOr<std::unique_ptr<AdminClient>> MakeClient(const ClientOptions& options) {
  absl::StatusOr<HostPort> broker = ParseHostPort(options.broker);
  if (!broker.ok()) return broker.status();
  return std::make_unique<AdminClient>(*std::move(broker), options.timeout);
}

absl::StatusOr<wire::AdminReply> Ask(const ClientOptions& options, wire::AdminRequest request) {
  const auto client = MakeClient(options);
  if (!client.ok()) return client.status();
  return (*client)->Ask(std::move(request));
}

absl::StatusOr<wire::StatusReply> AskStatus(const ClientOptions& options) {
  const auto client = MakeClient(options);
  if (!client.ok()) return client.status();
  return (*client)->AskStatus();
}

int FailCommand(const absl::Status& status, bool answered) {
  PrintErrors("whippletree-broker", status);
  return answered && absl::IsNotFound(status) ? kExitRefused : ExitCodeFor(status);
}

}  // namespace whippletree
