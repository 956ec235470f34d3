// A broker that says anything, and an application that keeps to the rules → ProducerSession.
//
//   input = options { step }   step: see session_scene.h
#include <string>
#include <utility>
#include <vector>

#include "producer/session.h"
#include "tests/fuzz/peer.h"
#include "tests/fuzz/session_scene.h"

namespace whippletree::fuzz {
namespace {

// What a broker sends to a producer, welcomes more often.
constexpr int kBodies[] = {
    wire::Envelope::kWelcomeFieldNumber,       wire::Envelope::kStreamUpdatesFieldNumber,
    wire::Envelope::kOutcomesFieldNumber,      wire::Envelope::kGroupUpdatesFieldNumber,
    wire::Envelope::kRefusalFieldNumber,       wire::Envelope::kHeartbeatFieldNumber,
    wire::Envelope::kGoodbyeFieldNumber,       wire::Envelope::kAdminReplyFieldNumber,
    wire::Envelope::kStreamUpdatesFieldNumber, wire::Envelope::kOutcomesFieldNumber};

class Scene final : public SessionScene<ProducerSession, ProducerOutput> {
 public:
  explicit Scene(ByteSource input)
      : SessionScene(input, kBodies),
        named_(input_.Flag()),
        session_({.name = "p",
                  .named = named_,
                  .software = "test",
                  .ack_delay = input_.Flag() ? milliseconds(1) : Duration(0)}) {
    words_.queues = {"q", "r", "s"};
    words_.streams = {0, 5};
  }

 private:
  ProducerSession& session() override { return session_; }

  void Correct(wire::Envelope* message) override {
    if (message->has_welcome() && message->welcome().session() == 0) {
      message->mutable_welcome()->set_session(session_.session() + 1);
    }
    if (!message->has_outcomes()) return;
    for (wire::OutcomeRange& range : *message->mutable_outcomes()->mutable_ranges()) {
      // What has no results is valid as it is; others need one for each job.
      if (!range.has_results() || input_.Byte() >= 0xe0) continue;
      range.set_count(static_cast<uint64_t>(range.results().sizes_size()));
    }
  }

  void Call(uint32_t call) override {
    if (closing_) return;
    const std::string& queue = words_.queues[input_.Below(3)];
    switch (call) {
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
    wire::Envelope message;
    wire::Submit* submit = message.mutable_submit();
    submit->set_queue(queue);
    submit->set_first(1);
    *submit->mutable_options() = options;
    *submit->mutable_run() = run;
    if (!TryReread(std::move(message), Receiver::kSubmit).ok()) return;  // against the rules
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

  void Check() override {
    // It must not keep its thread awake.
    Require(session_.NextDeadline() > now_.mono || !session_.fatal().ok());
    Require(session_.pending_jobs() <= session_.submitted());
    Require(session_.open_jobs() <= session_.submitted());
    for (const wire::Envelope& message : out_.door) Reread(message, Receiver::kDoor);
    for (const wire::Envelope& message : out_.submit) Reread(message, Receiver::kSubmit);
    if (out_.ack) acks_.push_back(*out_.ack);
    Reached()["producer_session: settled"] += out_.settled.size();
    Reached()["producer_session: acknowledged"] += out_.ack ? 1 : 0;
    Reached()["producer_session: groups ended"] += out_.group_ends.size();
    Reached()["producer_session: sent"] += out_.submit.size();
    words_.session.number = session_.session();
  }

  const bool named_;
  ProducerSession session_;
  std::vector<wire::OutcomeAck> acks_;
  bool closing_ = false;
};

void Fuzz(std::string_view input) { Scene(ByteSource(input)).Run(); }

const RegisterTarget kTarget("producer_session", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
