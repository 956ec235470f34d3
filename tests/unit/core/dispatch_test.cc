// Who gets what.
#include <gtest/gtest.h>

#include <deque>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

// Jobs that a worker was sent: to free slots, and to hold.
struct Got {
  uint32_t started = 0;
  uint32_t held = 0;
  std::vector<std::string> queues;  // one for each delivery
};

Got TakeAll(BrokerHarness* h, WorkerPeer* worker) {
  Got got;
  while (h->HasFrameFor(worker->route())) {
    for (const wire::Delivery& delivery : worker->TakeDeliveries()) {
      got.started += delivery.started();
      got.held += static_cast<uint32_t>(delivery.run().sizes_size()) - delivery.started();
      got.queues.push_back(delivery.queue());
    }
  }
  return got;
}

struct Scene {
  explicit Scene(Config config = {}) : h(std::move(config)), producer(&h, "p") { producer.Join(); }
  BrokerHarness h;
  ProducerPeer producer;
};

TEST(DispatchTest, AWorkerThatJoinsIsGivenJobsAtOnce) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 3);
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  EXPECT_EQ(TakeAll(&s.h, &worker).started, 2u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
}

// The original's loops ran from 0 to N inclusive: one worker and one task too many.
TEST(DispatchTest, ThereIsNoExtraSlotAndNoExtraJob) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 10});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 50);
  uint32_t jobs = 0;
  while (s.h.HasFrameFor("w")) {
    uint32_t at_once = 0;
    for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
      const auto count = static_cast<uint32_t>(delivery.run().sizes_size());
      at_once += count;
      worker.Completed(delivery.token(), 0, count);
      s.producer.TakeOutcomes();
    }
    EXPECT_EQ(at_once, 10u);
    jobs += at_once;
  }
  EXPECT_EQ(jobs, 50u);
  EXPECT_EQ(s.h.ledger("q").completed, 50u);
}

TEST(DispatchTest, FreeSlotsAreFilledEvenly) {
  Scene s;
  WorkerPeer a(&s.h, "a", {.slots = 100});
  WorkerPeer b(&s.h, "b", {.slots = 100});
  WorkerPeer c(&s.h, "c", {.slots = 100});
  for (WorkerPeer* worker : {&a, &b, &c}) worker->Join();
  s.producer.SubmitAccepted("q", 1, 90);
  for (WorkerPeer* worker : {&a, &b, &c}) EXPECT_EQ(TakeAll(&s.h, worker).started, 30u);
}

TEST(DispatchTest, FreeSlotsComeBeforeHolding) {
  Scene s;
  WorkerPeer a(&s.h, "a", {.slots = 2, .held_max = 100});
  WorkerPeer b(&s.h, "b", {.slots = 2, .held_max = 100});
  a.Join();
  b.Join();
  s.producer.SubmitAccepted("q", 1, 4);
  EXPECT_EQ(TakeAll(&s.h, &a).held, 0u);
  EXPECT_EQ(TakeAll(&s.h, &b).held, 0u);
  s.producer.SubmitAccepted("q", 5, 10);
  EXPECT_EQ(TakeAll(&s.h, &a).held, 5u);
  EXPECT_EQ(TakeAll(&s.h, &b).held, 5u);
  EXPECT_EQ(s.h.queue("q").held, 10u);
}

// A message and a wake-up cost more than such jobs take.
TEST(DispatchTest, JobsThatAreKnownToBeQuickAreNotSpread) {
  Scene s;
  std::vector<std::unique_ptr<WorkerPeer>> workers;
  for (int i = 0; i < 100; ++i) {
    workers.push_back(std::make_unique<WorkerPeer>(
        &s.h, "w" + std::to_string(i),
        WorkerPeerOptions{.held_max = 40 * kGrainsPerWindow, .service_time = microseconds(10)}));
    workers.back()->Join();
  }
  s.producer.SubmitAccepted("q", 1, 80);
  for (int i = 0; i < 100; ++i) {
    const Got got = TakeAll(&s.h, workers[static_cast<size_t>(i)].get());
    EXPECT_EQ(got.started, i < 2 ? 1u : 0u);
    EXPECT_EQ(got.held, i < 2 ? 39u : 0u);
  }
  // More than a grain for each: all have some.
  s.producer.SubmitAccepted("q", 81, 5000);
  uint32_t all = 0;
  for (int i = 0; i < 100; ++i) {
    const Got got = TakeAll(&s.h, workers[static_cast<size_t>(i)].get());
    EXPECT_GE(got.started + got.held, i < 2 ? 1u : 40u) << i;
    all += got.started + got.held;
  }
  EXPECT_EQ(all, 5000u);
}

