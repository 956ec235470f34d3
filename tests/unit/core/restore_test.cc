// A broker that starts with the rows of the one before goes on where that one was.
#include <gtest/gtest.h>

#include <tuple>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr Duration kLease = std::chrono::hours(2);

// Two starts of a broker on one store, an hour apart; peers say hello anew.
struct Scene {
  explicit Scene(QueuePolicy policy = {}, uint32_t slots = 1)
      : first(MakeConfig(policy)),
        producer(&first, "p", {.named = true}),
        worker(&first, "w", {.slots = slots}) {
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig(QueuePolicy policy) {
    policy.durable = true;
    policy.lease_duration = kLease;
    policy.backoff_min = policy.backoff_max = seconds(10);
    Config config;
    config.default_policy = policy;
    return config;
  }
  // The producer "unnamed" submits so many jobs and is silent until it is forgotten.
  void ForgetUnnamed(size_t jobs) {
    ProducerPeer unnamed(&first, "unnamed");
    unnamed.Join();
    unnamed.SubmitAccepted("q", 1, jobs);
    first.Run(kLease + kProducerRetention + seconds(1));
    first.sent.clear();
  }
  // kill -9 and a start `later`.
  BrokerHarness& Restart(Duration later = seconds(5)) {
    first.sent.clear();
    Instant at = first.now;
    at.mono += later;
    at.wall += later;
    second = std::make_unique<BrokerHarness>(first.NextConfig(), first.rows, at);
    return *second;
  }
  BrokerHarness first;
  ProducerPeer producer;
  WorkerPeer worker;
  std::unique_ptr<BrokerHarness> second;
};

TEST(RestoreTest, WaitingJobsComeBackInOrder) {
  Scene s;
  s.worker.Goodbye();
  s.producer.SubmitAccepted("q", 1, 2);
  ProducerPeer other(&s.first, "other");
  other.Join();
  other.SubmitAccepted("q", 1, 1);
  s.producer.SubmitAccepted("q", 3, 1);
  BrokerHarness& h = s.Restart();
  EXPECT_EQ(h.ledger("q").waiting(), 4u);
  WorkerPeer worker(&h, "w2", {.slots = 10});
  worker.Join();
  const std::vector<wire::Delivery> got = worker.TakeDeliveries();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].first(), 1u);
  EXPECT_EQ(got[0].run().sizes_size(), 2);
  EXPECT_EQ(got[1].stream(), 2u);
  EXPECT_EQ(got[2].first(), 3u);
}

TEST(RestoreTest, ALeaseGoesOnWithItsWorker) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  BrokerHarness& h = s.Restart();
  WorkerPeer worker(&h, "w");
  const wire::Welcome welcome = worker.Join({token});
  ASSERT_EQ(welcome.leases_kept_size(), 1);
  worker.Completed(token);
  EXPECT_EQ(h.ledger("q").completed, 1u);
  ProducerPeer producer(&h, "p", {.named = true});
  producer.Join({{"q", 2, 1}});
  EXPECT_EQ(producer.TakeOutcome().kind(), wire::OutcomeRange::COMPLETED);
}

TEST(RestoreTest, ALeaseThatItsWorkerDoesNotListReturnsUncharged) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.TakeDelivery();
  BrokerHarness& h = s.Restart();
  WorkerPeer worker(&h, "w");
  EXPECT_EQ(worker.Join().leases_kept_size(), 0);
  EXPECT_EQ(worker.TakeDelivery().attempt(), 1u);
}

TEST(RestoreTest, ALeaseHasAWholeLeaseTimeAndIsChargedWhenItEnds) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.TakeDelivery();
  BrokerHarness& h = s.Restart(std::chrono::hours(24));
  h.Run(std::chrono::hours(2) - seconds(1));
  EXPECT_EQ(h.ledger("q").leased, 1u);
  h.Run(seconds(1));
  EXPECT_EQ(h.ledger("q").leased, 0u);
  h.Run(seconds(10));
  WorkerPeer worker(&h, "w2");
  worker.Join();
  EXPECT_EQ(worker.TakeDelivery().attempt(), 2u);
}

