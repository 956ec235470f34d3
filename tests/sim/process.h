// A simulated process of a producer or worker: frames that came wait for its next turn, which
// comes when something is to be done, unless the process is paused or dead.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "common/codec.h"
#include "tests/sim/failure.h"
#include "tests/sim/world.h"

namespace whippletree::sim {

class Process {
 public:
  Process(World* world, std::string name, core::Channel data)
      : world_(world), name_(std::move(name)), number_(++world->last_process), data_channel_(data) {
    door_ = OpenDoor();
  }
  virtual ~Process() = default;
  Process(const Process&) = delete;

  const std::string& name() const { return name_; }
  uint64_t number() const { return number_; }
  bool alive() const { return alive_; }
  bool paused() const { return paused_; }

  virtual void Pause() { paused_ = true; }
  virtual void Resume() {
    paused_ = false;
    WakeAt(world_->loop.now());
  }
  // kill -9
  virtual void Kill() {
    world_->Say(name_, "killed");
    alive_ = false;
    world_->network.Kill(door_);
    if (data_) world_->network.Kill(*data_);
  }

  void WakeAt(MonoTime at) {
    if (at >= wake_at_ || !alive_) return;
    wake_at_ = at;
    world_->loop.At(at, [this, at] {
      if (wake_at_ != at) return;
      wake_at_ = kNever;
      if (alive_ && !paused_) Turn();
    });
  }

 protected:
  virtual void Turn() = 0;
  // The process leaves of itself.
  void Exit() {
    world_->Say(name_, "left");
    alive_ = false;
    world_->network.Close(door_);
    if (data_) world_->network.Close(*data_);
  }

  template <typename OnMessage>
  void Receive(OnMessage&& on_message) {
    while (!inbox_.empty()) {
      const std::string frame = std::move(inbox_.front());
      inbox_.pop_front();
      wire::Envelope message;
      const absl::Status status = Decode(frame, Receiver::kPeer, &message);
      if (!status.ok()) {
        Violation("codec", name_ + " cannot read a frame: " + std::string(status.message()));
      }
      if (world_->verbose) world_->Say(name_, "<- " + message.ShortDebugString().substr(0, 300));
      on_message(message);
    }
  }

  // As common/client_sockets.h.
  void Carry(bool reopen_door, std::optional<uint32_t> reopen_data,
             std::vector<wire::Envelope>& door, std::vector<wire::Envelope>& data) {
    if (reopen_door) {
      world_->network.Close(door_);
      inbox_.clear();
      door_ = OpenDoor();
    }
    if (reopen_data) {
      if (data_) world_->network.Close(*data_);
      data_ = world_->network.Open(number_, data_channel_, [](const std::string&) {});
    }
    for (wire::Envelope& message : door) SendOn(door_, &message);
    for (wire::Envelope& message : data) {
      if (data_) SendOn(*data_, &message);
    }
  }

  void SendDoor(wire::Envelope* message) { SendOn(door_, message); }

  World* const world_;
  const std::string name_;
  const uint64_t number_;

 private:
  uint64_t OpenDoor() {
    return world_->network.Open(number_, core::Channel::kDoor, [this](std::string frame) {
      if (!alive_) return;
      inbox_.push_back(std::move(frame));
      WakeAt(world_->loop.now());
    });
  }
  void SendOn(uint64_t socket, wire::Envelope* message) {
    if (world_->verbose) world_->Say(name_, "-> " + message->ShortDebugString().substr(0, 300));
    std::string frame;
    Encode(message, &frame);
    world_->network.Send(socket, std::move(frame));
  }

  const core::Channel data_channel_;
  bool alive_ = true;
  bool paused_ = false;
  MonoTime wake_at_ = kNever;
  uint64_t door_ = 0;
  std::optional<uint64_t> data_;
  std::deque<std::string> inbox_;
};

}  // namespace whippletree::sim
