// Outcomes: each reported once; cancels; what the broker has lost or forgotten; named producers.
#include <gtest/gtest.h>

#include "tests/unit/producer/session_harness.h"

namespace whippletree {
namespace {

class ProducerOutcomeTest : public ProducerSessionTest {
 protected:
  void JoinAndSubmit(uint32_t count, const wire::JobOptions& options = {}) {
    Join();
    Submit(count, options);
    Poll();
    TakeRuns();
  }
  // The ordinal that was acknowledged; 0: none was.
  uint64_t TakeAck() {
    const auto ack = std::exchange(out.ack, std::nullopt);
    return ack.has_value() && ack->streams_size() == 1 ? ack->streams(0).next() : 0;
  }
};

class NamedProducerTest : public ProducerSessionTest {
 protected:
  NamedProducerTest() : ProducerSessionTest(true) {}
};

// Acknowledgements may be held back, for an hour.
class HeldAckTest : public ProducerSessionTest {
 protected:
  explicit HeldAckTest(bool named = false)
      : ProducerSessionTest(named, std::chrono::hours(1)), named_(named) {}
  // The application has the outcome of a job.
  void TakeOutcome(const wire::JobOptions& options = {}) {
    if (named_) session.OpenStream("q");
    Join(1, named_ ? std::vector<State>{Update(1)} : std::vector<State>{});
    Submit(1, options);
    OnUpdate(Update(2));
    OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1)});
    ASSERT_TRUE(out.ack);
    ack = *std::exchange(out.ack, std::nullopt);
    out.Clear();
  }

  const bool named_;
  wire::OutcomeAck ack;
};

class NamedHeldAckTest : public HeldAckTest {
 protected:
  NamedHeldAckTest() : HeldAckTest(true) {}
};

TEST_F(HeldAckTest, IsHeldBack) {
  TakeOutcome();
  EXPECT_FALSE(session.Acknowledge(ack, now.mono));
  Poll();
  EXPECT_TRUE(out.door.empty());
}

TEST_F(HeldAckTest, GoesBeforeTheGoodbye) {
  TakeOutcome();
  session.Acknowledge(ack, now.mono);
  session.Close();
  Poll();
  ASSERT_EQ(out.door.size(), 2u);
  EXPECT_EQ(out.door[0].outcome_ack().session(), SessionNumber());
  EXPECT_EQ(out.door[0].outcome_ack().streams(0).next(), 2u);
  EXPECT_TRUE(out.door[1].has_goodbye());
}

TEST_F(HeldAckTest, DoesNotKeepTheEndOfAGroupWaiting) {
  wire::JobOptions options;
  options.set_group(session.OpenGroup());
  TakeOutcome(options);
  ASSERT_TRUE(session.CloseGroup(options.group()).ok());
  EXPECT_TRUE(session.Acknowledge(ack, now.mono));
  Poll();
  EXPECT_TRUE(std::any_of(out.door.begin(), out.door.end(),
                          [](const wire::Envelope& m) { return m.has_outcome_ack(); }));
}

TEST_F(HeldAckTest, KeepsNobodyAwakeOnceTheBrokerHasRefused) {
  TakeOutcome();
  session.Acknowledge(ack, now.mono);
  wire::Envelope refusal;
  refusal.mutable_refusal()->set_action(wire::Refusal::GIVE_UP);
  *refusal.mutable_refusal()->mutable_status() = ToWire(absl::AbortedError("another one"));
  OnDoor(refusal);
  EXPECT_FALSE(session.fatal().ok());
  EXPECT_EQ(session.NextDeadline(), kNever);
}

TEST_F(HeldAckTest, OfAnotherSessionIsVoid) {
  TakeOutcome();
  Rejoin(2);
  out.Clear();
  EXPECT_FALSE(session.Acknowledge(ack, now.mono));
  session.Close();
  Poll();
  ASSERT_EQ(out.door.size(), 1u);
  EXPECT_TRUE(out.door[0].has_goodbye());
}

