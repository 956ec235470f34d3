// A store that has less than what peers were told of, as after an old backup. "d" is durable.
#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

Config MakeConfig() {
  Config config;
  config.store_id = "store";
  config.queues["d"].durable = true;
  config.queues["m"].durable = false;
  return config;
}

// A start of the broker with a store whose last commit is 5.
Config AfterFive() {
  Config config = MakeConfig();
  config.broker_start = 22;
  config.last_commit = 5;
  return config;
}

// The hello of a producer that was told of `commit`.
wire::Envelope Hello(ProducerPeer* producer, const std::string& store_id, uint64_t commit) {
  wire::Envelope message = producer->HelloMessage({});
  message.mutable_hello()->set_store_id(store_id);
  message.mutable_hello()->set_commit(commit);
  return message;
}

TEST(LostCommitsTest, AWelcomeNamesTheStoreAndWhatIsDurable) {
  BrokerHarness h(MakeConfig());
  ProducerPeer producer(&h, "p");
  wire::Welcome welcome = producer.Join();
  EXPECT_EQ(welcome.store_id(), "store");
  EXPECT_EQ(producer.told_commit, 0u);
  producer.SubmitAccepted("d", 1, 1);
  welcome = producer.Join({{"d", 2, 1}});
  EXPECT_EQ(producer.told_commit, 1u);
}

TEST(LostCommitsTest, AWelcomeThatWaitsForACommitNamesIt) {
  BrokerHarness h(MakeConfig());
  h.durable_at_once = false;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("d", 1, {"payload"});
  h.Door("p", producer.HelloMessage({{"d", 1, 1}}));
  h.ExpectNothingLeft();
  h.Step({Durable{1}});
  producer.TakeWelcome();
  EXPECT_EQ(producer.told_commit, 1u);
}

TEST(LostCommitsTest, EachMessageNamesTheCommitThatItDependsOn) {
  BrokerHarness h(MakeConfig());
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w", {.slots = 2, .queues = {"d", "m"}});
  producer.Join();
  worker.Join();
  producer.Submit("m", 1, {"payload"});
  EXPECT_EQ(h.Take("p", wire::Envelope::kStreamUpdates).commit(), 0u);
  EXPECT_EQ(h.Take("w", wire::Envelope::kDeliveries).commit(), 0u);
  producer.Submit("d", 1, {"payload"});
  EXPECT_EQ(h.Take("p", wire::Envelope::kStreamUpdates).commit(), 1u);
  const wire::Envelope deliveries = h.Take("w", wire::Envelope::kDeliveries);
  EXPECT_EQ(deliveries.commit(), 1u);
  worker.deliveries_next = 3;
  h.Complete(worker.ReportMessage({WorkerPeer::Item(
      wire::ReportItem::COMPLETED, deliveries.deliveries().deliveries(0).token(), 0, 1)}));
  EXPECT_EQ(h.Take("w", wire::Envelope::kReportAck).commit(), 2u);
  EXPECT_EQ(h.Take("p", wire::Envelope::kOutcomes).commit(), 2u);
}

TEST(LostCommitsTest, NothingIsNamedWithoutAStore) {
  Config config = MakeConfig();
  config.store_id.clear();
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  const wire::Welcome welcome = producer.Join();
  EXPECT_EQ(welcome.store_id(), "");
  producer.Submit("d", 1, {"payload"});
  EXPECT_EQ(h.Take("p", wire::Envelope::kStreamUpdates).commit(), 0u);
  h.Door("p", Hello(&producer, "", 9));
  producer.TakeWelcome();
  EXPECT_EQ(producer.told_commit, 0u);
}

