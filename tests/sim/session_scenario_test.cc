// What the simulator found in the sessions of producers and workers, as small scenarios of their
// own. What the broker says is written by the test.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "common/utf8.h"
#include "producer/session.h"
#include "worker/session.h"

namespace whippletree {
namespace {

constexpr uint64_t kSession = 9;

Instant At(Duration since_start) {
  return {MonoTime(seconds(100)) + since_start, WallTime(seconds(5000)) + since_start};
}

wire::Envelope Welcome(uint64_t session) {
  wire::Envelope message;
  wire::Welcome* welcome = message.mutable_welcome();
  welcome->set_session(session);
  welcome->set_broker_start(1);
  welcome->set_payload_bytes_max(1000);
  welcome->set_result_bytes_max(1000);
  welcome->set_window_bytes(100'000);
  welcome->set_heartbeat_interval_ms(10'000);
  welcome->set_lease_duration_ms(50'000);
  welcome->set_first_jobs_limit(1000);
  welcome->set_first_bytes_limit(100'000);
  return message;
}

wire::Envelope Update(uint64_t next, uint64_t jobs_limit, wire::StreamUpdate::State state) {
  wire::Envelope message;
  message.mutable_stream_updates()->set_session(kSession);
  wire::StreamUpdate* update = message.mutable_stream_updates()->add_streams();
  update->set_queue("q");
  update->set_next(next);
  update->set_jobs_limit(jobs_limit);
  update->set_bytes_limit(100'000);
  update->set_state(state);
  update->set_stream(1);
  if (state == wire::StreamUpdate::GONE) {
    *update->mutable_status() = WireStatus(absl::StatusCode::kFailedPrecondition, "forgotten");
  }
  return message;
}

class ProducerScenarioTest : public testing::Test {
 protected:
  ProducerScenarioTest() {
    session_.Poll(At({}), &out_);
    Hear(Welcome(kSession), {});
  }
  void Hear(wire::Envelope message, Duration at) {
    session_.OnDoor(At(at), message, &out_);
    session_.Poll(At(at), &out_);
  }
  uint64_t Submit(int jobs, wire::JobOptions options = {}) {
    RunData run;
    for (int i = 0; i < jobs; ++i) run.Append("job");
    return session_.Submit("q", options, run);
  }
  // How many jobs were sent since the last call.
  uint64_t TakeSent() {
    uint64_t jobs = 0;
    for (const wire::Envelope& message : std::exchange(out_.submit, {})) {
      jobs += static_cast<uint64_t>(message.submit().run().sizes_size());
    }
    return jobs;
  }

  ProducerSession session_{{.name = "p", .software = "test"}};
  ProducerOutput out_;
};

TEST_F(ProducerScenarioTest, AFullStreamIsTriedWhenTheWordOfRoomIsLost) {
  Submit(3);
  session_.Poll(At(seconds(1)), &out_);
  EXPECT_EQ(TakeSent(), 3u);
  Hear(Update(2, 3, wire::StreamUpdate::FULL), seconds(1));
  // It was tried once, and that one was taken.
  session_.Poll(At(seconds(2)), &out_);
  EXPECT_EQ(TakeSent(), 1u);
  Hear(Update(3, 4, wire::StreamUpdate::FULL), seconds(2));
  EXPECT_LE(session_.NextDeadline(), At(seconds(4)).mono);
  session_.Poll(At(seconds(4)), &out_);
  EXPECT_EQ(TakeSent(), 1u);
}

TEST_F(ProducerScenarioTest, TheRealCreditReplacesTheGuess) {
  Submit(1);
  session_.Poll(At(seconds(1)), &out_);
  EXPECT_EQ(TakeSent(), 1u);
  Hear(Update(2, 3, wire::StreamUpdate::OPEN), seconds(1));
  Submit(10);
  session_.Poll(At(seconds(1)), &out_);
  EXPECT_EQ(TakeSent(), 2u);
}

TEST_F(ProducerScenarioTest, OfAGoneStreamOnlyWhatWasNeverSentIsRejected) {
  Submit(1);
  session_.Poll(At(seconds(1)), &out_);
  Hear(Update(2, 3, wire::StreamUpdate::OPEN), seconds(1));
  Submit(10);  // 2 and 3 are sent, no word of them
  session_.Poll(At(seconds(1)), &out_);
  Hear(Update(2, 3, wire::StreamUpdate::GONE), seconds(2));
  ASSERT_EQ(out_.settled.size(), 2u);
  EXPECT_EQ(out_.settled[0].range.kind(), wire::OutcomeRange::UNSPECIFIED);
  EXPECT_EQ(out_.settled[0].range.first(), 1u);
  EXPECT_EQ(out_.settled[0].range.count(), 3u);
  EXPECT_EQ(out_.settled[1].range.kind(), wire::OutcomeRange::REJECTED);
  EXPECT_EQ(out_.settled[1].range.count(), 8u);
}

// The deadline of a cancel that nobody carries out any more: the shell would have spun.
TEST_F(ProducerScenarioTest, AGoneStreamHasNothingDue) {
  wire::JobOptions discard;
  discard.set_discard_outcome(true);
  Submit(2, discard);
  session_.Cancel("q", 1, 2);
  session_.Poll(At(seconds(1)), &out_);
  Hear(Update(3, 9, wire::StreamUpdate::GONE), seconds(1));
  Hear(Welcome(kSession + 1), seconds(2));
  EXPECT_GT(session_.NextDeadline(), At(seconds(2)).mono);
}

TEST_F(ProducerScenarioTest, ACancelOfWhatHasNoOutcomeIsNotRepeatedForEver) {
  wire::JobOptions discard;
  discard.set_discard_outcome(true);
  Submit(2, discard);
  session_.Cancel("q", 1, 2);
  session_.Poll(At(seconds(1)), &out_);
  Hear(Update(3, 9, wire::StreamUpdate::OPEN), seconds(1));
  session_.Poll(At(seconds(3)), &out_);  // now it is accepted: asked once more
  out_.Clear();
  session_.Poll(At(seconds(6)), &out_);
  EXPECT_TRUE(out_.submit.empty());
}

// The rejection came before the word that its number was used up, and again in the next session.
TEST_F(ProducerScenarioTest, ARejectionIsToldOnce) {
  wire::JobOptions discard;
  discard.set_discard_outcome(true);
  Submit(1, discard);
  session_.Poll(At(seconds(1)), &out_);
  wire::Envelope message;
  message.mutable_outcomes()->set_session(kSession);
  message.mutable_outcomes()->set_queue("q");
  message.mutable_outcomes()->set_first_ordinal(1);
  wire::OutcomeRange* range = message.mutable_outcomes()->add_ranges();
  range->set_kind(wire::OutcomeRange::REJECTED);
  range->set_first(1);
  range->set_count(1);
  Hear(message, seconds(1));
  EXPECT_EQ(out_.settled.size(), 1u);
  Hear(Update(2, 9, wire::StreamUpdate::OPEN), seconds(1));
  Hear(Welcome(kSession + 1), seconds(2));
  message.mutable_outcomes()->set_session(kSession + 1);
  Hear(message, seconds(2));
  EXPECT_EQ(out_.settled.size(), 1u);
}

class WorkerScenarioTest : public testing::Test {
 protected:
  WorkerScenarioTest() {
    session_.Poll(At({}), &out_);
    Hear(Welcome(kSession), {});
    out_.Clear();
  }
  void Hear(wire::Envelope message, Duration at) {
    session_.OnDoor(At(at), message, &out_);
    session_.Poll(At(at), &out_);
  }

  WorkerSession session_{{.name = "w", .queues = {"q"}, .software = "test"}};
  WorkerOutput out_;
};

// The first delivery had overtaken the welcome and was dropped; it must come again.
TEST_F(WorkerScenarioTest, AMissingFirstDeliveryIsNotConfirmed) {
  wire::Envelope message;
  message.mutable_deliveries()->set_session(kSession);
  message.mutable_deliveries()->set_first_ordinal(2);
  wire::Delivery* delivery = message.mutable_deliveries()->add_deliveries();
  delivery->set_token(5);
  delivery->set_queue("q");
  AppendToRun("job", delivery->mutable_run());
  Hear(std::move(message), seconds(1));
  session_.Poll(At(seconds(2)), &out_);
  ASSERT_FALSE(out_.complete.empty());
  EXPECT_EQ(out_.complete.back().report().deliveries_next(), 1u);
}

// It would have dropped the leases of the session that was ended since.
TEST_F(WorkerScenarioTest, ALateRepetitionOfAWelcomeIsIgnored) {
  wire::Envelope refusal;
  refusal.mutable_refusal()->set_action(wire::Refusal::SAY_HELLO);
  Hear(std::move(refusal), seconds(1));
  EXPECT_FALSE(session_.connected());
  Hear(Welcome(kSession), seconds(1));
  EXPECT_FALSE(session_.connected());
  Hear(Welcome(kSession + 1), seconds(2));
  EXPECT_TRUE(session_.connected());
}

// Whatever a handler says can be read by everybody: else it would be sent again for ever.
TEST(StatusScenarioTest, AMessageIsValidUtf8OnTheWire) {
  EXPECT_EQ(WireStatus(absl::StatusCode::kInternal,
                       "a\xff\xfe"
                       "b")
                .message(),
            "a??b");
  const std::string cut =
      WireStatus(absl::StatusCode::kInternal, std::string(kStatusMessageBytesMax - 1, 'x') + "ä")
          .message();
  EXPECT_TRUE(IsUtf8(cut));
  EXPECT_LE(cut.size(), kStatusMessageBytesMax);
  EXPECT_EQ(cut.substr(cut.size() - 3), "x\xc3\xa4");  // its end is kept
}

}  // namespace
}  // namespace whippletree
