// A broker's core with peers of every kind, for what a single message costs: no codec, no clock, no
// checks. What it sends is only looked at for session and lease numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"

namespace whippletree::core {

// What happens to the broker: `inputs` arrive after `later`.
struct Event {
  Duration later{0};
  std::vector<Input> inputs{};
};

class World {
 public:
  explicit World(Config config) : broker_(std::move(config)) { Step({}); }

  // One step, a microsecond after the one before.
  void Step(std::vector<Input> inputs, Duration later = microseconds(1));
  // Until nothing is due now, every commit durable. Calls each(effects) after every step, if given.
  void Settle(const std::function<void(const Effects&)>& each = {});

  // These arrive and are worked off.
  void Door(const std::string& route, wire::Envelope message);
  void Submit(wire::Envelope message);
  void Complete(wire::Envelope message);

  // The session of a new peer.
  uint64_t Join(const std::string& name, wire::Envelope hello);
  uint64_t JoinProducer(const std::string& name);
  // One that takes `held` jobs of each queue beyond its slots, and has as much credit as it likes.
  uint64_t JoinWorker(const std::string& name, const std::vector<std::string>& queues,
                      uint32_t slots, uint32_t held);

  // `count` jobs without payload, from number `first` on.
  static wire::Envelope Jobs(uint64_t session, const std::string& queue, uint64_t first,
                             uint32_t count, const wire::JobOptions& options = {});
  // So many jobs, in messages of `run` jobs; neighbours that are in different messages have
  // different options, and so do not join.
  void SubmitAll(uint64_t session, const std::string& queue, uint32_t count, uint32_t run);

  // As a peer sends it that was told the secrets of what it names.
  static Input Frame(Channel channel, const std::string& route, wire::Envelope message);

  // Leases that were delivered, in order: token and jobs.
  const std::vector<std::pair<uint64_t, uint32_t>>& delivered() const { return delivered_; }
  const Effects& effects() const { return effects_; }
  const Broker& broker() const { return broker_; }
  Instant now() const { return now_; }

 private:
  void Look();

  Instant now_{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  Broker broker_;
  Effects effects_;
  uint64_t last_session_ = 0;
  std::vector<std::pair<uint64_t, uint32_t>> delivered_;
};

wire::Envelope HelloOf(wire::Role role, const std::string& name);
wire::Credit CreditOf(const std::string& queue, uint32_t held);

}  // namespace whippletree::core
