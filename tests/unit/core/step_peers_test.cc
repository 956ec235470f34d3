// Peers that come and go with much take several steps; and so does what a broken batch leaves.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "broker/core/limits.h"
#include "tests/unit/core/step_scene.h"
#include "tests/unit/core/unread_scene.h"

namespace whippletree::core {
namespace {

using Scene = StepScene;

std::vector<ProducerPeer::Claim> Claims(int n) {
  std::vector<ProducerPeer::Claim> claims;
  for (int i = 0; i < n; ++i) claims.push_back({"queue-" + std::to_string(i)});
  return claims;
}

TEST(StepPeersTest, AHelloOfManyStreamsOpensThemInSeveralSteps) {
  Scene s;
  ProducerPeer many(&s.h, "many");
  wire::Envelope late = HeartbeatOf(s.producer.session);
  std::vector<Input> inputs = {s.h.Signed(Channel::kDoor, "many", many.HelloMessage(Claims(100))),
                               s.h.Signed(Channel::kDoor, "p", late)};
  const size_t before = s.h.broker.queues().size();
  EXPECT_LE(s.MostChanged(std::move(inputs), [&] { return s.h.broker.queues().size(); }), 2u);
  EXPECT_EQ(s.h.broker.queues().size(), before + 100);
  s.h.Take("p", wire::Envelope::kHeartbeat);
  const wire::Welcome welcome = many.TakeWelcome();
  ASSERT_EQ(welcome.streams_size(), 100);
  std::set<uint64_t> numbers;
  for (const wire::StreamUpdate& update : welcome.streams()) {
    EXPECT_EQ(update.next(), 1u);
    numbers.insert(update.stream());
  }
  EXPECT_EQ(numbers.size(), 100u);
  many.SubmitAccepted("queue-99", 1, 1);
}

TEST(StepPeersTest, AProducerThatComesBackIsToldItsOutcomesAfterItsWelcome) {
  Scene s;
  s.worker.Goodbye();
  ProducerPeer many(&s.h, "many", {.named = true});
  s.MostChanged({s.h.Signed(Channel::kDoor, "many", many.HelloMessage(Claims(30)))},
                [] { return 0; });
  many.TakeWelcome();
  std::vector<ProducerPeer::Claim> claims = Claims(30);
  for (ProducerPeer::Claim& claim : claims) {
    many.SubmitAccepted(claim.queue, 1, 1);
    many.Cancel(claim.queue, 1, 1);
    claim.next = 2;
  }
  s.h.sent.clear();
  // A newer process of the name: the first claims are answered some steps before its session.
  ProducerPeer newer(&s.h, "many", {.named = true, .process = 2, .route = "newer"});
  newer.broker_start = many.broker_start;
  s.MostChanged({s.h.Signed(Channel::kDoor, "newer", newer.HelloMessage(claims))},
                [] { return 0; });
  EXPECT_EQ(s.h.Take("many", wire::Envelope::kRefusal).refusal().action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(newer.TakeWelcome().streams_size(), 30);
  std::set<std::string> told;
  while (s.h.HasFrameFor("newer")) told.insert(newer.TakeOutcomes().queue());
  EXPECT_EQ(told.size(), 30u);
}

TEST(StepPeersTest, TheOpenGroupsOfAProducerThatLeavesAreCancelledInSeveralSteps) {
  Scene s;
  s.Pause();
  for (uint64_t i = 1; i <= 100; ++i) {
    wire::JobOptions options;
    options.set_group(i);
    s.producer.SubmitAccepted("q", i, 1, options);
  }
  wire::Envelope goodbye;
  goodbye.mutable_goodbye()->set_session(s.producer.session);
  ProducerPeer again(&s.h, "p", {.process = 2});
  std::vector<Input> inputs = {s.h.Signed(Channel::kDoor, "p", goodbye),
                               s.h.Signed(Channel::kDoor, "p", again.HelloMessage({}))};
  EXPECT_LE(s.MostEnded(std::move(inputs)), kMost);
  EXPECT_EQ(s.h.ledger("q").cancelled, 100u);
  EXPECT_EQ(s.h.counter("group_jobs_cancelled"), 100u);
  EXPECT_TRUE(s.h.HasLog("group_jobs_cancelled"));
  again.TakeWelcome();
  again.SubmitAccepted("q", 1, 1);  // nothing is known of the one before
  s.h.sent.clear();
}

TEST(StepPeersTest, WhatIsLeasedOfOpenGroupsIsAskedForInSeveralSteps) {
  Scene s;
  for (uint64_t i = 1; i <= 100; ++i) {
    wire::JobOptions options;
    options.set_group(1 + i / 2);
    s.producer.SubmitAccepted("q", i, 1, options);
  }
  s.h.sent.clear();
  wire::Envelope goodbye;
  goodbye.mutable_goodbye()->set_session(s.producer.session);
  const auto asked = [&] {
    return std::count_if(s.h.sent.begin(), s.h.sent.end(),
                         [](const Send& send) { return send.route == "w"; });
  };
  EXPECT_LE(s.MostChanged({s.h.Signed(Channel::kDoor, "p", goodbye)}, asked), kMost);
  EXPECT_EQ(asked(), 100);
  s.h.sent.clear();
}

// Of which some still wait for their turn to go when a step ends.
TEST(StepPeersTest, AStoppedProducerWithManyStreamsIsForgottenInSeveralSteps) {
  Config config = SmallMemory();
  config.step_work_max = 3;
  UnreadScene s(config);
  s.StopDeaf();
  for (int i = 0; i < 20; ++i) s.deaf.Submit("queue-" + std::to_string(i), 1, {"payload"});
  EXPECT_GE(s.h.counter("producers_stopped"), 1u);
  ASSERT_EQ(s.h.broker.Status().producers(), 2u);
  s.h.sent.clear();
  s.deaf.Goodbye();
  EXPECT_EQ(s.h.broker.Status().producers(), 1u);
  for (const auto& [name, queue] : s.h.broker.queues()) {
    EXPECT_EQ(queue->streams, 0u) << name;
    EXPECT_EQ(queue->outcome_bytes, 0u) << name;
  }
}

TEST(StepPeersTest, AWorkerThatAnswersLateInPartsHasAllItsSlotsAgain) {
  Config config = Bounded();
  config.default_policy.timeout = seconds(2);
  config.default_policy.max_attempts = 10;
  config.default_policy.backoff_min = config.default_policy.backoff_max = std::chrono::hours(1);
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w", {.slots = 30});
  producer.Join();
  worker.Join();
  producer.SubmitAccepted("q", 1, 30);
  const wire::Delivery all = worker.TakeDelivery();
  ASSERT_EQ(all.run().sizes_size(), 30);
  for (int i = 0; i < 60 && h.ledger("q").leased > 0; ++i) {
    h.Run(milliseconds(500));
    worker.Heartbeat();
    producer.Heartbeat();
  }
  ASSERT_EQ(h.counter("jobs_overdue"), 30u);
  h.sent.clear();
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, all.token(), 0, 30);
  *item.mutable_status() = WireStatus(absl::StatusCode::kUnavailable, "late");
  worker.Report({item});
  producer.SubmitAccepted("q", 31, 30);
  EXPECT_EQ(h.ledger("q").leased, 30u);
  h.sent.clear();
}

// A batch with one bad job among many, each a record of its own: more than a step has room for.
struct BatchScene : Scene {
  static constexpr uint64_t kJobs = 101;
  static constexpr uint64_t kBad = 77;

