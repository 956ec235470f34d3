#include "producer/outcome_acks.h"

#include <gtest/gtest.h>

#include "common/wire_limits.h"

namespace whippletree {
namespace {

constexpr Duration kDelay = milliseconds(1);
constexpr uint64_t kWindow = 4000;

class OutcomeAcksTest : public ::testing::Test {
 protected:
  OutcomeAcksTest() { acks.Reset(kWindow); }

  static wire::OutcomeAck Ack(uint64_t next, const std::string& queue = "q",
                              bool follow_on = false) {
    wire::OutcomeAck ack;
    wire::StreamAck* stream = ack.add_streams();
    stream->set_queue(queue);
    stream->set_next(next);
    stream->set_follow_on(follow_on);
    return ack;
  }

  MonoTime now{seconds(100)};
  OutcomeAcks acks{kDelay};
};

TEST_F(OutcomeAcksTest, ThoseOfManyStreamsAreSeveralMessages) {
  acks.OnOutcomes(now, 10);
  for (int i = 0; i < kStreamsPerAck + 7; ++i) acks.Add(Ack(2, std::to_string(i)), now);
  now += kDelay;
  std::optional<wire::OutcomeAck> ack = acks.Take(now, false);
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->streams_size(), kStreamsPerAck);
  ack = acks.Take(now, false);
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->streams_size(), 7);
  EXPECT_FALSE(acks.Take(now, true));
  EXPECT_EQ(acks.NextDeadline(), kNever);
}

TEST_F(OutcomeAcksTest, OneTellsOfAllThatCameInAMoment) {
  acks.OnOutcomes(now, 10);
  EXPECT_EQ(acks.NextDeadline(), now + kDelay);
  EXPECT_FALSE(acks.Add(Ack(2), now));
  now += kDelay / 2;
  acks.OnOutcomes(now, 10);
  EXPECT_FALSE(acks.Add(Ack(5), now));
  EXPECT_FALSE(acks.Add(Ack(3, "other"), now));
  EXPECT_FALSE(acks.Add(Ack(4, "q", true), now));
  EXPECT_FALSE(acks.Take(now, false));
  now += kDelay / 2;
  EXPECT_EQ(acks.NextDeadline(), now);
  const std::optional<wire::OutcomeAck> ack = acks.Take(now, false);
  ASSERT_TRUE(ack);
  ASSERT_EQ(ack->streams_size(), 3);
  EXPECT_EQ(ack->streams(0).queue(), "other");
  EXPECT_EQ(ack->streams(1).next(), 5u);
  EXPECT_FALSE(ack->streams(1).follow_on());
  EXPECT_EQ(ack->streams(2).next(), 4u);
  EXPECT_TRUE(ack->streams(2).follow_on());
  EXPECT_EQ(acks.NextDeadline(), kNever);
  EXPECT_FALSE(acks.Take(now, true));
}

TEST_F(OutcomeAcksTest, AnApplicationThatTakesItsTimeIsWaitedFor) {
  acks.OnOutcomes(now, 10);
  now += kDelay;
  EXPECT_FALSE(acks.Take(now, false));
  EXPECT_EQ(acks.NextDeadline(), kNever);  // nobody has to wake up for it
  now += seconds(5);
  EXPECT_TRUE(acks.Add(Ack(2), now));
  EXPECT_TRUE(acks.Take(now, false));
}

TEST_F(OutcomeAcksTest, WhatWasAddedAfterTheLastOneHasAMomentOfItsOwn) {
  acks.OnOutcomes(now, 10);
  acks.OnOutcomes(now, 10);
  acks.Add(Ack(2), now);
  now += kDelay;
  EXPECT_TRUE(acks.Take(now, false));
  EXPECT_TRUE(acks.Add(Ack(3), now));  // there is a deadline again
  EXPECT_EQ(acks.NextDeadline(), now + kDelay);
}

TEST_F(OutcomeAcksTest, ManyBytesAreAcknowledgedAtOnce) {
  acks.OnOutcomes(now, kWindow / 4 - 1);
  EXPECT_FALSE(acks.Add(Ack(2), now));
  acks.OnOutcomes(now, 1);
  EXPECT_TRUE(acks.Add(Ack(3), now));
  EXPECT_TRUE(acks.Take(now, false));
}

TEST_F(OutcomeAcksTest, HurryTakesWhatIsThere) {
  acks.OnOutcomes(now, 10);
  EXPECT_FALSE(acks.Take(now, true));
  acks.Add(Ack(2), now);
  EXPECT_TRUE(acks.Take(now, true));
}

TEST_F(OutcomeAcksTest, AnotherSessionHasOthers) {
  acks.OnOutcomes(now, 10);
  acks.Add(Ack(2), now);
  acks.Reset(kWindow);
  EXPECT_EQ(acks.NextDeadline(), kNever);
  EXPECT_FALSE(acks.Take(now + kDelay, true));
}

}  // namespace
}  // namespace whippletree
