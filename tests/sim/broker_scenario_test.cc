// What the simulator found in the broker's core, as small scenarios of their own.
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/core/broker_harness.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

// The welcome that said it was lost, and the producer waited for ever.
TEST(BrokerScenarioTest, LostIsSaidAgainUntilItIsHeard) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.broker_start = 77;  // another start
  h.Door("p", producer.HelloMessage({{"q", 5, 2}}));
  EXPECT_EQ(h.Take("p", wire::Envelope::kWelcome).welcome().streams(0).state(),
            wire::StreamUpdate::LOST);
  const wire::Welcome again = producer.Join({{"q", 5, 2}});
  EXPECT_EQ(again.streams(0).state(), wire::StreamUpdate::LOST);
  EXPECT_EQ(again.streams(0).next(), 5u);
  EXPECT_EQ(producer.Join({{"q", 5, 5}}).streams(0).state(), wire::StreamUpdate::OPEN);
}

// Jobs were accepted, the producer was not told, and was away until all of it was forgotten.
TEST(BrokerScenarioTest, AForgottenStreamIsGoneWhateverItsProducerKnows) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  h.Submit(producer.SubmitMessage("q", 1, {"a"}));
  h.sent.clear();
  h.Run(seconds(80));
  h.Door("p", producer.HelloMessage({{"q", 1, 1}}));
  EXPECT_EQ(h.Take("p", wire::Envelope::kWelcome).welcome().streams(0).state(),
            wire::StreamUpdate::GONE);
  // Also when that welcome was lost.
  EXPECT_EQ(producer.Join({{"q", 1, 1}}).streams(0).state(), wire::StreamUpdate::GONE);
  EXPECT_EQ(h.ledger("q").accepted, 1u);
}

// A producer that came back waited for outcomes that nobody keeps.
TEST(BrokerScenarioTest, UnsettledLeavesOutWhatNobodyWantsToKnow) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p", {.named = true});
  producer.Join({{"q"}});
  wire::JobOptions discard;
  discard.set_discard_outcome(true);
  producer.Submit("q", 1, {"a", "b"}, discard);
  producer.Submit("q", 3, {"c"});
  h.sent.clear();
  ProducerPeer later(&h, "p", {.named = true, .process = 2, .route = "later"});
  h.Door("later", later.HelloMessage({{"q"}}));
  h.TakeRefusal("p");
  EXPECT_EQ(later.TakeWelcome().streams(0).unsettled(), 1u);
}

TEST(BrokerScenarioTest, ACancelledJobThatNobodyAsksAboutHasNoOutcomeToTell) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  wire::JobOptions discard;
  discard.set_discard_outcome(true);
  producer.Submit("q", 1, {"a", "b"}, discard);
  producer.Submit("q", 3, {"c"});
  h.sent.clear();
  wire::Envelope message;
  message.mutable_cancel()->set_session(producer.session);
  message.mutable_cancel()->set_queue("q");
  message.mutable_cancel()->add_firsts(2);
  message.mutable_cancel()->add_counts(2);
  h.Submit(std::move(message));
  EXPECT_EQ(h.ledger("q").cancelled, 2u);
  EXPECT_EQ(producer.TakeOutcome().first(), 3u);
}

// There was room, but not for its job: the stream was woken, sent, and was refused, without end.
TEST(BrokerScenarioTest, AStreamIsWokenWhenThereIsRoomForItsNextJob) {
  Config config;
  config.default_policy.capacity_bytes = 100;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, {std::string(40, 'a')});
  producer.TakeUpdate();
  producer.Submit("q", 2, {std::string(70, 'b')});
  EXPECT_EQ(producer.TakeUpdate().state(), wire::StreamUpdate::FULL);
  h.Step();
  h.ExpectNothingLeft();
  WorkerPeer worker(&h, "w");
  worker.Join();
  worker.Completed(worker.TakeDelivery().token());
  producer.TakeOutcome();
  EXPECT_EQ(producer.TakeUpdate().state(), wire::StreamUpdate::OPEN);
}

// Outcomes that nobody fetches were bounded by the queue's capacity only, not by the memory.
TEST(BrokerScenarioTest, OutcomesThatNobodyFetchesLeaveMemoryForOtherQueues) {
  Config config;
  config.memory_limit_bytes = 1 << 20;
  BrokerHarness h(config);
  ProducerPeer slow(&h, "slow");
  ProducerPeer quick(&h, "quick");
  slow.Join();
  quick.Join();
  WorkerPeer worker(&h, "w", {.queues = {"slow", "quick"}});
  worker.Join();
  std::vector<std::string> jobs(100, "a");
  slow.Submit("slow", 1, jobs);
  const std::string result(10'000, 'r');
  while (h.HasFrameFor("w")) {
    wire::ReportItem item =
        WorkerPeer::Item(wire::ReportItem::COMPLETED, worker.TakeDelivery().token(), 0, 1);
    item.clear_results();
    AppendToRun(result, item.mutable_results());
    worker.Report({item});
  }
  EXPECT_LT(h.broker.used_bytes(), config.budget_bytes());
  EXPECT_GT(h.ledger("slow").waiting(), 0u);
  h.sent.clear();
  quick.Submit("quick", 1, {"b"});
  worker.Completed(worker.TakeDelivery().token());
  EXPECT_EQ(h.ledger("quick").completed, 1u);
  h.sent.clear();
  slow.Ack("slow", 2);
  slow.Ack("slow", 1000);
  for (uint64_t next = 3; h.queue("slow").outcome_bytes > 80'000; ++next) slow.Ack("slow", next);
  EXPECT_TRUE(h.HasFrameFor("w"));  // it goes on
  h.sent.clear();
}

// Charged for a start that cannot have been: the commit that its delivery waited for came too late.
TEST(BrokerScenarioTest, ADeliveryThatTheGateHeldBackIsNotCharged) {
  Config config;
  config.default_policy.durable = true;
  config.default_policy.max_attempts = 1;
  BrokerHarness h(config);
  h.durable_at_once = false;
  ProducerPeer producer(&h, "p");
  producer.Join();
  WorkerPeer worker(&h, "w");
  worker.Join();
  h.Submit(producer.SubmitMessage("q", 1, {"a"}));
  EXPECT_EQ(h.ledger("q").leased, 1u);
  h.Run(seconds(11));  // and its worker was not heard of
  h.sent.clear();
  EXPECT_EQ(h.ledger("q").dead, 0u);
  EXPECT_EQ(h.ledger("q").waiting(), 1u);
}

}  // namespace
}  // namespace whippletree::core
