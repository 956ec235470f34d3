#include "broker/serve.h"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "broker/config.h"
#include "broker/core/limits.h"
#include "broker/http.h"
#include "broker/reloader.h"
#include "broker/shell.h"
#include "broker/store/data_disk.h"
#include "broker/store/rocksdb_store.h"
#include "common/cli.h"
#include "common/clock.h"
#include "common/descriptors.h"
#include "common/identity.h"
#include "common/log.h"
#include "common/session_link.h"
#include "common/version.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-broker";

// What the process may open.
struct Descriptors {
  static constexpr uint64_t kWantedMax = 1 << 17;
  static constexpr uint64_t kNeeded = 128;
  // Files of the store, HTTP, and what was open before there was a connection.
  static constexpr uint64_t kReserveMax = 192;

  explicit Descriptors(uint64_t limit)
      : reserve(std::min(kReserveMax, limit / 2)), connections_max(limit - reserve) {}

  // Each peer has up to three connections.
  uint32_t peers_max() const {
    return static_cast<uint32_t>(std::min<uint64_t>(16'384, connections_max / 3));
  }
  size_t http_connections_max() const { return std::min<size_t>(64, reserve / 4); }

  const uint64_t reserve;
  const uint64_t connections_max;  // the numbers below are for connections of producers and workers
};

BrokerShell* running_shell = nullptr;
Reloader* running_reloader = nullptr;

void OnSignal(int number) {
  if (number == SIGHUP) {
    if (running_reloader != nullptr) running_reloader->Request();
  } else if (running_shell != nullptr) {
    running_shell->Stop();
  }
}

std::string Port(const std::string& host, uint32_t port) {
  return HostPort{host, static_cast<uint16_t>(port)}.ToString();
}

DiskWatch::Options WatchOf(const std::string& dir, uint64_t reserve) {
  DiskWatch::Options options;
  options.reserve_bytes = reserve;
  options.calls.free_bytes = [dir]() -> absl::StatusOr<uint64_t> {
    const absl::StatusOr<DiskSpace> disk = LookAtDisk(dir);
    if (!disk.ok()) return disk.status();
    return disk->free_bytes;
  };
  options.calls.make_ballast = [dir](uint64_t bytes) { return MakeBallast(dir, bytes); };
  options.calls.drop_ballast = [dir] { DropBallast(dir); };
  return options;
}

// A capacity, for the log.
LogValue Limit(uint64_t limit, bool bytes) {
  if (limit == kNoLimit) return std::string("none");
  if (bytes) return FormatByteSize(limit);
  return limit;
}

// The ports of a broker that cannot start, in words that say what to do.
int CannotListen(const absl::Status& status, const std::string& what) {
  std::string message = "cannot listen at " + std::string(status.message());
  if (absl::IsAlreadyExists(status)) {
    message += ": stop what uses it, or choose another port with --" + what +
               " (0 lets the system choose)";
  } else if (absl::IsPermissionDenied(status)) {
    message += ": ports below 1024 are for root; choose another port with --" + what;
  }
  PrintError(kProgram, message);
  return kExitMachine;
}

// A store that does not work any more, in words that say what became of what it had and what to do.
std::string StoreFailed(const absl::Status& failure, const std::string& dir) {
  std::string message =
      "the store of durable queues does not work any more: " + std::string(failure.message());
  // The store itself may notice first that its files are gone.
  std::error_code error;
  const bool no_directory = !std::filesystem::exists(dir, error);
  if (!no_directory && !absl::IsFailedPrecondition(failure)) {
    return message +
           ". Nothing was confirmed that is not kept; start the broker again when the disk is well";
  }
  if (no_directory) message += ". The directory " + dir + " was deleted";
  return message +
         ". What was confirmed may be lost with it: put the directory back as it was and start the "
         "broker again, or start it with an empty one";
}

}  // namespace

int Serve(const ServeOptions& options) {
  if (const absl::Status status = CheckOptions(options); !status.ok()) {
    PrintErrors(kProgram, status);
    return ExitCodeFor(status);
  }
  const absl::StatusOr<core::Policies> policies = LoadPolicies(options.policy);
  if (!policies.ok()) {
    PrintErrors(kProgram, policies.status());
    return ExitCodeFor(policies.status());
  }
  const uint64_t descriptor_limit = RaiseDescriptorLimit(Descriptors::kWantedMax);
  if (descriptor_limit < Descriptors::kNeeded) {
    PrintError(kProgram, "this process may open " + std::to_string(descriptor_limit) +
                             " files and connections: raise the limit, ulimit -n, to at least " +
                             std::to_string(Descriptors::kNeeded));
    return kExitMachine;
  }
  const Descriptors descriptors(descriptor_limit);
  InitLog(options.log);
  const Instant now = ReadClock();
  BrokerShell::Options shell_options;
  shell_options.host = options.host;
  shell_options.port = options.port;
  shell_options.descriptors_max = static_cast<int>(descriptors.connections_max);
  core::Config& config = shell_options.core;
  // Seconds since 2020: a later start has a higher number, and each second has more lease tokens
  // than can be used in one.
  config.epoch = static_cast<uint32_t>(
      std::chrono::duration_cast<seconds>(now.wall.time_since_epoch()).count() - 1'577'836'800);
  // Half of the low bits count the second's parts; the rest is room for what a second can need.
  config.epoch_offset = static_cast<uint32_t>((now.wall.time_since_epoch() % seconds(1)).count());
  config.broker_start = RandomNumber();
  config.seed = RandomNumber();
  config.secret_key = RandomKey();  // a store has its own
  config.memory_limit_bytes = options.policy.memory_limit;
  config.payload_bytes_max = static_cast<uint32_t>(options.payload_max);
  config.result_bytes_max = config.payload_bytes_max;
  config.peers_max = descriptors.peers_max();
  config.ack_delay = kAckDelay;
  config.insecure = options.insecure;
  config.accept_data_loss = options.accept_data_loss;
  config.default_policy = policies->defaults;
  config.queues = policies->queues;
  config.unknown_queues = policies->unknown_queues;

  absl::Status store_error;
  uint64_t reserve = 0;
  if (!options.policy.data_dir.empty()) {
    RocksdbOptions store_options;
    store_options.dir = options.policy.data_dir;
    const absl::StatusOr<DiskSpace> disk = LookAtDisk(store_options.dir);
    const uint64_t disk_bytes =
        disk.ok() ? disk->total_bytes : ~0ull;  // opening says what is wrong
    const StoreSizes sizes = SizesFor(options.policy.memory_limit, disk_bytes);
    store_options.memory_bytes = sizes.memory_bytes;
    store_options.level0_files_max = sizes.level0_files_max;
    store_options.epoch_min = config.epoch;
    reserve = options.disk_reserve > 0 ? options.disk_reserve : sizes.reserve_bytes;
    if (reserve >= disk_bytes) {
      PrintError(kProgram, "the disk of " + store_options.dir + " has " +
                               FormatByteSize(disk_bytes) + ", and " + FormatByteSize(reserve) +
                               " of it are to be left free: choose a smaller --disk-reserve, or a "
                               "larger disk");
      return kExitUsage;
    }
    shell_options.disk = WatchOf(store_options.dir, reserve);
    shell_options.open_store = [&store_error, store_options](StoreCallbacks callbacks) {
      auto store = OpenRocksdbStore(store_options, std::move(callbacks));
      store_error = store.status();
      return store;
    };
  }
  auto shell = BrokerShell::Start(shell_options);
  if (!shell.ok() && (!store_error.ok() || absl::IsDataLoss(shell.status()))) {
    PrintError(kProgram, std::string(shell.status().message()));
    return kExitMachine;
  }
  if (!shell.ok()) return CannotListen(shell.status(), "port");
  BrokerShell* broker = shell->get();
  HttpServer::Options http_options;
  http_options.snapshot = [broker](wire::StatusReply* status) { return broker->Snapshot(status); };
  http_options.is_healthy = [broker] { return broker->Snapshot(nullptr); };
  http_options.connections_max = descriptors.http_connections_max();
  HttpServer http(std::move(http_options));
  const auto http_port = http.Listen(options.host, static_cast<int>(options.http_port));
  if (!http_port.ok()) {
    PrintError(kProgram, std::string(http_port.status().message()) +
                             ": stop what uses it, or choose another port with --http-port "
                             "(0 lets the system choose)");
    return kExitMachine;
  }
  Reloader reloader({options.policy.config, *policies, [&] { return LoadPolicies(options.policy); },
                     [broker](core::Policies fresh) { broker->SetPolicies(std::move(fresh)); }});
  running_shell = broker;
  running_reloader = &reloader;
  CatchSignal(SIGTERM, OnSignal);
  CatchSignal(SIGINT, OnSignal);
  CatchSignal(SIGHUP, OnSignal);
  signal(SIGPIPE, SIG_IGN);

  Log(LogLevel::kInfo, "broker_started",
      {{"version", std::string(kVersion)},
       {"door", Port(options.host, broker->door_port())},
       {"submit", uint64_t{broker->submit_port()}},
       {"complete", uint64_t{broker->complete_port()}},
       {"http", Port(options.host, static_cast<uint32_t>(*http_port))},
       {"store", broker->store()},
       {"disk_reserve", FormatByteSize(reserve)},
       {"insecure", options.insecure},
       {"memory_limit", FormatByteSize(options.policy.memory_limit)},
       {"config", options.policy.config},
       {"queues_named", uint64_t{policies->queues.size()}},
       {"queue_capacity", Limit(policies->defaults.capacity_jobs, false)},
       {"queue_bytes", Limit(policies->defaults.capacity_bytes, true)},
       {"payload_max", FormatByteSize(options.payload_max)},
       {"lease", FormatDuration(policies->defaults.lease_duration)},
       {"max_attempts", uint64_t{policies->defaults.max_attempts}},
       {"peers_max", uint64_t{config.peers_max}}});
  LogConfigWarnings(*policies);
  std::printf("ready door=%s submit=%u complete=%u http=%s\n",
              Port(options.host, broker->door_port()).c_str(), broker->submit_port(),
              broker->complete_port(),
              Port(options.host, static_cast<uint32_t>(*http_port)).c_str());
  std::fflush(stdout);

  broker->Run();
  http.Stop();
  uint64_t lost = 0;
  const wire::StatusReply last = broker->FinalStatus();
  for (const wire::QueueStatus& queue : last.queues()) {
    if (!queue.durable()) lost += queue.waiting() + queue.leased();
  }
  Log(lost > 0 ? LogLevel::kWarning : LogLevel::kInfo, "broker_stopped",
      {{"jobs_lost", lost}, {"uptime_ms", last.uptime_ms()}});
  running_shell = nullptr;
  running_reloader = nullptr;
  if (!broker->lost_commits().ok()) {
    PrintError(kProgram, options.policy.data_dir + " is older than what was confirmed: " +
                             std::string(broker->lost_commits().message()) +
                             ". If it is an old copy, put the newest one in its place and start "
                             "again; to go on without what is lost, start with --accept-data-loss");
    return kExitMachine;
  }
  if (broker->failure().ok()) return kExitOk;
  PrintError(kProgram, StoreFailed(broker->failure(), options.policy.data_dir));
  return kExitMachine;
}

}  // namespace whippletree
