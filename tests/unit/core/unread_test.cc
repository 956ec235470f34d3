// A producer that does not read its outcomes: its own jobs stop, at its share of the memory, and
// those of others in the same queue go on.
#include <gtest/gtest.h>

#include "tests/unit/core/unread_scene.h"

namespace whippletree::core {
namespace {

using State = wire::StreamUpdate;
using Scene = UnreadScene;

TEST(UnreadTest, JobsOfOthersInTheSameQueueGoOn) {
  StoppedScene s(3);
  EXPECT_FALSE(s.HasDelivery());
  EXPECT_TRUE(s.h.HasLog("producer_stopped"));
  s.reader.SubmitAccepted("q", 1, 3);
  for (uint64_t number = 1; number <= 3; ++number) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.producer, "reader");
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
    s.reader.Ack("q", number + 1);
  }
  EXPECT_FALSE(s.HasDelivery());
  EXPECT_EQ(s.h.ledger("q").waiting(), 3u);
  EXPECT_EQ(s.h.ledger("q").completed, 4u);
}

TEST(UnreadTest, JobsOfOthersBehindThoseGoOn) {
  Scene s;
  s.worker.Join();
  s.deaf.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  for (uint64_t number = 1; number <= 5; ++number) {  // by turns
    s.deaf.SubmitAccepted("q", number + 1, 1);
    s.reader.SubmitAccepted("q", number, 1);
  }
  s.Complete(token, kTooMuch);
  for (uint64_t number = 1; number <= 5; ++number) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.producer, "reader");
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
  }
  EXPECT_FALSE(s.HasDelivery());
  EXPECT_EQ(s.h.queue("q").jobs.aside(), 5u);
  EXPECT_EQ(s.h.queue("q").jobs.ready(), 0u);
  EXPECT_EQ(s.h.queue("q").jobs.waiting(), 5u);
}

TEST(UnreadTest, WhoReadsGoesOnInOrderBeforeLaterJobsOfOthers) {
  StoppedScene s(4);
  s.reader.SubmitAccepted("q", 1, 1);
  const Scene::Job other = s.TakeJob();
  s.reader.SubmitAccepted("q", 2, 2);
  s.deaf.Ack("q", 2);
  EXPECT_TRUE(s.h.HasLog("producer_resumed"));
  s.Complete(other.token);
  for (uint64_t number = 2; number <= 5; ++number) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.producer, "deaf");
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
    s.deaf.TakeOutcomes();
  }
  EXPECT_EQ(s.TakeJob().producer, "reader");
}

TEST(UnreadTest, ItsShareIsAQuarterOfTheBudgetWhenItIsAlone) {
  for (const bool more : {false, true}) {
    Scene s;
    s.worker.Join();
    s.deaf.SubmitAccepted("q", 1, 2);
    s.Complete(s.worker.TakeDelivery().token(), more ? kShare + 1 : kShare - 4096);
    EXPECT_EQ(s.HasDelivery(), !more);
  }
}

