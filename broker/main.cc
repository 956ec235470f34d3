// whippletree-broker: serves, and tells what goes on in a broker that does.
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>

#include "broker/admin.h"
#include "broker/http.h"
#include "broker/shell.h"
#include "broker/status_text.h"
#include "common/cli.h"
#include "common/clock.h"
#include "common/identity.h"
#include "common/log.h"
#include "common/version.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-broker";

constexpr char kAbout[] =
    R"(whippletree-broker - queues jobs, hands them to workers, brings outcomes back

  whippletree-broker serve  [OPTIONS]
  whippletree-broker status [OPTIONS])";

constexpr char kServeAbout[] = R"(whippletree-broker serve - runs the broker until SIGTERM or SIGINT

Producers and workers need to know one address, the door (--host and --port). Two more sockets,
submit and complete, are on the next two ports; peers learn these from the door.

The first line on stdout says where it listens, as soon as it does:
  ready door=127.0.0.1:7711 submit=7712 complete=7713 http=127.0.0.1:7780
The log goes to stderr.)";

constexpr char kServeManual[] = R"(Queues:
  A queue exists as soon as somebody submits to it or serves it. It takes --queue-capacity jobs and
  --queue-bytes bytes of payload; then its producers wait, and other queues go on.

Memory:
  --memory-limit is what the whole process may take. Waiting payloads and results that nobody has
  fetched take at most half of it; beyond it producers wait. Jobs are kept in memory only: those
  without an outcome are lost when the broker ends, and their producers are told so.

Beyond this machine:
  Whoever reaches the ports may use them. An address other than loopback therefore needs
  --insecure, and belongs on a private network.

HTTP:
  /healthz answers "ok" while the broker does its work; /metrics is for Prometheus; / is for people.)";

constexpr char kStatusAbout[] =
    R"(whippletree-broker status - shows the queues and workers of a running broker)";

struct ServeOptions {
  std::string host = "127.0.0.1";
  uint32_t port = kDoorPortDefault;
  uint32_t http_port = 7780;
  bool insecure = false;
  uint64_t memory_limit = 1ull << 30;
  uint64_t queue_capacity = 1'000'000;
  uint64_t queue_bytes = 0;
  uint64_t payload_max = 16u << 20;
  uint32_t max_attempts = 5;
  Duration lease = seconds(10);
  Duration backoff_min = seconds(1);
  Duration backoff_max = std::chrono::minutes(5);
  LogOptions log;
};

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

