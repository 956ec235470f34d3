// whippletree-worker: runs the jobs of queues with a program or a built-in handler.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/cli.h"
#include "common/codec.h"
#include "common/log.h"
#include "common/printable.h"
#include "worker/child_process.h"
#include "worker/exec_handler.h"
#include "worker/handlers.h"
#include "worker/process_guard.h"
#include "worker/worker.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-worker";

constexpr char kDescription[] =
    R"(whippletree-worker - runs jobs of queues, with any program or a built-in handler

  whippletree-worker --queue Q [OPTIONS] --exec COMMAND [ARGUMENT...]
  whippletree-worker --queue Q [OPTIONS] --handler NAME
  whippletree-worker --list-handlers

It connects to the broker, takes jobs as it has room for them, and sends back the outcome of each.
Start as many as you like, on as many machines. It reconnects by itself when the broker restarts.
Without --handler and --exec, each queue is run by the built-in handler of its own name.)";

constexpr char kManual[] = R"(Programs as workers:
  --exec takes all the rest of the command line, also what looks like a flag, and starts it for
  each job, without a shell (write `--exec sh -c '...'` for one). The program gets
    standard input   the payload, then its end; it need not be read
    environment      WHIPPLETREE_JOB_ID, WHIPPLETREE_JOB_QUEUE, WHIPPLETREE_JOB_ATTEMPT
  and gives back
    standard output  the result, byte for byte
    standard error   its end goes into the message of a failed job
    exit code        0 completed; 75 try again later; 65 the job is at fault: dead at once;
                     126 or 127 the program cannot be run here: this worker stops and its jobs go
                     to others; any other code, or a signal: tried again as the queue's policy says
  It runs in a process group of its own. The whole group is killed when the job times out or is
  cancelled, when the worker dies (kill -9 included), and what it left in the background when it
  ends. Only what moves to another session (setsid) escapes.

Signals:
  SIGTERM or SIGINT (Ctrl-C) drains: no new job is taken, running ones are finished and confirmed.
  A second one stops: running jobs are ended, which counts as a failed attempt, and are tried again
  by other workers, unless it was their last attempt. A third one ends the worker at once.

Examples:
  Square numbers with a shell, four at a time:
    whippletree-worker --queue sh --slots 4 --exec sh -c 'read n; echo $((n*n))'
  The same with the built-in handler, for two queues:
    whippletree-worker --queue a --queue b --handler square
  Then, elsewhere:
    seq 10 | whippletree-producer submit --queue sh --ordered

Environment:
  Each option may be given as the variable in brackets instead; WHIPPLETREE_QUEUE may name several
  queues, separated by commas.)";

struct Flags {
  std::vector<std::string> queues;
  std::string handler;
  std::vector<std::string> exec;
  bool list_handlers = false;
  Duration kill_grace{0};
  WorkerOptions worker;
  LogOptions log;
};

// ---- Command line ---------------------------------------------------------------------------

int UsageError(std::string_view message) {
  PrintError(kProgram, absl::StrCat(std::string(message), " (see ", kProgram, " --help)"));
  return kExitUsage;
}

// Cuts `--exec COMMAND ARGUMENT...` off the end of `args`, but for the command itself, which the
// parser is to see. CLI11 would take flags of the command for its own.
std::vector<std::string> CutExec(std::vector<std::string>* args) {
  for (size_t i = 0; i < args->size(); ++i) {
    const std::string& arg = (*args)[i];
    const size_t command = arg == "--exec" ? i + 1 : i;
    if (command == i && arg.compare(0, 7, "--exec=") != 0) continue;
    if (command >= args->size()) return {};  // the parser says that a value is missing
    std::vector<std::string> exec(args->begin() + command, args->end());
    if (command == i) exec[0].erase(0, 7);
    args->resize(i);
    args->push_back("--exec=" + exec[0]);
    return exec;
  }
  return {};
}