TEST(UnreadTest, SeveralThatDoNotReadHaveEqualPartsAndStayWithinHalfOfTheBudget) {
  Config config = SmallMemory();
  BrokerHarness h(config);
  const uint64_t half = config.budget_bytes() / 2;
  constexpr int kProducers = 5;
  std::vector<std::unique_ptr<ProducerPeer>> deaf;
  for (int i = 0; i < kProducers; ++i) {
    deaf.push_back(std::make_unique<ProducerPeer>(&h, "deaf" + std::to_string(i)));
    deaf.back()->Join();
    deaf.back()->SubmitAccepted("q", 1, 1000);
  }
  WorkerPeer worker(&h, "w");
  worker.Join();
  int completed = 0;
  while (h.HasFrameFor("w") && completed < 5000) {
    const wire::Delivery delivery = worker.TakeDelivery();
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1);
    item.clear_results();
    AppendToRun(std::string(20'000, 'x'), item.mutable_results());
    worker.Report({item});
    h.sent.erase(std::remove_if(h.sent.begin(), h.sent.end(),
                                [](const Send& send) { return send.message.has_outcomes(); }),
                 h.sent.end());
    ++completed;
  }
  EXPECT_LE(h.queue("q").outcome_bytes, half + kProducers * 21'000);
  EXPECT_GT(h.queue("q").outcome_bytes, half / 2);
  EXPECT_EQ(h.counter("producers_stopped"), 5u);
  // And there is something left for whoever comes next, and reads.
  ProducerPeer reader(&h, "reader");
  reader.Join();
  reader.SubmitAccepted("q", 1, 20);
  for (uint64_t number = 1; number <= 20; ++number) {
    worker.Completed(worker.TakeDelivery().token());
    reader.TakeOutcomes();
    reader.Ack("q", number + 1);
  }
  h.sent.clear();
}

TEST(UnreadTest, WhoReadsGoesOnWhateverOthersHave) {
  Scene s(SmallMemory(), 4);
  s.deaf.SubmitAccepted("q", 1, 4);
  s.worker.Join();
  const wire::Delivery delivery = s.worker.TakeDelivery();
  s.deaf_stream = delivery.stream();
  for (uint32_t i = 0; i < 4; ++i) {  // more than all may have together
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), i, 1);
    item.clear_results();
    AppendToRun(std::string(kShare * 7 / 10, 'x'), item.mutable_results());
    s.worker.Report({item});
  }
  s.h.sent.clear();
  s.reader.SubmitAccepted("q", 1, 10);
  uint64_t number = 0;
  while (s.HasDelivery()) {
    for (const wire::Delivery& jobs : s.worker.TakeDeliveries()) {
      for (uint32_t i = 0; i < static_cast<uint32_t>(jobs.run().sizes_size()); ++i, ++number) {
        s.worker.Completed(jobs.token(), i);
      }
    }
  }
  EXPECT_EQ(number, 10u);
}

TEST(UnreadTest, JobsWhoseOutcomeIsDiscardedAreNeverStopped) {
  wire::JobOptions options;
  options.set_discard_outcome(true);
  StoppedScene s(2, SmallMemory(), options);
  for (uint64_t number = 2; number <= 3; ++number) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
  }
  s.deaf.SubmitAccepted("q", 4, 1, options);
  EXPECT_EQ(s.TakeJob().number, 4u);
}

TEST(UnreadTest, JobsOfAProducerThatIsGoneGoOn) {
  StoppedScene s(2);
  EXPECT_FALSE(s.HasDelivery());
  s.deaf.Goodbye();
  for (uint64_t number = 2; number <= 3; ++number) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
  }
  EXPECT_EQ(s.h.ledger("q").completed, 3u);
}

TEST(UnreadTest, IsGivenNoMoreUntilItReads) {
  StoppedScene s(1);
  s.deaf.Submit("q", 3, {"more"});
  const State full = s.deaf.TakeUpdate();
  EXPECT_EQ(full.state(), State::FULL);
  EXPECT_EQ(full.next(), 3u);
  EXPECT_EQ(full.status().message(), "outcomes are not fetched");
  s.reader.SubmitAccepted("q", 1, 1);
  s.deaf.Ack("q", 2);
  EXPECT_EQ(s.deaf.TakeUpdate().state(), State::OPEN);
  s.deaf.SubmitAccepted("q", 3, 1);
}

TEST(UnreadTest, IsNotToldOfMoreRejectionsUntilItReads) {
  Config config = SmallMemory();
  config.payload_bytes_max = 1000;
  wire::JobOptions options;
  options.set_discard_outcome(true);
  StoppedScene s(1, config, options);
  s.deaf.Submit("q", 3, {"fits", std::string(1001, 'x'), "fits"}, options);
  const State full = s.deaf.TakeUpdate();
  EXPECT_EQ(full.state(), State::FULL);
  EXPECT_EQ(full.next(), 4u);
  s.deaf.Ack("q", 2);
  EXPECT_EQ(s.deaf.TakeUpdate().state(), State::OPEN);
  s.deaf.Submit("q", 4, {std::string(1001, 'x'), "fits"}, options);
  EXPECT_EQ(s.deaf.TakeUpdate().next(), 6u);
}

