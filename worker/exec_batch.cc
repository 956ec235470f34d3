#include "worker/exec_batch.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <utility>

#include "common/check.h"
#include "common/printable.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

constexpr size_t kShownBytesMax = 100;  // of a line in an error
constexpr std::string_view kRetryAfter = "retry-after:";

// Calls take(piece) for each piece that ends with `separator`, and for the rest if there is one.
template <typename Take>
void Split(std::string_view text, char separator, Take take) {
  while (!text.empty()) {
    const size_t end = text.find(separator);
    take(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

}  // namespace

ExecBatch::ExecBatch(std::span<const std::string_view> payloads, char separator)
    : jobs_(payloads.size()), separator_(separator) {
  for (size_t i = 0; i < payloads.size(); ++i) {
    if (payloads[i].find(separator) != std::string_view::npos) continue;
    input_.append(payloads[i]);
    input_.push_back(separator);
    taken_.push_back(i);
  }
}

absl::StatusOr<std::vector<std::string>> ExecBatch::SplitOutput(std::string_view output,
                                                                std::string_view program) const {
  std::vector<std::string> outputs;
  size_t count = 0;
  Split(output, separator_, [&](std::string_view piece) {
    if (++count <= size()) outputs.emplace_back(piece);
  });
  if (count == size()) return outputs;
  if (count == 0) return std::vector<std::string>(size());
  const bool lines = separator_ == '\n';
  const char* pieces = lines ? (count == 1 ? " line for " : " lines for ")
                             : (count == 1 ? " NUL-ended piece for " : " NUL-ended pieces for ");
  return absl::FailedPreconditionError(
      absl::StrCat(std::string(program), " wrote ", count, pieces, size(),
                   " jobs; it must write one for each job of a batch, or nothing"));
}

std::vector<absl::StatusOr<std::string>> ExecBatch::LeftOut() const {
  const absl::Status left_out = absl::InvalidArgumentError(
      separator_ == '\n' ? "payload contains a newline; start the worker with --nul"
                         : "payload contains a NUL byte, which ends a job of a batch with --nul");
  return std::vector<absl::StatusOr<std::string>>(jobs_, left_out);
}

std::vector<absl::StatusOr<std::string>> ExecBatch::Results(
    std::vector<std::string> outputs) const {
  WT_CHECK(outputs.size() == size());
  std::vector<absl::StatusOr<std::string>> results = LeftOut();
  for (size_t i = 0; i < taken_.size(); ++i) results[taken_[i]] = std::move(outputs[i]);
  return results;
}

std::vector<absl::StatusOr<std::string>> ExecBatch::Results(const absl::Status& failure) const {
  std::vector<absl::StatusOr<std::string>> results = LeftOut();
  for (const size_t i : taken_) results[i] = failure;
  return results;
}

absl::Status ForEachFollowOn(
    std::string_view lines,
    const std::function<absl::Status(std::string_view queue, std::string_view payload)>& submit) {
  absl::Status status;
  size_t number = 0;
  Split(lines, '\n', [&](std::string_view line) {
    if (!status.ok()) return;
    ++number;
    const size_t tab = line.find('\t');
    std::string why = "expected QUEUE<TAB>PAYLOAD";
    if (tab != std::string_view::npos) {
      status = submit(line.substr(0, tab), line.substr(tab + 1));
      if (!absl::IsInvalidArgument(status)) return;
      why = std::string(status.message());
    }
    status = absl::InvalidArgumentError(absl::StrCat("line ", number, " of the follow-on jobs, ",
                                                     Quoted(line, kShownBytesMax), ": ", why));
  });
  return status;
}

RetryAfterLine RetryAfterIn(std::string_view text) {
  constexpr Duration kMax = milliseconds(kRetryAfterMsMax);
  RetryAfterLine out;
  Split(text, '\n', [&](std::string_view line) {
    if (line.substr(0, kRetryAfter.size()) != kRetryAfter) return;
    line.remove_prefix(kRetryAfter.size());
    const absl::string_view told =
        absl::StripAsciiWhitespace(absl::string_view(line.data(), line.size()));
    const std::string shown = Quoted({told.data(), told.size()}, kShownBytesMax);
    absl::Duration delay;
    if (!absl::ParseDuration(told, &delay) || delay < absl::ZeroDuration()) {
      out.warning = absl::StrCat("retry-after: ", shown,
                                 " is not a duration: expected a number and a unit, as in 500ms, "
                                 "2s or 5m; the line is ignored");
      return;
    }
    const bool too_long = delay > absl::FromChrono(kMax);
    out.delay = too_long ? kMax : absl::ToChronoNanoseconds(delay);
    out.warning = too_long ? absl::StrCat("retry-after: ", shown,
                                          " is longer than a queue is held: 1h is taken for it")
                           : "";
  });
  return out;
}

}  // namespace whippletree
