// Asks a running broker at its door. For command lines.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "common/address.h"
#include "common/client_sockets.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// One connection. The broker sends the next reply when it knows that the last one was read, so
// every request says so, and the end of this too. Belongs to one thread.
class AdminClient {
 public:
  // `timeout`: for each reply.
  AdminClient(HostPort broker, Duration timeout) : broker_(std::move(broker)), timeout_(timeout) {}
  ~AdminClient();
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  // Sends `request`, whose id is set here, and returns what answers it.
  // UNAVAILABLE: no broker answers in time; FAILED_PRECONDITION: it speaks another version, or does
  // not know such a request; else the error that the broker answers with.
  absl::StatusOr<wire::AdminReply> Ask(wire::AdminRequest request);

  // All of what takes several replies. Errors as Ask(); ABORTED: it changed again and again
  // meanwhile.
  absl::StatusOr<wire::StatusReply> AskStatus();
  absl::StatusOr<std::string> AskPolicies();

 private:
  absl::Status Send(wire::AdminRequest request);

  const HostPort broker_;
  const Duration timeout_;
  std::unique_ptr<ClientSockets> sockets_;
  uint64_t last_id_ = 0;
  uint64_t number_ = 0;  // of the last reply, while the broker does not know that it was read
};

}  // namespace whippletree
