// Sending: numbers, credit, gaps, room, sessions.
#include "producer/session.h"

#include <gtest/gtest.h>

#include "tests/unit/producer/session_harness.h"

namespace whippletree {
namespace {

class ProducerStreamTest : public ProducerSessionTest {};

TEST_F(ProducerStreamTest, SaysHelloAndJoins) {
  Join(7);
  EXPECT_EQ(hello.role(), wire::PRODUCER);
  EXPECT_EQ(hello.name(), "p");
  EXPECT_EQ(hello.attempt(), 1u);
  EXPECT_EQ(hello.broker_start(), 0u);
  EXPECT_TRUE(session.connected());
  EXPECT_EQ(session.session(), 7u);
  EXPECT_EQ(session.payload_bytes_max(), 1000u);
  EXPECT_FALSE(out.reopen_door);
}

TEST_F(ProducerStreamTest, SendsAtOnceWhatIsSubmitted) {
  Join();
  EXPECT_EQ(Submit(1), 1u);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{1, 1}}));
  EXPECT_EQ(Submit(2), 2u);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{2, 2}}));
  EXPECT_EQ(session.pending_jobs(), 3u);
  EXPECT_EQ(session.pending_bytes(), 12u);
  EXPECT_EQ(session.open_jobs(), 3u);
}

TEST_F(ProducerStreamTest, GathersWhatWasSubmittedTogether) {
  Join();
  for (int i = 0; i < 10; ++i) Submit(1);
  wire::JobOptions other;
  other.set_key("k");
  for (int i = 0; i < 5; ++i) Submit(1, other);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{1, 10}, {11, 5}}));
}

TEST_F(ProducerStreamTest, WhatWasSubmittedBeforeTheWelcomeFollowsIt) {
  Submit(3);
  Poll();
  EXPECT_TRUE(out.submit.empty());
  out.Clear();
  Join();
  EXPECT_EQ(hello.streams_size(), 0);  // the broker never saw any of it
  EXPECT_EQ(TakeRuns(), (Runs{{1, 3}}));
}

TEST_F(ProducerStreamTest, KeepsToItsCreditOfJobs) {
  Join(1, {}, 5);
  Submit(8);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{1, 5}}));
  OnUpdate(Update(3, State::OPEN, 7));
  EXPECT_EQ(TakeRuns(), (Runs{{6, 2}}));
  OnUpdate(Update(3, State::OPEN, 6));  // an older one
  OnUpdate(Update(8, State::OPEN, 100));
  EXPECT_EQ(TakeRuns(), (Runs{{8, 1}}));
}

TEST_F(ProducerStreamTest, TheBrokersLimitReplacesTheFirstGuess) {
  Join(1, {}, 5);
  Submit(8);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{1, 5}}));
  OnUpdate(Update(1, State::OPEN, 2));  // a queue with little room
  OnUpdate(Update(2, State::OPEN, 3));
  EXPECT_TRUE(TakeRuns().empty());
}

TEST_F(ProducerStreamTest, KeepsToItsCreditOfBytes) {
  Join();
  Submit(1, {}, 100);
  Poll();
  TakeRuns();
  OnUpdate(Update(2, State::OPEN, 1000, 350));  // 100 of these are used up
  Submit(4, {}, 100);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{2, 2}}));
  OnUpdate(Update(3, State::OPEN, 1000, 450));
  EXPECT_EQ(TakeRuns(), (Runs{{4, 1}}));
}

TEST_F(ProducerStreamTest, OneJobMayAlwaysBeSentWhenNothingIsUnaccepted) {
  Join();
  Submit(1);
  Poll();
  TakeRuns();
  OnUpdate(Update(2, State::OPEN, 1000, 10));
  Submit(2, {}, 500);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{2, 1}}));
  OnUpdate(Update(3, State::OPEN, 1000, 510));
  EXPECT_EQ(TakeRuns(), (Runs{{3, 1}}));
}

TEST_F(ProducerStreamTest, AGapIsFilledAtOnce) {
  Join();
  Submit(2);
  Poll();
  Submit(2);
  Poll();
  TakeRuns();
  OnUpdate(Update(2, State::GAP));
  EXPECT_EQ(TakeRuns(), (Runs{{2, 1}, {3, 2}}));
}

TEST_F(ProducerStreamTest, SendsAgainWhenThereIsNoWord) {
  Join();
  Submit(2);
  Poll();
  TakeRuns();
  Run(milliseconds(999));
  EXPECT_TRUE(TakeRuns().empty());
  Run(milliseconds(1));
  EXPECT_EQ(TakeRuns(), (Runs{{1, 2}}));
  Run(milliseconds(1999));
  EXPECT_TRUE(TakeRuns().empty());
  Run(milliseconds(1));
  EXPECT_EQ(TakeRuns(), (Runs{{1, 2}}));
  OnUpdate(Update(3));
  Run(seconds(20));
  EXPECT_TRUE(TakeRuns().empty());
  EXPECT_EQ(session.pending_jobs(), 0u);
  EXPECT_EQ(session.pending_bytes(), 0u);
}