TEST(DispatchTest, LongerJobsAreSpread) {
  Scene s;
  const WorkerPeerOptions few = {.held_max = kGrainsPerWindow, .service_time = milliseconds(1)};
  WorkerPeer a(&s.h, "a", few);
  WorkerPeer b(&s.h, "b", few);
  a.Join();
  b.Join();
  s.producer.SubmitAccepted("q", 1, 2);
  EXPECT_EQ(TakeAll(&s.h, &a).started, 1u);
  EXPECT_EQ(TakeAll(&s.h, &b).started, 1u);
}

TEST(DispatchTest, NothingIsHeldWithoutLeave) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2, .held_max = 0});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 10);
  const Got got = TakeAll(&s.h, &worker);
  EXPECT_EQ(got.started, 2u);
  EXPECT_EQ(got.held, 0u);
}

TEST(DispatchTest, NotMoreIsHeldThanAllowed) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2, .held_max = 3});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 10);
  const Got got = TakeAll(&s.h, &worker);
  EXPECT_EQ(got.started, 2u);
  EXPECT_EQ(got.held, 3u);
}

TEST(DispatchTest, OneMayBeHeld) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.held_max = 1});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  EXPECT_EQ(TakeAll(&s.h, &worker).started, 1u);
  s.producer.SubmitAccepted("q", 2, 2);
  EXPECT_EQ(TakeAll(&s.h, &worker).held, 1u);
}

TEST(DispatchTest, ItIsKnownWhetherAQueueHasAFreeSlot) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  EXPECT_TRUE(s.h.broker.HasFreeSlot(s.h.queue("q")));
  s.producer.SubmitAccepted("q", 2, 1);
  EXPECT_FALSE(s.h.broker.HasFreeSlot(s.h.queue("q")));
  s.h.sent.clear();
}

// The broker keeps a copy of what is under way to a worker, beside the jobs themselves.
TEST(DispatchTest, NotMoreIsUnderWayToAWorkerThanTheWindow) {
  Scene s;
  const uint64_t window = Config().window_bytes();
  WorkerPeer worker(&s.h, "w", {.slots = 10});
  worker.Join();
  s.producer.Submit("q", 1, std::vector<std::string>(10, std::string(window / 4, 'x')));
  s.producer.TakeUpdate();
  EXPECT_EQ(TakeAll(&s.h, &worker).started, 4u);
  worker.Heartbeat();  // these arrived
  EXPECT_EQ(TakeAll(&s.h, &worker).started, 4u);
  // A job that is larger than the window goes alone.
  s.producer.Submit("large", 1, std::vector<std::string>(3, std::string(window * 2, 'x')));
  s.producer.TakeUpdate();
  WorkerPeer other(&s.h, "other", {.slots = 10, .queues = {"large"}});
  other.Join();
  EXPECT_EQ(TakeAll(&s.h, &other).started, 1u);
  other.Heartbeat();
  EXPECT_EQ(TakeAll(&s.h, &other).started, 1u);
}

TEST(DispatchTest, CreditIsCumulative) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 5, .jobs_limit = 3});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 10);
  const wire::Delivery delivery = worker.TakeDelivery();
  EXPECT_EQ(delivery.run().sizes_size(), 3);
  worker.Completed(delivery.token(), 0, 3);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.h.ledger("q").waiting(), 7u);  // completing gives no credit
  worker.options.jobs_limit = 2;             // an older message
  worker.Heartbeat();
  EXPECT_EQ(s.h.ledger("q").waiting(), 7u);
  worker.options.jobs_limit = 4;
  worker.Heartbeat();
  EXPECT_EQ(worker.TakeDelivery().run().sizes_size(), 1);
}

TEST(DispatchTest, QueuesOfAWorkerTakeTurns) {
  Scene s;
  s.producer.SubmitAccepted("a", 1, 3);
  s.producer.SubmitAccepted("b", 1, 3);
  WorkerPeer worker(&s.h, "w", {.slots = 1, .queues = {"a", "b"}});
  worker.Join();
  std::string order;
  for (int i = 0; i < 6; ++i) {
    const wire::Delivery delivery = worker.TakeDelivery();
    order += delivery.queue();
    worker.Completed(delivery.token());
    s.producer.TakeOutcome();
  }
  EXPECT_EQ(order, "ababab");
}

