// The budget of memory: beyond it producers wait, and nothing leaks.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using State = wire::StreamUpdate;

TEST(MemoryTest, ProducersWaitWhenTheBudgetIsUsedUp) {
  Config config;
  // What is in the store leaves the memory (stored_test.cc).
  if (BrokerHarness::InStore(config).default_policy.durable) GTEST_SKIP();
  config.memory_limit_bytes = 4 << 20;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  const std::string payload(100'000, 'x');
  uint64_t next = 1;
  State update;
  while (update.state() != State::FULL && next < 1000) {
    producer.Submit("q", next, {payload});
    update = producer.TakeUpdate();
    next = update.next();
  }
  EXPECT_EQ(update.state(), State::FULL);
  EXPECT_LE(h.broker.used_bytes(), config.budget_bytes());
  EXPECT_GT(h.broker.used_bytes(), config.budget_bytes() * 9 / 10);

  WorkerPeer worker(&h, "w", {.slots = 1000});
  worker.Join();
  while (h.HasFrameFor("w")) {
    for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
      worker.Completed(delivery.token(), 0, static_cast<uint32_t>(delivery.run().sizes_size()));
    }
  }
  EXPECT_EQ(producer.TakeUpdate().state(), State::OPEN);
  EXPECT_EQ(h.ledger("q").completed, next - 1);
  h.sent.clear();
}

TEST(MemoryTest, AFullQueueLeavesRoomForOthers) {
  Config config;
  config.default_policy.capacity_bytes = 1 << 20;
  BrokerHarness h(config);
  ProducerPeer greedy(&h, "greedy");
  ProducerPeer modest(&h, "modest");
  greedy.Join();
  modest.Join();
  greedy.Submit("a", 1, std::vector<std::string>(20, std::string(100'000, 'x')));
  EXPECT_EQ(greedy.TakeUpdate().state(), State::FULL);
  EXPECT_EQ(h.queue("a").bytes, 1'000'000u);
  modest.SubmitAccepted("b", 1, 10);
}

TEST(MemoryTest, AProducerIsWokenWhenItsNextJobJustFits) {
  Config config;
  config.default_policy.capacity_bytes = 1000;
  BrokerHarness h(config);
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.Submit("q", 1, std::vector<std::string>(3, std::string(500, 'x')));
  const State full = producer.TakeUpdate();
  EXPECT_EQ(full.state(), State::FULL);
  EXPECT_EQ(full.next(), 3u);
  WorkerPeer worker(&h, "w", {.slots = 2});
  worker.Join();
  worker.Completed(worker.TakeDelivery().token());
  EXPECT_EQ(producer.TakeUpdate().state(), State::OPEN);
  h.sent.clear();
}

TEST(MemoryTest, EverythingIsGivenBackInTheEnd) {
  Config config;
  config.default_policy.max_attempts = 2;
  config.default_policy.backoff_min = config.default_policy.backoff_max = milliseconds(10);
  config.payload_bytes_max = 100;
  BrokerHarness h(config);
  const uint64_t base = h.broker.used_bytes();
  {
    ProducerPeer producer(&h, "p");
    producer.Join();
    // Waiting ones are cancelled, some are rejected, complete, are retried and dead.
    producer.Submit("q", 1, std::vector<std::string>(500, "payload"));
    producer.Submit("q", 501, {"1", std::string(101, 'x'), "3"});
    producer.Cancel("q", 100, 50);
    producer.Cancel("q", 490, 14);
    wire::JobOptions options;
    options.set_key("line");
    options.set_discard_outcome(true);
    producer.Submit("q", 504, std::vector<std::string>(100, "discarded"), options);
    producer.Cancel("q", 510, 5);
    WorkerPeer worker(&h, "w", {.slots = 20, .held_max = 20});
    worker.Join();
    for (int round = 0; round < 200; ++round) {
      std::vector<wire::ReportItem> items;
      while (h.HasFrameFor("w")) {
        for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
          const auto count = static_cast<uint32_t>(delivery.run().sizes_size());
          for (uint32_t i = 0; i < count; ++i) {
            const auto kind = (delivery.first() + i) % 5 == 0   ? wire::ReportItem::FAILED
                              : (delivery.first() + i) % 7 == 0 ? wire::ReportItem::STARTED
                                                                : wire::ReportItem::COMPLETED;
            items.push_back(WorkerPeer::Item(kind, delivery.token(), i, 1));
            if (kind == wire::ReportItem::STARTED) {
              items.push_back(
                  WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), i, 1));
            }
          }
        }
      }
      worker.Report(items);
      h.Run(milliseconds(10));
      if (h.ledger("q").accepted == h.ledger("q").ended()) break;
    }
    EXPECT_EQ(h.ledger("q").accepted, h.ledger("q").ended());
    EXPECT_GT(h.ledger("q").dead, 0u);
    EXPECT_GT(h.queue("q").outcome_bytes, 0u);
    uint64_t ordinal = 1;
    while (h.HasFrameFor("p")) {
      if (h.sent.front().message.has_outcomes()) {
        const wire::Outcomes outcomes = producer.TakeOutcomes();
        ordinal = outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size());
      } else {
        h.sent.pop_front();
      }
    }
    producer.Ack("q", ordinal);
    EXPECT_EQ(h.queue("q").outcome_bytes, 0u);
    EXPECT_EQ(h.queue("q").bytes, 0u);
    producer.Goodbye();
    worker.Goodbye();
  }
  h.Run(seconds(1));
  EXPECT_GT(h.broker.used_bytes(), base);
  wire::Envelope drop;  // the dead ones are kept until then
  drop.mutable_admin_request()->mutable_dead()->set_action(wire::DeadRequest::DROP);
  drop.mutable_admin_request()->mutable_dead()->set_queue("q");
  EXPECT_GT(h.Ask(drop.admin_request()).dead().jobs_size(), 0);
  wire::Envelope read;
  read.mutable_admin_request()->set_received(h.admin_number);
  h.Door("admin", read);
  EXPECT_EQ(h.broker.used_bytes(), base + kQueueOverheadBytes);
  EXPECT_TRUE(h.broker.leases().all().empty());
}

TEST(MemoryTest, AFewReturnedJobsDoNotKeepTheirWholeRun) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  producer.Join();
  producer.SubmitAccepted("q", 1, 100);
  WorkerPeer worker(&h, "w", {.slots = 100});
  worker.Join();
  const uint64_t token = worker.TakeDelivery().token();
  worker.draining = true;
  worker.HandedBack(token, 50, 1);
  WorkerPeer other(&h, "other");
  other.Join();
  const wire::Delivery delivery = other.TakeDelivery();
  EXPECT_EQ(delivery.first(), 51u);
  EXPECT_EQ(h.broker.leases().all().at(delivery.token()).slices.front().data->count(), 1u);
}

}  // namespace
}  // namespace whippletree::core
