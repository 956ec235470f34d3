#include "producer/outcome_printer.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "common/printable.h"
#include "common/status.h"
#include "common/utf8.h"

namespace whippletree {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kJob = std::numeric_limits<uint64_t>::max();  // place of a job in held_
constexpr size_t kFailureBytesMax = 500;

std::string_view Message(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

void AppendLine(const Json& json, std::string* out) {
  absl::StrAppend(out, json.dump(-1, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace

OutcomePrinter::OutcomePrinter(Options options) : options_(options), next_(options.first_number) {}

void OutcomePrinter::Add(const Outcome& outcome, std::string* out) {
  if (outcome.follow_on) return AddFollowOn(outcome, out);
  if (!options_.ordered || outcome.number < next_) {
    if (!HasNoEntry(outcome)) Append(outcome, out);
    return;
  }
  std::string& text = held_[{outcome.number, kJob}];
  if (!HasNoEntry(outcome)) Append(outcome, &text);
  AppendReady(out);
}

void OutcomePrinter::AddFollowOn(const Outcome& outcome, std::string* out) {
  if (options_.format == OutputFormat::kText && outcome.kind != OutcomeKind::kCompleted) return;
  Append(outcome, options_.ordered ? &follow_ons_ : out);
}

void OutcomePrinter::AddBadInput(const BadInput& bad, uint64_t before, std::string* out) {
  if (!options_.ordered) return Append(bad, out);
  Append(bad, &held_[{before, bad_inputs_++}]);
  AppendReady(out);
}

void OutcomePrinter::AppendReady(std::string* out) {
  while (!held_.empty() && held_.begin()->first.first <= next_) {
    const auto& [place, text] = *held_.begin();
    if (place.second == kJob) ++next_;
    if (text.empty()) {
      ++empty_entries_owed_;
    } else {
      PayEmptyEntries(out);
      *out += text;
    }
    held_.erase(held_.begin());
  }
}

void OutcomePrinter::End(std::string* out) {
  for (const auto& [place, text] : held_) {
    if (text.empty()) continue;
    PayEmptyEntries(out);
    *out += text;
  }
  held_.clear();
  if (!follow_ons_.empty()) PayEmptyEntries(out);
  *out += std::exchange(follow_ons_, {});
}

void OutcomePrinter::PayEmptyEntries(std::string* out) {
  out->append(empty_entries_owed_, options_.terminator);
  empty_entries_owed_ = 0;
}

bool OutcomePrinter::HasNoEntry(const Outcome& outcome) const {
  return options_.format == OutputFormat::kText && outcome.kind == OutcomeKind::kCancelled;
}

void OutcomePrinter::AppendText(const std::string& result, std::string* out) const {
  *out += result;
  if (options_.terminator != '\n' || !result.ends_with('\n')) *out += options_.terminator;
}

void OutcomePrinter::Append(const Outcome& outcome, std::string* out) const {
  if (options_.format == OutputFormat::kText) return AppendText(outcome.result, out);
  Json json = {{"number", outcome.number},
               {"id", outcome.id},
               {"outcome", std::string(ToString(outcome.kind))}};
  if (outcome.follow_on) {
    json["follow_on"] = true;
    json["queue"] = outcome.queue;
  }
  if (outcome.kind != OutcomeKind::kCompleted) {
    json["status"] = CodeName(static_cast<int>(outcome.status.code()));
    json["error"] = std::string(Message(outcome.status));
    const ProgramEnd end = ProgramEndOf(outcome.status);
    if (end.exit_code > 0) json["exit_code"] = end.exit_code;
    if (end.signal > 0) json["signal"] = end.signal;
  } else if (IsUtf8(outcome.result)) {
    json["result"] = outcome.result;
  } else {
    json["result_base64"] = absl::Base64Escape(outcome.result);
  }
  json["attempts"] = outcome.attempts;
  json["worker"] = outcome.worker;
  AppendLine(json, out);
}

void OutcomePrinter::Append(const BadInput& bad, std::string* out) const {
  if (options_.format == OutputFormat::kText) return AppendText("", out);
  AppendLine({{"line", bad.line},
              {"outcome", std::string(ToString(OutcomeKind::kRejected))},
              {"status", CodeName(static_cast<int>(absl::StatusCode::kInvalidArgument))},
              {"error", bad.message}},
             out);
}

std::string FailureLine(const Outcome& outcome) {
  std::string line;
  if (outcome.follow_on) {
    line = absl::StrCat("follow-on job ", outcome.id, " of queue ", outcome.queue);
  } else {
    line = absl::StrCat("job ", outcome.number);
    if (!outcome.id.empty()) absl::StrAppend(&line, " (", outcome.id, ")");
  }
  absl::StrAppend(&line, " ", std::string(ToString(outcome.kind)));
  if (outcome.attempts > 0) {
    absl::StrAppend(&line, " after ", outcome.attempts,
                    outcome.attempts == 1 ? " attempt" : " attempts");
  }
  if (!outcome.worker.empty()) absl::StrAppend(&line, " on ", outcome.worker);
  if (!outcome.status.ok()) {
    absl::StrAppend(&line, ": ", CodeName(static_cast<int>(outcome.status.code())));
    // What a program prints ends in a newline, as a rule.
    std::string_view message = Message(outcome.status);
    while (message.ends_with('\n')) message.remove_suffix(1);
    if (!message.empty()) absl::StrAppend(&line, ": ", std::string(message));
  }
  return CutMiddle(Printable(line), kFailureBytesMax);
}

std::string FailureLine(const BadInput& bad, InputFormat format) {
  return CutMiddle(Printable(absl::StrCat(format == InputFormat::kNul ? "item " : "line ", bad.line,
                                          ": ", bad.message)),
                   kFailureBytesMax);
}

}  // namespace whippletree