  explicit BatchScene() : Scene(Batches()) {
    Pause();
    for (uint64_t i = 1; i <= kJobs; ++i) {
      wire::JobOptions options;
      options.set_timeout_ms(static_cast<uint32_t>(1000 + i));
      producer.SubmitAccepted("q", i, 1, options);
    }
    Resume();
    EXPECT_EQ(h.ledger("q").leased, kJobs);
  }
  static Config Batches() {
    Config config = Bounded();
    config.default_policy.batch.max_jobs = kJobs;
    config.default_policy.backoff_min = config.default_policy.backoff_max = Duration(0);
    return config;
  }
  // Halves are answered until all jobs have ended; how often each was started in them.
  std::map<uint64_t, int> AnswerHalves(WorkerPeer& by, absl::StatusCode code) {
    std::map<uint64_t, int> starts;
    for (int round = 0; h.ledger("q").ended() < kJobs && round < 100; ++round) {
      std::vector<wire::ReportItem> items;
      for (const wire::Delivery& half : by.TakeDeliveries()) {
        const auto n = static_cast<uint32_t>(half.run().sizes_size());
        bool is_bad = false;
        for (const wire::DeliveryPart& part : half.parts()) {
          for (uint64_t job = part.first(); job < part.first() + part.count(); ++job) {
            ++starts[job];
            is_bad = is_bad || job == kBad;
            EXPECT_EQ(part.attempt(), 1u);  // nobody was charged
          }
        }
        items.push_back(WorkerPeer::Item(
            is_bad ? wire::ReportItem::FAILED : wire::ReportItem::COMPLETED, half.token(), 0, n));
        if (!is_bad) continue;
        *items.back().mutable_status() = WireStatus(code, "one of them");
        items.back().set_whole_batch(true);
      }
      by.Report(items);
    }
    return starts;
  }
  void ExpectOneDead(const std::map<uint64_t, int>& starts) {
    EXPECT_EQ(h.ledger("q").dead, 1u);
    EXPECT_EQ(h.ledger("q").completed, kJobs - 1);
    EXPECT_EQ(starts.size(), kJobs);
    for (const auto& [job, n] : starts) EXPECT_LE(n, 4) << job;  // of 5, 3, 2, and alone
    h.sent.clear();
  }
  uint64_t leased() const { return h.ledger("q").leased; }
  // Time passes until its worker has nothing any more, which is heard or is not. The most jobs that
  // left it in one step.
  uint64_t PassUntilReturned(bool heard) {
    uint64_t most = 0;
    for (int i = 0; i < 60 && leased() > 0; ++i) {
      h.now.mono += milliseconds(400);
      h.now.wall += milliseconds(400);
      std::vector<Input> inputs;
      if (heard) inputs.push_back(h.Signed(Channel::kDoor, "w", HeartbeatOf(worker.session)));
      most = std::max(most, MostChanged(std::move(inputs), [&] { return leased(); }));
    }
    return most;
  }
};

constexpr auto kFatal = absl::StatusCode::kInvalidArgument;

Input WholeBatchFails(Scene& s, uint64_t token) {
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, token, 0, BatchScene::kJobs);
  *item.mutable_status() = WireStatus(kFatal, "one of them");
  item.set_whole_batch(true);
  return s.h.Signed(Channel::kComplete, "", s.worker.ReportMessage({item}));
}

TEST(StepPeersTest, ABatchThatFailsAsAWholeIsHalvedInParts) {
  BatchScene s;
  const wire::Delivery all = s.worker.TakeDelivery();
  s.Pause();
  const Input report = WholeBatchFails(s, all.token());
  EXPECT_LE(s.MostChanged({report}, [&] { return s.leased(); }), kMost + kMost / 2);
  s.worker.TakeReportAck();
  EXPECT_EQ(s.leased(), 0u);
  EXPECT_EQ(s.h.counter("jobs_halved"), BatchScene::kJobs);
  s.Resume();
  s.ExpectOneDead(s.AnswerHalves(s.worker, kFatal));
}

TEST(StepPeersTest, ABatchThatCannotBeHalvedFailsInParts) {
  Config config = BatchScene::Batches();
  config.default_policy.max_attempts = 1;
  Scene s(config);
  s.producer.SubmitAccepted("q", 1, BatchScene::kJobs);
  const Input report = WholeBatchFails(s, s.worker.TakeDelivery().token());
  EXPECT_LE(s.MostEnded({report}), kMost + kMost / 2);
  EXPECT_EQ(s.h.ledger("q").dead, BatchScene::kJobs);
  s.h.sent.clear();
}

TEST(StepPeersTest, ABatchWhoseWorkerIsLostIsHalvedInParts) {
  BatchScene s;
  s.h.sent.clear();
  s.Pause();
  EXPECT_LE(s.PassUntilReturned(false), kMost + kMost / 2);
  EXPECT_EQ(s.leased(), 0u);
  EXPECT_EQ(s.h.counter("jobs_halved"), BatchScene::kJobs);
  s.h.sent.clear();
}

TEST(StepPeersTest, ABatchThatNobodyAnswersForIsHalvedInParts) {
  BatchScene s;
  s.h.sent.clear();
  s.Pause();
  s.PassUntilReturned(true);
  EXPECT_EQ(s.leased(), 0u);
  EXPECT_EQ(s.h.counter("jobs_overdue"), BatchScene::kJobs);
  EXPECT_EQ(s.h.counter("jobs_halved"), BatchScene::kJobs);
  EXPECT_EQ(s.h.counter("leases_expired"), 0u);
  s.h.sent.clear();
}

}  // namespace
}  // namespace whippletree::core