// How many of 50 jobs of "b" wait behind some of "a" that have the slot.
uint32_t HeldBehind(uint32_t jobs_of_a, QueueCredit a, QueueCredit b) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.queues = {"a", "b"}, .of_queue = {{"a", a}, {"b", b}}});
  worker.Join();
  s.producer.SubmitAccepted("a", 1, jobs_of_a);
  EXPECT_EQ(TakeAll(&s.h, &worker).started, 1u);
  s.producer.SubmitAccepted("b", 1, 50);
  const Got got = TakeAll(&s.h, &worker);
  EXPECT_EQ(got.started, 0u);
  EXPECT_EQ(s.h.ledger("b").waiting(), 50u - got.held);
  return got.held;
}

TEST(DispatchTest, NothingIsHeldBehindJobsThatMayTakeLong) {
  const QueueCredit quick = {.held_max = 10, .service_time = microseconds(10)};
  EXPECT_EQ(HeldBehind(1, {.held_max = 10}, quick), 0u);  // nobody knows how long those take
  EXPECT_EQ(HeldBehind(1, {.service_time = seconds(1)}, quick), 0u);
  EXPECT_EQ(HeldBehind(1, {.service_time = microseconds(101)}, quick), 0u);  // longer than ten
  EXPECT_EQ(HeldBehind(1, quick, {.held_max = 10}), 0u);  // nor how long its own take
}

TEST(DispatchTest, QuickJobsWaitBehindQuickJobsOfOtherQueues) {
  const QueueCredit quick = {.held_max = 10, .service_time = microseconds(100)};
  // Together no more than would be held of one queue.
  EXPECT_EQ(HeldBehind(1, quick, quick), 10u);
  EXPECT_EQ(HeldBehind(4, quick, quick), 7u);
  EXPECT_EQ(HeldBehind(10, quick, quick), 1u);
  EXPECT_EQ(HeldBehind(11, quick, quick), 0u);
  // … of the queue of which most is.
  EXPECT_EQ(HeldBehind(4, quick, {.held_max = 40, .service_time = microseconds(50)}), 34u);
  // And no more than of its own.
  EXPECT_EQ(HeldBehind(1, quick, {.held_max = 7, .service_time = microseconds(10)}), 7u);
}

TEST(DispatchTest, QueuesOfQuickJobsShareWhatAWorkerHolds) {
  Scene s;
  WorkerPeer worker(&s.h, "w",
                    {.queues = {"a", "b", "c"}, .held_max = 30, .service_time = microseconds(100)});
  worker.Join();
  for (const char* queue : {"a", "b", "c"}) s.producer.SubmitAccepted(queue, 1, 10);
  EXPECT_EQ(TakeAll(&s.h, &worker).held, 29u);
  for (const char* queue : {"a", "b", "c"}) EXPECT_EQ(s.h.ledger(queue).leased, 10u);
}

// A worker of a queue of quick jobs that never ends, with one job of another that is `other`'s. How
// many milliseconds that job waits.
int StartsAmongQuickJobs(QueueCredit of_other, const wire::JobOptions& options,
                         const QueuePolicy& policy) {
  Config config;
  config.queues["other"] = policy;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  const QueueCredit quick = {.held_max = 10, .service_time = microseconds(100)};
  WorkerPeer worker(
      &h, "w", {.queues = {"quick", "other"}, .of_queue = {{"quick", quick}, {"other", of_other}}});
  worker.Join();
  producer.SubmitAccepted("quick", 1, 10'000);
  std::deque<std::pair<uint64_t, uint32_t>> jobs;  // (token, index) of what the worker has
  for (int ms = 0; ms < 100; ++ms) {
    if (ms == 20) {
      producer.Submit("other", 1, {"x"}, options);
      producer.TakeUpdate();
    }
    // It completes one job at a time, and tells at once, so that it always has others.
    for (int i = 0; i < 10; ++i) {
      while (h.HasFrameFor("w")) {
        for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
          if (delivery.queue() == "other") return ms - 20;
          for (uint32_t j = 0; j < static_cast<uint32_t>(delivery.run().sizes_size()); ++j) {
            jobs.emplace_back(delivery.token(), j);
          }
        }
      }
      if (jobs.empty()) break;
      const auto [token, index] = jobs.front();
      jobs.pop_front();
      worker.Completed(token, index);
      producer.TakeOutcomes();
    }
    h.Run(milliseconds(1));
  }
  return 1000;
}

