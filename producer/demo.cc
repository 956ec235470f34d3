#include "producer/demo.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "common/cli.h"
#include "common/clock.h"
#include "common/printable.h"
#include "producer/demo_data.h"
#include "producer/demo_patterns.h"
#include "producer/demo_stage.h"
#include "producer/interrupt.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-producer";
constexpr char kDefaultBroker[] = "127.0.0.1:7711";

constexpr DemoPattern kPatterns[] = {
    {"producer-consumer", "25 jobs for 5 consumers: each takes the next one when it is free.",
     RunProducerConsumer},
    {"worker-pool",
     "50 jobs of 0.1 s for 10 slots of 2 workers take about 0.5 s: no slot is left idle.",
     RunWorkerPool},
    {"batch",
     "51 items, given to the handler 4 at a time, 2 batches a second; the last 3 do not wait for a "
     "fourth for ever.",
     RunBatch},
    {"fan", "25 sentences go to 3 workers and come back as one stream; the group tells its end.",
     RunFan},
    {"circuit-breaker",
     "11 operations, one each 0.1 s. The third failure in a row opens the breaker: for 0.2 s "
     "nothing starts, then one job is tried. Job 4 fails and opens it again, job 5 closes it.",
     RunCircuitBreaker},
    {"map-reduce", "The words of 5 texts, counted by 3 mappers and 3 reducers.",
     RunMapReducePattern},
    {"errors", "50 jobs of which every seventh fails: a result is data or an error.", RunErrors},
    {"timeout", "10 jobs that may take 0.2 s; every other one would take 10 s, and is ended.",
     RunTimeout},
    {"composition",
     "1,000 numbers are squared, the squares added up in batches of at most 50, and these sums "
     "added up; a worker of each stage is killed while it holds jobs, and the total is exact.",
     RunComposition},
};

// A row of the table.
struct Row {
  std::string_view pattern;
  DemoResult result;
  double seconds = 0;
  bool ok = false;
};

// Says where the lines differ first.
std::string Difference(const std::vector<std::string>& expected,
                       const std::vector<std::string>& actual) {
  for (size_t i = 0; i < std::max(expected.size(), actual.size()); ++i) {
    const std::string want = i < expected.size() ? Quoted(expected[i], 200) : "no more";
    const std::string have = i < actual.size() ? Quoted(actual[i], 200) : "no more";
    if (want != have) return absl::StrCat("result ", i + 1, ": expected ", want, ", got ", have);
  }
  return "";
}

std::string Command(const DemoOptions& options, std::string_view pattern) {
  std::string command = absl::StrCat(kProgram, " demo ", std::string(pattern));
  if (options.broker != kDefaultBroker) absl::StrAppend(&command, " --broker ", options.broker);
  return command;
}

// Plays a pattern and says what is wrong, if anything is.
absl::Status Play(const DemoPattern& pattern, const DemoOptions& options, Row* row) {
  std::printf("%s: %s\n", std::string(pattern.name).c_str(), std::string(pattern.watch).c_str());
  std::fflush(stdout);
  auto stage = DemoStage::Open(options.broker);
  if (!stage.ok()) return stage.status();
  const absl::Status status = pattern.run(**stage, &row->result);
  row->seconds = (*stage)->Seconds();
  if (!status.ok()) (*stage)->Abandon();
  if (absl::IsCancelled(status)) return status;
  std::string problem = row->result.problem;
  if (!status.ok()) {
    problem = std::string(status.message());
  } else if (problem.empty()) {
    problem = Difference(ExpectedLines(pattern.name), row->result.lines);
  }
  row->ok = problem.empty();
  std::printf("  again: %s\n\n", Command(options, pattern.name).c_str());
  std::fflush(stdout);
  if (row->ok) return absl::OkStatus();
  PrintError(kProgram, absl::StrCat(std::string(pattern.name), ": ", problem));
  PrintError(kProgram,
             "was the broker started with --config demo/policies.yaml? Are there jobs of others in "
             "its demo queues (whippletree-broker status)?");
  std::fprintf(stderr, "%s", (*stage)->workers().Output().c_str());
  return absl::OkStatus();
}

std::string OutcomesText(const DemoResult& result) {
  return absl::StrJoin(result.outcomes, ", ", [](std::string* out, const auto& outcome) {
    absl::StrAppend(out, outcome.second, " ", std::string(ToString(outcome.first)));
  });
}

void PrintTable(const std::vector<Row>& rows) {
  absl::PrintF("%-18s %6s %8s  %-22s ok\n", "pattern", "jobs", "seconds", "outcomes");
  for (const Row& row : rows) {
    absl::PrintF("%-18s %6d %8.1f  %-22s %s\n", std::string(row.pattern), row.result.jobs(),
                 row.seconds, OutcomesText(row.result), row.ok ? "yes" : "NO");
  }
  std::fflush(stdout);
}

int List() {
  for (const DemoPattern& pattern : kPatterns) {
    absl::PrintF("%-18s %s\n", std::string(pattern.name), std::string(pattern.watch));
  }
  return kExitOk;
}

bool IsWanted(const DemoPattern& pattern, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return name == "all" || name == pattern.name;
  });
}

}  // namespace

void DemoResult::Count(const std::vector<Outcome>& ended) {
  for (const Outcome& outcome : ended) ++outcomes[outcome.kind];
}

uint64_t DemoResult::jobs() const {
  uint64_t sum = 0;
  for (const auto& [kind, count] : outcomes) sum += count;
  return sum;
}

std::span<const DemoPattern> DemoPatterns() { return kPatterns; }

std::string DemoPatternsError(const std::vector<std::string>& patterns) {
  const std::string names = absl::StrJoin(
      kPatterns, ", ",
      [](std::string* out, const DemoPattern& pattern) { out->append(pattern.name); });
  if (patterns.empty()) return absl::StrCat("which pattern? all, or some of ", names);
  for (const std::string& name : patterns) {
    const auto is_this = [&](const DemoPattern& pattern) { return pattern.name == name; };
    if (name == "all" || std::any_of(std::begin(kPatterns), std::end(kPatterns), is_this)) continue;
    return absl::StrCat("there is no pattern ", Quoted(name), ", only all, ", names);
  }
  return "";
}

int RunDemo(const DemoOptions& options) {
  if (options.list) return List();
  CatchSignals();
  std::vector<Row> rows;
  for (const DemoPattern& pattern : kPatterns) {
    if (!IsWanted(pattern, options.patterns)) continue;
    rows.emplace_back().pattern = pattern.name;
    const absl::Status status = Play(pattern, options, &rows.back());
    if (status.ok()) continue;
    PrintError(kProgram, std::string(status.message()));
    return ExitCodeFor(status);
  }
  PrintTable(rows);
  const bool ok = std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.ok; });
  return ok ? kExitOk : kExitIncomplete;
}

}  // namespace whippletree
