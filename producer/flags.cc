#include "producer/flags.h"

#include <CLI/CLI.hpp>
#include <map>
#include <utility>

#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"
#include "common/wire_limits.h"
#include "producer/convert.h"

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
         {"payload": "text", "name": "n", "key": "k", "timeout": "5s",
          "max_attempts": 3, "delay": "10s", "expires_in": "5m"}

Output (--output):
  text   the result and a newline, which is not doubled if the result ends in
         one; an empty line for a job without a result and for input that is
         no job, so that with --ordered line 7 answers line 7
  jsonl  {"number":7,"id":"1-7","outcome":"completed","result":"49","attempts":1,
         "worker":"w"}; "result_base64" where the result is no UTF-8 text; what
         is not completed has "status" and "error" instead, and "exit_code" or
         "signal" if its program ended so. Outcomes: completed, dead,
         cancelled, expired, rejected, repeated, unknown. Input that is no
         job: {"line":8,"outcome":"rejected","status":…,"error":…}

Bad input and payloads that are too large are named on stderr with their line;
all other jobs go on, and the exit code is 1.

With --job-names each job has a name, by which it is known when it is submitted
again, by whomever: in lines and with nul the name comes first and ends with a
tab, in jsonl it is "name" (which may be given without the flag too). A job
whose name another job of the queue had within the queue's window (job_names in
the broker's configuration, 24h unless it says something else) is not run again;
its outcome is repeated, and its error names the first one. That is no failure:
the exit code stays 0, and the last line on stderr says how many there were. It
is rejected if the first one is dead, until that one is requeued or dropped; one
that was cancelled, or expired unstarted, gives its name free.

With --delay a job is not started before that time has passed since it was read;
with --expires-in it becomes expired if it still waits then. What runs goes on.

With --group all jobs are one group, and so are the follow-on jobs that handlers
ask for. The outcomes of these are printed too: as text only results, with
--ordered after all others, in jsonl with "follow_on":true and "queue". The
command waits for the group's end; the last line on stderr has its counts, and
the exit code is 0 only if every job of the group completed. Follow-on jobs are
not cancelled by Ctrl-C. When the input ends, the last batch of the group starts
at once: it waits for no more jobs, however long the queue's linger is.

Ctrl-C (SIGINT), SIGTERM and SIGHUP stop reading and cancel the jobs that have no outcome
yet; what running ones became is still printed. A second one leaves at once. With
--no-wait or --name nothing is cancelled: what is accepted goes on.

With --name, start the same command with the same input again after it was
interrupted or killed: jobs that were accepted are skipped in the input and not
run twice. Outcomes that were not printed yet come first; one may be printed again
if it was killed. What --ordered holds back is lost when it is killed. If jobs of
an earlier start are dead, cancelled or expired, that is said, and the exit code
is 1; it is 2 if the input does not begin as before: nothing is submitted then.

Examples:
  printf '%s\n' 1 2 3 | whippletree-producer submit --queue square
  whippletree-producer submit --queue thumbnails --ordered paths.txt > done.txt
  find . -name '*.log' -print0 | whippletree-producer submit -q gzip --format nul
  whippletree-producer submit -q mail --no-wait --name nightly jobs.jsonl \
      --format jsonl
  printf 'order 815\t%s\n' "$order" |
      whippletree-producer submit -q orders --job-names
  whippletree-producer submit -q remind --delay 10m --expires-in 1h notes.txt
  whippletree-producer submit -q resize --group --ordered images.txt)";

constexpr char kMapReduceAbout[] =
    R"(Run map-reduce over files, with any programs as mapper and reducer.

Each file is cut into pieces, each of which is a job of the map queue. What the
mappers print is shuffled by key and reduced by jobs of the reduce queue. The
results are printed as lines KEY<TAB>VALUE, sorted by key.)";

constexpr char kMapReduceManual[] = R"(Jobs:
  map     the payload is the file's name, without folder and without .txt, a
          newline, and a piece of the text, cut at a newline or another white
          space; the result is lines KEY<TAB>VALUE
  reduce  the payload is lines KEY<TAB>VALUE, sorted, with all values of each of
          its keys; the result is lines KEY<TAB>VALUE. Too many values for one
          payload are reduced in parts, and then the results of the parts: the
          reducer must stand that, as one that sums does
