// A broker that says anything, and an executor that keeps to the rules → WorkerSession.
// An input is one of session_scene.h.
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/peer.h"
#include "tests/fuzz/session_scene.h"
#include "worker/session.h"

namespace whippletree::fuzz {
namespace {

// What a broker sends to a worker, deliveries more often.
constexpr int kBodies[] = {
    wire::Envelope::kWelcomeFieldNumber,    wire::Envelope::kDeliveriesFieldNumber,
    wire::Envelope::kReportAckFieldNumber,  wire::Envelope::kRevokeFieldNumber,
    wire::Envelope::kCancelJobsFieldNumber, wire::Envelope::kRefusalFieldNumber,
    wire::Envelope::kHeartbeatFieldNumber,  wire::Envelope::kDeliveriesFieldNumber,
    wire::Envelope::kReportAckFieldNumber};

class Scene final : public SessionScene<WorkerSession, WorkerOutput> {
 public:
  explicit Scene(ByteSource input)
      : SessionScene(input, kBodies),
        session_({.name = "w", .queues = {"q", "r"}, .slots = 2, .software = "test"}) {
    words_.queues = {"q", "r", "s"};
    words_.tokens = {1, 2, 3, 4};
  }

 private:
  WorkerSession& session() override { return session_; }

  void Correct(wire::Envelope* message) override {
    if (message->has_welcome()) {
      wire::Welcome& welcome = *message->mutable_welcome();
      if (welcome.session() == 0) welcome.set_session(words_.session.number + 1);
      words_.session.number = welcome.session();
    } else if (message->has_report_ack()) {
      if (message->report_ack().next() == 0) message->mutable_report_ack()->set_next(reported_);
    } else if (message->has_deliveries()) {
      CorrectDeliveries(message->mutable_deliveries());
    }
  }

  void CorrectDeliveries(wire::Deliveries* deliveries) {
    if (deliveries->first_ordinal() == 0) {
      deliveries->set_first_ordinal(ordinal_);
      ordinal_ += static_cast<uint64_t>(deliveries->deliveries_size());
    }
    for (wire::Delivery& delivery : *deliveries->mutable_deliveries()) {
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
  }

  std::vector<wire::FollowOn> FollowOns(uint32_t index) {
    std::vector<wire::FollowOn> follow_ons;
    while (follow_ons.size() < 3 && input_.Byte() % 4 == 1) {
      wire::FollowOn follow_on;
      grammar_.Fill(&follow_on);
      follow_on.set_index(index);
      wire::Envelope message;
      *message.mutable_report()->add_items()->add_follow_ons() = follow_on;
      if (!TryReread(std::move(message), Receiver::kComplete).ok()) continue;  // against the rules
      follow_ons.push_back(std::move(follow_on));
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
  void Call(uint32_t call) override {
    const uint64_t token = words_.tokens[input_.Below(4)];
    const auto first = static_cast<uint32_t>(input_.Number());
    const Duration run_time = microseconds(1) * (1 << input_.Below(24));
    switch (call) {
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

  void Check() override {
    // It must not keep its thread awake.
    Require(session_.NextDeadline() > now_.mono || session_.done() || !session_.fatal().ok());
    for (const wire::Envelope& message : out_.door) Reread(message, Receiver::kDoor);
    for (const wire::Envelope& message : out_.complete) {
      Reread(message, Receiver::kComplete);
      if (!message.has_report()) continue;
      reported_ =
          message.report().first_ordinal() + static_cast<uint64_t>(message.report().items_size());
    }
    if (out_.reopen_complete_port) ordinal_ = 1;
    Reached()["worker_session: run"] += out_.run.size();
    Reached()["worker_session: recalled"] += out_.recall.size();
    Reached()["worker_session: cancelled"] += out_.cancel.size();
    Reached()["worker_session: dropped"] += out_.drop.size();
    Reached()["worker_session: reported"] += out_.complete.size();
  }

  WorkerSession session_;
  uint64_t ordinal_ = 1;   // of the next delivery
  uint64_t reported_ = 1;  // of the next item
};

void Fuzz(std::string_view input) { Scene(ByteSource(input)).Run(); }

const RegisterTarget kTarget("worker_session", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