TEST(UnreadTest, ItsJobsDoNotFillTheQueueForOthers) {
  Config config = SmallMemory();
  config.default_policy.capacity_jobs = 10;
  StoppedScene s(9, config);
  EXPECT_EQ(s.h.queue("q").open_jobs(), 9u);
  s.reader.SubmitAccepted("q", 1, 10);
  EXPECT_EQ(s.h.queue("q").open_jobs(), 19u);
  s.reader.Submit("q", 11, {"more"});
  EXPECT_EQ(s.reader.TakeUpdate().state(), State::FULL);
}

TEST(UnreadTest, CancelledJobsThatWaitAsideEndAtOnce) {
  StoppedScene s(10);
  EXPECT_EQ(s.h.queue("q").jobs.aside(), 10u);
  s.deaf.Cancel("q", 4, 2);
  EXPECT_EQ(s.h.ledger("q").cancelled, 2u);
  EXPECT_EQ(s.h.queue("q").jobs.waiting(), 8u);
  s.deaf.Ack("q", 2);
  for (const uint64_t number : {2, 3, 6, 7, 8}) {
    const Scene::Job job = s.TakeJob();
    EXPECT_EQ(job.number, number);
    s.Complete(job.token);
  }
  s.deaf.Cancel("q", 2, 100);
  EXPECT_EQ(s.h.queue("q").jobs.waiting(), 0u);
}

TEST(UnreadTest, JobsThatWaitAsideExpire) {
  wire::JobOptions options;
  BrokerHarness clock;
  const WallTime at = clock.now.wall + seconds(1);
  options.set_expires_at_ms(static_cast<uint64_t>(ToMilliseconds(at.time_since_epoch())));
  StoppedScene s(3, SmallMemory(), options);
  EXPECT_EQ(s.h.queue("q").jobs.aside(), 3u);
  s.h.Run(seconds(2));
  EXPECT_EQ(s.h.ledger("q").expired, 3u);
  EXPECT_EQ(s.h.queue("q").jobs.waiting(), 0u);
}

TEST(UnreadTest, AJobThatFailedWaitsAsideAfterItsBackoff) {
  Scene s(SmallMemory(), 2);
  s.deaf.SubmitAccepted("q", 1, 2);
  s.worker.Join();
  const wire::Delivery delivery = s.worker.TakeDelivery();
  s.deaf_stream = delivery.stream();
  s.worker.Failed(delivery.token(), absl::StatusCode::kUnavailable, 1);
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1);
  item.clear_results();
  AppendToRun(std::string(kTooMuch, 'x'), item.mutable_results());
  s.worker.Report({item});
  s.h.Run(milliseconds(100));
  EXPECT_FALSE(s.HasDelivery());
  EXPECT_EQ(s.h.queue("q").jobs.aside(), 1u);
  s.deaf.Ack("q", 2);
  EXPECT_EQ(s.TakeJob().number, 2u);
}

TEST(UnreadTest, TheGateSaysSoOnlyIfNothingElseCanGo) {
  StoppedScene s(3);
  wire::StatusReply status = s.h.broker.Status();
  EXPECT_EQ(status.queues(0).gate(), "outcomes not fetched");
  EXPECT_EQ(status.queues(0).waiting(), 3u);
  EXPECT_EQ(status.queues(0).set_aside(), 3u);
  s.reader.SubmitAccepted("q", 1, 2);
  status = s.h.broker.Status();
  EXPECT_EQ(status.queues(0).gate(), "");  // only the slot is missing
  EXPECT_EQ(status.queues(0).waiting(), 4u);
  EXPECT_EQ(status.queues(0).set_aside(), 3u);
}

}  // namespace
}  // namespace whippletree::core
