// Patterns of workers that share a queue.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <string>
#include <vector>

#include "producer/demo_data.h"
#include "producer/demo_patterns.h"

namespace whippletree {
namespace {

// A program, so that each job takes its time.
std::vector<std::string> SlowSquares(const std::string& queue, int slots, const char* seconds) {
  return {
      "--queue", queue, "--slots", absl::StrCat(slots),
      "--exec",  "sh",  "-c",      absl::StrCat("read n; sleep ", seconds, "; echo $((n * n))")};
}

// Each line is a job's number and its result.
void AddNumbered(const std::vector<Outcome>& outcomes, DemoResult* result) {
  result->Count(outcomes);
  for (const Outcome& outcome : outcomes) {
    const std::string text =
        outcome.status.ok() ? std::string(ResultOf(outcome)) : Summary(outcome);
    result->lines.push_back(absl::StrCat(outcome.number, " ", text));
  }
}

void AddResults(const std::vector<Outcome>& outcomes, DemoResult* result) {
  result->Count(outcomes);
  for (const Outcome& outcome : outcomes) {
    result->lines.push_back(outcome.status.ok() ? std::string(ResultOf(outcome))
                                                : Summary(outcome));
  }
}

}  // namespace

absl::Status RunProducerConsumer(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.producer-consumer";
  absl::Status status = stage.StartWorkers("consumer", 5, SlowSquares(queue, 1, "0.05"));
  if (status.ok()) status = stage.WaitForWorkers();
  const std::vector<std::string> values = DemoNumbers(1, 25);
  if (status.ok()) status = stage.Submit(queue, values);
  if (!status.ok()) return status;
  const auto outcomes = stage.Collect(values.size(), [](const Outcome& outcome) {
    return absl::StrCat(ShortName(outcome.worker), ": ", outcome.number, " -> ",
                        std::string(ResultOf(outcome)));
  });
  if (outcomes.ok()) AddNumbered(*outcomes, result);
  return outcomes.status();
}

absl::Status RunWorkerPool(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.worker-pool";
  absl::Status status = stage.StartWorkers("pool", 2, SlowSquares(queue, 5, "0.1"));
  if (status.ok()) status = stage.WaitForWorkers();
  const std::vector<std::string> data = DemoNumbers(1, 50, 2);
  if (status.ok()) status = stage.Submit(queue, data);
  if (!status.ok()) return status;
  const auto outcomes = stage.Collect(data.size(), [](const Outcome& outcome) {
    return absl::StrCat(ShortName(outcome.worker), ": job ", outcome.number, ", data ",
                        2 * outcome.number, " -> ", std::string(ResultOf(outcome)));
  });
  if (outcomes.ok()) AddNumbered(*outcomes, result);
  return outcomes.status();
}

absl::Status RunBatch(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.batch";
  absl::Status status =
      stage.StartWorkers("batcher", 1, {"--queue", queue, "--slots", "1", "--handler", "product"});
  if (status.ok()) status = stage.WaitForWorkers();
  const std::vector<std::string> items = DemoNumbers(0, 50);
  if (status.ok()) status = stage.Submit(queue, items);
  if (!status.ok()) return status;
  std::string last;
  const auto outcomes = stage.Collect(items.size(), [&](const Outcome& outcome) -> std::string {
    // All jobs of a batch have the same result.
    if (outcome.status.ok() && outcome.result == last) return "";
    last = outcome.result;
    return absl::StrFormat("%4.1f s  %s", stage.Seconds(), Summary(outcome));
  });
  if (outcomes.ok()) AddResults(*outcomes, result);
  return outcomes.status();
}

absl::Status RunFan(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.fan";
  absl::Status status =
      stage.StartWorkers("replacer", 3, {"--queue", queue, "--slots", "1", "--handler", "replace"});
  if (status.ok()) status = stage.WaitForWorkers();
  if (!status.ok()) return status;
  const absl::StatusOr<uint64_t> group = stage.producer().OpenGroup();
  if (!group.ok()) return group.status();
  const std::vector<std::string> sentences = DemoSentences();
  if (status = stage.Submit(queue, sentences, *group); !status.ok()) return status;
  auto closed = stage.producer().CloseGroup(*group);
  if (!closed.ok()) return closed.status();
  const auto outcomes = stage.Collect(sentences.size(), [](const Outcome& outcome) {
    return absl::StrCat(ShortName(outcome.worker), ": ", std::string(ResultOf(outcome)));
  });
  if (!outcomes.ok()) return outcomes.status();
  AddResults(*outcomes, result);
  const absl::StatusOr<GroupEnd> end = stage.WaitForEnd(*closed);
  if (!end.ok()) return end.status();
  stage.Say(absl::StrCat("the group has ended: ", end->completed, " of ", end->jobs(),
                         " jobs completed"));
  if (end->completed != sentences.size()) result->problem = "the group's end has other counts";
  return absl::OkStatus();
}

}  // namespace whippletree
