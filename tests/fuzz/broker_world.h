// A broker's core with its store, and peers that say what an input lets them say: all kinds of
// messages, mostly in the words that the broker has just used.
//
//   input = policies { step }   step: a message of a peer, time, or something of the shell's
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/core/broker.h"
#include "broker/store/map_store.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/grammar.h"

namespace whippletree::fuzz {

class BrokerWorld {
 public:
  explicit BrokerWorld(ByteSource input);

  // Takes the steps of the input, then restarts the broker once more. The broker's invariants are
  // checked on the way.
  void Run();

 private:
  // What a peer knows of the broker.
  struct Peer {
    std::string name;  // also its route; the number of a role that is none: an admin
    int role;
    bool named = false;
    uint64_t attempt = 0;  // of hello
    Session session{};
    uint64_t commit = 0;                             // of the store, that it was told of
    uint64_t receipt = 0;                            // of that
    std::map<std::string, uint64_t> next{};          // number of its next job, by queue
    std::map<std::string, uint64_t> outcome_next{};  // ordinal, by queue
    uint64_t report_next = 1;                        // ordinal
    uint64_t deliveries_next = 1;                    // the same
  };

  core::QueuePolicy MakePolicy();
  core::Policies MakePolicies();
  void Start();
  void NoteReached() const;
  // The broker is killed, and what is not durable is lost, but for the oldest `kept` commits.
  void Restart(size_t kept);

  void TakeStep();
  core::Input MessageOf(Peer& peer);
  // Where the input left the number 0 or nothing, what is meant is right.
  void Correct(Peer& peer, wire::Envelope* message);
  void CorrectHello(Peer& peer, wire::Hello* hello);
  void CorrectReport(Peer& peer, wire::Report* report);
  void CorrectOptions(wire::JobOptions* options) const;
  void Advance(Duration by);
  // To the broker's next deadline.
  void AdvanceToDeadline();

  // One step, and those that the store asks for.
  void Step(std::vector<core::Input> inputs);
  void Hear(const core::Send& send);
  void Learn(const wire::Envelope& message, Peer* peer);

  ByteSource input_;
  Words words_;
  Grammar grammar_;
  core::Policies policies_;
  Instant now_{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  std::vector<Peer> peers_;
  MapDisk disk_;
  std::unique_ptr<MapStore> store_;
  std::unique_ptr<core::Broker> broker_;
  core::Effects effects_;
  std::vector<core::Input> answers_;  // of the store
  bool durable_at_once_ = true;
  std::deque<core::Send> sent_;  // the last ones
  // The broker says that it must stop.
  bool over_ = false;
};

}  // namespace whippletree::fuzz