TEST(LostCommitsTest, TheBrokerStopsWhenAPeerKnowsMoreThanTheStore) {
  BrokerHarness h(AfterFive(), {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
  ProducerPeer producer(&h, "p");
  producer.broker_start = 11;  // another start
  h.Door("p", Hello(&producer, "store", 6));
  const absl::Status lost = std::exchange(h.lost_commits, absl::OkStatus());
  EXPECT_TRUE(absl::IsDataLoss(lost));
  EXPECT_EQ(lost.message(),
            "producer p was told of commit 6, and the store has none after 5: what was confirmed "
            "since is lost");
  EXPECT_TRUE(h.HasLog("commits_lost"));
  // The peer goes on trying: perhaps the next broker has the right store.
  const wire::Refusal refusal = h.TakeRefusal("p");
  EXPECT_EQ(refusal.action(), wire::Refusal::NONE);
  EXPECT_EQ(refusal.status().message(), lost.message());
}

// Else anybody could stop a broker.
TEST(LostCommitsTest, WhoCannotProveThatHeWasToldIsRefusedAndTheBrokerGoesOn) {
  BrokerHarness h(AfterFive(), {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w");
  // A number that is far off, one that is near, and one that the store has.
  for (const uint64_t commit : {UINT64_MAX, uint64_t{6}, uint64_t{5}}) {
    wire::Envelope message = Hello(&producer, "store", commit);
    message.mutable_hello()->set_receipt(1);
    h.Door("p", message);
    EXPECT_EQ(h.TakeRefusal("p").action(), wire::Refusal::GIVE_UP);
    message = worker.HelloMessage();
    message.mutable_hello()->set_store_id("store");
    message.mutable_hello()->set_commit(commit);
    message.mutable_hello()->set_receipt(1);
    h.Door("w", message);
    EXPECT_EQ(h.TakeRefusal("w").status().code(),
              static_cast<int>(absl::StatusCode::kPermissionDenied));
  }
  EXPECT_TRUE(h.lost_commits.ok());
  EXPECT_EQ(h.counter("wrong_receipts"), 6u);
  EXPECT_TRUE(h.HasLog("wrong_receipt"));
  // The receipt of one commit is not that of another.
  wire::Envelope message = Hello(&producer, "store", 6);
  message.mutable_hello()->set_receipt(Secrets(h.broker.config().secret_key).Receipt(5));
  h.Door("p", message);
  h.TakeRefusal("p");
  EXPECT_TRUE(h.lost_commits.ok());
  producer.Join();
}

TEST(LostCommitsTest, EachCommitIsToldWithItsReceipt) {
  BrokerHarness h(MakeConfig());
  const Secrets secrets(h.broker.config().secret_key);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("d", 1, {"payload"});
  EXPECT_EQ(h.Take("p", wire::Envelope::kStreamUpdates).receipt(), secrets.Receipt(1));
  h.Door("p", producer.HelloMessage({{"d", 2, 1}}));
  EXPECT_EQ(h.Take("p", wire::Envelope::kWelcome).receipt(), secrets.Receipt(1));
}

TEST(LostCommitsTest, AWorkerKnowsItToo) {
  BrokerHarness h(AfterFive(), {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
  WorkerPeer worker(&h, "w");
  wire::Envelope message = worker.HelloMessage();
  message.mutable_hello()->set_store_id("store");
  message.mutable_hello()->set_commit(812);
  h.Door("w", std::move(message));
  h.TakeRefusal("w");
  EXPECT_EQ(std::exchange(h.lost_commits, absl::OkStatus()).message(),
            "worker w was told of commit 812, and the store has none after 5: what was confirmed "
            "since is lost");
}

TEST(LostCommitsTest, APeerThatKnowsAsMuchOrLessIsWelcome) {
  for (const uint64_t commit : {0u, 4u, 5u}) {
    BrokerHarness h(AfterFive(), {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
    ProducerPeer producer(&h, "p");
    h.Door("p", Hello(&producer, "store", commit));
    producer.TakeWelcome();
    EXPECT_EQ(producer.told_commit, 5u);
    EXPECT_FALSE(h.HasLog("commits_lost"));
  }
}

TEST(LostCommitsTest, AnotherStoreMeansNothing) {
  BrokerHarness h(AfterFive(), {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
  ProducerPeer producer(&h, "p");
  h.Door("p", Hello(&producer, "another", 812));
  producer.TakeWelcome();
}

// The numbers are given again: that the store has come to 7 does not say that it had 6 and 7.
TEST(LostCommitsTest, CommitsOfThisStartDoNotHideWhatIsLost) {
  BrokerHarness h(AfterFive(), {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
  ProducerPeer other(&h, "other");
  other.Join();
  other.SubmitAccepted("d", 1, 1);
  other.SubmitAccepted("d", 2, 1);
  ASSERT_EQ(h.broker.last_commit(), 7u);
  ProducerPeer producer(&h, "p");
  producer.broker_start = 11;
  h.Door("p", Hello(&producer, "store", 6));
  h.TakeRefusal("p");
  EXPECT_TRUE(absl::IsDataLoss(std::exchange(h.lost_commits, absl::OkStatus())));
  // Who was told of them by this start is right.
  h.Door("other", Hello(&other, "store", 7));
  other.TakeWelcome();
}

TEST(LostCommitsTest, ALossThatIsAcceptedIsLoggedAndThePeerIsTakenIn) {
  Config config = AfterFive();
  config.accept_data_loss = true;
  BrokerHarness h(config, {}, Instant{MonoTime(seconds(1)), WallTime(seconds(1))});
  ProducerPeer producer(&h, "p");
  producer.broker_start = 11;
  wire::Envelope message = Hello(&producer, "store", 812);
  wire::StreamClaim* claim = message.mutable_hello()->add_streams();
  claim->set_queue("d");
  claim->set_next(4);
  claim->set_wanted(2);
  h.Door("p", std::move(message));
  EXPECT_TRUE(h.HasLog("commits_lost"));
  const wire::Welcome welcome = producer.TakeWelcome();
  EXPECT_EQ(producer.told_commit, 5u);
  ASSERT_EQ(welcome.streams_size(), 1);
  EXPECT_EQ(welcome.streams(0).state(), wire::StreamUpdate::LOST);
  EXPECT_EQ(welcome.streams(0).next(), 4u);
}

}  // namespace
}  // namespace whippletree::core