Each stage is a group of jobs. Lines are kept in memory and, beyond 64 MiB, in
files in $TMPDIR, which are gone when the command ends, however it ends.

If a job fails, no more are submitted, the command ends when all others have
ended, prints nothing on stdout, and the exit code is 1; 1 too if a word or a
line is larger than a payload may be. A file that cannot be read: 5.

Ctrl-C (SIGINT) and SIGTERM cancel the jobs; a second one leaves at once.

Example: how often each word is in each file
  whippletree-worker --queue words --exec awk '
      NR == 1 { name = $0; next }
      { for (i = 1; i <= NF; i++) n[name ":" tolower($i)]++ }
      END { for (key in n) print key "\t" n[key] }' &
  whippletree-worker --queue sum --exec awk -F '\t' '
      { n[$1] += $2 }
      END { for (key in n) print key "\t" n[key] }' &
  whippletree-producer mapreduce --map-queue words --reduce-queue sum *.txt)";

constexpr char kDemoAbout[] =
    R"(Show patterns of distributed work: with a broker that runs, and workers that this starts.

The broker needs the queues of the demo:
  whippletree-broker serve --config demo/policies.yaml
Each pattern starts its workers as processes, shows what happens, compares the
results with what they must be, and ends the workers. In the end there is a table;
the exit code is 0 only if every pattern is ok.)";

// The option `name`, which is one of the names in `choices`.
template <typename T>
CLI::Option* AddChoiceOf(CLI::App* app, const std::string& name, T* value,
                         const std::map<std::string, T>& choices, const std::string& name_default,
                         const std::string& description) {
  std::vector<std::string> names;
  for (const auto& [choice, unused] : choices) names.push_back(choice);
  const auto set = [value, choices](const std::string& text) { *value = choices.at(text); };
  return AddChoice(app, name, names, name_default, set, description);
}

void AddConnection(CLI::App* command, std::string* broker, Duration* connect_timeout) {
  AddBroker(command, broker);
  AddDuration(command, "--connect-timeout", connect_timeout,
              "How long to try to reach the broker; 0: for ever");
}

void AddAttempts(CLI::App* command, JobOptions* jobs) {
  AddDuration(command, "--timeout", &jobs->timeout,
              "How long one attempt of a job may run; 0: as the queue says")
      ->check([](const std::string& text) -> std::string {
        const auto timeout = ParseDuration(text);
        const bool fits = !timeout.ok() || *timeout == Duration(0) ||
                          (*timeout >= kTimeoutMin && *timeout <= kTimeoutMax);
        return fits ? "" : "expected 0, or a time from 1ms to 1000h";
      });
  AddNumber(command, "--max-attempts", &jobs->max_attempts,
            "The most starts of a job; 0: as the queue says", 0, kAttemptsMax);
}

CLI::App* AddSubmit(CLI::App* app, SubmitOptions* options) {
  CLI::App* command = app->add_subcommand("submit", kSubmitAbout);
  command->footer(kSubmitManual);

  command->add_option("FILE", options->file, "What to read; - is stdin")->capture_default_str();
  command->add_option("-q,--queue", options->queue, "The queue that gets the jobs")
      ->type_name("QUEUE")
      ->required();
  AddConnection(command, &options->broker, &options->connect_timeout);
  AddChoiceOf<InputFormat>(command, "--format", &options->format,
                           {{"lines", InputFormat::kLines},
                            {"nul", InputFormat::kNul},
                            {"jsonl", InputFormat::kJsonLines}},
                           "lines", "What the input looks like");
  AddChoiceOf<OutputFormat>(command, "--output", &options->output,
                            {{"text", OutputFormat::kText}, {"jsonl", OutputFormat::kJsonLines}},
                            "text", "What the output looks like");
  command->add_flag("--job-names", options->job_names,
                    "Each job of the input has a name; one that was there before is not run again");
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
  AddAttempts(command, &options->defaults);
  command
      ->add_option("--key", options->defaults.key,
                   "What the jobs belong to: keys of a queue take turns; its policy may order or "
                   "limit the jobs of a key")
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
  AddChoiceOf<ShowProgress>(command, "--progress", &options->progress,
                            {{"auto", ShowProgress::kOnTerminals},
                             {"always", ShowProgress::kAlways},
                             {"never", ShowProgress::kOff}},
                            "auto",
                            "A line on stderr with rate and time left; auto: on a terminal");
  command->add_flag("--quiet", options->quiet, "Tell nothing on stderr but errors");
  return command;
}

