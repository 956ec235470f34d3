// Keys, batches, follow-on jobs, restarts and stored jobs of a producer that does not read.
#include <gtest/gtest.h>

#include "tests/unit/core/unread_scene.h"

namespace whippletree::core {
namespace {

using State = wire::StreamUpdate;
using Scene = UnreadScene;

TEST(UnreadTest, ALineInTheOrderOfItsKeyWaitsBehindThem) {
  Config config = SmallMemory();
  config.default_policy.keys.ordered = true;
  wire::JobOptions keyed;
  keyed.set_key("k");
  wire::JobOptions other;
  other.set_key("other");
  StoppedScene s(1, config, keyed);
  s.reader.SubmitAccepted("q", 1, 1, keyed);
  EXPECT_FALSE(s.HasDelivery());
  s.reader.SubmitAccepted("q", 2, 1, other);
  const Scene::Job job = s.TakeJob();
  EXPECT_EQ(job.number, 2u);
  s.Complete(job.token);
  EXPECT_FALSE(s.HasDelivery());
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "outcomes not fetched");
  s.deaf.Ack("q", 2);
  const Scene::Job first = s.TakeJob();
  EXPECT_EQ(first.producer, "deaf");
  s.Complete(first.token);
  const Scene::Job second = s.TakeJob();
  EXPECT_EQ(second.producer, "reader");
  EXPECT_EQ(second.number, 1u);
}

TEST(UnreadTest, ALineGoesOnWhenWhatItWaitsBehindIsCancelled) {
  Config config = SmallMemory();
  config.default_policy.keys.ordered = true;
  wire::JobOptions keyed;
  keyed.set_key("k");
  StoppedScene s(2, config, keyed);
  s.reader.SubmitAccepted("q", 1, 3, keyed);
  EXPECT_FALSE(s.HasDelivery());
  s.deaf.Cancel("q", 2, 2);
  EXPECT_EQ(s.TakeJob().producer, "reader");
}

TEST(UnreadTest, BatchesAreMadeOfTheJobsOfOthers) {
  Config config = SmallMemory();
  config.default_policy.batch.max_jobs = 4;
  config.default_policy.batch.linger = seconds(1);
  Scene s(config);
  s.worker.Join();
  s.deaf.SubmitAccepted("q", 1, 1);
  s.h.Run(seconds(1));
  const uint64_t token = s.worker.TakeDelivery().token();
  for (uint64_t number = 1; number <= 3; ++number) {
    s.deaf.SubmitAccepted("q", number + 1, 1);
    s.reader.SubmitAccepted("q", number, 1);
  }
  s.Complete(token, kTooMuch);
  EXPECT_FALSE(s.HasDelivery());  // three are no batch of four, though six wait
  s.reader.SubmitAccepted("q", 4, 1);
  const wire::Delivery delivery = s.worker.TakeDelivery();
  EXPECT_EQ(delivery.run().sizes_size(), 4);
  EXPECT_EQ(delivery.parts(0).first(), 1u);
  EXPECT_EQ(s.h.queue("q").jobs.aside(), 3u);
}

TEST(UnreadTest, AHalvedBatchWithJobsOfItWaitsAsAWholeAndOthersDoNot) {
  Config config = SmallMemory();
  config.default_policy.batch.max_jobs = 2;
  Scene s(config, 2);
  s.deaf.SubmitAccepted("q", 1, 1);
  s.worker.Join();
  const wire::Delivery one = s.worker.TakeDelivery();
  s.deaf.SubmitAccepted("q", 2, 1);
  const wire::Delivery two = s.worker.TakeDelivery();
  s.Complete(one.token(), kTooMuch);
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, two.token(), 0, 1);
  *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "bad");
  item.set_whole_batch(true);
  s.reader.SubmitAccepted("q", 1, 1);
  const wire::Delivery three = s.worker.TakeDelivery();
  s.reader.SubmitAccepted("q", 2, 1);
  s.worker.Goodbye();  // what it had comes back
  WorkerPeer other(&s.h, "other", {.slots = 3});
  other.Join();
  uint64_t jobs = 0;
  while (s.h.HasFrameFor("other")) {
    for (const wire::Delivery& delivery : other.TakeDeliveries()) {
      for (const wire::DeliveryPart& part : delivery.parts()) {
        jobs += part.count();
        EXPECT_EQ(part.stream(), three.parts(0).stream());
      }
    }
  }
  EXPECT_EQ(jobs, 2u);
  EXPECT_EQ(s.h.queue("q").jobs.waiting(), 1u);
}

TEST(UnreadTest, ItsFollowOnJobsWaitToo) {
  Scene s;
  s.deaf.SubmitAccepted("q", 1, 1);
  s.worker.Join();
  const wire::Delivery delivery = s.worker.TakeDelivery();
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1);
  item.clear_results();
  AppendToRun(std::string(kTooMuch, 'x'), item.mutable_results());
  wire::FollowOn* follow_on = item.add_follow_ons();
  follow_on->set_queue("q");
  AppendToRun("next", follow_on->mutable_run());
  s.worker.Report({item});
  EXPECT_FALSE(s.HasDelivery());
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
  s.deaf.Ack("q", 2);
  s.worker.TakeDelivery();
}