TEST_F(NamedHeldAckTest, OfOneThatMayComeBackIsNotHeldBack) {
  TakeOutcome();
  EXPECT_TRUE(session.Acknowledge(ack, now.mono));
  Poll();
  ASSERT_EQ(out.door.size(), 1u);
  EXPECT_TRUE(out.door[0].has_outcome_ack());
}

TEST_F(ProducerOutcomeTest, AreReportedAndAcknowledged) {
  JoinAndSubmit(3);
  OnUpdate(Update(4));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 2), Range(Outcome::DEAD, 3, 1)});
  ASSERT_EQ(out.settled.size(), 2u);
  EXPECT_EQ(out.settled[0].queue, "q");
  EXPECT_EQ(out.settled[0].stream, 5u);
  EXPECT_EQ(out.settled[0].range.results().block(), "r1r2");
  EXPECT_EQ(TakeAck(), 3u);
  EXPECT_EQ(session.open_jobs(), 0u);
}

TEST_F(ProducerOutcomeTest, RepeatedOnesAreOnlyAcknowledged) {
  JoinAndSubmit(3);
  OnUpdate(Update(4));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1)});
  EXPECT_EQ(TakeSettled().size(), 1u);
  TakeAck();
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1)});
  EXPECT_TRUE(TakeSettled().empty());
  EXPECT_EQ(TakeAck(), 2u);
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1), Range(Outcome::COMPLETED, 2, 1)});
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::COMPLETED, 2, 1}}));
}

TEST_F(NamedProducerTest, OutcomesBeforeTheNumbersAreKnownComeAgain) {
  Join();
  session.OpenStream("q");
  Poll();
  out.Clear();
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 2)});
  EXPECT_TRUE(TakeSettled().empty());
  EXPECT_FALSE(out.ack.has_value());
  State update = Update(3);
  update.set_unsettled(2);
  OnUpdate(update);
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 2)});
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::COMPLETED, 1, 2}}));
}

TEST_F(ProducerOutcomeTest, ThoseAfterAGapWait) {
  JoinAndSubmit(3);
  OnUpdate(Update(4));
  OnOutcomes(2, {Range(Outcome::COMPLETED, 2, 1)});
  EXPECT_TRUE(TakeSettled().empty());
  EXPECT_EQ(TakeAck(), 1u);
}

TEST_F(ProducerOutcomeTest, AreReportedOnceOverSessions) {
  JoinAndSubmit(4);
  OnUpdate(Update(5));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 2)});
  TakeSettled();
  Rejoin(2, {Update(5)});
  EXPECT_EQ(hello.streams(0).wanted(), 3u);
  // The broker had not heard of it: the same again, with more, under a new ordinal.
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 3)});
  ASSERT_EQ(out.settled.size(), 1u);
  EXPECT_EQ(out.settled[0].range.first(), 3u);
  EXPECT_EQ(out.settled[0].range.count(), 1u);
  EXPECT_EQ(out.settled[0].range.results().block(), "r3");
}

TEST_F(ProducerOutcomeTest, MayComeBeforeTheWordThatTheJobIsAccepted) {
  JoinAndSubmit(2);
  OnOutcomes(1, {Range(Outcome::REJECTED, 1, 2)});
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::REJECTED, 1, 2}}));
  OnUpdate(Update(3));
  EXPECT_EQ(session.open_jobs(), 0u);
  EXPECT_EQ(session.pending_jobs(), 0u);
}

TEST_F(ProducerOutcomeTest, DiscardedJobsEndWhenTheyAreAccepted) {
  wire::JobOptions options;
  options.set_discard_outcome(true);
  JoinAndSubmit(3, options);
  EXPECT_EQ(session.open_jobs(), 3u);
  OnUpdate(Update(4));
  EXPECT_EQ(session.open_jobs(), 0u);
  EXPECT_TRUE(TakeSettled().empty());
  OnOutcomes(1, {Range(Outcome::REJECTED, 2, 1)});  // this one is told all the same
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::REJECTED, 2, 1}}));
}