// Each peer takes up to three descriptors, and libzmq must never meet the limit: it would spin.
uint32_t PeersMax() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1 << 17);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  const rlim_t spare = 100;
  if (limit.rlim_cur <= spare + 3) return 1;
  return static_cast<uint32_t>(std::min<rlim_t>(16'384, (limit.rlim_cur - spare) / 3));
}

BrokerShell* running_shell = nullptr;

void OnSignal(int) {
  if (running_shell != nullptr) running_shell->Stop();
}

std::string Port(const std::string& host, uint32_t port) {
  return HostPort{host, static_cast<uint16_t>(port)}.ToString();
}

// The ports of a broker that cannot start, in words that say what to do.
int CannotListen(const absl::Status& status, const std::string& what) {
  std::string message = "cannot listen at " + std::string(status.message());
  if (absl::IsAlreadyExists(status)) {
    message += ": stop what uses it, or choose another port with --" + what +
               " (0 lets the system choose)";
  }
  PrintError(kProgram, message);
  return kExitMachine;
}

// "" or what is wrong with a value that parses.
std::string ValueError(const ServeOptions& options) {
  if (options.memory_limit < (64u << 20)) return "--memory-limit: expected at least 64MiB";
  if (options.payload_max < 1 || options.payload_max > (512u << 20)) {
    return "--payload-max: expected 1 to 512MiB";
  }
  if (options.lease < milliseconds(500) || options.lease > std::chrono::hours(24)) {
    return "--lease: expected 500ms to 24h";
  }
  return "";
}

int Serve(const ServeOptions& options) {
  if (const std::string error = ValueError(options); !error.empty()) {
    PrintError(kProgram, error + " (see " + kProgram + " serve --help)");
    return kExitUsage;
  }
  if (!IsLoopback(options.host) && !options.insecure) {
    PrintError(kProgram,
               "--host " + options.host +
                   ": anybody who reaches this address could submit and take jobs; listen on "
                   "127.0.0.1, or add --insecure on a private network");
    return kExitUsage;
  }
  InitLog(options.log);
  // Otherwise the allocator learns from the first large block to keep all that were freed:
  // the bound of memory would hold for what is in use, not for what the process has.
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  const Instant now = ReadClock();
  BrokerShell::Options shell_options;
  shell_options.host = options.host;
  shell_options.port = options.port;
  core::Config& config = shell_options.core;
  // Seconds since 2020: a later start has a higher number.
  config.epoch = static_cast<uint32_t>(
      std::chrono::duration_cast<seconds>(now.wall.time_since_epoch()).count() - 1'577'836'800);
  // Half of the low bits count the second's parts; the rest is room for what a second can need.
  config.epoch_offset = static_cast<uint32_t>((now.wall.time_since_epoch() % seconds(1)).count());
  config.broker_start = RandomNumber();
  config.seed = RandomNumber();
  config.memory_limit_bytes = options.memory_limit;
  config.payload_bytes_max = static_cast<uint32_t>(options.payload_max);
  config.result_bytes_max = config.payload_bytes_max;
  config.peers_max = PeersMax();
  config.insecure = options.insecure;
  core::QueuePolicy& policy = config.default_policy;
  policy.capacity_jobs = options.queue_capacity;
  policy.capacity_bytes = options.queue_bytes > 0 ? options.queue_bytes : config.budget_bytes() / 4;
  policy.lease_duration = options.lease;
  policy.max_attempts = options.max_attempts;
  policy.backoff_min = options.backoff_min;
  policy.backoff_max = std::max(options.backoff_min, options.backoff_max);

  auto shell = BrokerShell::Start(shell_options);
  if (!shell.ok()) return CannotListen(shell.status(), "port");
  BrokerShell* broker = shell->get();
  HttpServer http([broker](wire::StatusReply* status) { return broker->Snapshot(status); });
  const auto http_port = http.Listen(options.host, static_cast<int>(options.http_port));
  if (!http_port.ok()) {
    PrintError(kProgram, std::string(http_port.status().message()) +
                             ": stop what uses it, or choose another port with --http-port "
                             "(0 lets the system choose)");
    return kExitMachine;
  }
  running_shell = broker;
  CatchSignal(SIGTERM, OnSignal);
  CatchSignal(SIGINT, OnSignal);
  signal(SIGPIPE, SIG_IGN);

  Log(LogLevel::kInfo, "broker_started",
      {{"version", std::string(kVersion)},
       {"door", Port(options.host, broker->door_port())},
       {"submit", uint64_t{broker->submit_port()}},
       {"complete", uint64_t{broker->complete_port()}},
       {"http", Port(options.host, static_cast<uint32_t>(*http_port))},
       {"persistence", std::string("memory")},
       {"insecure", options.insecure},
       {"memory_limit", FormatByteSize(options.memory_limit)},
       {"queue_capacity", options.queue_capacity},
       {"queue_bytes", FormatByteSize(policy.capacity_bytes)},
       {"payload_max", FormatByteSize(options.payload_max)},
       {"lease", FormatDuration(options.lease)},
       {"max_attempts", uint64_t{options.max_attempts}},
       {"peers_max", uint64_t{config.peers_max}}});
  std::printf("ready door=%s submit=%u complete=%u http=%s\n",
              Port(options.host, broker->door_port()).c_str(), broker->submit_port(),
              broker->complete_port(),
              Port(options.host, static_cast<uint32_t>(*http_port)).c_str());
  std::fflush(stdout);

  broker->Run();
  http.Stop();
  uint64_t lost = 0;
  const wire::StatusReply last = broker->FinalStatus();
  for (const wire::QueueStatus& queue : last.queues()) lost += queue.waiting() + queue.leased();
  Log(lost > 0 ? LogLevel::kWarning : LogLevel::kInfo, "broker_stopped",
      {{"jobs_lost", lost}, {"uptime_ms", last.uptime_ms()}});
  running_shell = nullptr;
  return kExitOk;
}

CLI::App* AddServe(CLI::App* app, ServeOptions* options) {
  CLI::App* command = app->add_subcommand("serve", kServeAbout);
  command->footer(kServeManual);
  command->add_option("--host", options->host, "Address to listen at")->capture_default_str();
  AddNumber(command, "--port", &options->port,
            "Port of the door; submit and complete get the next two; 0: the system chooses", 0,
            65'533);
  AddNumber(command, "--http-port", &options->http_port,
            "Port of health, metrics and the status page; 0: the system chooses", 0, 65'535);
  command->add_flag("--insecure", options->insecure,
                    "Allow an address beyond loopback without any protection");
  AddByteSize(command, "--memory-limit", &options->memory_limit, "What the process may take");
  AddNumber(command, "--queue-capacity", &options->queue_capacity,
            "Jobs that a queue takes; then its producers wait", 1, 1ull << 40);
  AddByteSize(command, "--queue-bytes", &options->queue_bytes,
              "Payload bytes that a queue takes; 0: an eighth of --memory-limit");
  AddByteSize(command, "--payload-max", &options->payload_max,
              "Largest payload, and largest result");
  AddDuration(command, "--lease", &options->lease,
              "How long a silent worker keeps its jobs; it sends a heartbeat five times as often");
  AddNumber(command, "--max-attempts", &options->max_attempts, "The most starts of a job", 1, 1000);
  AddDuration(command, "--backoff-min", &options->backoff_min,
              "A failed job is tried again within this time; it doubles with each attempt");
  AddDuration(command, "--backoff-max", &options->backoff_max, "... up to this");
  AddLogOptions(command, &options->log);
  return command;
}

int Main(int argc, char** argv) {
  CLI::App app(kAbout, kProgram);
  app.require_subcommand(1);
  ServeOptions serve;
  const CLI::App* serve_command = AddServe(&app, &serve);
  CLI::App* status_command = app.add_subcommand("status", kStatusAbout);
  std::string address;
  bool json = false;
  Duration timeout = seconds(5);
  AddBroker(status_command, &address);
  AddDuration(status_command, "--connect-timeout", &timeout, "How long to wait for the broker");
  status_command->add_flag("--json", json, "One JSON object instead of tables");
  if (const auto code = ParseCommandLine(&app, argc, argv)) return *code;
  if (serve_command->parsed()) return Serve(serve);

  const auto broker = ParseHostPort(address);
  const auto reply = broker.ok() ? AskStatus(*broker, timeout)
                                 : absl::StatusOr<wire::StatusReply>(broker.status());
  if (!reply.ok()) {
    PrintError(kProgram, std::string(reply.status().message()));
    return ExitCodeFor(reply.status());
  }
  const std::string text = json ? StatusJson(*reply) : StatusText(*reply);
  std::fputs(text.c_str(), stdout);
  if (!text.empty() && text.back() != '\n') std::fputc('\n', stdout);
  return kExitOk;
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
