// What a program and its handler say to each other in text: the jobs of a batch, follow-on jobs, a
// wish to be retried later. Pure functions.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/time.h"

namespace whippletree {

// A batch as the input of a program: one payload after the other, each followed by the separator.
// A payload with the separator in it is left out.
class ExecBatch {
 public:
  ExecBatch(std::span<const std::string_view> payloads, char separator);

  const std::string& input() const { return input_; }
  // Jobs in the input.
  size_t size() const { return taken_.size(); }
  // Their indexes in the batch.
  const std::vector<size_t>& taken() const { return taken_; }
  // Index of the first job in the input. REQUIRES: size() > 0.
  size_t first() const { return taken_.front(); }

  // The results in what `program` wrote, one for each job in the input; the last one needs no
  // separator. If it wrote nothing, all are empty. FAILED_PRECONDITION: it is another number.
  absl::StatusOr<std::vector<std::string>> SplitOutput(std::string_view output,
                                                       std::string_view program) const;
  // For each job of the batch: its output, or INVALID_ARGUMENT if it was left out.
  // REQUIRES: outputs.size() == size().
  std::vector<absl::StatusOr<std::string>> Results(std::vector<std::string> outputs) const;
  // The same where no job in the input has one.
  std::vector<absl::StatusOr<std::string>> Results(const absl::Status& failure) const;

 private:
  // As if all jobs were left out.
  std::vector<absl::StatusOr<std::string>> LeftOut() const;

  const size_t jobs_;
  const char separator_;
  std::string input_;
  std::vector<size_t> taken_;  // indexes
};

// Calls `submit(queue, payload)` for each line QUEUE<TAB>PAYLOAD; the last one needs no newline.
// Stops at the first line that has no tab or that `submit` gives an error for.
// INVALID_ARGUMENT: such a line, with its number; other errors of `submit` are returned as they
// are.
absl::Status ForEachFollowOn(
    std::string_view lines,
    const std::function<absl::Status(std::string_view queue, std::string_view payload)>& submit);

// What the last line `retry-after: DURATION` (2s, 500ms) says.
struct RetryAfterLine {
  Duration delay{0};    // at most what the broker holds a queue for; zero: there is none
  std::string warning;  // of a line that is not taken as it stands; empty: all are
};
RetryAfterLine RetryAfterIn(std::string_view text);

}  // namespace whippletree