TEST_F(ProducerOutcomeTest, CancelIsRepeatedUntilTheOutcomeComes) {
  JoinAndSubmit(5);
  OnUpdate(Update(6));
  session.Cancel("q", 2, 2);
  session.Cancel("nowhere", 1, 1);
  Poll();
  EXPECT_EQ(TakeCancels(), (Ranges{{2, 2}}));
  Run(milliseconds(999));
  EXPECT_TRUE(TakeCancels().empty());
  Run(milliseconds(1));
  EXPECT_EQ(TakeCancels(), (Ranges{{2, 2}}));
  OnOutcomes(1, {Range(Outcome::CANCELLED, 2, 1)});
  Run(seconds(1));
  EXPECT_EQ(TakeCancels(), (Ranges{{3, 1}}));
  Rejoin(2, {Update(6)});
  EXPECT_EQ(TakeCancels(), (Ranges{{3, 1}}));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 3, 1)});
  Run(seconds(5));
  EXPECT_TRUE(TakeCancels().empty());
}

TEST_F(ProducerOutcomeTest, CancelOfWhatHasEndedIsNotSent) {
  JoinAndSubmit(1);
  OnUpdate(Update(2));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1)});
  session.Cancel("q", 1, 100);
  Run(seconds(2));
  EXPECT_TRUE(TakeCancels().empty());
}

TEST_F(ProducerOutcomeTest, AreUnknownWhenTheBrokerLostThem) {
  JoinAndSubmit(5);
  OnUpdate(Update(4));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 2, 1)});
  TakeSettled();
  State lost = Update(4, State::LOST);
  *lost.mutable_status() = ToWire(absl::UnavailableError("outcome unknown: the broker restarted"));
  Rejoin(2, {lost});
  ASSERT_EQ(out.settled.size(), 2u);
  EXPECT_EQ(out.settled[0].range.status().code(), static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::UNSPECIFIED, 1, 1}, {Outcome::UNSPECIFIED, 3, 1}}));
  EXPECT_EQ(TakeRuns(), (Runs{{4, 2}}));  // those were never accepted
  EXPECT_EQ(session.open_jobs(), 2u);
}

TEST_F(ProducerOutcomeTest, OfAStreamThatIsGoneAreUnknownOrRejected) {
  JoinAndSubmit(3);
  OnUpdate(Update(3));
  wire::Envelope message;
  message.mutable_refusal()->set_action(wire::Refusal::SAY_HELLO);
  OnDoor(message);
  out.Clear();
  Submit(2);  // never sent
  State gone = Update(0, State::GONE);
  *gone.mutable_status() = ToWire(absl::FailedPreconditionError("forgotten"));
  Join(2, {gone});
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::UNSPECIFIED, 1, 3}, {Outcome::REJECTED, 4, 2}}));
  EXPECT_EQ(session.GetStream("q").error, absl::FailedPreconditionError("forgotten"));
  EXPECT_EQ(session.open_jobs(), 0u);
  EXPECT_EQ(session.pending_jobs(), 0u);
}

TEST_F(ProducerOutcomeTest, OfARefusedStreamAreRejectedThoughTheyWereSent) {
  JoinAndSubmit(3);
  State refused = Update(0, State::REFUSED);
  *refused.mutable_status() = ToWire(absl::NotFoundError("no such queue"));
  OnUpdate(refused);
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::REJECTED, 1, 3}}));
  EXPECT_EQ(session.GetStream("q").error, absl::FailedPreconditionError("no such queue"));
  EXPECT_EQ(session.pending_jobs(), 0u);
  OnUpdate(refused);
  EXPECT_TRUE(TakeSettled().empty());
}

TEST_F(ProducerOutcomeTest, OfAStreamThatIsGoneAreRejectedThoughNobodyWaitsForThem) {
  wire::JobOptions options;
  options.set_discard_outcome(true);
  Submit(2, options);
  Join(1, {}, 0);  // no credit: none is sent
  State gone = Update(0, State::GONE);
  *gone.mutable_status() = ToWire(absl::InvalidArgumentError("no such queue"));
  OnUpdate(gone);
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::REJECTED, 1, 2}}));
}

TEST_F(ProducerOutcomeTest, AStreamThatIsGoneKeepsNobodyAwake) {
  JoinAndSubmit(3);
  session.Cancel("q", 1, 3);
  OnUpdate(Update(0, State::GONE));
  session.Cancel("q", 1, 3);
  EXPECT_GT(session.NextDeadline(), now.mono);
}

