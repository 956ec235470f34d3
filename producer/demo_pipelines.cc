// Patterns of queues that feed queues.
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "producer/demo_data.h"
#include "producer/demo_patterns.h"
#include "producer/interrupt.h"
#include "producer/mapreduce.h"

namespace whippletree {
namespace {

constexpr int kNumbers = 1000;
// Time in which a frozen worker is given jobs, before it is killed.
constexpr Duration kFrozen = milliseconds(500);

constexpr char kSquares[] = "demo.squares";
constexpr char kSums[] = "demo.sums";
constexpr char kTotal[] = "demo.total";

// One worker for each stage.
absl::Status StartStages(DemoStage& stage) {
  absl::Status status = stage.StartWorkers(
      "squares", 1,
      {"--queue", kSquares, "--slots", "4", "--handler", "square", "--follow-on", kSums});
  if (status.ok()) {
    status = stage.StartWorkers(
        "sums", 1, {"--queue", kSums, "--slots", "1", "--handler", "sum", "--follow-on", kTotal});
  }
  if (!status.ok()) return status;
  return stage.StartWorkers("total", 1, {"--queue", kTotal, "--slots", "1", "--handler", "echo"});
}

// Adds up what comes out of the last stage.
class Adder {
 public:
  explicit Adder(DemoStage& stage) : stage_(stage) {}

  uint64_t squares() const { return squares_; }
  uint64_t sums() const { return sums_; }
  int64_t total() const { return total_; }
  const std::string& problem() const { return problem_; }

  // Takes outcomes until `done` or an error.
  absl::Status TakeUntil(const std::function<bool()>& done) {
    for (;;) {
      const auto outcome = stage_.NextUntil(done);
      if (!outcome.ok()) return outcome.status();
      if (!outcome->has_value()) return absl::OkStatus();
      Take(**outcome);
    }
  }

 private:
  void Take(const Outcome& outcome) {
    if (!outcome.status.ok()) {
      problem_ = absl::StrCat("job ", outcome.id, " of ", outcome.queue, ": ", Summary(outcome));
    }
    if (outcome.queue == kSquares) ++squares_;
    if (outcome.queue == kSums && !outcome.result.empty()) ++sums_;
    if (outcome.queue != kTotal) return;
    int64_t sum = 0;
    if (!absl::SimpleAtoi(outcome.result, &sum)) problem_ = "a sum is no number";
    total_ += sum;
    stage_.Show(absl::StrCat(ShortName(outcome.worker), ": + ", sum, " = ", total_));
  }

  DemoStage& stage_;
  uint64_t squares_ = 0;
  uint64_t sums_ = 0;
  int64_t total_ = 0;
  std::string problem_;
};

// The worker of each stage dies, and another takes its place.
absl::Status ReplaceWorkers(DemoStage& stage) {
  for (const char* victim : {"squares-1", "sums-1", "total-1"}) {
    stage.Say(absl::StrCat("kill -9 ", stage.workers().Kill(victim), ": that was ", victim));
  }
  return StartStages(stage);
}

}  // namespace

absl::Status RunMapReducePattern(DemoStage& stage, DemoResult* result) {
  MapReduceOptions options;
  options.map_queue = "demo.map";
  options.reduce_queue = "demo.reduce";
  absl::Status status = stage.StartWorkers(
      "mapper", 3, {"--queue", options.map_queue, "--slots", "1", "--handler", "words"});
  if (status.ok()) {
    status = stage.StartWorkers(
        "reducer", 3, {"--queue", options.reduce_queue, "--slots", "1", "--handler", "total"});
  }
  if (status.ok()) status = stage.WaitForWorkers();
  if (!status.ok()) return status;
  std::vector<MapInput> inputs;
  for (const DemoText& text : DemoTexts()) {
    inputs.push_back({std::string(text.name), [&text] {
                        return absl::StatusOr<std::unique_ptr<std::istream>>(
                            std::make_unique<std::istringstream>(std::string(text.text)));
                      }});
  }
  options.stopped = [] { return Signals() > 0; };
  MapReduceReport report;
  status = MapReduce(
      stage.producer(), inputs, options,
      [&](std::string_view key, std::string_view value) {
        stage.Show(absl::StrCat(std::string(key), "  ", std::string(value)));
        result->lines.push_back(absl::StrCat(std::string(key), "\t", std::string(value)));
        return absl::OkStatus();
      },
      &report);
  stage.EndShow();
  stage.Say(absl::StrCat(report.map_jobs, " map jobs, ", report.reduce_jobs, " reduce jobs"));
  if (status.ok()) result->outcomes[OutcomeKind::kCompleted] = report.map_jobs + report.reduce_jobs;
  return status;
}

absl::Status RunComposition(DemoStage& stage, DemoResult* result) {
  absl::Status status = StartStages(stage);
  if (status.ok()) status = stage.WaitForWorkers();
  if (!status.ok()) return status;
  stage.producer().OnFollowOn(stage.Inbox());
  const absl::StatusOr<uint64_t> group = stage.producer().OpenGroup();
  if (!group.ok()) return group.status();
  Adder adder(stage);

  // Workers that are killed are to hold jobs then: frozen before, each takes some and does not
  // answer. The last stage's is given the first sum, the others the second half of the numbers.
  stage.workers().Freeze("total-1");
  status = stage.Submit(kSquares, DemoNumbers(1, kNumbers / 2), *group);
  if (!status.ok()) return status;
  status = adder.TakeUntil([&] { return adder.squares() == kNumbers / 2 && adder.sums() > 0; });
  if (!status.ok()) return status;
  for (const char* victim : {"squares-1", "sums-1"}) stage.workers().Freeze(victim);
  stage.Say(
      "all three workers are stopped now (SIGSTOP), so that each holds jobs when it is killed");
  status = stage.Submit(kSquares, DemoNumbers(kNumbers / 2 + 1, kNumbers), *group);
  if (!status.ok()) return status;
  auto closed = stage.producer().CloseGroup(*group);
  if (!closed.ok()) return closed.status();
  status = stage.Pause(kFrozen);
  if (status.ok()) status = ReplaceWorkers(stage);
  if (!status.ok()) return status;

  const auto ended = [&] { return closed->wait_for(Duration(0)) == std::future_status::ready; };
  status = adder.TakeUntil(ended);
  if (!status.ok()) return status;
  const absl::StatusOr<GroupEnd> end = stage.WaitForEnd(*closed);
  if (!end.ok()) return end.status();
  stage.EndShow();
  stage.Say(absl::StrCat("the group has ended: ", end->completed, " of ", end->jobs(),
                         " jobs completed: ", adder.squares(), " numbers, their squares, and ",
                         adder.sums(), " sums; the total is ", adder.total()));
  result->outcomes[OutcomeKind::kCompleted] = end->completed;
  if (end->dead > 0) result->outcomes[OutcomeKind::kDead] = end->dead;
  result->lines.push_back(absl::StrCat(adder.total()));
  result->problem = adder.problem();
  return absl::OkStatus();
}

}  // namespace whippletree
