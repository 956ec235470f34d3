// A set of jobs of one producer whose end is waited for together.
//
// Its members are submitted jobs and the follow-on jobs of members. It is closed by its producer,
// which says how many it has submitted to each queue: jobs and the word to close travel without an
// order between streams. It ends once: closed, all of these arrived, and none without an outcome.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace whippletree::core {

struct JobGroup {
  bool closed = false;
  bool closed_due = false;  // the producer is to be told that it is closed
  bool ended = false;
  bool durable = false;                      // so are all its members
  std::map<std::string, uint64_t> expected;  // when closed: submitted jobs, by queue
  std::map<std::string, uint64_t> arrived;   // accepted or rejected ones
  uint64_t missing = 0;                      // queues of `expected` of which fewer arrived
  uint64_t open = 0;                         // members without an outcome
  uint64_t unacknowledged = 0;               // outcomes of members that the producer has not taken
  uint64_t commit = 0;                       // that the members' outcomes depend on
  uint64_t completed = 0;
  uint64_t dead = 0;
  uint64_t cancelled = 0;
  uint64_t expired = 0;
  uint64_t rejected = 0;
  uint64_t counted_bytes = 0;  // of the memory, by Broker::CountGroup

  bool has_members() const { return open > 0 || !arrived.empty(); }
  bool complete() const { return open == 0 && all_arrived(); }
  // Closed, and every submitted member was accepted or rejected.
  bool all_arrived() const { return closed && missing == 0; }
  bool IsMissing(const std::string& queue) const {
    const auto wanted = expected.find(queue);
    if (wanted == expected.end()) return false;
    const auto it = arrived.find(queue);
    return wanted->second > (it == arrived.end() ? 0 : it->second);
  }
  // So many were submitted to the queue.
  void Expect(const std::string& queue, uint64_t jobs) {
    missing -= IsMissing(queue) ? 1 : 0;
    expected[queue] = jobs;
    missing += IsMissing(queue) ? 1 : 0;
  }
  // So many more of them were accepted or rejected.
  void Arrive(const std::string& queue, uint64_t jobs) {
    missing -= IsMissing(queue) ? 1 : 0;
    arrived[queue] += jobs;
    missing += IsMissing(queue) ? 1 : 0;
  }
};

}  // namespace whippletree::core
