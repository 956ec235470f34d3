// Drives a Broker in tests: time is given, frames go through the real codec, invariants are checked
// after every step, and what was sent is taken off by the test. What nobody took fails the test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"
#include "common/codec.h"

namespace whippletree::core {

class BrokerHarness {
 public:
  explicit BrokerHarness(Config config = {}) : broker(std::move(config)) { Step(); }
  ~BrokerHarness() { ExpectNothingLeft(); }

  // One step at the present time with `inputs`, and one more for the commit it made.
  void Step(std::vector<Input> inputs = {}) {
    Effects effects;
    broker.Step(now, inputs, &effects);
    broker.CheckInvariants();
    for (Send& send : effects.sends) {
      std::string frame;
      Encode(&send.message, &frame);
      wire::Envelope decoded;
      EXPECT_TRUE(Decode(frame, &decoded).ok()) << send.message.ShortDebugString();
      sent.push_back(std::move(send));
    }
    for (LogEvent& event : effects.logs) logs.push_back(std::move(event));
    for (record::Record& write : effects.writes) writes.push_back(std::move(write));
    if (effects.commit == 0) {
      EXPECT_TRUE(effects.writes.empty());
      return;
    }
    EXPECT_EQ(effects.commit, broker.last_commit());
    if (durable_at_once) Step({Durable{effects.commit}});
  }

  // As the shell does it: what does not decode becomes a BadFrame.
  static Input FromBytes(Channel channel, const std::string& route, const std::string& frame) {
    FrameIn in{channel, route, {}};
    absl::Status error = Decode(frame, &in.message);
    if (error.ok()) return in;
    return BadFrame{channel, route, std::move(error)};
  }
  static Input Frame(Channel channel, const std::string& route, wire::Envelope message) {
    std::string frame;
    Encode(&message, &frame);
    return FromBytes(channel, route, frame);
  }
  void Door(const std::string& route, wire::Envelope message) {
    Step({Frame(Channel::kDoor, route, std::move(message))});
  }
  void Submit(wire::Envelope message) { Step({Frame(Channel::kSubmit, "", std::move(message))}); }
  void Complete(wire::Envelope message) {
    Step({Frame(Channel::kComplete, "", std::move(message))});
  }

  // One step after `d`, as if nothing had been due before.
  void Jump(Duration d) {
    now.mono += d;
    now.wall += d;
    Step();
  }
  // Steps at every deadline of the next `d`.
  void Run(Duration d) {
    const MonoTime end = now.mono + d;
    while (now.mono < end) {
      const MonoTime next = std::min(end, std::max(broker.NextDeadline(), now.mono + Duration(1)));
      Jump(next - now.mono);
    }
  }

  // The oldest frame of this kind for `route` that was not taken. Fails if there is none.
  wire::Envelope Take(const std::string& route, wire::Envelope::BodyCase kind) {
    for (auto it = sent.begin(); it != sent.end(); ++it) {
      if (it->route != route || it->message.body_case() != kind) continue;
      wire::Envelope message = std::move(it->message);
      sent.erase(it);
      return message;
    }
    ADD_FAILURE() << "no frame of kind " << kind << " was sent to " << route;
    return {};
  }
  wire::Refusal TakeRefusal(const std::string& route) {
    return Take(route, wire::Envelope::kRefusal).refusal();
  }
  bool HasFrameFor(const std::string& route) const {
    return std::any_of(sent.begin(), sent.end(),
                       [&](const Send& send) { return send.route == route; });
  }
  void ExpectNothingLeft() {
    for (const Send& send : sent) {
      ADD_FAILURE() << "not expected, to " << send.route << ": " << send.message.ShortDebugString();
    }
    sent.clear();
  }

  const Queue& queue(const std::string& name) const { return *broker.queues().at(name); }
  const Ledger& ledger(const std::string& name) const { return queue(name).ledger; }
  uint64_t counter(std::string_view name) const { return broker.counter(name); }
  bool HasLog(std::string_view event) const {
    return std::any_of(logs.begin(), logs.end(),
                       [&](const LogEvent& log) { return log.event == event; });
  }

  Instant now{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  Broker broker;
  std::deque<Send> sent;
  std::vector<LogEvent> logs;
  std::vector<record::Record> writes;
  bool durable_at_once = true;
};

}  // namespace whippletree::core
