// Streams over sessions: reconnects, restarts of either side, take-over, retention.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using State = wire::StreamUpdate;

// Lets `count` jobs of queue "q" complete.
void Complete(BrokerHarness* h, uint32_t count) {
  WorkerPeer worker(h, "helper", {.slots = count});
  worker.Join();
  uint32_t done = 0;
  while (h->HasFrameFor("helper")) {
    for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
      const auto jobs = static_cast<uint32_t>(delivery.run().sizes_size());
      worker.Completed(delivery.token(), 0, jobs);
      done += jobs;
    }
  }
  EXPECT_EQ(done, count);
  worker.Goodbye();
}

TEST(StreamResumeTest, AReconnectLearnsWhatWasAccepted) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 5);
  const wire::Welcome welcome = producer.Join({{"q", 3, 1}});  // two updates were lost
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::OPEN);
  EXPECT_EQ(welcome.streams(0).next(), 6u);
  EXPECT_EQ(welcome.streams(0).unsettled(), 5u);
  EXPECT_EQ(h.ledger("q").accepted, 5u);
}

// What the next process of a named producer is told: of its input, and of jobs that failed.
TEST(StreamResumeTest, ANamedProducerThatRestartsLearnsItsInputAndWhatFailed) {
  BrokerHarness h;
  ProducerPeer first(&h, "p", {.named = true, .process = 1});
  first.Join({{"q"}});
  const auto submit = [&](uint64_t number, int count, uint64_t hash) {
    wire::Envelope message = first.SubmitMessage("q", number, std::vector<std::string>(count, "x"));
    message.mutable_submit()->set_input_hash(hash);
    h.Submit(std::move(message));
    EXPECT_EQ(first.TakeUpdate().next(), 6u);
  };
  first.SubmitAccepted("q", 1, 3);
  submit(4, 2, 55);
  submit(4, 2, 44);  // again: what counts is the first
  WorkerPeer worker(&h, "w", {.slots = 5});
  worker.Join();
  for (uint32_t jobs = 0; jobs < 5;) {
    for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
      for (int i = 0; i < delivery.run().sizes_size(); ++i, ++jobs) {
        const auto index = static_cast<uint32_t>(i);
        if (jobs < 2) {
          worker.Completed(delivery.token(), index);
        } else {
          worker.Failed(delivery.token(), absl::StatusCode::kInvalidArgument, index);
        }
      }
    }
  }
  uint64_t ranges = 0;
  while (h.HasFrameFor("p")) ranges += static_cast<uint64_t>(first.TakeOutcomes().ranges_size());
  first.Ack("q", ranges + 1);  // all of it was told
  ProducerPeer second(&h, "p", {.named = true, .process = 2, .route = "p2"});
  const State state = second.Join({{"q"}}).streams(0);
  EXPECT_EQ(h.TakeRefusal("p").action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(state.unsettled(), 0u);
  EXPECT_EQ(state.hashed(), 5u);
  EXPECT_EQ(state.input_hash(), 55u);
  EXPECT_EQ(state.dead(), 3u);
  EXPECT_EQ(state.cancelled() + state.expired(), 0u);
}

TEST(StreamResumeTest, ANamedProducerThatRestartsLearnsNextAndGetsUnsettledOutcomes) {
  BrokerHarness h;
  ProducerPeer first(&h, "p", {.named = true, .process = 1});
  first.Join({{"q"}});
  first.SubmitAccepted("q", 1, 3);
  Complete(&h, 3);
  EXPECT_EQ(first.TakeOutcome().count(), 3u);  // never acknowledged

  ProducerPeer second(&h, "p", {.named = true, .process = 2, .route = "p2"});
  const wire::Welcome welcome = second.Join({{"q"}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).next(), 4u);
  EXPECT_EQ(welcome.streams(0).unsettled(), 3u);
  EXPECT_EQ(h.TakeRefusal("p").action(), wire::Refusal::GIVE_UP);
  const wire::Outcomes outcomes = second.TakeOutcomes();
  EXPECT_EQ(outcomes.first_ordinal(), 1u);
  ASSERT_EQ(outcomes.ranges_size(), 1);
  EXPECT_EQ(outcomes.ranges(0).count(), 3u);
}

TEST(StreamResumeTest, ANewerProcessTakesOverAndTheOlderIsTold) {
  BrokerHarness h;
  ProducerPeer older(&h, "p", {.named = true, .process = 1, .route = "old"});
  older.Join();
  ProducerPeer newer(&h, "p", {.named = true, .process = 2, .route = "new"});
  newer.Join();
  const wire::Refusal refusal = h.TakeRefusal("old");
  EXPECT_EQ(refusal.action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(refusal.status().message(), "a newer process took over the name p");
  older.Submit("q", 1, {"1"});
  EXPECT_TRUE(h.broker.queues().empty());
  EXPECT_EQ(h.counter("frames_of_other_sessions"), 1u);
}

TEST(StreamResumeTest, ClaimDropsOutcomesThatAreNotWantedAnyMore) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 2);
  Complete(&h, 2);
  producer.TakeOutcome();
  const wire::Welcome welcome = producer.Join({{"q", 3, 3}});  // the acknowledgement was lost
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).unsettled(), 0u);
  EXPECT_EQ(h.queue("q").outcome_bytes, 0u);
}