TEST(DispatchTest, WhatCannotWaitInAWorkerStartsAmongQuickJobs) {
  const QueueCredit quick = {.held_max = 10, .service_time = microseconds(100)};
  constexpr int kMost = 14;
  EXPECT_LT(StartsAmongQuickJobs({}, {}, {}), kMost);  // nobody knows how long it takes
  EXPECT_LT(StartsAmongQuickJobs({.service_time = seconds(1)}, {}, {}), kMost);
  wire::JobOptions keyed;
  keyed.set_key("k");
  EXPECT_LT(StartsAmongQuickJobs(quick, keyed, {}), kMost);
  QueuePolicy one_at_a_time;
  one_at_a_time.concurrency = 1;
  EXPECT_LT(StartsAmongQuickJobs(quick, {}, one_at_a_time), kMost);
  QueuePolicy batches;
  batches.batch.max_jobs = 2;
  EXPECT_LT(StartsAmongQuickJobs(quick, {}, batches), kMost);
}

TEST(DispatchTest, JobsGoOnlyToWorkersOfTheirQueue) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2, .queues = {"other"}});
  worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  EXPECT_EQ(s.h.broker.Status().queues(1).gate(), "no worker");
}

TEST(DispatchTest, ADrainingWorkerGetsNothing) {
  Scene s;
  WorkerPeer worker(&s.h, "w", {.slots = 2});
  worker.Join();
  worker.draining = true;
  worker.Heartbeat();
  EXPECT_TRUE(s.h.HasLog("worker_draining"));
  s.producer.SubmitAccepted("q", 1, 1);
  EXPECT_EQ(s.h.ledger("q").waiting(), 1u);
  EXPECT_EQ(s.h.broker.Status().queues(0).gate(), "no worker");
  worker.Goodbye();
  WorkerPeer other(&s.h, "other");
  other.Join();
  other.TakeDelivery();
}

TEST(DispatchTest, AMessageAtTheDoorIsClosedWhenItIsLarge) {
  Config config;
  config.memory_limit_bytes = 4ull << 30;  // a window of several messages
  Scene s(config);
  for (uint64_t i = 0; i < 6; ++i) {
    s.producer.Submit("q" + std::to_string(i), 1, {std::string(kDoorMessageBytes / 2, 'x')});
    s.producer.TakeUpdate();
  }
  WorkerPeer worker(&s.h, "w", {.slots = 6, .queues = {"q0", "q1", "q2", "q3", "q4", "q5"}});
  worker.Join();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(worker.TakeDeliveries().size(), 2u);
}

// Its next hello must be able to list them.
TEST(DispatchTest, AWorkerHasNoMoreLeasesThanAHelloLists) {
  BrokerHarness h(BrokerHarness::InOneStep());
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w", {.slots = 100, .held_max = 65'536, .service_time = microseconds(1)});
  producer.Join();
  worker.Join();
  // Neighbours with other options are never one lease.
  constexpr int kJobs = kLeasesPerWorkerMax + 100;
  std::vector<Input> inputs;
  for (int i = 0; i < kJobs; ++i) {
    wire::JobOptions options;
    options.set_timeout_ms(1000 + i % 2);
    const auto number = static_cast<uint64_t>(i) + 1;
    inputs.push_back(
        h.Signed(Channel::kSubmit, "", producer.SubmitMessage("q", number, {""}, options)));
  }
  h.Step(std::move(inputs));
  EXPECT_EQ(producer.TakeUpdate().next(), static_cast<uint64_t>(kJobs) + 1);
  while (h.HasFrameFor("w")) {
    worker.TakeDeliveries();
    if (!h.HasFrameFor("w")) worker.Heartbeat();
  }
  EXPECT_EQ(h.broker.leases().all().size(), static_cast<size_t>(kLeasesPerWorkerMax));
  // One that ends makes room for one.
  worker.Completed(h.broker.leases().all().begin()->first);
  worker.TakeDelivery();
  producer.TakeOutcome();
  EXPECT_EQ(h.broker.leases().all().size(), static_cast<size_t>(kLeasesPerWorkerMax));
}

}  // namespace
}  // namespace whippletree::core