TEST(RestoreTest, AWorkersLeasesLastAsLongAsTheLongestOfThem) {
  Config config = Scene::MakeConfig({});
  const Duration longest = config.default_policy.lease_duration = std::chrono::minutes(10);
  config.queues["short"] = config.default_policy;
  config.queues["short"].lease_duration = seconds(30);
  for (const auto& queues : {std::pair("short", "q"), std::pair("q", "short")}) {  // by age
    BrokerHarness first(config);
    ProducerPeer producer(&first, "p", {.named = true});
    producer.Join();
    WorkerPeer worker(&first, "w", {.slots = 2, .queues = {"short", "q"}});
    worker.Join();
    producer.SubmitAccepted(queues.first, 1, 1);
    producer.SubmitAccepted(queues.second, 1, 1);
    first.sent.clear();
    BrokerHarness h(first.NextConfig(), first.rows, first.now);
    h.Run(longest - seconds(1));
    EXPECT_EQ(h.ledger("q").leased + h.ledger("short").leased, 2u);
    h.Run(seconds(1));
    EXPECT_EQ(h.ledger("q").leased + h.ledger("short").leased, 0u);
  }
}

TEST(RestoreTest, AnotherProcessOfTheWorkersNameIsRefusedWhileTheLeaseLives) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.TakeDelivery();
  BrokerHarness& h = s.Restart();
  WorkerPeer other(&h, "w", {.process = 2});
  h.Door("w", other.HelloMessage());
  h.TakeRefusal("w");
}

TEST(RestoreTest, OutcomesWaitForTheirProducer) {
  Scene s({}, 3);
  s.producer.SubmitAccepted("q", 1, 3);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.worker.Completed(token, 0, 2);
  s.producer.TakeOutcome();  // not acknowledged
  s.worker.Failed(token, absl::StatusCode::kInvalidArgument, 2);
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  BrokerHarness& h = s.Restart();
  EXPECT_EQ(h.ledger("q").dead, 1u);
  EXPECT_EQ(h.ledger("q").completed, 2u);
  ProducerPeer producer(&h, "p", {.named = true});
  EXPECT_EQ(producer.Join({{"q", 4, 3}}).streams(0).next(), 4u);
  EXPECT_EQ(producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
}

TEST(RestoreTest, WhatWasSentAgainIsTheSameJob) {
  Scene s;
  s.worker.Goodbye();
  s.producer.SubmitAccepted("q", 1, 5);
  BrokerHarness& h = s.Restart();
  ProducerPeer producer(&h, "p", {.named = true});
  EXPECT_EQ(producer.Join({{"q", 1, 1}}).streams(0).next(), 6u);
  producer.Submit("q", 1, std::vector<std::string>(7, "payload"));
  EXPECT_EQ(producer.TakeUpdate().next(), 8u);
  EXPECT_EQ(h.ledger("q").accepted, 7u);
}

// Otherwise jobs that were sent again would be accepted a second time.
TEST(RestoreTest, AForgottenNameStaysForgotten) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.producer.Goodbye();
  s.first.Run(kNamedProducerRetention + seconds(1));
  BrokerHarness& h = s.Restart();
  ProducerPeer again(&h, "p", {.named = true, .process = 2});
  EXPECT_EQ(again.Join({{"q"}}).streams(0).state(), wire::StreamUpdate::GONE);
  again.Goodbye();
  h.Run(kNamedProducerRetention + seconds(1));
  EXPECT_TRUE(h.Rows(record::Record::kProducer).empty());
  EXPECT_EQ(again.Join({{"q"}}).streams(0).next(), 1u);
}

