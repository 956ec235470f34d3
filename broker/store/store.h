// Where durable queues are kept. The core says what to write; a store writes it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "broker/core/effects.h"
#include "record.pb.h"

namespace whippletree {

class Store {
 public:
  // Called with the number of each commit once it, and all before it, are durable. May be called
  // from a thread of the store.
  using DurableCallback = std::function<void(uint64_t commit)>;

  virtual ~Store() = default;

  // Writes all records as one: after a crash all of them are there, or none.
  // REQUIRES: commit is one more than that of the call before. Returns at once.
  virtual void Commit(uint64_t commit, std::vector<record::Record> writes) = 0;

  // Reads back jobs that only the store has. Returns at once; they come as core::Loaded.
  virtual void Load(const core::Load& load) = 0;

  // For the log: "memory", ….
  virtual std::string Describe() const = 0;
};

}  // namespace whippletree
