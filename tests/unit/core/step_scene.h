// A broker whose steps do little, so that a test sees how what is too much for one is divided.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {

inline constexpr uint64_t kMost = 10;

inline Config Bounded() {
  Config config;
  config.step_work_max = kMost;
  config.default_policy.backoff_min = config.default_policy.backoff_max = seconds(1);
  return config;
}

inline wire::Envelope HeartbeatOf(uint64_t session) {
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(session);
  return message;
}

struct StepScene {
  explicit StepScene(Config config = Bounded())
      : h(std::move(config)), producer(&h, "p"), worker(&h, "w", {.slots = 1000}) {
    producer.Join();
    worker.Join();
  }
  // Nothing is dispatched from here on.
  void Pause(bool paused = true) {
    wire::AdminRequest request;
    request.mutable_pause()->set_queue("q");
    request.mutable_pause()->set_paused(paused);
    h.Ask(std::move(request));
  }
  void Resume() { Pause(false); }
  // Steps until nothing is left; the most by which one step has changed what is measured.
  template <typename Measure>
  uint64_t MostChanged(std::vector<Input> inputs, Measure&& measure) {
    uint64_t most = 0;
    do {
      const uint64_t before = measure();
      EndedByStep(std::exchange(inputs, std::exchange(durable, {})));
      const uint64_t after = measure();
      most = std::max(most, std::max(before, after) - std::min(before, after));
      inputs.insert(inputs.end(), durable.begin(), durable.end());
      durable.clear();
    } while (!inputs.empty() || h.broker.NextDeadline() <= h.now.mono);
    return most;
  }
  // Steps once, whatever it leaves; how many jobs have ended since the last call.
  uint64_t EndedByStep(std::vector<Input> inputs) {
    const uint64_t before = h.ledger("q").ended();
    Effects effects;
    h.broker.Step(h.now, inputs, &effects);
    h.broker.CheckInvariants();
    h.Take(effects);
    if (effects.commit != 0) durable.emplace_back(Durable{effects.commit});
    return h.ledger("q").ended() - before;
  }
  // Steps until nothing is left; the most that one step has ended.
  uint64_t MostEnded(std::vector<Input> inputs) {
    uint64_t most = EndedByStep(std::move(inputs));
    while (h.broker.has_more() || !durable.empty()) {
      EXPECT_TRUE(durable.size() > 0 || h.broker.NextDeadline() <= h.now.mono);
      most = std::max(most, EndedByStep(std::exchange(durable, {})));
    }
    return most;
  }

  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  std::vector<Input> durable;
};

}  // namespace whippletree::core