TEST_F(ProducerStreamTest, FullStopsUntilOpen) {
  Join();
  Submit(3);
  Poll();
  TakeRuns();
  OnUpdate(Update(2, State::FULL));
  EXPECT_TRUE(session.full());
  Submit(5);
  Poll();
  EXPECT_TRUE(TakeRuns().empty());
  OnUpdate(Update(2));
  EXPECT_FALSE(session.full());
  EXPECT_EQ(TakeRuns(), (Runs{{2, 7}}));
}

TEST_F(ProducerStreamTest, TheReasonOfFullIsToldOnceAndItsEndToo) {
  Join();
  Submit(3);
  Poll();
  TakeRuns();
  const auto said = [this](const std::string& text) {
    return std::count_if(out.log.begin(), out.log.end(), [&](const std::string& line) {
      return line.find(text) != std::string::npos;
    });
  };
  wire::StreamUpdate full = Update(2, State::FULL);
  full.mutable_status()->set_message("the disk is full: 3 bytes are free");
  OnUpdate(full);
  full.mutable_status()->set_message("the disk is full: 2 bytes are free");
  OnUpdate(full);
  EXPECT_EQ(session.full_reason(), "the disk is full: 2 bytes are free");
  EXPECT_EQ(said("takes no jobs: the disk is full: 3 bytes are free"), 1);
  EXPECT_EQ(said("2 bytes"), 0);
  OnUpdate(Update(2));
  EXPECT_EQ(said("takes jobs again"), 1);
  EXPECT_EQ(session.full_reason(), "");
  TakeRuns();
}

TEST_F(ProducerStreamTest, AFullQueueIsProbedWithOneJob) {
  Join();
  Submit(3);
  Poll();
  TakeRuns();
  OnUpdate(Update(2, State::FULL));
  Run(seconds(1));
  EXPECT_EQ(TakeRuns(), (Runs{{2, 1}}));
  OnUpdate(Update(2, State::FULL));
  Run(milliseconds(1999));
  EXPECT_TRUE(TakeRuns().empty());
  Run(milliseconds(1));
  EXPECT_EQ(TakeRuns(), (Runs{{2, 1}}));
}

// The word that there is room may be lost.
TEST_F(ProducerStreamTest, AProbeThatWasTakenIsFollowedByAnother) {
  Join();
  Submit(3);
  Poll();
  TakeRuns();
  OnUpdate(Update(2, State::FULL));
  Run(seconds(1));
  EXPECT_EQ(TakeRuns(), (Runs{{2, 1}}));
  OnUpdate(Update(3, State::FULL));
  Run(seconds(8));
  EXPECT_EQ(TakeRuns()[0], (std::pair<uint64_t, int>{3, 1}));
}

TEST_F(ProducerStreamTest, OtherQueuesGoOnWhileOneIsFull) {
  Join();
  Submit(1);
  Poll();
  TakeRuns();
  OnUpdate(Update(1, State::FULL));
  RunData run;
  run.Append("x");
  session.Submit("other", {}, run);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{1, 1}}));
}

TEST_F(ProducerStreamTest, UpdatesThatComeLateOrFromElsewhereChangeNothing) {
  Join();
  Submit(5);
  Poll();
  TakeRuns();
  OnUpdate(Update(4));
  OnUpdate(Update(2, State::GAP));  // late
  OnUpdate(Update(99));             // more than was submitted
  wire::Envelope message;
  message.mutable_stream_updates()->set_session(77);  // another session
  *message.mutable_stream_updates()->add_streams() = Update(5, State::GAP);
  OnDoor(message);
  EXPECT_TRUE(TakeRuns().empty());
  EXPECT_EQ(session.pending_jobs(), 2u);
}

TEST_F(ProducerStreamTest, ANewSessionGoesOnFromWhatIsAccepted) {
  Join();
  Submit(10);
  Poll();
  TakeRuns();
  OnUpdate(Update(4));
  Rejoin(2, {Update(7)});
  EXPECT_TRUE(out.reopen_submit_port.has_value());
  ASSERT_EQ(hello.streams_size(), 1);
  EXPECT_EQ(hello.streams(0).next(), 4u);
  EXPECT_EQ(hello.streams(0).wanted(), 1u);
  EXPECT_EQ(hello.attempt(), 2u);
  EXPECT_EQ(hello.broker_start(), 9u);
  EXPECT_EQ(TakeRuns(), (Runs{{7, 4}}));
}

TEST_F(ProducerStreamTest, BytesCountAnewInANewSession) {
  Join();
  Submit(5, {}, 100);
  Poll();
  TakeRuns();
  // Three were accepted without our knowing; the limit is one from the fourth on.
  Rejoin(2, {Update(4, State::OPEN, 1000, 150)});
  EXPECT_EQ(TakeRuns(), (Runs{{4, 1}}));
}

