// whippletree-broker: serves, and tells and changes what goes on in a broker that does.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "broker/client.h"
#include "broker/config.h"
#include "broker/job_commands.h"
#include "broker/ledger.h"
#include "broker/serve.h"
#include "broker/status_text.h"
#include "broker/store/store_check.h"
#include "common/cli.h"
#include "common/codec.h"
#include "common/crash_point.h"
#include "common/printable.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-broker";

constexpr char kAbout[] =
    R"(whippletree-broker - queues jobs, hands them to workers, brings outcomes back

  whippletree-broker serve  [OPTIONS]
  whippletree-broker status [OPTIONS]
  whippletree-broker ledger [OPTIONS]
  whippletree-broker pause  QUEUE [OPTIONS]
  whippletree-broker resume QUEUE [OPTIONS]
  whippletree-broker queue  drop QUEUE [OPTIONS]
  whippletree-broker dead   list|show|requeue|drop [OPTIONS]
  whippletree-broker jobs   show|list|cancel [OPTIONS]
  whippletree-broker config check FILE
  whippletree-broker config show [OPTIONS]
  whippletree-broker config running [OPTIONS]
  whippletree-broker store check DIR)";

constexpr char kServeAbout[] = R"(whippletree-broker serve - runs the broker until SIGTERM or SIGINT

Producers and workers need to know one address, the door (--host and --port). Two more sockets,
submit and complete, are on the next two ports; peers learn these from the door.

The first line on stdout says where it listens, as soon as it does:
  ready door=127.0.0.1:7711 submit=7712 complete=7713 http=127.0.0.1:7780
The log goes to stderr.)";

constexpr char kServeManual[] = R"(Queues:
  A queue exists as soon as somebody submits to it or serves it. It takes --queue-capacity jobs and
  --queue-bytes bytes of payload; then its producers wait, and other queues go on.

A policy for each queue:
  --config names a YAML file. Flags of settings ("Defaults of queues" above) go before its defaults,
  not before what it says of a single queue.
    queues:
      mail:
        capacity: {jobs: 100000, bytes: 1GiB}
        batch: {max_jobs: 50, max_bytes: 1MiB, linger: 2s}
        rate: 10/s                # jobs per s, min or h; or "2 batches/s"
        burst: 50
        concurrency: 8
        keys: {order: true}       # jobs of a key one by one; or {concurrency: 2, rate: 5/s}
        lease: 30s
        timeout: 5m
        retry: {max_attempts: 5, backoff: 1s..5m}
        breaker: {failures: 3, open: 10s, probes: 1}
        job_names: {window: 24h}  # how long a job is known by its name
        dead: {jobs: 10000, bytes: 64MiB}  # that are kept to look at and to requeue
    defaults: {concurrency: 100}  # the same settings, for all that say nothing else
    unknown_queues: refuse        # or accept
  SIGHUP loads the file again; one that is empty or wrong changes nothing, and the log says why.
  `whippletree-broker config check FILE` looks for mistakes in it, `config show` prints what would
  be in force, `config running` what is.

Memory:
  --memory-limit is what the whole process may take. Waiting payloads and results that nobody has
  fetched take at most half of it; beyond it producers wait.

Durable queues:
  With --data-dir all queues are durable, but for those with `durable: false`: what the broker has
  confirmed survives kill -9 and power loss. Without it jobs that have no outcome are lost when the
  broker ends, and their producers are told so.

Beyond this machine:
  Whoever reaches the ports may use them. An address other than loopback therefore needs
  --insecure, and belongs on a private network.

HTTP:
  /healthz answers "ok" while the broker does its work; /metrics is for Prometheus; / is for people.)";

constexpr char kStatusAbout[] =
    R"(whippletree-broker status - shows the queues and workers of a running broker)";
constexpr char kLedgerAbout[] =
    R"(whippletree-broker ledger - shows where the jobs of every queue are

accepted = waiting + leased + completed + dead + cancelled + expired, always; in durable queues also
over restarts. The exit code is 0 if every queue adds up, else 1.)";
constexpr char kPauseAbout[] =
    R"(whippletree-broker pause - starts no more jobs of a queue until it is resumed

Jobs that run go on; what workers hold unstarted is taken back. Producers can still submit.)";
constexpr char kResumeAbout[] = R"(whippletree-broker resume - starts the jobs of a paused queue)";
constexpr char kQueueAbout[] = R"(whippletree-broker queue - looks after queues)";
constexpr char kQueueDropAbout[] =
    R"(whippletree-broker queue drop - forgets a queue that is not used

One that has jobs, or that somebody uses, is refused. What it has counted stays in the ledger's sum
and in the metrics. A queue that nobody uses, and that the configuration does not name, goes by itself
after ten minutes.)";
constexpr char kConfigAbout[] = R"(whippletree-broker config - looks at the configuration file)";
constexpr char kCheckAbout[] =
    R"(whippletree-broker config check - finds the mistakes in a file