TEST_F(NamedProducerTest, LearnsItsNumbersFirst) {
  Join();
  session.OpenStream("q");
  EXPECT_FALSE(session.GetStream("q").open);
  Poll();
  ASSERT_EQ(out.door.size(), 1u);
  EXPECT_EQ(out.door[0].open_stream().claim().queue(), "q");
  EXPECT_EQ(out.door[0].open_stream().claim().next(), 0u);
  out.Clear();
  Run(milliseconds(1001));
  ASSERT_EQ(out.door.size(), 1u);  // it is asked again
  State update = Update(11);
  update.set_unsettled(4);
  OnUpdate(update);
  const ProducerSession::StreamState state = session.GetStream("q");
  EXPECT_TRUE(state.open);
  EXPECT_EQ(state.next_number, 11u);
  EXPECT_EQ(state.unsettled, 4u);
  EXPECT_EQ(Submit(1), 11u);
}

TEST_F(NamedProducerTest, GetsTheOutcomesOfAnEarlierProcess) {
  session.OpenStream("q");
  State update = Update(11);
  update.set_unsettled(2);
  Join(1, {update});
  ASSERT_EQ(hello.streams_size(), 1);
  EXPECT_TRUE(hello.named());
  EXPECT_EQ(hello.streams(0).next(), 0u);
  OnOutcomes(1, {Range(Outcome::COMPLETED, 3, 2)});
  EXPECT_EQ(TakeSettled(), (Settled{{Outcome::COMPLETED, 3, 2}}));
  EXPECT_EQ(session.GetStream("q").unsettled, 0u);
  Rejoin(2, {Update(11)});
  OnOutcomes(1, {Range(Outcome::COMPLETED, 3, 2)});  // once
  EXPECT_TRUE(TakeSettled().empty());
}

TEST_F(NamedProducerTest, ClaimsNothingAsUnwantedWhileEarlierOutcomesAreToCome) {
  session.OpenStream("q");
  State update = Update(11);
  update.set_unsettled(2);
  Join(1, {update});
  Rejoin(2, {update});
  EXPECT_EQ(hello.streams(0).next(), 11u);
  EXPECT_EQ(hello.streams(0).wanted(), 0u);
}

TEST_F(NamedProducerTest, SaysGoodbyeUntilItIsConfirmed) {
  session.OpenStream("q");
  Join(1, {Update(1)});
  Submit(1);
  OnUpdate(Update(2));
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1)});
  ASSERT_TRUE(out.ack);
  out.Clear();
  session.Close();
  Run(milliseconds(1500));
  ASSERT_EQ(out.door.size(), 2u);  // the answer may be lost
  EXPECT_EQ(out.door[1].goodbye().session(), 1u);
  EXPECT_FALSE(session.closed());

  Rejoin(2, {Update(2)});  // the broker died meanwhile
  EXPECT_EQ(hello.streams(0).wanted(), 2u);
  ASSERT_EQ(out.door.size(), 1u);
  EXPECT_EQ(out.door[0].goodbye().session(), 2u);
  wire::Envelope reply;
  reply.mutable_goodbye()->set_session(2);
  OnDoor(reply);
  EXPECT_TRUE(session.closed());
}

TEST_F(NamedProducerTest, ThatAcknowledgedNothingClosesAtOnce) {
  session.OpenStream("q");
  Join(1, {Update(1)});
  session.Close();
  Poll();
  EXPECT_TRUE(session.closed());
}

TEST_F(NamedProducerTest, AForgottenNameIsToldSo) {
  session.OpenStream("q");
  State gone = Update(0, State::GONE);
  *gone.mutable_status() = ToWire(absl::FailedPreconditionError("forgotten"));
  Join(1, {gone});
  const ProducerSession::StreamState state = session.GetStream("q");
  EXPECT_TRUE(state.open);
  EXPECT_EQ(state.error, absl::FailedPreconditionError("forgotten"));
}

}  // namespace
}  // namespace whippletree
