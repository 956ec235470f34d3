// A broker whose durable queue has room for two payloads in memory, and jobs that say what they
// are.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
inline constexpr uint64_t kShare = 16;  // two payloads

inline std::string Payload(uint64_t stream, uint64_t number) {
  std::string text = std::to_string(stream) + "-" + std::to_string(number);
  text.resize(8, '.');
  return text;
}

struct StoredScene {
  explicit StoredScene(QueuePolicy policy = {}) : h(MakeConfig(policy)), producer(&h, "p") {
    producer.Join();
  }
  static Config MakeConfig(QueuePolicy policy) {
    policy.durable = true;
    policy.backoff_min = policy.backoff_max = seconds(10);
    Config config;
    config.default_policy = policy;
    config.queue_memory_bytes = kShare;
    return config;
  }
  // Jobs [first, first + count) of stream 1, one run.
  void Submit(uint64_t first, uint64_t count, const wire::JobOptions& options = {}) {
    SubmitAs(&producer, 1, first, count, options);
  }
  void SubmitAs(ProducerPeer* peer, uint64_t stream, uint64_t first, uint64_t count,
                const wire::JobOptions& options = {}) {
    std::vector<std::string> payloads;
    for (uint64_t i = first; i < first + count; ++i) payloads.push_back(Payload(stream, i));
    peer->Submit("q", first, payloads, options);
    if (!h.durable_at_once) return;
    EXPECT_EQ(peer->TakeUpdate().next(), first + count);
  }
  BrokerHarness h;
  ProducerPeer producer;
};

// Job names in the order of delivery; payloads are checked.
inline std::vector<std::string> NamesOf(const std::vector<wire::Delivery>& deliveries) {
  std::vector<std::string> names;
  const auto take = [&](uint64_t stream, uint64_t first, uint64_t count, const char* bytes) {
    for (uint64_t i = 0; i < count; ++i) {
      EXPECT_EQ(std::string(bytes + 8 * i, 8), Payload(stream, first + i));
      names.push_back(std::to_string(stream) + "-" + std::to_string(first + i));
    }
  };
  for (const wire::Delivery& delivery : deliveries) {
    const char* bytes = delivery.run().block().data();
    if (!delivery.batch()) {
      take(delivery.stream(), delivery.first(), delivery.run().sizes_size(), bytes);
    }
    for (const wire::DeliveryPart& part : delivery.parts()) {
      take(part.stream(), part.first(), part.count(), bytes);
      bytes += uint64_t{8} * part.count();
    }
  }
  return names;
}

// Takes all deliveries and completes them, until no more come.
inline std::vector<std::string> RunAll(BrokerHarness* h, WorkerPeer* worker) {
  std::vector<std::string> names;
  while (h->HasFrameFor(worker->route())) {
    const std::vector<wire::Delivery> got = worker->TakeDeliveries();
    for (const std::string& name : NamesOf(got)) names.push_back(name);
    for (const wire::Delivery& delivery : got) {
      worker->Completed(delivery.token(), 0, static_cast<uint32_t>(delivery.run().sizes_size()));
    }
  }
  return names;
}

inline std::vector<std::string> Names(uint64_t stream, uint64_t first, uint64_t count) {
  std::vector<std::string> names;
  for (uint64_t i = first; i < first + count; ++i) {
    names.push_back(std::to_string(stream) + "-" + std::to_string(i));
  }
  return names;
}

// All that has been sent to the worker.
inline std::vector<wire::Delivery> TakeAll(BrokerHarness* h, WorkerPeer* worker) {
  std::vector<wire::Delivery> all;
  while (h->HasFrameFor(worker->route())) {
    for (const wire::Delivery& delivery : worker->TakeDeliveries()) all.push_back(delivery);
  }
  return all;
}

// A little more than ten seconds pass, and nobody is silent for too long.
inline void Rest(StoredScene* s, WorkerPeer* worker = nullptr) {
  for (int i = 0; i < 2; ++i) {
    s->h.Run(seconds(5));
    s->producer.Heartbeat();
    if (worker != nullptr) worker->Heartbeat();
  }
  s->h.Run(milliseconds(100));
}

inline void ForgetOutcomes(BrokerHarness* h) { h->sent.clear(); }

}  // namespace whippletree::core
