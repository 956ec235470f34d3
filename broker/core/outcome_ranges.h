// Outcomes that no worker has decided.
#pragma once

#include <cstdint>

#include "common/status.h"
#include "wire.pb.h"

namespace whippletree::core {

// Its producer, or an admin, asked for the end of a job that was charged so many attempts.
inline wire::OutcomeRange CancelledOutcome(uint32_t attempts) {
  wire::OutcomeRange outcome;
  outcome.set_kind(wire::OutcomeRange::CANCELLED);
  outcome.set_attempts(attempts);
  *outcome.mutable_status() = WireStatus(absl::StatusCode::kCancelled, "cancelled on request");
  return outcome;
}

// It waited when its time was over.
inline wire::OutcomeRange ExpiredOutcome(uint32_t attempts) {
  wire::OutcomeRange outcome;
  outcome.set_kind(wire::OutcomeRange::EXPIRED);
  outcome.set_attempts(attempts);
  *outcome.mutable_status() =
      WireStatus(absl::StatusCode::kDeadlineExceeded, "not started before it expired");
  return outcome;
}

}  // namespace whippletree::core
