// Two producers, of which one does not read its outcomes.
#pragma once

#include <string>
#include <utility>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {

inline Config SmallMemory() {
  Config config;
  config.memory_limit_bytes = 8 << 20;
  // "q" stays in memory in any case: what nobody reads of a durable queue waits in the store.
  config.queues["other"].durable = true;
  config.default_policy.backoff_min = config.default_policy.backoff_max = milliseconds(10);
  return config;
}

// What one producer may leave unread while nobody else does, about; and a result that is more.
inline const uint64_t kShare = SmallMemory().budget_bytes() / 4;
inline const uint64_t kTooMuch = kShare + kShare / 8;

// Two producers of queue "q", "deaf" and "reader", and a worker with some slots.
struct UnreadScene {
  explicit UnreadScene(Config config = SmallMemory(), uint32_t slots = 1)
      : h(std::move(config)),
        deaf(&h, "deaf"),
        reader(&h, "reader"),
        worker(&h, "w", {.slots = slots}) {
    deaf.Join();
    reader.Join();
  }
  ~UnreadScene() { h.sent.clear(); }

  // The next delivery, which has one job.
  struct Job {
    uint64_t token = 0;
    std::string producer;
    uint64_t number = 0;
  };
  Job TakeJob() {
    const wire::Delivery delivery = worker.TakeDelivery();
    return {delivery.token(), NameOf(delivery.stream()), delivery.first()};
  }
  std::string NameOf(uint64_t stream) {
    const auto of = [&](const ProducerPeer& peer) { return peer.name(); };
    // Streams are numbered as they are opened.
    return stream == deaf_stream ? of(deaf) : of(reader);
  }
  void Complete(uint64_t token, uint64_t bytes = 10) {
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 1);
    item.clear_results();
    AppendToRun(std::string(bytes, 'x'), item.mutable_results());
    worker.Report({item});
  }
  bool HasDelivery() { return h.HasFrameFor("w"); }
  // It has more unread than its share. Its job 1 is used for that.
  void StopDeaf(const wire::JobOptions& options = {}) {
    deaf.SubmitAccepted("q", 1, 1, options);
    worker.Join();
    const wire::Delivery delivery = worker.TakeDelivery();
    deaf_stream = delivery.stream();
    Complete(delivery.token(), kTooMuch);
    deaf.TakeOutcomes();
  }

  BrokerHarness h;
  ProducerPeer deaf;
  ProducerPeer reader;
  WorkerPeer worker;
  uint64_t deaf_stream = 1;
};

// Those of `deaf` were accepted before it was stopped, by a worker that is busy with its first.
struct StoppedScene : UnreadScene {
  explicit StoppedScene(uint32_t jobs, Config config = SmallMemory(),
                        const wire::JobOptions& options = {})
      : UnreadScene(std::move(config)) {
    worker.Join();
    deaf.SubmitAccepted("q", 1, 1);
    const wire::Delivery delivery = worker.TakeDelivery();
    deaf_stream = delivery.stream();
    deaf.SubmitAccepted("q", 2, jobs, options);
    Complete(delivery.token(), kTooMuch);
    deaf.TakeOutcomes();
  }
};

}  // namespace whippletree::core