// Found by the simulator: jobs whose acceptance it was never told of would be accepted again.
TEST(RestoreTest, AProducerThatWasForgottenIsToldSoByEveryStart) {
  Scene s;
  s.ForgetUnnamed(6);
  BrokerHarness& h = s.Restart();
  ProducerPeer again(&h, "unnamed");
  EXPECT_EQ(again.Join({{"q", 2, 1}}).streams(0).state(), wire::StreamUpdate::GONE);
  // It goes on in other queues, and the next start knows both.
  again.SubmitAccepted("other", 1, 1);
  BrokerHarness third(h.NextConfig(), h.rows, h.now);
  ProducerPeer last(&third, "unnamed");
  const wire::Welcome welcome = last.Join({{"q", 2, 1}, {"other", 2, 1}});
  EXPECT_EQ(welcome.streams(0).state(), wire::StreamUpdate::GONE);
  EXPECT_EQ(welcome.streams(1).next(), 2u);
  h.sent.clear();
  third.sent.clear();
}

TEST(RestoreTest, NothingIsKeptOfAnUnnamedProducerThatSaidGoodbye) {
  Scene s;
  ProducerPeer producer(&s.first, "unnamed");
  producer.Join();
  producer.SubmitAccepted("q", 1, 1);
  s.worker.Completed(s.worker.TakeDelivery().token());
  producer.TakeOutcome();
  producer.Ack("q", 2);
  producer.Goodbye();
  EXPECT_TRUE(s.first.Rows(record::Record::kProducer).empty());
}

// Its rows stay, and say nothing of the time before when that is forgotten too.
TEST(RestoreTest, AForgottenProducerThatIsBackKeepsItsRow) {
  Scene s;
  s.ForgetUnnamed(1);
  ProducerPeer again(&s.first, "unnamed");
  again.Join();
  again.SubmitAccepted("other", 1, 1);
  ASSERT_EQ(s.first.Rows(record::Record::kProducer).size(), 1u);
  EXPECT_TRUE(s.first.Rows(record::Record::kProducer)[0].producer().back());
  for (Duration passed{}; passed < kNamedProducerRetention; passed += std::chrono::hours(1)) {
    again.Heartbeat();
    s.first.Run(std::chrono::hours(1));
    s.first.sent.clear();
  }
  ASSERT_EQ(s.first.Rows(record::Record::kProducer).size(), 1u);
  EXPECT_FALSE(s.first.Rows(record::Record::kProducer)[0].producer().forgotten());
  // The job from before is still to be run.
  EXPECT_EQ(s.first.Rows(record::Record::kStream).size(), 2u);
}

TEST(RestoreTest, ABackOffGoesOnAndAttemptsCount) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kUnavailable);
  s.worker.Goodbye();
  BrokerHarness& h = s.Restart(milliseconds(1));
  h.Run(seconds(10));
  WorkerPeer worker(&h, "w2");
  worker.Join();
  EXPECT_EQ(worker.TakeDelivery().attempt(), 2u);
}

TEST(RestoreTest, ABackOffIsNoLongerThanItsQueueAllowsWhateverTheCalendarDoes) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kUnavailable);
  s.worker.Goodbye();
  s.first.now.wall -= std::chrono::hours(24);
  BrokerHarness& h = s.Restart();
  EXPECT_LE(h.queue("q").jobs.next_due(), h.now.mono + seconds(10));
}

TEST(RestoreTest, HalvesOfABatchStayApart) {
  QueuePolicy policy;
  policy.batch.max_jobs = 4;
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 4);
  wire::ReportItem item =
      WorkerPeer::Item(wire::ReportItem::FAILED, s.worker.TakeDelivery().token(), 0, 4);
  *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "all of it");
  item.set_whole_batch(true);
  s.worker.draining = true;
  s.worker.Report({item});
  EXPECT_EQ(s.first.queue("q").jobs.sealed(), 2u);
  BrokerHarness& h = s.Restart();
  EXPECT_EQ(h.queue("q").jobs.sealed(), 2u);
  WorkerPeer worker(&h, "w2");
  worker.Join();
  const wire::Delivery half = worker.TakeDelivery();
  ASSERT_EQ(half.parts_size(), 1);
  EXPECT_EQ(half.parts(0).first(), 1u);
  EXPECT_EQ(half.parts(0).count(), 2u);
  EXPECT_EQ(half.parts(0).attempt(), 1u);
}

