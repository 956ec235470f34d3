#include "broker/admin.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "common/clock.h"
#include "common/name_check.h"
#include "common/port_check.h"
#include "common/status.h"

namespace whippletree {
namespace {

// Policies that change while they are told are told anew, this often.
constexpr int kPoliciesTries = 5;

absl::StatusOr<wire::AdminReply> Answer(wire::AdminReply* reply) {
  if (absl::Status error = FromWire(reply->error()); !error.ok()) return error;
  if (reply->reply_case() == wire::AdminReply::REPLY_NOT_SET) {
    return absl::FailedPreconditionError(
        "the broker does not know this request; it is of another release than this program");
  }
  return std::move(*reply);
}

}  // namespace

AdminClient::~AdminClient() {
  if (number_ != 0) Send({}).IgnoreError();
}

absl::Status AdminClient::Send(wire::AdminRequest request) {
  if (sockets_ == nullptr) {
    sockets_ = std::make_unique<ClientSockets>(broker_);
    if (absl::Status status = sockets_->ConnectDoor(); !status.ok()) return status;
  }
  request.set_received(std::exchange(number_, 0));
  std::vector<wire::Envelope> door(1);
  std::vector<wire::Envelope> none;
  *door[0].mutable_admin_request() = std::move(request);
  return sockets_->Carry(false, std::nullopt, door, none);
}

absl::StatusOr<wire::AdminReply> AdminClient::Ask(wire::AdminRequest request) {
  request.set_id(++last_id_);
  if (absl::Status status = Send(std::move(request)); !status.ok()) return status;
  const MonoTime end = ReadClock().mono + timeout_;
  const NameCheck name(broker_.host);
  const MonoTime look_at = ReadClock().mono + PortCheckDelay(timeout_);
  std::optional<PortCheck> port;
  absl::StatusOr<wire::AdminReply> reply = absl::UnavailableError("");
  bool answered = false;
  while (!answered && ReadClock().mono < end) {
    const MonoTime now = ReadClock().mono;
    if (!port && now >= look_at) port.emplace(broker_);
    sockets_->Poll(nullptr, std::min(end, port ? kNever : look_at) - now);
    sockets_->Receive(
        [&](wire::Envelope& message) {
          if (message.has_admin_reply() && message.admin_reply().id() == last_id_) {
            answered = true;
            number_ = message.admin_reply().number();
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
  if (!answered) return NoBrokerAnswers(broker_, name.error(), port ? port->error() : "");
  return reply;
}

absl::StatusOr<wire::StatusReply> AdminClient::AskStatus() {
  wire::StatusReply all;
  for (bool is_first = true;; is_first = false) {
    wire::AdminRequest request;
    *request.mutable_status()->mutable_after() = all.next();
    absl::StatusOr<wire::AdminReply> reply = Ask(std::move(request));
    if (!reply.ok()) return reply.status();
    wire::StatusReply& part = *reply->mutable_status();
    if (is_first) {
      all = std::move(part);
    } else {
      all.mutable_queues()->MergeFrom(part.queues());
      all.mutable_workers()->MergeFrom(part.workers());
      all.clear_next();
      if (part.has_next()) *all.mutable_next() = part.next();
    }
    if (!all.has_next()) return all;
  }
}

absl::StatusOr<std::string> AdminClient::AskPolicies() {
  for (int i = 0; i < kPoliciesTries; ++i) {
    std::string text;
    uint64_t version = 0;
    for (bool more = true; more;) {
      wire::AdminRequest request;
      request.mutable_policies()->set_after(text.size());
      absl::StatusOr<wire::AdminReply> reply = Ask(std::move(request));
      if (!reply.ok()) return reply.status();
      const wire::PoliciesReply& part = reply->policies();
      if (!text.empty() && part.version() != version) break;
      version = part.version();
      text += part.yaml();
      more = part.more();
      if (!more) return text;
    }
  }
  return absl::AbortedError("the broker's configuration changes all the time; try again");
}

}  // namespace whippletree
