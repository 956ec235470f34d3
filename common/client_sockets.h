// The two connections of a producer or a worker: the door, and the data socket that the welcome
// names. Belongs to one thread.
#pragma once

#include <absl/status/status.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.h"
#include "common/codec.h"
#include "common/socket.h"
#include "wire.pb.h"

namespace whippletree {

class ClientSockets {
 public:
  enum class Tells { kNothing, kLost };  // kLost: TakeLost() is called all the time
  explicit ClientSockets(HostPort broker, Tells tells = Tells::kNothing)
      : broker_(std::move(broker)), tells_(tells) {}

  absl::Status ConnectDoor() {
    Socket::Options options;
    // Time for a goodbye, no more.
    options.linger = milliseconds(200);
    door_ = std::make_unique<Socket>(context_, Socket::Type::kDealer, options);
    lost_.reset();
    if (tells_ == Tells::kLost) lost_ = std::make_unique<Socket>(door_->MonitorLost(context_));
    return door_->Connect(broker_.host, broker_.port);
  }
  absl::Status ConnectData(uint32_t port) {
    data_ = std::make_unique<Socket>(context_, Socket::Type::kPush, Socket::Options{});
    return data_->Connect(broker_.host, port);
  }

  // Carries out what a session wants sent. Nothing blocks: what is unsent the session sends again.
  absl::Status Carry(bool reopen_door, std::optional<uint32_t> reopen_data_port,
                     std::vector<wire::Envelope>& door, std::vector<wire::Envelope>& data) {
    absl::Status status;
    if (reopen_door) status = ConnectDoor();
    if (status.ok() && reopen_data_port) status = ConnectData(*reopen_data_port);
    if (!status.ok()) return status;
    for (wire::Envelope& message : door) SendOn(*door_, &message);
    for (wire::Envelope& message : data) {
      if (data_) SendOn(*data_, &message);
    }
    return status;
  }

  // Calls on_message(envelope) or on_bad(status) for all that has arrived at the door.
  template <typename OnMessage, typename OnBad>
  void Receive(OnMessage&& on_message, OnBad&& on_bad) {
    std::string route;
    std::string_view frame;
    for (int i = 0; i < kFramesPerTurn; ++i) {
      switch (door_->Receive(&route, &frame)) {
        case Socket::ReceiveResult::kNothing:
          return;
        case Socket::ReceiveResult::kMalformed:
          on_bad(absl::InvalidArgumentError("malformed message"));
          break;
        case Socket::ReceiveResult::kMessage: {
          const absl::Status status = Decode(frame, Receiver::kPeer, &message_);
          if (status.ok()) {
            on_message(message_);
          } else {
            on_bad(status);
          }
        }
      }
    }
  }

  void Poll(const WakeEvent* wake, Duration timeout) {
    Socket* const sockets[] = {door_.get(), lost_.get()};
    PollSockets({sockets, lost_ ? 2u : 1u}, wake, std::max(Duration(0), timeout));
  }

  // Whether the connection of the door was lost since the last call: as a rule, its broker has
  // ended. It is connected again by itself.
  bool TakeLost() { return lost_ && lost_->ReceiveLost(); }

 private:
  static constexpr int kFramesPerTurn = 256;

  void SendOn(Socket& socket, wire::Envelope* message) {
    socket.Send(BeginEncode(message), [&](char* frame) { FinishEncode(*message, frame); });
  }

  const HostPort broker_;
  const Tells tells_;
  SocketContext context_;
  std::unique_ptr<Socket> door_;
  std::unique_ptr<Socket> lost_;  // its monitor
  std::unique_ptr<Socket> data_;
  wire::Envelope message_;
};

}  // namespace whippletree