// Nullopt: go on. Else what to exit with.
std::optional<int> ParseFlags(int argc, char** argv, Flags* flags) {
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  flags->exec = CutExec(&args);
  CLI::App app(kDescription, kProgram);
  app.footer(kManual);
  AddBroker(&app, &flags->worker.broker);
  app.add_option("--queue", flags->queues, "Queue to run jobs of; may be given several times")
      ->type_name("QUEUE")
      ->delimiter(',')
      ->allow_extra_args(false);
  std::string command;
  app.add_option("--exec", command, "Program that runs a job, and its arguments; the last option")
      ->type_name("COMMAND [ARGUMENT...]")
      ->configurable(false);
  app.add_option("--handler", flags->handler, "Built-in handler that runs the jobs")
      ->type_name("NAME");
  app.add_flag("--list-handlers", flags->list_handlers, "Print the built-in handlers and exit")
      ->configurable(false);
  flags->worker.slots = std::max(1u, std::thread::hardware_concurrency());
  AddNumber(&app, "--slots", &flags->worker.slots,
            "Jobs to run at a time; by default one per processor", 1, 4096);
  app.add_option("--name", flags->worker.name,
                 "Name in the broker's log and status; by default the host's")
      ->type_name("NAME");
  AddDuration(&app, "--connect-timeout", &flags->worker.connect_timeout,
              "How long to try to reach the broker at first; 0: for ever");
  AddDuration(
      &app, "--kill-grace", &flags->kill_grace,
      "Time between SIGTERM and SIGKILL for a program whose job timed out or was cancelled; "
      "0: SIGKILL at once");
  AddLogOptions(&app, &flags->log);
  if (const auto code = ParseCommandLine(&app, std::move(args))) return code;
  if (flags->list_handlers) return std::nullopt;
  if (flags->queues.empty()) return UsageError("--queue is required");
  for (const std::string& queue : flags->queues) {
    if (const std::string error = QueueNameError(queue); !error.empty()) {
      return UsageError(absl::StrCat("--queue: ", Quoted(queue), ": ", error));
    }
  }
  if (!flags->exec.empty() && !flags->handler.empty()) {
    return UsageError("--exec and --handler cannot be given together");
  }
  if (!flags->exec.empty() && flags->exec[0].empty()) return UsageError("--exec needs a command");
  return std::nullopt;
}

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
  // A handler that runs `handler` and remembers.
  Handler Watch(Handler handler) {
    return [this, handler = std::move(handler)](JobContext& context, std::string_view payload) {
      auto result = handler(context, payload);
      const absl::Status why = context.worker_failure();
      if (!why.ok()) {
        std::unique_lock lock(mutex_);
        failed_ = true;
      }
      return result;
    };
  }

  bool failed() const {
    std::unique_lock lock(mutex_);
    return failed_;
  }

 private:
  mutable std::mutex mutex_;
  bool failed_ = false;
};

// The handler for `queue`. INVALID_ARGUMENT: there is none by that name.
absl::StatusOr<Handler> ChooseHandler(const Flags& flags, const std::string& queue) {
  const bool by_queue = flags.handler.empty();
  const NamedHandler* handler = FindHandler(by_queue ? queue : flags.handler);
  if (handler != nullptr) return handler->handler;
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

int Run(Flags flags) {
  std::unique_ptr<ProcessGuard> guard;
  Failure failure;
  std::vector<std::pair<std::string, Handler>> handlers;
  if (!flags.exec.empty()) {
    const absl::Status status = Command(flags.exec).Check();
    if (!status.ok()) {
      PrintError(kProgram, absl::StrCat("--exec: ", std::string(status.message())));
      return kExitMachine;
    }
    auto started = ProcessGuard::Start(flags.worker.slots);  // before there are threads
    if (!started.ok()) {
      PrintError(kProgram, std::string(started.status().message()));
      return kExitMachine;
    }
    guard = *std::move(started);
  }
  for (const std::string& queue : flags.queues) {
    if (guard != nullptr) {
      handlers.emplace_back(
          queue,
          MakeExecHandler({.argv = flags.exec, .kill_grace = flags.kill_grace}, guard.get()));
      continue;
    }
    const absl::StatusOr<Handler> handler = ChooseHandler(flags, queue);
    if (!handler.ok()) return UsageError(std::string(handler.status().message()));
    handlers.emplace_back(queue, *handler);
  }

  InitLog(flags.log);
  if (flags.worker.name.empty()) flags.worker.name = HostName();
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
  for (auto& [queue, handler] : handlers) worker.Handle(queue, failure.Watch(std::move(handler)));
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
  OpenStandardStreams();
  Flags flags;
  if (const auto code = ParseFlags(argc, argv, &flags)) return *code;
  return flags.list_handlers ? ListHandlers() : Run(std::move(flags));
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
