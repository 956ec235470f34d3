#include "broker/admin.h"

#include <utility>

#include "common/client_sockets.h"
#include "common/clock.h"
#include "common/status.h"

namespace whippletree {

namespace {

absl::StatusOr<wire::AdminReply> Answer(wire::AdminReply* reply) {
  if (absl::Status error = FromWire(reply->error()); !error.ok()) return error;
  if (reply->reply_case() == wire::AdminReply::REPLY_NOT_SET) {
    return absl::FailedPreconditionError(
        "the broker does not know this request; it is of another release than this program");
  }
  return std::move(*reply);
}

}  // namespace

absl::StatusOr<wire::AdminReply> Ask(const HostPort& broker, wire::AdminRequest request,
                                     Duration timeout) {
  ClientSockets sockets(broker);
  if (absl::Status status = sockets.ConnectDoor(); !status.ok()) return status;
  std::vector<wire::Envelope> door(1);
  std::vector<wire::Envelope> none;
  request.set_id(1);
  *door[0].mutable_admin_request() = std::move(request);
  if (absl::Status status = sockets.Carry(false, std::nullopt, door, none); !status.ok()) {
    return status;
  }
  const MonoTime end = ReadClock().mono + timeout;
  absl::StatusOr<wire::AdminReply> reply = NoBrokerAnswers(broker);
  bool answered = false;
  while (!answered && ReadClock().mono < end) {
    sockets.Poll(nullptr, end - ReadClock().mono);
    sockets.Receive(
        [&](wire::Envelope& message) {
          if (message.has_admin_reply()) {
            answered = true;
            reply = Answer(message.mutable_admin_reply());
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
