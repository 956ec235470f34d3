// whippletree-broker: serves, and tells and changes what goes on in a broker that does.
#include <cstdio>
#include <string>

#include "broker/client.h"
#include "broker/config.h"
#include "broker/flags.h"
#include "broker/ledger.h"
#include "broker/serve.h"
#include "broker/status_text.h"
#include "broker/store/store_check.h"
#include "common/cli.h"
#include "common/codec.h"
#include "common/crash_point.h"
#include "common/descriptors.h"
#include "common/printable.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-broker";

int ShowStatus(const ClientOptions& options, bool json) {
  const absl::StatusOr<wire::StatusReply> status = AskStatus(options);
  if (!status.ok()) return FailCommand(status.status());
  std::fputs((json ? StatusJson(*status) : StatusText(*status)).c_str(), stdout);
  return kExitOk;
}

int ShowLedger(const ClientOptions& options) {
  const absl::StatusOr<wire::StatusReply> status = AskStatus(options);
  if (!status.ok()) return FailCommand(status.status());
  std::fputs(LedgerText(*status).c_str(), stdout);
  return LedgerBalances(*status) ? kExitOk : kExitIncomplete;
}

int SetPaused(const ClientOptions& options, const std::string& queue, bool paused) {
  wire::AdminRequest request;
  request.mutable_pause()->set_queue(queue);
  request.mutable_pause()->set_paused(paused);
  const auto reply = Ask(options, std::move(request));
  if (!reply.ok()) return FailCommand(reply.status(), true);
  const bool changed = reply->pause().changed();
  const char* done = paused ? (changed ? "is paused" : "was paused already")
                            : (changed ? "is resumed" : "was not paused");
  std::printf("queue %s %s\n", queue.c_str(), done);
  return kExitOk;
}

int DropQueue(const ClientOptions& options, const std::string& queue) {
  wire::AdminRequest request;
  request.mutable_drop_queue()->set_queue(queue);
  const auto reply = Ask(options, std::move(request));
  if (!reply.ok()) return FailCommand(reply.status(), true);
  std::printf("queue %s is dropped; it had counted %llu jobs\n", queue.c_str(),
              static_cast<unsigned long long>(reply->drop_queue().accepted()));
  return kExitOk;
}

int CheckConfig(const std::string& file) {
  const absl::StatusOr<config::Config> config = ReadConfig(file);
  if (!config.ok()) return FailCommand(config.status());
  const core::Policies policies = PoliciesOf(*config, core::QueuePolicy(), config::Queue());
  std::vector<ConfigWarning> warnings = ConfigWarnings(policies);
  // It is not said here whether there is one.
  constexpr char kNoDirectory[] = "durable: true needs a broker that is started with --data-dir";
  if (policies.defaults.durable) warnings.push_back({"*", kNoDirectory});
  for (const auto& [name, policy] : policies.queues) {
    if (policy.durable && !policies.defaults.durable) warnings.push_back({name, kNoDirectory});
  }
  for (const ConfigWarning& one : warnings) {
    const std::string place = one.queue == "*" ? "defaults" : "queues." + one.queue;
    PrintError(kProgram, Printable(file) + ": warning: " + place + ": " + one.warning);
  }
  const auto counted = [](size_t n, const char* what) {
    return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
  };
  std::printf("%s: ok, %s%s\n", Printable(file).c_str(),
              counted(config->queues().size(), "queue").c_str(),
              warnings.empty() ? "" : (", " + counted(warnings.size(), "warning")).c_str());
  return kExitOk;
}

int ShowRunningConfig(const ClientOptions& options) {
  const auto client = MakeClient(options);
  if (!client.ok()) return FailCommand(client.status());
  const absl::StatusOr<std::string> text = (*client)->AskPolicies();
  if (!text.ok()) return FailCommand(text.status());
  std::fputs(text->c_str(), stdout);
  return kExitOk;
}

int ShowConfig(const PolicyOptions& options) {
  const absl::StatusOr<core::Policies> policies = LoadPolicies(options);
  if (!policies.ok()) return FailCommand(policies.status());
  std::fputs(ConfigText(ConfigOf(*policies)).c_str(), stdout);
  return kExitOk;
}

int CheckDataDirectory(const std::string& dir) {
  RocksdbOptions options;
  options.dir = dir;
  const absl::Status status = CheckStore(
      options, [](const std::string& line) { std::printf("%s\n", Printable(line).c_str()); });
  if (!status.ok()) {
    const int code = FailCommand(status);
    return absl::IsNotFound(status) ? kExitUsage : code;
  }
  std::printf("%s: ok\n", Printable(dir).c_str());
  return kExitOk;
}

int Main(int argc, char** argv) {
  OpenStandardStreams(ClosedStreams::kQuiet);
  SilenceProtobuf();
  BrokerFlags flags;
  if (const auto code = ParseBrokerFlags({argv + 1, argv + argc}, &flags)) return *code;
  if (const auto warning = ArmCrashPoint(kBrokerCrashPoints); !warning.ok()) {
    PrintError(kProgram, std::string(warning.status().message()));
    return kExitUsage;
  } else if (*warning) {
    PrintError(kProgram, **warning);
  }
  using Command = BrokerFlags::Command;
  switch (flags.command) {
    case Command::kServe:
      return Serve(flags.serve);
    case Command::kStatus:
      return ShowStatus(flags.client, flags.json);
    case Command::kLedger:
      return ShowLedger(flags.client);
    case Command::kPause:
      return SetPaused(flags.client, flags.queue, true);
    case Command::kResume:
      return SetPaused(flags.client, flags.queue, false);
    case Command::kDropQueue:
      return DropQueue(flags.client, flags.queue);
    case Command::kJobs:
      return flags.run_jobs();
    case Command::kCheckConfig:
      return CheckConfig(flags.file);
    case Command::kShowConfig:
      return ShowConfig(flags.shown);
    case Command::kRunningConfig:
      return ShowRunningConfig(flags.client);
    case Command::kCheckStore:
      return CheckDataDirectory(flags.data_dir);
  }
  return kExitUsage;
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