CLI::App* AddMapReduce(CLI::App* app, MapReduceCommandOptions* options) {
  CLI::App* command = app->add_subcommand("mapreduce", kMapReduceAbout);
  command->footer(kMapReduceManual);
  command->add_option("FILE", options->files, "The texts: files or pipes; - is stdin")->required();
  MapReduceOptions& mapreduce = options->mapreduce;
  command
      ->add_option("--map-queue", mapreduce.map_queue,
                   "The queue that gets the pieces of the texts")
      ->type_name("QUEUE")
      ->required();
  command
      ->add_option("--reduce-queue", mapreduce.reduce_queue,
                   "The queue that gets the lines, by key")
      ->type_name("QUEUE")
      ->required();
  AddConnection(command, &options->broker, &options->connect_timeout);
  AddByteSize(command, "--piece-size", &mapreduce.piece_bytes,
              "Text of a map job, and lines of a reduce job with several keys, at most")
      ->check([](const std::string& text) -> std::string {
        const auto size = ParseByteSize(text);
        return !size.ok() || *size > 0 ? "" : "expected at least 1 byte";
      });
  AddNumber(command, "--partitions", &mapreduce.partitions,
            "Parts that the keys are divided into by hash; each makes a reduce job, or several", 1,
            10'000);
  AddAttempts(command, &mapreduce.jobs);
  command->add_flag("--quiet", options->quiet, "Tell nothing on stderr but errors");
  return command;
}

CLI::App* AddDemo(CLI::App* app, DemoOptions* options) {
  CLI::App* command = app->add_subcommand("demo", kDemoAbout);
  command->add_option("PATTERN", options->patterns, "Patterns to show, or all");
  command->add_flag("--list", options->list, "Only say which patterns there are")
      ->configurable(false);
  AddBroker(command, &options->broker);
  return command;
}

// What is wrong with options that each for itself can be; empty: nothing.
std::string SubmitError(const SubmitOptions& options) {
  if (const std::string error = QueueNameError(options.queue); !error.empty()) {
    return "--queue: " + Quoted(options.queue) + ": " + error;
  }
  // Of the rest, the parser has seen to all but the key.
  if (const absl::Status status = CheckOptions(options.defaults); !status.ok()) {
    return "--key: " + std::string(status.message());
  }
  if (options.expires_in > Duration(0) && options.expires_in <= options.delay) {
    return "--expires-in: " + FormatDuration(options.expires_in) +
           " is not longer than --delay, so no job would be run";
  }
  return "";
}

std::string MapReduceError(const MapReduceOptions& options) {
  const std::pair<const char*, std::string> queues[] = {{"--map-queue", options.map_queue},
                                                        {"--reduce-queue", options.reduce_queue}};
  for (const auto& [option, queue] : queues) {
    if (const std::string error = QueueNameError(queue); !error.empty()) {
      return std::string(option) + ": " + Quoted(queue) + ": " + error;
    }
  }
  return "";
}

}  // namespace

std::optional<int> ParseProducerFlags(std::vector<std::string> args, ProducerFlags* flags) {
  CLI::App app(kAbout, kProgram);
  app.require_subcommand(1);
  const CLI::App* submit = AddSubmit(&app, &flags->submit);
  const CLI::App* mapreduce = AddMapReduce(&app, &flags->mapreduce);
  const CLI::App* demo = AddDemo(&app, &flags->demo);
  if (const auto code = ParseCommandLine(&app, std::move(args))) return code;
  std::string error;
  if (submit->parsed()) {
    flags->command = ProducerFlags::Command::kSubmit;
    error = SubmitError(flags->submit);
  } else if (mapreduce->parsed()) {
    flags->command = ProducerFlags::Command::kMapReduce;
    error = MapReduceError(flags->mapreduce.mapreduce);
  } else if (demo->parsed()) {
    flags->command = ProducerFlags::Command::kDemo;
    if (!flags->demo.list) error = DemoPatternsError(flags->demo.patterns);
  }
  if (error.empty()) return std::nullopt;
  const std::string command = app.get_subcommands().front()->get_name();
  PrintError(kProgram, error + " (see " + kProgram + " " + command + " --help)");
  return kExitUsage;
}

}  // namespace whippletree