It warns of settings, too, that defeat each other; the exit code is 0 with these.)";
constexpr char kShowAbout[] =
    R"(whippletree-broker config show - prints what would be in force, as a configuration file

Every setting is there, those that are built in too. Takes the flags of `serve` that concern
queues.)";
constexpr char kRunningAbout[] =
    R"(whippletree-broker config running - prints what a running broker has in force

After its flags and all reloads, as a configuration file, with every setting. Queues that are not
in it have the defaults.)";

constexpr char kStoreAbout[] =
    R"(whippletree-broker store - looks at what durable queues leave on the disk)";
constexpr char kStoreCheckAbout[] =
    R"(whippletree-broker store check - finds damage in the data directory of a broker

Reads everything and changes nothing: checksums of the log and of all tables, whether commits are
missing, whether rows are readable and refer to each other rightly. No broker may use the directory
meanwhile. The exit code is 0 if nothing is wrong, 5 if the store is damaged or cannot be read, 2 if
there is no store in DIR.)";

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
  if (const std::string error = QueueNameError(queue); !error.empty()) {
    PrintError(kProgram, "QUEUE: " + Quoted(queue) + ": " + error);
    return kExitUsage;
  }
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
  if (const std::string error = QueueNameError(queue); !error.empty()) {
    PrintError(kProgram, "QUEUE: " + Quoted(queue) + ": " + error);
    return kExitUsage;
  }
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
  const auto warnings = ConfigWarnings(PoliciesOf(*config, core::QueuePolicy(), config::Queue()));
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
  SilenceProtobuf();
  CLI::App app(kAbout, kProgram);
  app.require_subcommand(1);
  ServeOptions serve;
  CLI::App* serve_command = app.add_subcommand("serve", kServeAbout);
  serve_command->footer(kServeManual);
  AddServeOptions(serve_command, &serve);

  ClientOptions client;
  CLI::App* status_command = app.add_subcommand("status", kStatusAbout);
  AddClientOptions(status_command, &client);
  bool json = false;
  status_command->add_flag("--json", json, "One JSON object instead of tables");

  CLI::App* ledger_command = app.add_subcommand("ledger", kLedgerAbout);
  AddClientOptions(ledger_command, &client);

  std::string queue;
  CLI::App* pause_command = app.add_subcommand("pause", kPauseAbout);
  CLI::App* resume_command = app.add_subcommand("resume", kResumeAbout);
  for (CLI::App* command : {pause_command, resume_command}) {
    command->add_option("QUEUE", queue, "The queue")->required();
    AddClientOptions(command, &client);
  }

  CLI::App* queue_command = app.add_subcommand("queue", kQueueAbout);
  queue_command->require_subcommand(1);
  CLI::App* drop_command = queue_command->add_subcommand("drop", kQueueDropAbout);
  drop_command->add_option("QUEUE", queue, "The queue")->required();
  AddClientOptions(drop_command, &client);

  JobCommands jobs(&app);

  CLI::App* config_command = app.add_subcommand("config", kConfigAbout);
  config_command->require_subcommand(1);
  CLI::App* check_command = config_command->add_subcommand("check", kCheckAbout);
  std::string file;
  check_command->add_option("FILE", file, "The file")->required();
  CLI::App* show_command = config_command->add_subcommand("show", kShowAbout);
  PolicyOptions shown;
  AddPolicyOptions(show_command, &shown);
  CLI::App* running_command = config_command->add_subcommand("running", kRunningAbout);
  AddClientOptions(running_command, &client);

  CLI::App* store_command = app.add_subcommand("store", kStoreAbout);
  store_command->require_subcommand(1);
  CLI::App* store_check_command = store_command->add_subcommand("check", kStoreCheckAbout);
  std::string dir;
  store_check_command->add_option("DIR", dir, "The data directory")->required();

  if (const auto code = ParseCommandLine(&app, argc, argv)) return *code;
  if (const auto warning = ArmCrashPoint(kBrokerCrashPoints); !warning.ok()) {
    PrintError(kProgram, std::string(warning.status().message()));
    return kExitUsage;
  } else if (*warning) {
    PrintError(kProgram, **warning);
  }
  if (const auto code = jobs.Run()) return *code;
  if (serve_command->parsed()) return Serve(serve);
  if (status_command->parsed()) return ShowStatus(client, json);
  if (ledger_command->parsed()) return ShowLedger(client);
  if (pause_command->parsed()) return SetPaused(client, queue, true);
  if (resume_command->parsed()) return SetPaused(client, queue, false);
  if (drop_command->parsed()) return DropQueue(client, queue);
  if (check_command->parsed()) return CheckConfig(file);
  if (running_command->parsed()) return ShowRunningConfig(client);
  if (store_check_command->parsed()) return CheckDataDirectory(dir);
  return ShowConfig(shown);
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
