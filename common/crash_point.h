// Named places at which a process kills itself, to show what a crash just there leaves behind.
//
//   WHIPPLETREE_CRASH_POINT=commit.before:17 whippletree-broker serve …
//
// kills the broker with SIGKILL, as kill -9 does, when it comes to `commit.before` for the 17th
// time. For tests: see docs/testing.md. Without the variable a point costs one branch.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace whippletree {

// The points of each program, in the order in which work comes to them.
inline constexpr std::string_view kBrokerCrashPoints[] = {
    "restore.after",    // what is in the store was taken over, nothing was sent
    "receive.after",    // frames were read, the core does not know them
    "append.before",    // the core has decided, the store knows nothing of it
    "append.after",     // the store has the commit, and has perhaps not begun to write it
    "commit.before",    // the store's thread writes next
    "commit.written",   // written and flushed, and nobody is told
    "commit.after",     // the core is about to hear that it is durable
    "reply.before",     // the broker says that jobs are accepted
    "reply.after",      //
    "dispatch.before",  // it sends jobs to a worker
    "dispatch.after",   //
    "outcome.before",   // it sends outcomes to a producer
    "outcome.after",    //
    "confirm.before",   // it confirms what a worker has reported
    "confirm.after",    //
};
inline constexpr std::string_view kWorkerCrashPoints[] = {
    "delivery.received",  // jobs have arrived, none of them was started
    "delivery.started",   // some were started
    "report.before",      // it reports starts, outcomes and what it hands back
    "report.after",       //
};
inline constexpr std::string_view kProducerCrashPoints[] = {
    "submit.before",     // it sends jobs, or cancels some
    "submit.after",      //
    "outcome.received",  // outcomes have arrived, the application does not know them
    "outcome.taken",     // the application has them, the broker is not told
    "ack.after",         // the broker is told
};

// Reads WHIPPLETREE_CRASH_POINT and removes it from the environment, so that children of this
// process do not have it. Returns what to warn about; nothing: the variable is not set.
// INVALID_ARGUMENT: it is not POINT:COUNT with one of these points and a count above 0.
// REQUIRES: there is one thread.
absl::StatusOr<std::optional<std::string>> ArmCrashPoint(std::span<const std::string_view> points);

// Implementation of CrashPoint.
void PassCrashPoint(std::string_view point);
inline bool crash_point_armed = false;

// The process may end here.
inline void CrashPoint(std::string_view point) {
  if (crash_point_armed) [[unlikely]]
    PassCrashPoint(point);
}

}  // namespace whippletree
