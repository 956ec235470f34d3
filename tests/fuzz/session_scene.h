// A session of the producer or the worker with a broker that says anything. What the application or
// the executor does meanwhile is for the target to say: it keeps to the rules.
//
//   input = { step }   step: a message of the broker, bytes of one, time, or a call
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "common/codec.h"
#include "common/time.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/grammar.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {

template <typename Session, typename Output>
class SessionScene {
 public:
  virtual ~SessionScene() = default;

  void Run() {
    constexpr int kStepsMax = 200;
    for (int i = 0; i < kStepsMax && !input_.empty(); ++i) {
      const uint32_t step = input_.Below(16);
      if (step < kCallBegin - 3) {
        Hear(bodies_[input_.Below(static_cast<uint32_t>(bodies_.size()))]);
      } else if (step == kCallBegin - 3) {
        HearBytes(input_.Bytes(4096));
      } else if (step == kCallBegin - 2) {
        now_.mono += milliseconds(1) * (1 << input_.Below(20));
      } else if (step == kCallBegin - 1) {
        now_.mono = std::clamp(session().NextDeadline(), now_.mono, now_.mono + seconds(100));
      } else {
        Call(step);
      }
      Poll();
    }
  }

 protected:
  static constexpr uint32_t kCallBegin = 10;

  // `bodies`: of what a broker sends to such a peer; those that are named twice come more often.
  SessionScene(ByteSource input, std::span<const int> bodies)
      : input_(input), grammar_(&input_, &words_), bodies_(bodies) {}

  virtual Session& session() = 0;
  // Where the input left the number 0, what is meant is right.
  virtual void Correct(wire::Envelope* message) = 0;
  // `call`: from kCallBegin to 15.
  virtual void Call(uint32_t call) = 0;
  // Looks at what is sent, and at what the session says of itself.
  virtual void Check() = 0;

  void Poll() {
    session().Poll(now_, &out_);
    if (session().NextDeadline() <= now_.mono) session().Poll(now_, &out_);
    Check();
    out_.Clear();
  }

  ByteSource input_;
  Words words_;
  Grammar grammar_;
  Output out_;
  Instant now_{MonoTime(seconds(100)), WallTime(seconds(100))};

 private:
  void Hear(int body) {
    wire::Envelope message = grammar_.Message(body);
    Correct(&message);
    Require(message.body_case() == body);  // to look at another one would have made it that one
    message.set_commit(input_.Number());
    std::string frame;
    Encode(&message, &frame);
    HearBytes(frame);
  }
  void HearBytes(std::string_view frame) {
    wire::Envelope message;
    const absl::Status status = Decode(frame, Receiver::kPeer, &message);
    if (status.ok()) {
      session().OnDoor(now_, message, &out_);
    } else {
      session().OnBadFrame(status);
    }
  }

  const std::span<const int> bodies_;
};

}  // namespace whippletree::fuzz
