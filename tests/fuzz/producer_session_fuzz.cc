// A broker that says anything, and an application that keeps to the rules → ProducerSession.
//
//   input = options { step }   step: a message of the broker, bytes of one, or a call
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/codec.h"
#include "producer/session.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/grammar.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

constexpr int kStepsMax = 200;
// What a broker sends to a producer, welcomes more often.
constexpr int kBodies[] = {
    wire::Envelope::kWelcomeFieldNumber,       wire::Envelope::kStreamUpdatesFieldNumber,
    wire::Envelope::kOutcomesFieldNumber,      wire::Envelope::kGroupUpdatesFieldNumber,
    wire::Envelope::kRefusalFieldNumber,       wire::Envelope::kHeartbeatFieldNumber,
    wire::Envelope::kGoodbyeFieldNumber,       wire::Envelope::kAdminReplyFieldNumber,
    wire::Envelope::kStreamUpdatesFieldNumber, wire::Envelope::kOutcomesFieldNumber};

class Scene {
 public:
  explicit Scene(ByteSource input)
      : input_(input),
        named_(input_.Flag()),
        grammar_(&input_, &words_),
        session_({.name = "p",
                  .named = named_,
                  .software = "test",
                  .ack_delay = input_.Flag() ? milliseconds(1) : Duration(0)}) {
    words_.queues = {"q", "r", "s"};
    words_.streams = {0, 5};
  }

  void Run() {
    for (int i = 0; i < kStepsMax && !input_.empty(); ++i) {
      const uint32_t step = input_.Below(16);
      if (step < 7) {
        Hear(grammar_.Message(kBodies[input_.Below(std::size(kBodies))]));
      } else if (step == 7) {
        HearBytes(input_.Bytes(4096));
      } else if (step == 8) {
        now_.mono += milliseconds(1) * (1 << input_.Below(20));
      } else if (step == 9) {
        now_.mono = std::clamp(session_.NextDeadline(), now_.mono, now_.mono + seconds(100));
      } else if (!closing_) {
        Call(step);
      }
      Poll();
    }
  }

 private:
  void Hear(wire::Envelope message) {
    if (message.has_welcome() && message.welcome().session() == 0) {
      message.mutable_welcome()->set_session(session_.session() + 1);
    }
    message.set_commit(input_.Number());
    for (wire::OutcomeRange& range : *message.mutable_outcomes()->mutable_ranges()) {
      // What has no results is valid as it is; others need one for each job.
      if (!range.has_results() || input_.Byte() >= 0xe0) continue;
      range.set_count(static_cast<uint64_t>(range.results().sizes_size()));
    }
    std::string frame;
    Encode(&message, &frame);
    HearBytes(frame);
  }
  void HearBytes(std::string_view frame) {
    wire::Envelope message;
    const absl::Status status = Decode(frame, Receiver::kPeer, &message);
    if (status.ok()) {
      session_.OnDoor(now_, message, &out_);
    } else {
      session_.OnBadFrame(status);
    }
  }

  void Call(uint32_t step) {
    const std::string& queue = words_.queues[input_.Below(3)];
    switch (step) {
      case 10:
      case 11:
        Submit(queue);
        break;
      case 12:
        session_.OpenStream(queue);
        break;
      case 13:
        session_.Cancel(queue, input_.Number(), input_.Number());
        break;
      case 14:
        if (!input_.Flag()) {
          session_.OpenGroup();
        } else {
          (void)session_.CloseGroup(input_.Below(4));
        }
        break;
      default:
        if (input_.Byte() >= 0xf0) {
          closing_ = true;
          session_.Close();
        } else if (!acks_.empty()) {
          session_.Acknowledge(acks_.back(), now_.mono);
          acks_.pop_back();
        }
    }
  }

  void Submit(const std::string& queue) {
    wire::JobOptions options;
    wire::Run run;
    grammar_.Fill(&options);
    grammar_.Fill(&run);
    options.set_group(options.group() % 4);
    if (options.group() != 0 && !session_.CheckGroup(options.group()).ok()) options.set_group(0);
    const ProducerSession::StreamState stream = session_.GetStream(queue);
    if (named_ && !stream.open) return;
    RunData names;
    if (input_.Flag()) {
      for (int i = 0; i < run.sizes_size(); ++i) names.Append(input_.Bytes(3));
    }
    session_.Submit(queue, options, RunData(&run), std::move(names));
  }

  void Poll() {
    session_.Poll(now_, &out_);
    if (session_.NextDeadline() <= now_.mono) session_.Poll(now_, &out_);
    // It must not keep its thread awake.
    Require(session_.NextDeadline() > now_.mono || !session_.fatal().ok());
    Require(session_.pending_jobs() <= session_.submitted());
    Require(session_.open_jobs() <= session_.submitted());
    for (auto* messages : {&out_.door, &out_.submit}) {
      for (wire::Envelope& message : *messages) {
        std::string frame;
        Encode(&message, &frame);
        wire::Envelope decoded;
        const bool is_door = messages == &out_.door;
        const Receiver receiver = is_door ? Receiver::kDoor : Receiver::kSubmit;
        Require(Decode(frame, receiver, &decoded).ok());
      }
    }
    if (out_.ack) acks_.push_back(*out_.ack);
    out_.Clear();
    words_.session.number = session_.session();
  }

  ByteSource input_;
  const bool named_;
  Words words_;
  Grammar grammar_;
  ProducerSession session_;
  ProducerOutput out_;
  std::vector<wire::OutcomeAck> acks_;
  Instant now_{MonoTime(seconds(100)), WallTime(seconds(100))};
  bool closing_ = false;
};

void Fuzz(std::string_view input) { Scene(ByteSource(input)).Run(); }

const RegisterTarget kTarget("producer_session", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
