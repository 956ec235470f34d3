// whippletree-worker: runs the jobs of queues with a program or a built-in handler.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/cli.h"
#include "common/clock.h"
#include "common/codec.h"
#include "common/crash_point.h"
#include "common/descriptors.h"
#include "common/log.h"
#include "common/log_throttle.h"
#include "common/printable.h"
#include "worker/child_process.h"
#include "worker/exec_handler.h"
#include "worker/flags.h"
#include "worker/follow_on_handler.h"
#include "worker/handlers.h"
#include "worker/process_guard.h"
#include "worker/program_environment.h"
#include "worker/worker.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-worker";

int ListHandlers() {
  for (const NamedHandler& handler : BuiltInHandlers()) {
    std::printf("%-8.*s  %.*s\n", static_cast<int>(handler.name.size()), handler.name.data(),
                static_cast<int>(handler.description.size()), handler.description.data());
  }
  return kExitOk;
}

// ---- Signals --------------------------------------------------------------------------------

std::atomic<Worker*> g_worker = nullptr;
std::atomic<int> g_signals = 0;

void OnSignal(int /*number*/) {
  Worker* worker = g_worker.load();
  const int before = g_signals.fetch_add(1);
  if (worker == nullptr || before >= 2) _exit(kExitInterrupted);
  if (before == 0) worker->Drain();
  if (before == 1) worker->Stop();
}

// ---- The worker -----------------------------------------------------------------------------

// What a handler gave to FailWorker: a fault of this machine, not of the broker.
class Failure {
 public:
  // Handlers that run `handlers` and remember.
  QueueHandlers Watch(QueueHandlers handlers) {
    QueueHandlers watched;
    if (handlers.job != nullptr) watched.job = Watched<JobContext>(std::move(handlers.job));
    if (handlers.batch != nullptr) watched.batch = Watched<BatchContext>(std::move(handlers.batch));
    return watched;
  }

  bool failed() const {
    std::unique_lock lock(mutex_);
    return failed_;
  }

 private:
  template <typename Context, typename AnyHandler>
  AnyHandler Watched(AnyHandler handler) {
    return [this, handler = std::move(handler)](Context& context, auto payload) {
      auto result = handler(context, payload);
      if (!context.worker_failure().ok()) {
        std::unique_lock lock(mutex_);
        failed_ = true;
      }
      return result;
    };
  }

  mutable std::mutex mutex_;
  bool failed_ = false;
};

