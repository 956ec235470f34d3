#include "worker/flags.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <thread>
#include <utility>

#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"
#include "common/wire_limits.h"
#include "worker/manual.h"
#include "worker/program_environment.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-worker";

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

// Each of `values` is one or several with commas between. CLI11's delimiter() would leave out empty
// ones, as in `clean,` or "$A,$B" of a script that has not set one.
void SplitAtCommas(std::vector<std::string>* values) {
  std::vector<std::string> all;
  for (const std::string& value : *values) {
    for (const auto& part : absl::StrSplit(value, ',')) all.emplace_back(part);
  }
  *values = std::move(all);
}

std::string EnvironmentError(const WorkerFlags& flags) {
  if (flags.environment.empty()) return "";
  const std::string& first = flags.environment[0];
  if (first != "clean" && first != "inherit") {
    return absl::StrCat(Quoted(first),
                        " is not known here: expected inherit, clean, or clean and "
                        "the names of variables, as in clean,TMPDIR");
  }
  if (first == "inherit" && flags.environment.size() > 1) {
    return absl::StrCat("with inherit all is inherited; ", Quoted(flags.environment[1]),
                        " is for clean");
  }
  for (size_t i = 1; i < flags.environment.size(); ++i) {
    const std::string error = KeptNameError(flags.environment[i]);
    if (!error.empty()) return error;
  }
  return "";
}

}  // namespace

int WorkerUsageError(std::string_view message) {
  PrintError(kProgram, absl::StrCat(std::string(message), " (see ", kProgram, " --help)"));
  return kExitUsage;
}

std::optional<int> ParseWorkerFlags(std::vector<std::string> args, WorkerFlags* flags) {
  flags->exec = CutExec(&args);
  CLI::App app(kWorkerDescription, kProgram);
  app.footer(kWorkerManual);
  AddBroker(&app, &flags->worker.broker);
  app.add_option("--queue", flags->queues, "Queue to run jobs of; may be given several times")
      ->type_name("QUEUE")
      ->allow_extra_args(false);
  std::string command;
  app.add_option("--exec", command, "Program that runs a job, and its arguments; the last option")
      ->type_name("COMMAND [ARGUMENT...]")
      ->configurable(false);
  app.add_option("--handler", flags->handler, "Built-in handler that runs the jobs")
      ->type_name("NAME");
  app.add_flag("--list-handlers", flags->list_handlers, "Print the built-in handlers and exit")
      ->configurable(false);
  app.add_flag("--nul", flags->nul,
               "With --exec: jobs and results of a batch end with a NUL byte, not a newline");
  AddChoice(
      &app, "--lines", {"fail", "retry"}, flags->lines,
      [flags](const std::string& lines) { flags->lines = lines; },
      "With --exec: what a batch does whose program writes another number of lines than it "
      "got: fail (dead at once) or retry (in halves; for programs without side effects)");
  app.add_option(
         "--env", flags->environment,
         "With --exec: inherit (by default), or clean: the program gets PATH, HOME, LANG and "
         "the variables named behind it")
      ->type_name("inherit|clean[,NAME...]")
      ->allow_extra_args(false);
  app.add_option("--follow-on", flags->follow_on,
                 "Queue that gets the result of each completed job, unless it is empty, as a job")
      ->type_name("QUEUE");
  flags->worker.slots = std::max(1u, std::thread::hardware_concurrency());
  AddNumber(&app, "--slots", &flags->worker.slots,
            "Jobs to run at a time; by default one per processor", 1, 4096);
  app.add_option("--name", flags->worker.name,
                 "Name in the broker's log and status; by default the host's")
      ->type_name("NAME");
  AddDuration(&app, "--connect-timeout", &flags->worker.connect_timeout,
              "How long to try to reach the broker at first; 0: for ever");
  CLI::Option* kill_grace = AddDuration(
      &app, "--kill-grace", &flags->kill_grace,
      "Time between SIGTERM and SIGKILL for a program whose job timed out or was cancelled; "
      "0: SIGKILL at once");
  kill_grace->check([](const std::string& text) -> std::string {
    const auto grace = ParseDuration(text);
    const bool fits = !grace.ok() || *grace <= milliseconds(kEndGraceMsMax);
    return fits ? "" : "expected at most 1h: the broker waits no longer for a job";
  });
  AddLogOptions(&app, &flags->log);
  if (const auto code = ParseCommandLine(&app, std::move(args))) return code;
  SplitAtCommas(&flags->queues);
  SplitAtCommas(&flags->environment);
  if (flags->list_handlers) return std::nullopt;
  if (flags->queues.empty()) return WorkerUsageError("--queue is required");
  if (flags->queues.size() > kQueuesPerWorkerMax) {
    return WorkerUsageError(absl::StrCat("--queue: ", flags->queues.size(),
                                         " queues: expected at most ", kQueuesPerWorkerMax));
  }
  for (const std::string& queue : flags->queues) {
    if (const std::string error = QueueNameError(queue); !error.empty()) {
      return WorkerUsageError(absl::StrCat("--queue: ", Quoted(queue), ": ", error));
    }
  }
  if (!flags->follow_on.empty()) {
    if (const std::string error = QueueNameError(flags->follow_on); !error.empty()) {
      return WorkerUsageError(absl::StrCat("--follow-on: ", Quoted(flags->follow_on), ": ", error));
    }
  }
  if (flags->nul && flags->exec.empty()) return WorkerUsageError("--nul is for --exec");
  if (flags->exec.empty() && !flags->environment.empty())
    return WorkerUsageError("--env is for --exec");
  if (flags->exec.empty() && flags->lines != "fail")
    return WorkerUsageError("--lines is for --exec");
  if (const std::string error = EnvironmentError(*flags); !error.empty()) {
    return WorkerUsageError("--env: " + error);
  }
  if (!flags->exec.empty() && !flags->handler.empty()) {
    return WorkerUsageError("--exec and --handler cannot be given together");
  }
  return std::nullopt;
}

}  // namespace whippletree