TEST(StreamResumeTest, StreamsOfAnEarlierBrokerAreLost) {
  Config config;
  config.broker_start = 77;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.broker_start = 76;
  const wire::Welcome welcome = producer.Join({{"q", 11, 5}, {"unsent", 1, 1}});
  ASSERT_EQ(welcome.streams_size(), 2);
  EXPECT_EQ(welcome.streams(0).state(), State::LOST);
  EXPECT_EQ(welcome.streams(0).next(), 11u);
  EXPECT_EQ(welcome.streams(0).status().message(),
            "outcome unknown: the broker restarted, and the queue was in memory (see "
            "whippletree-broker serve --data-dir)");
  EXPECT_EQ(welcome.streams(1).state(), State::OPEN);
  EXPECT_EQ(welcome.streams(1).next(), 1u);
  // It goes on with its numbers.
  producer.SubmitAccepted("q", 11, 1);
  EXPECT_EQ(h.ledger("q").accepted, 1u);
}

TEST(StreamResumeTest, AClaimAboveWhatWasAcceptedIsGone) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 2);
  const wire::Welcome welcome = producer.Join({{"q", 9, 1}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::GONE);
  EXPECT_EQ(h.ledger("q").accepted, 2u);
}

TEST(StreamResumeTest, AnUnnamedProducerIsKeptForAMinute) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 2);
  h.Run(seconds(10) + kProducerRetention - seconds(1));
  EXPECT_TRUE(h.HasLog("producer_left"));
  const wire::Welcome welcome = producer.Join({{"q", 3, 1}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::OPEN);
  EXPECT_EQ(welcome.streams(0).unsettled(), 2u);
}

TEST(StreamResumeTest, AfterThatItsStreamsAreGone) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 2);
  h.Run(seconds(11) + kProducerRetention);
  const wire::Welcome welcome = producer.Join({{"q", 3, 1}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::GONE);
  EXPECT_EQ(welcome.streams(0).status().code(),
            static_cast<int>(absl::StatusCode::kFailedPrecondition));
  // Its jobs run nevertheless; nobody waits for their outcomes.
  Complete(&h, 2);
  EXPECT_EQ(h.ledger("q").completed, 2u);
  EXPECT_EQ(h.queue("q").outcome_jobs, 0u);
}

// The jobs may have been accepted, and the word of it lost: taking them again would run them twice.
TEST(StreamResumeTest, NothingIsSilentlyAcceptedASecondTime) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 2);
  h.Run(seconds(11) + kProducerRetention);
  const wire::Welcome welcome = producer.Join({{"q", 1, 1}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::GONE);
}

TEST(StreamResumeTest, AGoodbyeEndsTheRetentionOfAnUnnamedProducer) {
  BrokerHarness h;
  const uint64_t base = h.broker.used_bytes();
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Goodbye();
  EXPECT_EQ(h.broker.used_bytes(), base);
}

TEST(StreamResumeTest, ANamedProducerIsKeptForADay) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p", {.named = true});
  producer.Join({{"q"}});
  producer.SubmitAccepted("q", 1, 2);
  producer.Goodbye();
  h.Run(kNamedProducerRetention - seconds(1));
  const wire::Welcome welcome = producer.Join({{"q"}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).next(), 3u);
  EXPECT_EQ(welcome.streams(0).unsettled(), 2u);
}

TEST(StreamResumeTest, AfterThatItsNameIsGoneForAnotherDay) {
  BrokerHarness h;
  {
    ProducerPeer producer(&h, "p", {.named = true});
    producer.Join({{"q"}});
    producer.SubmitAccepted("q", 1, 2);
  }
  h.Run(seconds(10) + kNamedProducerRetention);
  ProducerPeer again(&h, "p", {.named = true, .process = 2});
  wire::Welcome welcome = again.Join({{"q"}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::GONE);
  again.Goodbye();
  h.Run(kNamedProducerRetention + seconds(1));
  welcome = again.Join({{"q"}});
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), State::OPEN);
  EXPECT_EQ(welcome.streams(0).next(), 1u);
}

TEST(StreamResumeTest, AStreamOfABadNameIsRefused) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p", {.named = true});
  producer.Join();
  wire::Envelope message;
  message.mutable_open_stream()->set_session(producer.session);
  message.mutable_open_stream()->mutable_claim()->set_queue("no spaces");
  h.Door("p", message);
  EXPECT_EQ(producer.TakeUpdate().state(), State::REFUSED);
}

}  // namespace
}  // namespace whippletree::core
