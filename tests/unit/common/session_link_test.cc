#include "common/session_link.h"

#include <gtest/gtest.h>

#include <string>

namespace whippletree {
namespace {

using Action = SessionLink::Action;

constexpr MonoTime kStart{seconds(100)};

wire::Envelope MakeWelcome(uint64_t session, uint64_t broker_start = 5) {
  wire::Envelope message;
  wire::Welcome& welcome = *message.mutable_welcome();
  welcome.set_session(session);
  welcome.set_broker_start(broker_start);
  welcome.set_heartbeat_interval_ms(2000);
  welcome.set_lease_duration_ms(10'000);
  return message;
}

// Some message of the session.
wire::Envelope Told(uint64_t commit) {
  wire::Envelope message;
  message.set_commit(commit);
  message.set_receipt(1000 + commit);
  return message;
}

TEST(SessionLinkTest, SaysHelloAtOnceAndThenLessAndLessOften) {
  SessionLink link(1);
  MonoTime now = kStart;
  Duration wait = SessionLink::kHelloRetryMin;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(link.Poll(now), Action::kHello);
    EXPECT_EQ(link.Poll(now), Action::kNone);
    const Duration next = link.NextDeadline() - now;
    EXPECT_GE(next, wait);
    EXPECT_LE(next, wait + wait / 4);
    now = link.NextDeadline();
    wait = std::min<Duration>(wait * 2, SessionLink::kHelloRetryMax);
  }
  EXPECT_EQ(wait, SessionLink::kHelloRetryMax);
}

TEST(SessionLinkTest, AttemptsCountFromOne) {
  SessionLink link(1);
  EXPECT_EQ(link.NextAttempt(), 1u);
  EXPECT_EQ(link.NextAttempt(), 2u);
}

TEST(SessionLinkTest, SendsHeartbeatsWhileConnected) {
  SessionLink link(1);
  link.Poll(kStart);
  ASSERT_TRUE(link.OnWelcome(kStart, MakeWelcome(7)));
  EXPECT_TRUE(link.connected());
  EXPECT_EQ(link.session(), 7u);
  EXPECT_EQ(link.broker_start(), 5u);
  EXPECT_EQ(link.Poll(kStart + milliseconds(1999)), Action::kNone);
  EXPECT_EQ(link.Poll(kStart + seconds(2)), Action::kHeartbeat);
  EXPECT_EQ(link.Poll(kStart + seconds(2)), Action::kNone);
  EXPECT_EQ(link.NextDeadline(), kStart + seconds(4));
}

TEST(SessionLinkTest, SilenceOfTheBrokerEndsTheSession) {
  SessionLink link(1);
  link.OnWelcome(kStart, MakeWelcome(7));
  link.OnHeard(kStart + seconds(1), Told(0));
  EXPECT_EQ(link.Poll(kStart + milliseconds(10'999)), Action::kHeartbeat);
  EXPECT_FALSE(link.TakeLost());
  EXPECT_EQ(link.Poll(kStart + seconds(11)), Action::kHello);
  EXPECT_FALSE(link.connected());
  EXPECT_TRUE(link.TakeLost());
  EXPECT_FALSE(link.TakeLost());
}

TEST(SessionLinkTest, SaysHelloSoonWhenTheBrokerDoesNotKnowIt) {
  SessionLink link(1);
  link.OnWelcome(kStart, MakeWelcome(7));
  link.OnSayHello(kStart + seconds(1));
  EXPECT_FALSE(link.connected());
  EXPECT_TRUE(link.TakeLost());
  EXPECT_LE(link.NextDeadline(), kStart + seconds(1) + SessionLink::kHelloJitter);
  const MonoTime at = link.NextDeadline();
  EXPECT_EQ(link.Poll(at), Action::kHello);
  const MonoTime next = link.NextDeadline();
  link.OnSayHello(at);  // a hello is under way
  EXPECT_EQ(link.NextDeadline(), next);
}

TEST(SessionLinkTest, OldWelcomesAreIgnored) {
  SessionLink link(1);
  EXPECT_FALSE(link.OnWelcome(kStart, MakeWelcome(0)));
  EXPECT_TRUE(link.OnWelcome(kStart, MakeWelcome(7)));
  EXPECT_FALSE(link.OnWelcome(kStart, MakeWelcome(7)));
  EXPECT_FALSE(link.OnWelcome(kStart, MakeWelcome(6)));
  link.OnSayHello(kStart);
  EXPECT_FALSE(link.OnWelcome(kStart, MakeWelcome(7)));  // its session is over
  EXPECT_FALSE(link.connected());
  EXPECT_TRUE(link.OnWelcome(kStart, MakeWelcome(8)));
  EXPECT_TRUE(link.OnWelcome(kStart, MakeWelcome(1, 6)));  // another broker counts anew
  EXPECT_EQ(link.session(), 1u);
}

wire::Envelope WelcomeOfStore(uint64_t session, uint64_t broker_start, const std::string& store_id,
                              uint64_t commit) {
  wire::Envelope message = MakeWelcome(session, broker_start);
  message.mutable_welcome()->set_store_id(store_id);
  message.set_commit(commit);
  message.set_receipt(1000 + commit);
  return message;
}

TEST(SessionLinkTest, RemembersTheHighestCommitOfTheStore) {
  SessionLink link(1);
  EXPECT_EQ(link.store_id(), "");
  EXPECT_EQ(link.commit(), 0u);
  link.OnWelcome(kStart, WelcomeOfStore(1, 5, "a", 10));
  EXPECT_EQ(link.store_id(), "a");
  EXPECT_EQ(link.commit(), 10u);
  link.OnHeard(kStart, Told(12));
  link.OnHeard(kStart, Told(11));  // depends on less
  link.OnHeard(kStart, Told(0));
  EXPECT_EQ(link.commit(), 12u);
  EXPECT_FALSE(link.OnWelcome(kStart, WelcomeOfStore(1, 5, "a", 99)));  // came again
  EXPECT_EQ(link.commit(), 12u);
}

TEST(SessionLinkTest, RemembersNothingThatTheBrokerHasGivenUp) {
  SessionLink link(1);
  link.OnWelcome(kStart, WelcomeOfStore(1, 5, "a", 10));
  link.OnWelcome(kStart, WelcomeOfStore(2, 6, "a", 8));
  EXPECT_EQ(link.commit(), 8u);
}

TEST(SessionLinkTest, RemembersOnlyTheLastStore) {
  SessionLink link(1);
  link.OnWelcome(kStart, WelcomeOfStore(1, 5, "a", 10));
  link.OnWelcome(kStart, WelcomeOfStore(1, 6, "b", 3));
  EXPECT_EQ(link.store_id(), "b");
  EXPECT_EQ(link.commit(), 3u);
  link.OnWelcome(kStart, MakeWelcome(1, 7));  // a broker that keeps nothing
  EXPECT_EQ(link.store_id(), "b");
  EXPECT_EQ(link.commit(), 3u);
}

TEST(SessionLinkTest, TheReceiptIsThatOfTheHighestCommit) {
  SessionLink link(1);
  link.OnWelcome(kStart, WelcomeOfStore(1, 5, "a", 10));
  EXPECT_EQ(link.receipt(), 1010u);
  link.OnHeard(kStart, Told(12));
  link.OnHeard(kStart, Told(11));
  EXPECT_EQ(link.receipt(), 1012u);
  link.OnWelcome(kStart, WelcomeOfStore(2, 6, "a", 8));  // the loss was accepted
  EXPECT_EQ(link.receipt(), 1008u);
}

TEST(SessionLinkTest, SignsWithTheSecretOfTheSession) {
  SessionLink link(1);
  wire::Envelope welcome = MakeWelcome(7);
  welcome.mutable_welcome()->set_secret(77);
  link.OnWelcome(kStart, welcome);
  std::vector<wire::Envelope> messages(2);
  link.Sign(&messages);
  EXPECT_EQ(messages[0].secret(), 77u);
  EXPECT_EQ(messages[1].secret(), 77u);
}

TEST(SessionLinkTest, ABrokerWithoutIntervalsIsNotFlooded) {
  SessionLink link(1);
  wire::Envelope message;
  message.mutable_welcome()->set_session(1);
  link.OnWelcome(kStart, message);
  EXPECT_EQ(link.NextDeadline(), kStart + milliseconds(10));
}

}  // namespace
}  // namespace whippletree