TEST_F(ProducerStreamTest, ARefusedHelloIsRememberedUntilThereIsAWelcome) {
  const auto refuse = [&](const absl::Status& why) {
    wire::Envelope message;
    message.mutable_refusal()->set_action(wire::Refusal::NONE);
    *message.mutable_refusal()->mutable_status() = ToWire(why);
    out.Clear();
    OnDoor(message);
    return out.log;
  };
  const absl::Status full = absl::ResourceExhaustedError("full");
  Run(seconds(1));
  EXPECT_TRUE(session.refusal().ok());
  EXPECT_EQ(refuse(full), std::vector<std::string>{"the broker refused a message: full"});
  EXPECT_EQ(session.refusal(), full);
  EXPECT_EQ(refuse(full), std::vector<std::string>{});  // one line, however often it tries
  EXPECT_EQ(refuse(absl::DataLossError("lost")).size(), 1u);
  EXPECT_EQ(session.refusal(), absl::DataLossError("lost"));
  EXPECT_TRUE(session.fatal().ok());
  out.Clear();
  Join();
  EXPECT_TRUE(session.refusal().ok());
  EXPECT_EQ(refuse(full).size(), 1u);
  EXPECT_TRUE(session.refusal().ok());  // that was of something else
}

TEST_F(ProducerStreamTest, ARefusalForGoodEndsIt) {
  Join();
  wire::Envelope message;
  message.mutable_refusal()->set_action(wire::Refusal::GIVE_UP);
  *message.mutable_refusal()->mutable_status() = ToWire(absl::FailedPreconditionError("no"));
  OnDoor(message);
  EXPECT_EQ(session.fatal(), absl::FailedPreconditionError("no"));
  out.Clear();
  Submit(1);
  Run(seconds(1));
  EXPECT_TRUE(out.submit.empty() && out.door.empty());
}

TEST_F(ProducerStreamTest, AnotherVersionEndsItAndGarbageDoesNot) {
  session.OnBadFrame(absl::InvalidArgumentError("garbage"));
  EXPECT_TRUE(session.fatal().ok());
  session.OnBadFrame(absl::FailedPreconditionError("version 2"));
  EXPECT_FALSE(session.fatal().ok());
}

TEST_F(ProducerStreamTest, TheHelloRepeatsTheHighestCommitThatItWasToldOf) {
  Join();
  EXPECT_EQ(hello.store_id(), "");
  EXPECT_EQ(hello.commit(), 0u);
  wire::Envelope message;
  message.set_commit(12);
  message.set_receipt(1012);
  message.mutable_stream_updates()->set_session(1);
  OnDoor(message);
  message.set_commit(99);
  message.mutable_stream_updates()->set_session(2);  // not ours
  OnDoor(message);
  Rejoin(3);
  EXPECT_EQ(hello.store_id(), "store");
  EXPECT_EQ(hello.commit(), 12u);
  EXPECT_EQ(hello.receipt(), 1012u);
}

TEST_F(ProducerStreamTest, SaysGoodbyeAndDoesNotWait) {
  Join(3);
  out.Clear();
  session.Close();
  EXPECT_FALSE(session.closed());
  Poll();
  ASSERT_EQ(out.door.size(), 1u);
  EXPECT_EQ(out.door[0].goodbye().session(), 3u);
  EXPECT_TRUE(session.closed());
}

TEST_F(ProducerStreamTest, ClosesWithoutABroker) {
  session.Close();
  Poll();
  EXPECT_TRUE(session.closed());
}

// … and a run is not so large by them that it is no message any more.
TEST_F(ProducerStreamTest, NamesTravelWithTheirJobs) {
  Join();
  const auto submit = [&](const std::vector<std::string>& all) {
    RunData run;
    RunData names;
    for (const std::string& name : all) {
      run.Append("payload");
      names.Append(name);
    }
    session.Submit("q", {}, run, names);
  };
  submit({"a", "b"});
  submit({"c"});
  Submit(1);  // which have none
  submit(std::vector<std::string>(400, std::string(256, 'n')));
  Poll();
  std::vector<int> sizes;
  for (const wire::Envelope& message : out.submit) {
    sizes.push_back(message.submit().names_size());
    if (sizes.size() == 2) continue;
    EXPECT_EQ(message.submit().names_size(), message.submit().run().sizes_size());
  }
  ASSERT_GE(sizes.size(), 4u);
  EXPECT_EQ(sizes[0], 3);
  EXPECT_EQ(out.submit[0].submit().names(2), "c");
  EXPECT_EQ(sizes[1], 0);
  EXPECT_LT(sizes[2], 260);
  EXPECT_EQ(session.pending_bytes(), 3u * 8 + 4 + 400 * 263);
}

}  // namespace
}  // namespace whippletree
