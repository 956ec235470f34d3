// Workers that leave, or have leases no more, and producers that are forgotten: what they had ends
// in as many steps as it takes, and nothing else is applied before.
//
// A part of the broker, with its state; only the broker calls it, during a step.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/peer.h"
#include "broker/core/stream.h"

namespace whippletree::core {

class Broker;

class Departures {
 public:
  explicit Departures(Broker* broker) : b_(*broker) {}

  // These leases of the worker end. `uncharged`: it never got the jobs, or does not list them.
  void End(const Peer& worker, std::vector<uint64_t> tokens, bool uncharged, std::string_view why);
  // All its leases end, and it is forgotten. REQUIRES: it has no session.
  void ForgetWorker(const Peer& worker, std::string_view reason);

  // Nobody will close the groups of the producer, or take its outcomes. REQUIRES: it has no
  // session. `may_return`: to another start of the broker, which is then told that it was
  // forgotten.
  void ForgetProducer(const Peer& producer, bool may_return);

  // Nothing is left for the next step.
  bool empty() const { return endings_.empty() && forgotten_.empty(); }
  // What is written is one commit with what the next steps write.
  bool holds_commit() const { return !forgotten_.empty() && forgotten_.front().is_going; }
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
  struct Forgotten {
    uint64_t producer = 0;  // number of the peer
    bool may_return = false;
    std::vector<uint64_t> streams;  // whose open groups are to be cancelled, …
    size_t cancelled = 0;           // … of which it was done for so many, …
    uint64_t next = 0;              // … and for the jobs before this one of the next
    bool is_going = false;          // all were: it goes, with its streams and groups
  };
  // These return false if there is more.
  bool GoOn(Ending& ending);
  bool GoOn(Forgotten& forgotten);
  bool CancelUnclosedGroups(const Peer& peer, Forgotten& forgotten);
  bool CancelUnclosedGroups(const Peer& peer, Stream& stream, uint64_t* next);
  bool DropOutcomes(Stream& stream);
  bool DropStreams(std::map<std::string, uint64_t>* streams);

  Broker& b_;
  std::deque<Ending> endings_;
  std::deque<Forgotten> forgotten_;
};

}  // namespace whippletree::core
