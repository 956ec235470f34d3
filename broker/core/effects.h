// What goes into a Step and what comes out of it.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "broker/core/config.h"
#include "broker/core/stored_row.h"
#include "common/log_event.h"
#include "common/wire_guard.h"
#include "record.pb.h"
#include "wire.pb.h"

namespace whippletree::core {

enum class Channel { kDoor, kSubmit, kComplete };

// Who reads what comes there.
inline Receiver ReceiverOf(Channel channel) {
  switch (channel) {
    case Channel::kDoor:
      return Receiver::kDoor;
    case Channel::kSubmit:
      return Receiver::kSubmit;
    case Channel::kComplete:
      return Receiver::kComplete;
  }
  return Receiver::kDoor;
}

// A decoded message. `route` is the routing id at the door, empty on the other sockets.
struct FrameIn {
  Channel channel;
  std::string route;
  wire::Envelope message;
  bool is_rest = false;  // the first part of it was applied in a step before
};

// The reply to a request that only the shell can answer. `reply` has no id yet.
struct AdminAnswer {
  std::string route;
  wire::AdminRequest request;
  wire::AdminReply reply;
};

// Bytes that are no message of this protocol.
struct BadFrame {
  Channel channel;
  std::string route;
  absl::Status error;
};

// Every commit up to this number is durable.
struct Durable {
  uint64_t commit;
};

// A frame for a peer at the door.
struct Send {
  std::string route;
  uint64_t session;  // 0: an answer to somebody without one
  wire::Envelope message;
  uint64_t bytes = 0;  // that the core counts for it while it waits
};

// The socket did not take a frame.
struct SendFailed {
  enum class Reason { kAgain, kUnreachable };
  Reason reason;
  Send send;
};

// What the core asked back with Effects::loads; or why it cannot be had: NOT_FOUND, DATA_LOSS.
struct Loaded {
  Load load;
  absl::StatusOr<record::Record> row;
};

// What the disk of the store has for durable queues, and how much of it they are to leave (see
// disk_gate.h).
struct Disk {
  uint64_t free_bytes;
  uint64_t reserve_bytes;  // 0: there is no disk to look at
};

using Input =
    std::variant<FrameIn, AdminAnswer, BadFrame, Durable, SendFailed, Loaded, Policies, Disk>;

struct Effects {
  // One commit: all of `writes` or none. 0: nothing to write, or not yet.
  uint64_t commit = 0;
  std::vector<record::Record> writes;
  // Something waits for a commit, of this step or before, that is not known to be durable. Else
  // there is no hurry.
  bool is_awaited = false;
  // Rows to be read from the store. Each is answered once, in any order; none is written by
  // a commit that is not durable.
  std::vector<Load> loads;
  // Ready to go out now.
  std::vector<Send> sends;
  std::vector<LogEvent> logs;
  // DATA_LOSS: a peer was told of commits that the store does not have; says which. The broker must
  // stop once `sends` and `logs` are out.
  absl::Status lost_commits;

  void Clear() {
    commit = 0;
    writes.clear();
    is_awaited = false;
    loads.clear();
    sends.clear();
    logs.clear();
    lost_commits = absl::OkStatus();
  }
};

}  // namespace whippletree::core
