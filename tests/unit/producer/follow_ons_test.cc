// Outcomes of follow-on jobs: each once, over lost messages, sessions and restarts.
#include "producer/follow_ons.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "common/run.h"
#include "tests/unit/producer/session_harness.h"

namespace whippletree {
namespace {

class FollowOnTest : public ProducerSessionTest {
 protected:
  static Outcome Completed(uint64_t first, uint64_t count) {
    Outcome range = Range(Outcome::COMPLETED, first, count);
    range.set_stream(8);
    range.set_group(3);
    return range;
  }
  void OnFollowOns(uint64_t first_ordinal, const std::vector<Outcome>& ranges,
                   const std::string& queue = "next") {
    wire::Envelope message;
    message.mutable_outcomes()->set_session(SessionNumber());
    message.mutable_outcomes()->set_queue(queue);
    message.mutable_outcomes()->set_follow_on(true);
    message.mutable_outcomes()->set_first_ordinal(first_ordinal);
    message.mutable_outcomes()->mutable_ranges()->Add(ranges.begin(), ranges.end());
    OnDoor(message);
  }
  // (queue, ordinal) of what was acknowledged of follow-on jobs.
  std::vector<std::pair<std::string, uint64_t>> TakeAcks() {
    std::vector<std::pair<std::string, uint64_t>> acks;
    const auto ack = std::exchange(out.ack, std::nullopt);
    if (!ack) return acks;
    EXPECT_EQ(ack->session(), SessionNumber());
    for (const auto& stream : ack->streams()) {
      if (stream.follow_on()) acks.emplace_back(stream.queue(), stream.next());
    }
    return acks;
  }
  using Acks = std::vector<std::pair<std::string, uint64_t>>;
};

TEST_F(FollowOnTest, OutcomesNameStreamAndGroup) {
  Join();
  OnFollowOns(1, {Completed(4, 2)});
  ASSERT_EQ(out.settled.size(), 1u);
  EXPECT_TRUE(out.settled[0].follow_on);
  EXPECT_EQ(out.settled[0].queue, "next");
  EXPECT_EQ(out.settled[0].stream, 8u);
  EXPECT_EQ(out.settled[0].range.group(), 3u);
  EXPECT_EQ(out.settled[0].range.results().block(), "r4r5");
  EXPECT_EQ(TakeAcks(), (Acks{{"next", 2}}));
}

TEST_F(FollowOnTest, TheStreamOfTheSameQueueCountsApart) {
  Join();
  Submit(2);
  Poll();
  OnUpdate(Update(3));
  OnFollowOns(1, {Completed(1, 1)}, "q");
  EXPECT_EQ(session.open_jobs(), 2u);
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 2)});
  EXPECT_EQ(session.open_jobs(), 0u);
  ASSERT_EQ(out.settled.size(), 2u);
  EXPECT_TRUE(out.settled[0].follow_on);
  EXPECT_FALSE(out.settled[1].follow_on);
}

TEST_F(FollowOnTest, ThoseAfterAGapWaitAndRepeatedOnesAreOnlyAcknowledged) {
  Join();
  OnFollowOns(2, {Completed(2, 1)});
  EXPECT_TRUE(TakeSettled().empty());
  EXPECT_EQ(TakeAcks(), (Acks{{"next", 1}}));
  OnFollowOns(1, {Completed(1, 1), Completed(2, 1)});
  EXPECT_EQ(TakeSettled().size(), 2u);
  TakeAcks();
  OnFollowOns(1, {Completed(1, 1)});
  EXPECT_TRUE(TakeSettled().empty());
  EXPECT_EQ(TakeAcks(), (Acks{{"next", 3}}));
}

TEST_F(FollowOnTest, OutcomesAreReportedOnceOverSessions) {
  Join();
  OnFollowOns(1, {Completed(1, 2), Completed(5, 1)});
  TakeSettled();
  Rejoin(2);
  ASSERT_EQ(hello.streams_size(), 1);
  EXPECT_EQ(hello.streams(0).queue(), "next");
  EXPECT_TRUE(hello.streams(0).follow_on());
  EXPECT_EQ(hello.streams(0).next(), 0u);
  EXPECT_EQ(hello.streams(0).wanted(), 3u);
  OnFollowOns(1, {Completed(3, 4)});  // with one that was reported
  ASSERT_EQ(out.settled.size(), 2u);
  EXPECT_EQ(out.settled[0].range.results().block(), "r3r4");
  EXPECT_EQ(out.settled[1].range.results().block(), "r6");
  EXPECT_EQ(TakeAcks(), (Acks{{"next", 2}}));
}

TEST_F(FollowOnTest, AllAreWantedWhileTheFirstIsMissing) {
  Join();
  OnFollowOns(1, {Completed(5, 1)});
  Rejoin(2);
  ASSERT_EQ(hello.streams_size(), 1);
  EXPECT_EQ(hello.streams(0).wanted(), 1u);
}

TEST_F(FollowOnTest, AnotherStreamOfTheQueueHasOtherJobs) {
  Join();
  OnFollowOns(1, {Completed(1, 2)});
  EXPECT_EQ(TakeSettled().size(), 1u);
  Rejoin(2);
  Outcome range = Completed(1, 1);
  range.set_stream(9);
  OnFollowOns(1, {range});
  ASSERT_EQ(out.settled.size(), 1u);
  EXPECT_EQ(out.settled[0].stream, 9u);
  Rejoin(3);
  EXPECT_EQ(hello.streams(0).wanted(), 2u);
}

TEST_F(FollowOnTest, AreUnknownWhenTheBrokerIsAnother) {
  FollowOnStreams streams;
  wire::Outcomes outcomes;
  outcomes.set_queue("next");
  outcomes.set_first_ordinal(1);
  *outcomes.add_ranges() = Completed(1, 1);
  std::vector<SettledJobs> settled;
  const auto tell = [&](wire::Outcomes copy) { streams.OnOutcomes(copy, &settled); };
  tell(outcomes);
  EXPECT_EQ(settled.size(), 1u);
  streams.OnWelcome(false, {});
  tell(outcomes);
  EXPECT_EQ(settled.size(), 1u);
  streams.OnWelcome(true, {});
  wire::Hello claims;
  streams.AddClaims(&claims);
  EXPECT_EQ(claims.streams_size(), 0);
  tell(outcomes);  // another job 1
  EXPECT_EQ(settled.size(), 2u);
}

TEST_F(FollowOnTest, AreKnownWhenTheBrokerHasTheirStreamInItsStore) {
  FollowOnStreams streams;
  wire::Outcomes outcomes;
  outcomes.set_queue("next");
  outcomes.set_first_ordinal(1);
  *outcomes.add_ranges() = Completed(1, 1);
  outcomes.mutable_ranges(0)->set_stream(9);
  std::vector<SettledJobs> settled;
  const auto tell = [&](wire::Outcomes copy) { streams.OnOutcomes(copy, &settled); };
  tell(outcomes);
  wire::Welcome welcome;
  wire::StreamUpdate* kept = welcome.add_streams();
  kept->set_queue("next");
  kept->set_follow_on(true);
  kept->set_stream(9);
  streams.OnWelcome(true, welcome);
  tell(outcomes);  // the acknowledgement was lost
  EXPECT_EQ(settled.size(), 1u);
  wire::Hello claims;
  streams.AddClaims(&claims);
  EXPECT_EQ(claims.streams(0).stream(), 9u);
  kept->set_stream(10);  // another one
  streams.OnWelcome(true, welcome);
  tell(outcomes);
  EXPECT_EQ(settled.size(), 2u);
}

}  // namespace
}  // namespace whippletree
