#include "broker/admin.h"

#include "common/client_sockets.h"
#include "common/clock.h"
#include "common/status.h"

namespace whippletree {

absl::StatusOr<wire::StatusReply> AskStatus(const HostPort& broker, Duration timeout) {
  ClientSockets sockets(broker);
  if (absl::Status status = sockets.ConnectDoor(); !status.ok()) return status;
  std::vector<wire::Envelope> door(1);
  std::vector<wire::Envelope> none;
  door[0].mutable_admin_request()->set_id(1);
  door[0].mutable_admin_request()->mutable_status();
  if (absl::Status status = sockets.Carry(false, std::nullopt, door, none); !status.ok()) {
    return status;
  }
  const MonoTime end = ReadClock().mono + timeout;
  absl::StatusOr<wire::StatusReply> reply = NoBrokerAnswers(broker);
  bool answered = false;
  while (!answered && ReadClock().mono < end) {
    sockets.Poll(-1, end - ReadClock().mono);
    sockets.Receive(
        [&](wire::Envelope& message) {
          if (message.has_admin_reply()) {
            answered = true;
            if (message.admin_reply().has_status()) {
              reply = std::move(*message.mutable_admin_reply()->mutable_status());
            } else {
              reply = FromWire(message.admin_reply().error());
            }
          } else if (message.has_refusal()) {
            answered = true;
            reply = FromWire(message.refusal().status());
          }
        },
        [&](const absl::Status& error) {
          answered = true;
          reply = error;
        });
  }
  return reply;
}

}  // namespace whippletree