TEST(RestoreTest, AGroupEndsAfterTheRestart) {
  Scene s({}, 2);
  wire::JobOptions options;
  options.set_group(7);
  s.producer.SubmitAccepted("q", 1, 2, options);
  const uint64_t token = s.worker.TakeDelivery().token();
  wire::Envelope close;
  close.mutable_close_group()->set_session(s.producer.session);
  close.mutable_close_group()->set_group(7);
  close.mutable_close_group()->add_counts()->set_queue("q");
  close.mutable_close_group()->mutable_counts(0)->set_jobs(2);
  s.first.Submit(std::move(close));
  s.worker.Completed(token, 0, 1);
  BrokerHarness& h = s.Restart();
  WorkerPeer worker(&h, "w");
  worker.Join({token});
  worker.Completed(token, 1, 1);
  ProducerPeer producer(&h, "p", {.named = true});
  producer.Join({{"q", 3, 1}});
  const wire::Outcomes outcomes = producer.TakeOutcomes();
  h.ExpectNothingLeft();  // its end comes after its outcomes
  producer.Ack("q", 1 + static_cast<uint64_t>(outcomes.ranges_size()));
  const wire::Envelope updates = h.Take("p", wire::Envelope::kGroupUpdates);
  EXPECT_EQ(updates.group_updates().ended(0).completed(), 2u);
  h.sent.clear();
}

// The end of a group and the goodbye of its producer come in one step.
TEST(RestoreTest, NoGroupIsLeftOfAProducerThatSaidGoodbye) {
  Scene s;
  ProducerPeer producer(&s.first, "leaves");
  producer.Join();
  wire::Envelope close;
  close.mutable_close_group()->set_session(producer.session);
  close.mutable_close_group()->set_group(7);
  close.mutable_close_group()->add_counts()->set_queue("q");
  s.first.Submit(std::move(close));
  s.first.Take("leaves", wire::Envelope::kGroupUpdates);
  wire::Envelope ack;
  ack.mutable_group_ack()->set_session(producer.session);
  ack.mutable_group_ack()->add_groups(7);
  wire::Envelope goodbye;
  goodbye.mutable_goodbye()->set_session(producer.session);
  s.first.Step({s.first.Signed(Channel::kDoor, "leaves", std::move(ack)),
                s.first.Signed(Channel::kDoor, "leaves", std::move(goodbye))});
  s.Restart();  // a group of no producer would be a damaged store
}

TEST(RestoreTest, APausedQueueStaysPaused) {
  Scene s;
  s.worker.Goodbye();
  s.producer.SubmitAccepted("q", 1, 1);
  wire::Envelope pause;
  pause.mutable_admin_request()->mutable_pause()->set_queue("q");
  pause.mutable_admin_request()->mutable_pause()->set_paused(true);
  s.first.Door("admin", std::move(pause));
  BrokerHarness& h = s.Restart();
  WorkerPeer worker(&h, "w2");
  worker.Join();
  h.ExpectNothingLeft();
}

TEST(RestoreTest, LimitsHoldOverTheRestart) {
  QueuePolicy policy;
  policy.concurrency = 2;
  policy.keys.ordered = true;
  Scene s(policy, 10);
  wire::JobOptions options;
  options.set_key("a");
  s.producer.SubmitAccepted("q", 1, 2, options);
  EXPECT_EQ(s.worker.TakeDelivery().run().sizes_size(), 1);
  s.producer.SubmitAccepted("q", 3, 3);
  EXPECT_EQ(s.worker.TakeDelivery().run().sizes_size(), 1);
  BrokerHarness& h = s.Restart();
  WorkerPeer worker(&h, "w2", {.slots = 10});
  worker.Join();
  h.ExpectNothingLeft();  // two run, as far as anybody knows
}