// What is left in memory of outcomes in the store is little, but it counts.
TEST(UnreadTest, IsStillStoppedAfterARestart) {
  Config config = SmallMemory();
  config.memory_limit_bytes = 1 << 20;
  config.default_policy.durable = true;
  constexpr uint32_t kEnded = 900;
  Scene s(config, kEnded);
  s.deaf.SubmitAccepted("q", 1, kEnded);
  s.worker.Join();
  const wire::Delivery delivery = s.worker.TakeDelivery();
  s.deaf.SubmitAccepted("q", kEnded + 1, 2);
  std::vector<wire::ReportItem> items;
  for (uint32_t i = 0; i < kEnded; ++i) {
    items.push_back(WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), i, 1));
    items.back().clear_results();
    AppendToRun(std::string(200, 'x'), items.back().mutable_results());
  }
  s.worker.Report(items);
  EXPECT_TRUE(s.h.HasLog("producer_stopped"));

  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  EXPECT_TRUE(h.HasLog("producer_stopped"));
  ProducerPeer reader(&h, "reader");
  reader.Join();
  reader.SubmitAccepted("q", 1, 1);
  WorkerPeer worker(&h, "w");
  worker.Join();
  worker.Completed(worker.TakeDelivery().token());  // the reader's
  EXPECT_FALSE(h.HasFrameFor("w"));
  EXPECT_EQ(h.ledger("q").waiting(), 2u);
  ProducerPeer deaf(&h, "deaf");
  deaf.broker_start = s.deaf.broker_start;
  deaf.Join({{"q", kEnded + 3, kEnded + 1}});  // it has the outcomes by now
  EXPECT_EQ(worker.TakeDelivery().first(), kEnded + 1);
  h.sent.clear();
}

TEST(UnreadTest, StoredJobsOfItAreNotReadWhileItIsStopped) {
  Config config = SmallMemory();
  config.default_policy.durable = true;
  config.queue_memory_bytes = 1;
  config.queues["memory"];
  Scene s(config);
  s.deaf.SubmitAccepted("memory", 1, 1);
  WorkerPeer other_worker(&s.h, "other", {.queues = {"memory"}});
  other_worker.Join();
  s.worker.Join();
  s.deaf_stream = 2;
  s.deaf.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.deaf.SubmitAccepted("q", 2, 3);  // the next ones are read ahead
  s.deaf.SubmitAccepted("q", 5, 3);
  s.h.loads_at_once = false;
  wire::ReportItem item =
      WorkerPeer::Item(wire::ReportItem::COMPLETED, other_worker.TakeDelivery().token(), 0, 1);
  item.clear_results();
  AppendToRun(std::string(kTooMuch, 'x'), item.mutable_results());
  other_worker.Report({item});
  s.Complete(token);
  EXPECT_TRUE(s.h.loads.empty());
  EXPECT_EQ(s.h.queue("q").jobs.aside(), 6u);
  s.reader.SubmitAccepted("q", 1, 1);
  ASSERT_EQ(s.h.loads.size(), 1u);
  EXPECT_EQ(s.NameOf(s.h.loads[0].stream), "reader");
  s.h.loads_at_once = true;
  s.h.Load();
  const Scene::Job other = s.TakeJob();
  EXPECT_EQ(other.producer, "reader");
  s.deaf.Ack("memory", 2);
  s.Complete(other.token);
  for (uint64_t number = 2; number <= 7; ++number) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
  }
}

TEST(UnreadTest, TwoThatAreStoppedGoOnEachByItself) {
  Config config = SmallMemory();
  Scene s(config, 2);
  ProducerPeer second(&s.h, "second");
  second.Join();
  s.deaf.SubmitAccepted("q", 1, 1);
  second.SubmitAccepted("q", 1, 1);
  s.worker.Join();
  const std::vector<wire::Delivery> deliveries = s.worker.TakeDeliveries();
  ASSERT_EQ(deliveries.size(), 2u);
  s.deaf.SubmitAccepted("q", 2, 2);
  second.SubmitAccepted("q", 2, 2);
  s.Complete(deliveries[0].token(), kTooMuch);
  s.h.Take("w", wire::Envelope::kDeliveries);
  s.Complete(deliveries[1].token(), kTooMuch);
  EXPECT_EQ(s.h.counter("producers_stopped"), 2u);
  s.h.sent.clear();
  second.Ack("q", 2);
  EXPECT_EQ(s.h.counter("producers_resumed"), 1u);
  s.h.Run(milliseconds(1));
  s.deaf.Ack("q", 2);
  EXPECT_EQ(s.h.counter("producers_resumed"), 2u);
}

TEST(UnreadTest, AQueueThatIsOpenedWhileItIsStoppedTakesNothingOfIt) {
  StoppedScene s(1);
  s.deaf.Submit("elsewhere", 1, {"payload"});
  EXPECT_EQ(s.deaf.TakeUpdate().state(), State::FULL);
  s.reader.SubmitAccepted("elsewhere", 1, 1);
}

}  // namespace
}  // namespace whippletree::core