// The handler for `queue`. INVALID_ARGUMENT: there is none by that name.
absl::StatusOr<QueueHandlers> ChooseHandler(const WorkerFlags& flags, const std::string& queue) {
  const bool by_queue = flags.handler.empty();
  const NamedHandler* handler = FindHandler(by_queue ? queue : flags.handler);
  if (handler != nullptr) return handler->handlers;
  const std::string names =
      absl::StrJoin(BuiltInHandlers(), ", ",
                    [](std::string* out, const NamedHandler& each) { out->append(each.name); });
  if (!by_queue) {
    return absl::InvalidArgumentError(
        absl::StrCat("--handler: there is no handler ", Quoted(flags.handler), ", only ", names));
  }
  return absl::InvalidArgumentError(absl::StrCat("what runs the jobs of queue ", Quoted(queue),
                                                 "? Give --exec COMMAND or --handler NAME (", names,
                                                 ")"));
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// Raises the limit of descriptors to what programs in so many slots need. Returns for how many it
// is enough, at least 1.
uint32_t SlotsForPrograms(uint32_t slots) {
  constexpr uint64_t kOwn = 64;  // of sockets, of libzmq, of the guard
  const uint64_t limit = RaiseDescriptorLimit(kOwn + uint64_t{slots} * Command::kDescriptors);
  const uint64_t enough = (std::max(limit, kOwn) - kOwn) / Command::kDescriptors;
  return static_cast<uint32_t>(std::clamp<uint64_t>(enough, 1, slots));
}

void LogNotStarted(const absl::Status& why) {
  Log(LogLevel::kWarning, "program_not_started",
      {{"error", std::string(why.message())}, {"jobs", "go back, uncharged"}});
}

// A program says it with each of its jobs.
void LogOddLine(const std::string& queue, const std::string& warning) {
  static std::mutex mutex;
  static LogThrottle throttle;
  const LogEvent event{
      LogLevel::kWarning, "program_said", {{"queue", queue}, {"warning", warning}}};
  const MonoTime now = ReadMonoClock();
  const std::lock_guard lock(mutex);
  if (throttle.Admit(event, now)) WriteLog(event);
  for (const LogEvent& summary : throttle.TakeSummaries(now)) WriteLog(summary);
}

EnvironmentOptions EnvironmentOf(const WorkerFlags& flags) {
  EnvironmentOptions options;
  options.broker = flags.worker.broker;
  if (flags.environment.empty() || flags.environment[0] != "clean") return options;
  options.clean = true;
  options.keep.assign(flags.environment.begin() + 1, flags.environment.end());
  return options;
}

int Run(WorkerFlags flags) {
  std::unique_ptr<ProcessGuard> guard;
  const uint32_t slots_wanted = flags.worker.slots;
  Failure failure;
  std::vector<std::pair<std::string, QueueHandlers>> handlers;
  if (!flags.exec.empty()) {
    const absl::Status status = Command(flags.exec).Check();
    if (!status.ok()) {
      PrintError(kProgram, absl::StrCat("--exec: ", std::string(status.message())));
      return kExitMachine;
    }
    flags.worker.slots = SlotsForPrograms(slots_wanted);
    auto started = ProcessGuard::Start(flags.worker.slots);  // before there are threads
    if (!started.ok()) {
      PrintError(kProgram, std::string(started.status().message()));
      return kExitMachine;
    }
    guard = *std::move(started);
  }
  for (const std::string& queue : flags.queues) {
    if (guard != nullptr) {
      handlers.emplace_back(queue, MakeExecHandlers({.argv = flags.exec,
                                                     .kill_grace = flags.kill_grace,
                                                     .separator = flags.nul ? '\0' : '\n',
                                                     .retry_wrong_count = flags.lines == "retry",
                                                     .environment = EnvironmentOf(flags),
                                                     .on_not_started = LogNotStarted,
                                                     .on_odd_line = LogOddLine},
                                                    guard.get()));
      continue;
    }
    const absl::StatusOr<QueueHandlers> handler = ChooseHandler(flags, queue);
    if (!handler.ok()) return WorkerUsageError(std::string(handler.status().message()));
    handlers.emplace_back(queue, *handler);
  }

  InitLog(flags.log);
  if (flags.worker.slots < slots_wanted) {
    Log(LogLevel::kWarning, "slots_capped",
        {{"slots", uint64_t{flags.worker.slots}},
         {"wanted", uint64_t{slots_wanted}},
         {"reason", absl::StrCat("each program takes up to ", Command::kDescriptors,
                                 " descriptors: raise the hard limit, ulimit -Hn")}});
  }
  if (flags.worker.name.empty()) flags.worker.name = HostName();
  flags.worker.end_grace = flags.kill_grace;
  flags.worker.handle_signals = false;  // a third one ends this program at once
  flags.worker.log = [](std::string_view line) {
    Log(LogLevel::kInfo, "connection", {{"message", std::string(line)}});
  };
  Log(LogLevel::kInfo, "worker_starts",
      {{"broker", flags.worker.broker},
       {"queues", absl::StrJoin(flags.queues, ",")},
       {"slots", int64_t{flags.worker.slots}},
       {"runs", guard != nullptr        ? absl::StrJoin(flags.exec, " ")
                : flags.handler.empty() ? "the handler of each queue's name"
                                        : flags.handler}});
  Worker worker(flags.worker);
  for (auto& [queue, each] : handlers) {
    QueueHandlers watched = failure.Watch(std::move(each));
    if (!flags.follow_on.empty()) watched = WithFollowOn(std::move(watched), flags.follow_on);
    if (watched.job != nullptr) worker.Handle(queue, std::move(watched.job));
    if (watched.batch != nullptr) worker.HandleBatch(queue, std::move(watched.batch));
  }
  g_worker = &worker;
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) CatchSignal(number, OnSignal);
  const absl::Status status = worker.Run();
  g_worker = nullptr;
  const bool stopped = g_signals > 1;
  if (!status.ok()) {
    PrintError(kProgram, std::string(status.message()));
    return failure.failed() ? kExitMachine : ExitCodeFor(status);
  }
  Log(LogLevel::kInfo, "worker_ends", {{"reason", stopped ? "stopped" : "drained"}});
  return stopped ? kExitInterrupted : kExitOk;
}

int Main(int argc, char** argv) {
  SilenceProtobuf();
  OpenStandardStreams(ClosedStreams::kQuiet);
  WorkerFlags flags;
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  if (const auto code = ParseWorkerFlags(std::move(args), &flags)) return *code;
  if (const auto warning = ArmCrashPoint(kWorkerCrashPoints); !warning.ok()) {
    PrintError(kProgram, std::string(warning.status().message()));
    return kExitUsage;
  } else if (*warning) {
    PrintError(kProgram, **warning);
  }
  return flags.list_handlers ? ListHandlers() : Run(std::move(flags));
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
