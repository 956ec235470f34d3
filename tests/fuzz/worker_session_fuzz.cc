// A broker that says anything, and an executor that keeps to the rules → WorkerSession.
//
//   input = { step }   step: a message of the broker, bytes of one, or a call
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/codec.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/grammar.h"
#include "tests/fuzz/target.h"
#include "worker/session.h"

namespace whippletree::fuzz {
namespace {

constexpr int kStepsMax = 200;
// What a broker sends to a worker, deliveries more often.
constexpr int kBodies[] = {
    wire::Envelope::kWelcomeFieldNumber,    wire::Envelope::kDeliveriesFieldNumber,
    wire::Envelope::kReportAckFieldNumber,  wire::Envelope::kRevokeFieldNumber,
    wire::Envelope::kCancelJobsFieldNumber, wire::Envelope::kRefusalFieldNumber,
    wire::Envelope::kHeartbeatFieldNumber,  wire::Envelope::kDeliveriesFieldNumber,
    wire::Envelope::kReportAckFieldNumber};

class Scene {
 public:
  explicit Scene(ByteSource input)
      : input_(input),
        grammar_(&input_, &words_),
        session_({.name = "w", .queues = {"q", "r"}, .slots = 2, .software = "test"}) {
    words_.queues = {"q", "r", "s"};
    words_.tokens = {1, 2, 3, 4};
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
      } else {
        Call(step);
      }
      Poll();
    }
  }

 private:
  void Hear(wire::Envelope message) {
    if (message.has_welcome() && message.welcome().session() == 0) {
      message.mutable_welcome()->set_session(words_.session.number + 1);
    }
    if (message.has_welcome()) words_.session.number = message.welcome().session();
    message.set_commit(input_.Number());
    if (message.has_deliveries() && message.deliveries().first_ordinal() == 0) {
      message.mutable_deliveries()->set_first_ordinal(ordinal_);
      ordinal_ += static_cast<uint64_t>(message.deliveries().deliveries_size());
    }
    if (message.has_report_ack() && message.report_ack().next() == 0) {
      message.mutable_report_ack()->set_next(reported_);
    }
    for (wire::Delivery& delivery : *message.mutable_deliveries()->mutable_deliveries()) {
      if (input_.Byte() >= 0xe0) continue;  // as it is, most likely not valid
      const auto jobs = static_cast<uint32_t>(delivery.run().sizes_size());
      if (delivery.started() > jobs) delivery.set_started(jobs);
      if (delivery.indexes_size() > 0) {
        uint32_t index = delivery.indexes(0);
        delivery.clear_indexes();
        for (uint32_t i = 0; i < jobs; ++i) delivery.add_indexes(index++);
      }
      if (!delivery.batch()) continue;
      delivery.clear_parts();
      delivery.add_parts()->set_count(jobs);
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

  std::vector<wire::FollowOn> FollowOns(uint32_t index) {
    std::vector<wire::FollowOn> follow_ons;
    while (follow_ons.size() < 3 && input_.Byte() % 4 == 1) {
      grammar_.Fill(&follow_ons.emplace_back());
      follow_ons.back().set_index(index);
    }
    return follow_ons;
  }
  absl::StatusOr<std::string> Result() {
    const uint8_t code = input_.Byte();
    if (code >= 0xf0) return std::string(70'000, 'r');
    if (code % 4 != 1) return std::string(code % 8, 'r');
    return absl::Status(static_cast<absl::StatusCode>(1 + code / 4 % 16),
                        std::string(input_.Bytes(5)));
  }

  // Tokens and indexes are any: jobs may end that were taken back meanwhile.
  void Call(uint32_t step) {
    const uint64_t token = words_.tokens[input_.Below(4)];
    const auto first = static_cast<uint32_t>(input_.Number());
    const Duration run_time = microseconds(1) * (1 << input_.Below(24));
    switch (step) {
      case 10:
        session_.OnStarted(token, first, static_cast<uint32_t>(input_.Number()));
        break;
      case 11: {
        wire::Run results;
        grammar_.Fill(&results);
        session_.OnCompleted({token, first, run_time, std::move(results)});
        break;
      }
      case 12:
        session_.OnFinished(token, first, Result(), run_time, FollowOns(first));
        break;
      case 13: {
        BatchOutcome outcome;
        const bool whole = input_.Flag();
        if (whole) outcome.status = absl::InternalError("failed");
        for (uint32_t i = 0; i < 1 + first % 4; ++i) {
          outcome.indexes.push_back(i);
          if (!whole) outcome.results.push_back(Result());
          for (wire::FollowOn& each : FollowOns(i)) outcome.follow_ons.push_back(std::move(each));
        }
        session_.OnBatchFinished(token, std::move(outcome), run_time);
        break;
      }
      case 14:
        session_.OnRecalled(token, first);
        break;
      default:
        if (input_.Byte() >= 0xf0) session_.Drain(&out_);
    }
  }

  void Poll() {
    session_.Poll(now_, &out_);
    if (session_.NextDeadline() <= now_.mono) session_.Poll(now_, &out_);
    // It must not keep its thread awake.
    Require(session_.NextDeadline() > now_.mono || session_.done() || !session_.fatal().ok());
    for (auto* messages : {&out_.door, &out_.complete}) {
      for (wire::Envelope& message : *messages) {
        std::string frame;
        Encode(&message, &frame);
        wire::Envelope decoded;
        const bool is_door = messages == &out_.door;
        const Receiver receiver = is_door ? Receiver::kDoor : Receiver::kComplete;
        Require(Decode(frame, receiver, &decoded).ok());
        if (!message.has_report()) continue;
        reported_ =
            message.report().first_ordinal() + static_cast<uint64_t>(message.report().items_size());
      }
    }
    if (out_.reopen_complete_port) ordinal_ = 1;
    out_.Clear();
  }

  ByteSource input_;
  Words words_;
  Grammar grammar_;
  WorkerSession session_;
  WorkerOutput out_;
  uint64_t ordinal_ = 1;   // of the next delivery
  uint64_t reported_ = 1;  // of the next item
  Instant now_{MonoTime(seconds(100)), WallTime(seconds(100))};
};

void Fuzz(std::string_view input) { Scene(ByteSource(input)).Run(); }

const RegisterTarget kTarget("worker_session", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
