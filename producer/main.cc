// whippletree-producer: the command line; each command is in a file of its own.
#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"
#include "producer/submit.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-producer";

constexpr char kAbout[] = "Submits jobs to a whippletree broker and brings back their outcomes.";

constexpr char kSubmitAbout[] =
    R"(Submit the jobs of a file or of stdin, and print their outcomes.

Each line of the input is the payload of one job. Outcomes are printed as soon
as they are there, one line each; a job without a result leaves an empty line.
What failed is told on stderr. Input is read as fast as the broker takes it.)";

constexpr char kSubmitManual[] = R"(Input (--format):
  lines  each line is a payload, without its newline; an empty line is a job
  nul    payloads of any bytes, each ended by a NUL as by `find -print0`; text
         output is ended by NUL too then, with each result exactly as it is
  jsonl  one object a line; blank lines are skipped. Only "payload" is required:
         {"payload": "text", "key": "k", "timeout": "5s", "max_attempts": 3,
          "delay": "10s", "expires_in": "5m"}

Output (--output):
  text   the result and a newline, which is not doubled if the result ends in
         one; an empty line for a job without a result and for input that is
         no job, so that with --ordered line 7 answers line 7
  jsonl  {"number":7,"id":"1-7","outcome":"completed","result":"49","attempts":1,
         "worker":"w"}; "result_base64" where the result is no UTF-8 text; what
         is not completed has "status" and "error" instead. Outcomes: completed,
         dead, cancelled, expired, rejected, unknown. Input that is no job:
         {"line":8,"outcome":"rejected","status":…,"error":…}

Bad input and payloads that are too large are named on stderr with their line;
all other jobs go on, and the exit code is 1.

With --delay a job is not started before that time has passed since it was read;
with --expires-in it becomes expired if it still waits then. What runs goes on.

With --group all jobs are one group, and so are the follow-on jobs that handlers
ask for. The outcomes of these are printed too: as text only results, with
--ordered after all others, in jsonl with "follow_on":true and "queue". The
command waits for the group's end; the last line on stderr has its counts, and
the exit code is 0 only if every job of the group completed. Follow-on jobs are
not cancelled by Ctrl-C.

Ctrl-C (SIGINT) and SIGTERM stop reading and cancel the jobs that have no outcome
yet; what running ones became is still printed. A second one leaves at once. With
--no-wait or --name nothing is cancelled: what is accepted goes on.

With --name, start the same command with the same input again after it was
interrupted or killed: jobs that were accepted are skipped in the input and not
run twice. Outcomes that were not printed yet come first; one may be printed again
if it was killed. What --ordered holds back is lost when it is killed.

Examples:
  printf '%s\n' 1 2 3 | whippletree-producer submit --queue square
  whippletree-producer submit --queue thumbnails --ordered paths.txt > done.txt
  find . -name '*.log' -print0 | whippletree-producer submit -q gzip --format nul
  whippletree-producer submit -q mail --no-wait --name nightly jobs.jsonl \
      --format jsonl
  whippletree-producer submit -q remind --delay 10m --expires-in 1h notes.txt
  whippletree-producer submit -q resize --group --ordered images.txt)";

// The option `name`, which is one of the names in `choices`.
template <typename T>
CLI::Option* AddChoice(CLI::App* app, const std::string& name, T* value,
                       const std::map<std::string, T>& choices, const std::string& shown_default,
                       const std::string& description) {
  std::string names;
  for (const auto& [choice, unused] : choices) names += (names.empty() ? "" : "|") + choice;
  const auto set = [name, value, choices, names](const std::string& text) {
    const auto choice = choices.find(text);
    if (choice == choices.end()) {
      throw CLI::ValidationError(name, "\"" + text + "\" is none of " + names);
    }
    *value = choice->second;
  };
  return app->add_option_function<std::string>(name, set, description)
      ->type_name(names)
      ->default_str(shown_default);
}

CLI::App* AddSubmit(CLI::App* app, SubmitOptions* options) {
  CLI::App* command = app->add_subcommand("submit", kSubmitAbout);
  command->footer(kSubmitManual);

  command->add_option("FILE", options->file, "What to read; - is stdin")->capture_default_str();
  command->add_option("-q,--queue", options->queue, "The queue that gets the jobs")
      ->type_name("QUEUE")
      ->required();
  AddBroker(command, &options->broker);
  AddDuration(command, "--connect-timeout", &options->connect_timeout,
              "How long to try to reach the broker; 0: for ever");
  AddChoice<InputFormat>(command, "--format", &options->format,
                         {{"lines", InputFormat::kLines},
                          {"nul", InputFormat::kNul},
                          {"jsonl", InputFormat::kJsonLines}},
                         "lines", "What the input looks like");
  AddChoice<OutputFormat>(command, "--output", &options->output,
                          {{"text", OutputFormat::kText}, {"jsonl", OutputFormat::kJsonLines}},
                          "text", "What the output looks like");
  CLI::Option* ordered = command->add_flag("--ordered", options->ordered,
                                           "Print outcomes in the order of the input; those that "
                                           "come early are held in memory");
  CLI::Option* no_wait =
      command
          ->add_flag("--no-wait", options->no_wait,
                     "End when the broker has accepted all jobs; their outcomes are not kept")
          ->excludes(ordered);
  AddDuration(command, "--delay", &options->delay, "A job is not started before this has passed");
  AddDuration(command, "--expires-in", &options->expires_in,
              "A job that still waits after this expires; 0: never");
  AddDuration(command, "--timeout", &options->defaults.timeout,
              "How long one attempt of a job may run; 0: no limit")
      ->check([](const std::string& text) -> std::string {
        const auto timeout = ParseDuration(text);
        const bool fits = !timeout.ok() || *timeout == Duration(0) ||
                          (*timeout >= kTimeoutMin && *timeout <= kTimeoutMax);
        return fits ? "" : "expected 0, or a time from 1ms to 1000h";
      });
  AddNumber(command, "--max-attempts", &options->defaults.max_attempts,
            "The most starts of a job; 0: as the queue says");
  command
      ->add_option("--key", options->defaults.key,
                   "The line inside the queue; lines of a queue take turns")
      ->type_name("KEY");
  CLI::Option* name =
      command
          ->add_option("--name", options->name,
                       "Makes the producer one that can be started again and goes on")
          ->type_name("NAME");
  command
      ->add_flag("--group", options->group,
                 "All jobs are one group: wait for its end, follow-on jobs included")
      ->excludes(no_wait)
      ->excludes(name);
  AddChoice<ShowProgress>(command, "--progress", &options->progress,
                          {{"auto", ShowProgress::kOnTerminals},
                           {"always", ShowProgress::kAlways},
                           {"never", ShowProgress::kOff}},
                          "auto", "A line on stderr with rate and time left; auto: on a terminal");
  command->add_flag("--quiet", options->quiet, "Tell nothing on stderr but errors");
  return command;
}

int Main(int argc, char** argv) {
  CLI::App app(kAbout, kProgram);
  app.require_subcommand(1);
  SubmitOptions submit;
  const CLI::App* submit_command = AddSubmit(&app, &submit);
  if (const auto code = ParseCommandLine(&app, argc, argv)) return *code;
  if (!submit_command->parsed()) return kExitUsage;
  if (const std::string error = QueueNameError(submit.queue); !error.empty()) {
    PrintError(kProgram, "--queue: " + Quoted(submit.queue) + ": " + error + " (see " + kProgram +
                             " submit --help)");
    return kExitUsage;
  }
  return RunSubmit(submit);
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
