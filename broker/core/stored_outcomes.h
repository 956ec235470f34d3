// Outcomes that their producer is slow to read and that only the store has: see stored_outcomes.cc.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <map>
#include <set>

#include "wire.pb.h"

namespace whippletree::core {

class Broker;
struct Loaded;
struct Peer;
struct Stream;

// What the memory has of one such row.
struct StoredOutcome {
  uint64_t jobs = 0;
  uint64_t group = 0;   // of these jobs; 0: none
  uint64_t bytes = 0;   // that it takes in memory
  uint64_t commit = 0;  // that writes the row; 0: before this start of the broker
};

// Those of a stream, by their first job.
struct StreamStoredOutcomes {
  using Rows = std::map<uint64_t, StoredOutcome>;
  Rows waiting;
  Rows asked;  // back from the store

  bool empty() const { return waiting.empty() && asked.empty(); }
  size_t size() const { return waiting.size() + asked.size(); }
};

// A part of the broker, with its state; only the broker calls it, during a step or while it is
// restored.
class StoredOutcomes {
 public:
  explicit StoredOutcomes(Broker* broker) : b_(*broker) {}

  // Whether one more outcome of the stream, of so many bytes, is to be left to the store.
  bool Takes(const Stream& stream, uint64_t bytes) const;
  // REQUIRES: Takes() said so; the row is written, or there.
  void Add(Stream& stream, const wire::OutcomeRange& outcome, uint64_t bytes);
  // Asks for what comes next, where all that was in memory is sent.
  void AskForNext(Peer& peer);
  // The answer.
  void Apply(Loaded& in);
  // The producer says that it has all below `wanted`, or there is no producer any more: ~0.
  void Drop(Stream& stream, uint64_t wanted);
  // The outcomes of the stream may be sent.
  void OnClaimed(Stream& stream);
  // More commits are durable.
  void OnDurable();

  // Of the memory: what was asked for has its room.
  uint64_t loading_bytes() const { return loading_bytes_; }

 private:
  using Rows = StreamStoredOutcomes::Rows;

  // What is told of jobs whose outcome the store does not have.
  wire::OutcomeRange Lost(const Stream& stream, uint64_t first, const StoredOutcome& stored,
                          const absl::Status& error);
  // Takes one out of `asked`.
  StoredOutcome TakeAsked(Stream& stream, Rows::iterator row);
  void CountLoading(Stream& stream, int64_t bytes);

  Broker& b_;
  uint64_t loading_bytes_ = 0;
  std::set<uint64_t> waiting_for_commit_;  // producers
};

}  // namespace whippletree::core
