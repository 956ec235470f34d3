// Workers that leave, or have leases no more: what they had ends in as many steps as it takes, and
// nothing else is applied before.
//
// A part of the broker, with its state; only the broker calls it, during a step.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/peer.h"

namespace whippletree::core {

class Broker;

class Departures {
 public:
  explicit Departures(Broker* broker) : b_(*broker) {}

  // These leases of the worker end. `uncharged`: it never got the jobs, or does not list them.
  void End(const Peer& worker, std::vector<uint64_t> tokens, bool uncharged, std::string_view why);
  // All its leases end, and it is forgotten. REQUIRES: it has no session.
  void Forget(const Peer& worker, std::string_view reason);

  // Nothing is left for the next step.
  bool empty() const { return endings_.empty(); }
  // Does what this step has room for.
  void GoOn();

 private:
  struct Ending {
    uint64_t worker = 0;  // number of the peer
    std::vector<uint64_t> tokens;
    size_t ended = 0;  // of these
    bool uncharged = false;
    std::string why;
    bool forget = false;
  };
  // False: there is more.
  bool GoOn(Ending& ending);

  Broker& b_;
  std::deque<Ending> endings_;
};

}  // namespace whippletree::core
