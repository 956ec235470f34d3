// Jobs with a key: one at a time in order, so many at a time, so many a second; those of other keys
// go on.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(const KeyPolicy& keys, uint32_t batch_jobs = 1, uint32_t slots = 100)
      : h(MakeConfig(keys, batch_jobs)), producer(&h, "p"), worker(&h, "w", {.slots = slots}) {
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig(const KeyPolicy& keys, uint32_t batch_jobs) {
    Config config;
    QueuePolicy policy;
    policy.lease_duration = std::chrono::hours(1);
    policy.backoff_min = policy.backoff_max = seconds(10);
    policy.keys = keys;
    policy.batch.max_jobs = batch_jobs;
    policy.batch.linger = seconds(1);
    config.default_policy = policy;
    return config;
  }
  // The numbers of the accepted jobs go up by one.
  void Submit(const std::string& key, size_t count = 1, wire::JobOptions options = {}) {
    options.set_key(key);
    producer.SubmitAccepted("q", next, count, options);
    next += count;
  }
  // Numbers of the jobs that were delivered since the last call.
  std::set<uint64_t> Delivered() {
    std::set<uint64_t> numbers;
    while (h.HasFrameFor("w")) {
      for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
        ++deliveries;
        const auto add = [&](uint64_t first, uint32_t count, uint32_t index) {
          for (uint32_t i = 0; i < count; ++i) {
            numbers.insert(first + i);
            jobs[first + i] = {delivery.token(), index + i};
          }
        };
        if (!delivery.batch()) {
          add(delivery.first(), static_cast<uint32_t>(delivery.run().sizes_size()), 0);
        }
        uint32_t index = 0;
        for (const wire::DeliveryPart& part : delivery.parts()) {
          add(part.first(), part.count(), index);
          index += part.count();
        }
      }
    }
    if (!numbers.empty()) worker.Heartbeat();  // they arrived
    return numbers;
  }
  void Complete(uint64_t number) {
    worker.Completed(jobs.at(number).first, jobs.at(number).second);
    TakeOutcomes();
  }
  void TakeOutcomes() {
    const wire::Outcomes outcomes = producer.TakeOutcomes();
    producer.Ack("q", outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size()));
  }
  void Fail(uint64_t number) {
    worker.Failed(jobs.at(number).first, absl::StatusCode::kUnavailable, jobs.at(number).second);
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  uint64_t next = 1;
  uint64_t deliveries = 0;
  std::map<uint64_t, std::pair<uint64_t, uint32_t>> jobs;  // number → token and index
};

using Numbers = std::set<uint64_t>;

TEST(KeyTest, JobsOfAnOrderedKeyStartOneAfterTheOther) {
  Scene s({.ordered = true});
  s.Submit("a", 3);
  s.Submit("b", 2);
  s.Submit("", 2);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 4, 6, 7}));
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "key");
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{2});
  s.Complete(4);
  EXPECT_EQ(s.Delivered(), Numbers{5});
  s.Complete(2);
  EXPECT_EQ(s.Delivered(), Numbers{3});
}

TEST(KeyTest, AJobThatBacksOffKeepsItsOrderedKeyAndNoOther) {
  Scene s({.ordered = true});
  s.Submit("a", 2);
  s.Submit("b", 2);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 3}));
  s.Fail(1);
  s.Complete(3);
  EXPECT_EQ(s.Delivered(), Numbers{4});
  s.h.Run(seconds(10));
  EXPECT_EQ(s.Delivered(), Numbers{1});
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{2});
}

TEST(KeyTest, AJobThatIsCancelledWhileItBacksOffKeepsNobody) {
  Scene s({.ordered = true});
  s.Submit("a", 2);
  s.Delivered();
  s.Fail(1);
  s.producer.Cancel("q", 1, 1);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.Delivered(), Numbers{2});
}

TEST(KeyTest, TheOrderHoldsOverALostWorker) {
  Scene s({.ordered = true});
  s.Submit("a", 2);
  EXPECT_EQ(s.Delivered(), Numbers{1});
  s.worker.Goodbye();
  s.worker.Join();
  EXPECT_EQ(s.Delivered(), Numbers{1});
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{2});
}

TEST(KeyTest, TheOrderHoldsBetweenProducers) {
  Scene s({.ordered = true});
  ProducerPeer other(&s.h, "other");
  other.Join();
  s.Submit("a");
  wire::JobOptions options;
  options.set_key("a");
  other.SubmitAccepted("q", 1, 1, options);
  EXPECT_EQ(s.Delivered(), Numbers{1});
  EXPECT_EQ(s.deliveries, 1u);
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{1});  // the other one's first
  EXPECT_EQ(s.deliveries, 2u);
}

TEST(KeyTest, AKeyHasItsOwnConcurrency) {
  Scene s({.concurrency = 2});
  s.Submit("a", 5);
  s.Submit("b", 1);
  s.Submit("", 3);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 2, 6, 7, 8, 9}));
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{3});
  s.Fail(2);  // one that backs off has no place
  EXPECT_EQ(s.Delivered(), Numbers{4});
}

