// Dead jobs that are kept for people, with payload and history; the oldest go first. Knows nothing
// of stores and ledgers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "record.pb.h"

namespace whippletree::core {

class DeadJobs {
 public:
  using Id = std::pair<uint64_t, uint64_t>;  // stream and number

  // Sets the job's order, unless it has one.
  // REQUIRES: there is none with its id.
  const record::Dead& Add(record::Dead job);
  // nullptr: it is not kept.
  const record::Dead* Find(const Id& id) const;
  // REQUIRES: Find(id) is not null.
  record::Dead Take(const Id& id);

  // The longest dead of a queue, or of all; nullptr: there is none.
  const record::Dead* Oldest(const std::string& queue) const;
  const record::Dead* Oldest() const;
  // The first that died after the one with this order, in a queue, or in all if `queue` is empty;
  // nullptr: there is none.
  const record::Dead* After(const std::string& queue, uint64_t order) const;

  // Of the job that died last; 0: none did.
  uint64_t last_order() const { return last_order_; }

  uint64_t count() const { return jobs_.size(); }
  uint64_t count(const std::string& queue) const;
  // What these take of the memory.
  uint64_t bytes() const { return bytes_; }
  uint64_t bytes(const std::string& queue) const;

 private:
  struct Line {
    std::map<uint64_t, Id> by_order;
    uint64_t bytes = 0;
  };

  const record::Dead* First(const std::map<uint64_t, Id>& line, uint64_t after) const;

  std::map<Id, record::Dead> jobs_;
  std::map<uint64_t, Id> by_order_;
  std::map<std::string, Line> queues_;
  uint64_t bytes_ = 0;
  uint64_t last_order_ = 0;
};

}  // namespace whippletree::core
