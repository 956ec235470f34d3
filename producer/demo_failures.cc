// Patterns of jobs that fail.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "producer/demo_data.h"
#include "producer/demo_patterns.h"

namespace whippletree {
namespace {

struct BreakerStatus {
  std::string state;
  uint64_t openings = 0;
};

// What the broker says of the queue's breaker.
absl::StatusOr<BreakerStatus> AskForBreaker(const DemoStage& stage, const std::string& queue) {
  const absl::StatusOr<std::string> text = RunProgram(
      {SiblingProgram("whippletree-broker"), "status", "--json", "--broker", stage.broker()});
  if (!text.ok()) return text.status();
  const auto status = nlohmann::json::parse(*text, nullptr, false);
  BreakerStatus breaker;
  if (status.is_discarded()) return absl::InternalError("the broker's status is no JSON");
  for (const auto& each : status["queues"]) {
    if (each["name"] != queue) continue;
    breaker.state = each.value("breaker", "");
    breaker.openings = each.value("breaker_opened", uint64_t{0});
  }
  return breaker;
}

}  // namespace

absl::Status RunCircuitBreaker(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.breaker";
  absl::Status status =
      stage.StartWorkers("operator", 1, {"--queue", queue, "--slots", "1", "--handler", "flaky"});
  if (status.ok()) status = stage.WaitForWorkers();
  if (!status.ok()) return status;
  const absl::StatusOr<BreakerStatus> before = AskForBreaker(stage, queue);
  if (!before.ok()) return before.status();
  const std::vector<std::string> operations = DemoOperations();
  if (status = stage.Submit(queue, operations); !status.ok()) return status;
  const auto outcomes = stage.Collect(operations.size(), [&](const Outcome& outcome) {
    return absl::StrFormat("%4.1f s  job %2d %s", stage.Seconds(), outcome.number,
                           Summary(outcome));
  });
  if (!outcomes.ok()) return outcomes.status();
  result->Count(*outcomes);
  for (const Outcome& outcome : *outcomes) {
    result->lines.push_back(absl::StrCat(outcome.number, " ", std::string(ToString(outcome.kind))));
  }
  const absl::StatusOr<BreakerStatus> after = AskForBreaker(stage, queue);
  if (!after.ok()) return after.status();
  const uint64_t openings = after->openings - before->openings;
  stage.Say(absl::StrCat("the breaker opened ", openings, " times, and is ",
                         after->state.empty() ? "none" : after->state));
  if (openings != kBreakerOpenings || after->state != "closed") {
    result->problem = absl::StrCat("expected a breaker that opened ", kBreakerOpenings,
                                   " times, and is closed in the end");
  }
  return absl::OkStatus();
}

absl::Status RunErrors(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.errors";
  absl::Status status =
      stage.StartWorkers("checker", 2, {"--queue", queue, "--slots", "5", "--handler", "seventh"});
  if (status.ok()) status = stage.WaitForWorkers();
  const std::vector<std::string> numbers = DemoNumbers(1, 50);
  if (status.ok()) status = stage.Submit(queue, numbers);
  if (!status.ok()) return status;
  const auto outcomes = stage.Collect(numbers.size(), [](const Outcome& outcome) {
    return absl::StrCat(
        "job ", outcome.number, ": ",
        outcome.status.ok() ? std::string(ResultOf(outcome)) : outcome.status.ToString());
  });
  if (!outcomes.ok()) return outcomes.status();
  result->Count(*outcomes);
  for (const Outcome& outcome : *outcomes) {
    result->lines.push_back(absl::StrCat(outcome.number, " ", Summary(outcome)));
  }
  return absl::OkStatus();
}

absl::Status RunTimeout(DemoStage& stage, DemoResult* result) {
  const std::string queue = "demo.timeout";
  absl::Status status =
      stage.StartWorkers("sleeper", 2, {"--queue", queue, "--slots", "5", "--handler", "sleep"});
  if (status.ok()) status = stage.WaitForWorkers();
  const std::vector<std::string> durations = DemoDurations();
  if (status.ok()) status = stage.Submit(queue, durations);
  if (!status.ok()) return status;
  const auto outcomes = stage.Collect(durations.size(), [&](const Outcome& outcome) {
    return absl::StrFormat("%4.1f s  job %d, to sleep %s: %s", stage.Seconds(), outcome.number,
                           durations[outcome.number - 1], Summary(outcome));
  });
  if (!outcomes.ok()) return outcomes.status();
  result->Count(*outcomes);
  for (const Outcome& outcome : *outcomes) {
    result->lines.push_back(absl::StrCat(outcome.number, " ", Summary(outcome)));
  }
  return absl::OkStatus();
}

}  // namespace whippletree
