#include "broker/flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>

#include "broker/job_commands.h"
#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"

namespace whippletree {
namespace {

using Command = BrokerFlags::Command;

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

}  // namespace

std::optional<int> ParseBrokerFlags(std::vector<std::string> args, BrokerFlags* flags) {
  const auto app = std::make_shared<CLI::App>(kAbout, kProgram);
  app->require_subcommand(1);
  std::vector<std::pair<CLI::App*, Command>> commands;
  const auto add = [&](CLI::App* parent, Command command, const char* name, const char* about) {
    return commands.emplace_back(parent->add_subcommand(name, about), command).first;
  };

  CLI::App* serve = add(app.get(), Command::kServe, "serve", kServeAbout);
  serve->footer(kServeManual);
  AddServeOptions(serve, &flags->serve);

  CLI::App* status = add(app.get(), Command::kStatus, "status", kStatusAbout);
  AddClientOptions(status, &flags->client);
  status->add_flag("--json", flags->json, "One JSON object instead of tables");

  AddClientOptions(add(app.get(), Command::kLedger, "ledger", kLedgerAbout), &flags->client);

  const auto add_for_queue = [&](CLI::App* parent, Command command, const char* name,
                                 const char* about) {
    CLI::App* added = add(parent, command, name, about);
    added->add_option("QUEUE", flags->queue, "The queue")->required();
    AddClientOptions(added, &flags->client);
  };
  add_for_queue(app.get(), Command::kPause, "pause", kPauseAbout);
  add_for_queue(app.get(), Command::kResume, "resume", kResumeAbout);
  CLI::App* queue = app->add_subcommand("queue", kQueueAbout);
  queue->require_subcommand(1);
  add_for_queue(queue, Command::kDropQueue, "drop", kQueueDropAbout);

  const auto jobs = std::make_shared<JobCommands>(app.get());

  CLI::App* config = app->add_subcommand("config", kConfigAbout);
  config->require_subcommand(1);
  add(config, Command::kCheckConfig, "check", kCheckAbout)
      ->add_option("FILE", flags->file, "The file")
      ->required();
  AddPolicyOptions(add(config, Command::kShowConfig, "show", kShowAbout), &flags->shown);
  AddClientOptions(add(config, Command::kRunningConfig, "running", kRunningAbout), &flags->client);

  CLI::App* store = app->add_subcommand("store", kStoreAbout);
  store->require_subcommand(1);
  add(store, Command::kCheckStore, "check", kStoreCheckAbout)
      ->add_option("DIR", flags->data_dir, "The data directory")
      ->required();

  if (const auto code = ParseCommandLine(app.get(), std::move(args))) return code;
  flags->command = Command::kJobs;
  for (const auto& [given, command] : commands) {
    if (given->parsed()) flags->command = command;
  }
  if (flags->command == Command::kJobs) {
    // The app has what was given.
    flags->run_jobs = [app, jobs] { return jobs->Run(); };
  }
  const bool is_for_queue = flags->command == Command::kPause ||
                            flags->command == Command::kResume ||
                            flags->command == Command::kDropQueue;
  if (is_for_queue) {
    if (const std::string error = QueueNameError(flags->queue); !error.empty()) {
      PrintError(kProgram, "QUEUE: " + Quoted(flags->queue) + ": " + error);
      return kExitUsage;
    }
  }
  return std::nullopt;
}

}  // namespace whippletree
