// Jobs for people and for programs: what `whippletree-broker dead` and `jobs` print. Pure.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "wire.pb.h"

namespace whippletree {

// "3-17". INVALID_ARGUMENT says what is expected.
absl::StatusOr<wire::JobId> ParseJobId(std::string_view text);

std::string JobIdText(const wire::JobId& id);

// A table with a line for each job. Each of these ends with a newline.
std::string DeadText(const wire::DeadReply& reply);
// All that is known of one job, with its payload as far as a terminal shows it.
std::string DeadJobText(const wire::DeadJob& job);
// A JSON object a line. Payload and history only where the reply has them.
std::string DeadJson(const wire::DeadReply& reply);

// The same for jobs in any state.
std::string JobsText(const wire::JobsReply& reply);
std::string JobText(const wire::JobState& job);
std::string JobsJson(const wire::JobsReply& reply);

}  // namespace whippletree
