// The stages of the patterns that the demos show: batches, a breaker, fan-out, map-reduce.
// Built-in handlers; see BuiltInHandlers() for what each does. Thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <span>
#include <string>
#include <string_view>

#include "worker/worker.h"

namespace whippletree {

absl::StatusOr<std::string> RunFlaky(JobContext& context, std::string_view payload);
absl::StatusOr<std::string> RunReplace(JobContext& context, std::string_view payload);
absl::StatusOr<std::string> RunSeventh(JobContext& context, std::string_view payload);

// Map-reduce: NAME, a newline and a text become lines NAME:word<TAB>count …
absl::StatusOr<std::string> RunWords(JobContext& context, std::string_view payload);
// … and lines KEY<TAB>COUNT become lines KEY<TAB>SUM. Both sorted by key.
absl::StatusOr<std::string> RunTotal(JobContext& context, std::string_view payload);

// Of whole numbers. A job with another payload fails alone and is no part of the batch then.
BatchResults RunProduct(BatchContext& context, std::span<const std::string_view> payloads);
BatchResults RunSum(BatchContext& context, std::span<const std::string_view> payloads);

}  // namespace whippletree
