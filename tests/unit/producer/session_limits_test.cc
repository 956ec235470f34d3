// What would be too large for one message goes in several.
#include <gtest/gtest.h>

#include "common/codec.h"
#include "common/wire_limits.h"
#include "tests/unit/producer/session_harness.h"

namespace whippletree {
namespace {

class ProducerLimitsTest : public ProducerSessionTest {
 protected:
  explicit ProducerLimitsTest(bool named = false) : ProducerSessionTest(named) {}

  // The broker takes all that was sent.
  void ExpectTaken() {
    for (auto* messages : {&out.door, &out.submit}) {
      const bool is_door = messages == &out.door;
      for (wire::Envelope& message : *messages) {
        std::string frame;
        Encode(&message, &frame);
        wire::Envelope decoded;
        const auto receiver = is_door ? Receiver::kDoor : Receiver::kSubmit;
        EXPECT_TRUE(Decode(frame, receiver, &decoded).ok());
        EXPECT_LE(frame.size(), kDoorFrameBytesMax);
      }
    }
  }
};

TEST_F(ProducerLimitsTest, ACancelOfManyRangesIsSeveralMessages) {
  Join(1, {}, 1'000'000);
  constexpr uint64_t kRanges = kCancelRangesPerMessage + 904;
  Submit(2 * kRanges, {}, 0);
  Poll();
  OnUpdate(Update(2 * kRanges + 1));
  out.Clear();
  for (uint64_t i = 0; i < kRanges; ++i) session.Cancel("q", 2 * i + 1, 1);
  Poll();
  ASSERT_EQ(out.submit.size(), 2u);
  EXPECT_EQ(out.submit[0].cancel().firsts_size(), kCancelRangesPerMessage);
  EXPECT_EQ(out.submit[1].cancel().firsts_size(), 904);
  EXPECT_EQ(out.submit[1].cancel().queue(), "q");
  EXPECT_EQ(out.submit[1].cancel().session(), SessionNumber());
  ExpectTaken();
  EXPECT_EQ(TakeCancels().size(), kRanges);
}

TEST_F(ProducerLimitsTest, AHelloClaimsWhatTheBrokerKnowsFirst) {
  Join(1, {}, 1'000'000);
  constexpr int kQueues = kStreamsPerProducerMax + 100;
  const auto name = [](int i) { return "queue" + std::to_string(i); };
  for (int i = 0; i < kQueues; ++i) {
    RunData run;
    run.Append("x");
    session.Submit(name(i), {}, run);
  }
  Poll();
  EXPECT_EQ(TakeRuns().size(), static_cast<size_t>(kQueues));
  // All but the first hundred are answered.
  wire::Envelope message;
  message.mutable_stream_updates()->set_session(SessionNumber());
  for (int i = 100; i < kQueues; ++i) {
    wire::StreamUpdate update = Update(2);
    update.set_queue(name(i));
    *message.mutable_stream_updates()->add_streams() = update;
  }
  OnDoor(message);
  wire::Envelope refusal;
  refusal.mutable_refusal()->set_action(wire::Refusal::SAY_HELLO);
  OnDoor(refusal);
  ExpectTaken();
  out.Clear();
  Join(2);
  ASSERT_EQ(hello.streams_size(), kStreamsPerProducerMax);
  for (const wire::StreamClaim& claim : hello.streams()) EXPECT_EQ(claim.next(), 2u);
  // The others are sent again, as all that has no answer is.
  EXPECT_EQ(TakeRuns().size(), 100u);
}

TEST_F(ProducerLimitsTest, AcknowledgementsOfManyGroupsAreSeveralMessages) {
  Join();
  wire::Envelope message;
  message.mutable_group_updates()->set_session(SessionNumber());
  for (int i = 1; i <= kGroupsPerMessage + 5; ++i) {
    message.mutable_group_updates()->add_ended()->set_group(static_cast<uint64_t>(i));
  }
  OnDoor(message);
  ASSERT_EQ(out.door.size(), 2u);
  EXPECT_EQ(out.door[0].group_ack().groups_size(), kGroupsPerMessage);
  EXPECT_EQ(out.door[1].group_ack().groups_size(), 5);
  ExpectTaken();
}

TEST_F(ProducerLimitsTest, AGroupThatNobodyCanHaveNamedIsNotAcknowledged) {
  Join();
  wire::Envelope message;
  message.mutable_group_updates()->set_session(SessionNumber());
  message.mutable_group_updates()->add_ended()->set_group(kNumberMax);
  message.mutable_group_updates()->add_ended()->set_group(kNumberMax + 1);
  OnDoor(message);
  ASSERT_EQ(out.door.size(), 1u);
  ASSERT_EQ(out.door[0].group_ack().groups_size(), 1);
  EXPECT_EQ(out.door[0].group_ack().groups(0), kNumberMax);
  ExpectTaken();
}

class NamedProducerLimitsTest : public ProducerLimitsTest {
 protected:
  NamedProducerLimitsTest() : ProducerLimitsTest(true) {}
};

// The codec takes them up to 2^61 from a broker; those of jobs behind them must be taken by it.
TEST_F(NamedProducerLimitsTest, NumbersOfAnEarlierProcessAreOnesThatItCanGoOnWith) {
  session.OpenStream("q");
  Join();
  for (const uint64_t next : {uint64_t{0}, kNumberMax, 2 * kNumberMax, UINT64_MAX}) {
    OnUpdate(Update(next));
    EXPECT_FALSE(session.GetStream("q").open) << next;
  }
  OnUpdate(Update(7));
  EXPECT_TRUE(session.GetStream("q").open);
  EXPECT_EQ(Submit(3), 7u);
  Poll();
  EXPECT_EQ(TakeRuns(), (Runs{{7, 3}}));
  out.Clear();
  Rejoin(2, {Update(2 * kNumberMax)});
  EXPECT_EQ(hello.streams(0).next(), 7u);
  EXPECT_EQ(TakeRuns(), (Runs{{7, 3}}));
  ExpectTaken();
}

}  // namespace
}  // namespace whippletree