TEST(KeyTest, AKeyHasItsOwnRate) {
  Scene s({.rate = {.count = 10, .burst = 2}});
  s.h.Run(seconds(1));
  s.Submit("a", 5);
  s.Submit("b", 1);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 2, 6}));
  s.h.Run(milliseconds(99));
  EXPECT_EQ(s.Delivered(), Numbers{});
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.Delivered(), Numbers{3});
  s.Submit("b", 1);  // it has a token left
  EXPECT_EQ(s.Delivered(), Numbers{7});
  s.h.Run(milliseconds(200));
  EXPECT_EQ(s.Delivered(), (Numbers{4, 5}));
}

TEST(KeyTest, ARestartBeginsWithEmptyBucketsOfKeys) {
  Scene s({.rate = {.count = 10, .burst = 2}});
  s.Submit("a", 2);
  EXPECT_EQ(s.Delivered(), Numbers{});
  s.h.Run(milliseconds(100));
  EXPECT_EQ(s.Delivered(), Numbers{1});
}

TEST(KeyTest, ABatchHasOneJobOfAnOrderedKey) {
  Scene s({.ordered = true}, 4);
  s.Submit("a", 3);
  s.Submit("b", 3);
  EXPECT_EQ(s.Delivered(), Numbers{});  // two may start; they wait for others
  s.Submit("", 2);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 4, 7, 8}));
  EXPECT_EQ(s.deliveries, 1u);
  s.worker.Completed(s.jobs.at(1).first, 0, 4);
  s.TakeOutcomes();
  EXPECT_EQ(s.Delivered(), Numbers{});
  s.h.Run(seconds(1));
  EXPECT_EQ(s.Delivered(), (Numbers{2, 5}));
}

TEST(KeyTest, HalvesOfABatchKeepThePlacesOfTheirKeys) {
  Scene s({.concurrency = 1}, 2, 1);
  s.Submit("a", 2);
  s.Submit("b", 2);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 3}));
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, s.jobs.at(1).first, 0, 2);
  *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "all of it");
  item.set_whole_batch(true);
  s.worker.Report({item});
  EXPECT_EQ(s.Delivered(), Numbers{1});  // the first half; nothing else of "a" may start
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{3});
  s.Complete(3);
  EXPECT_EQ(s.Delivered(), (Numbers{2, 4}));
}

TEST(KeyTest, AHalfThatBacksOffKeepsThePlacesOfItsKeys) {
  Scene s({.concurrency = 1}, 2, 2);
  s.Submit("a", 2);
  s.Submit("b", 1);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 3}));
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, s.jobs.at(1).first, 0, 2);
  *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "all of it");
  item.set_whole_batch(true);
  s.worker.Report({item});
  EXPECT_EQ(s.Delivered(), (Numbers{1, 3}));
  s.Fail(1);
  s.h.Run(seconds(2));
  const Numbers meanwhile = s.Delivered();
  EXPECT_FALSE(meanwhile.contains(2)) << "its key is at work already";
}

TEST(KeyTest, ALimitThatIsLiftedLetsAllGo) {
  Scene s({.ordered = true});
  s.Submit("a", 3);
  EXPECT_EQ(s.Delivered(), Numbers{1});
  Policies policies;
  policies.defaults = s.h.broker.config().default_policy;
  policies.defaults.keys = {};
  s.h.Step({policies});
  EXPECT_EQ(s.Delivered(), (Numbers{2, 3}));
  policies.defaults.keys.concurrency = 2;
  s.h.Step({policies});
  s.Submit("a", 1);
  s.Complete(1);
  EXPECT_EQ(s.Delivered(), Numbers{});  // two are still leased
  s.Complete(2);
  EXPECT_EQ(s.Delivered(), Numbers{4});
}

TEST(KeyTest, ABlockedKeyDoesNotKeepHeldJobsFromIdleWorkers) {
  Scene s({.ordered = true}, 1, 1);
  s.worker.options.held_max = 4;
  s.worker.Heartbeat();
  s.Submit("", 3);
  EXPECT_EQ(s.Delivered(), (Numbers{1, 2, 3}));
  s.worker.Heartbeat();
  WorkerPeer idle(&s.h, "idle", {.slots = 2});
  s.Submit("a", 1);
  idle.Join();
  EXPECT_EQ(idle.TakeDelivery().first(), 4u);
  s.Submit("a", 1);  // its key keeps it
  s.h.Run(milliseconds(10));
  EXPECT_EQ(s.h.Take("w", wire::Envelope::kRevoke).revoke().ranges(0).count(), 1u);
}

TEST(KeyGateTest, IdleKeysCostNothing) {
  KeyGate gate;
  gate.SetPolicy({.rate = {.count = 10, .burst = 1}}, MonoTime{}, MonoTime{});
  MonoTime now{seconds(100)};
  for (int i = 0; i < 100'000; ++i) {
    const std::string key = std::to_string(i);
    ASSERT_EQ(gate.Allowed(key, now), 1u);
    gate.Enter(key, 1);
    gate.UseTokens(key, 1, now);
    gate.Leave(key, 1);
    now += milliseconds(1);
  }
  EXPECT_LE(gate.size(), 1300u);  // those of the last 100 ms are not full again
  gate.SetPolicy({.ordered = true}, MonoTime{}, now);
  EXPECT_EQ(gate.size(), 0u);
}

}  // namespace
}  // namespace whippletree::core