// A calendar that goes on, one that was set back, one that jumped ahead.
TEST(RestoreTest, ABucketIsWhatItWouldBeWithoutTheRestart) {
  Config config;
  config.default_policy.durable = true;
  config.default_policy.lease_duration = kLease;
  config.default_policy.rate = {.count = 6, .period = std::chrono::minutes(1), .burst = 2};
  for (const auto& [wall, starts_now, starts_then] :
       {std::tuple(seconds(10), 1, 1), std::tuple(seconds(100), 2, 1),
        std::tuple(seconds(-1000), 0, 1), std::tuple(std::chrono::seconds(1'000'000'000), 2, 1)}) {
    BrokerHarness before(config);
    ProducerPeer producer(&before, "p");
    producer.Join();
    WorkerPeer worker(&before, "w", {.slots = 20});
    worker.Join();
    before.Run(seconds(30));
    producer.SubmitAccepted("q", 1, 10);  // two of them start
    before.sent.clear();

    Instant at = before.now;
    at.mono += seconds(1);
    at.wall += wall;
    BrokerHarness h(before.NextConfig(), before.rows, at);
    WorkerPeer other(&h, "other", {.slots = 20});
    other.Join();
    uint64_t leased = 2;  // those of the other worker
    const auto delivered = [&] {
      return static_cast<int>(h.ledger("q").leased - std::exchange(leased, h.ledger("q").leased));
    };
    EXPECT_EQ(delivered(), starts_now) << ToMilliseconds(wall);
    h.Run(seconds(9));
    EXPECT_EQ(delivered(), 0);
    h.Run(seconds(1));
    EXPECT_EQ(delivered(), starts_then) << ToMilliseconds(wall);
    h.sent.clear();
  }
}

TEST(RestoreTest, ATokenOfTheStartBeforeIsLowerThanAllNewOnes) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 2);
  const uint64_t token = s.worker.TakeDelivery().token();
  BrokerHarness& h = s.Restart();
  WorkerPeer worker(&h, "w2");
  worker.Join();
  EXPECT_GT(worker.TakeDelivery().token(), token);
}

TEST(RestoreTest, MemoryQueuesBeginAnew) {
  Config config = Scene::MakeConfig({});
  config.queues["memory"].lease_duration = std::chrono::hours(2);
  config.queues["q"] = config.default_policy;
  BrokerHarness before(config);
  ProducerPeer producer(&before, "p");
  producer.Join();
  producer.SubmitAccepted("memory", 1, 2);
  producer.SubmitAccepted("q", 1, 2);
  BrokerHarness after(before.NextConfig(), before.rows, before.now);
  ProducerPeer again(&after, "p");
  again.broker_start = producer.broker_start;
  const wire::Welcome welcome = again.Join({{"memory", 3, 1}, {"q", 3, 1}});
  EXPECT_EQ(welcome.streams(0).state(), wire::StreamUpdate::LOST);
  EXPECT_EQ(welcome.streams(1).state(), wire::StreamUpdate::OPEN);
  EXPECT_EQ(welcome.streams(1).unsettled(), 2u);
}

TEST(RestoreTest, AMissingRowIsFound) {
  Scene s;
  s.worker.Goodbye();
  s.producer.SubmitAccepted("q", 1, 5);
  for (const auto& [key, row] : s.first.rows) {
    if (row.has_lease()) continue;
    BrokerHarness::RowMap rows = s.first.rows;
    rows.erase(key);
    Broker broker(s.first.NextConfig());
    absl::Status status;
    for (const auto& [other, left] : rows) {
      if (status.ok()) status = broker.Restore(left);
    }
    Effects effects;
    if (status.ok()) status = broker.FinishRestore(s.first.now, &effects);
    EXPECT_TRUE(absl::IsDataLoss(status)) << row.ShortDebugString();
  }
}

TEST(RestoreTest, NothingIsRestoredFromAnEmptyStore) {
  Broker broker(Config{});
  Effects effects;
  EXPECT_TRUE(broker.FinishRestore({MonoTime(seconds(1)), WallTime(seconds(1))}, &effects).ok());
  EXPECT_EQ(effects.commit, 0u);
}

}  // namespace
}  // namespace whippletree::core
