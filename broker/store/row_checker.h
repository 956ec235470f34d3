// Do the rows of a store fit together? Looks at one after the other; pure.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "record.pb.h"

namespace whippletree {

class RowChecker {
 public:
  // `problem` is called with a line for each thing that is wrong.
  explicit RowChecker(std::function<void(const std::string& line)> problem)
      : problem_(std::move(problem)) {}

  // REQUIRES: called with all rows of a store, in the order of their keys.
  void Add(std::string_view key, std::string_view value);

  // Rows by number of their kind.
  const std::map<int, uint64_t>& counts() const { return counts_; }
  // Accepted jobs that are in runs.
  uint64_t jobs() const { return jobs_; }

 private:
  struct Stream {
    uint64_t next = 0;
    bool has_queue = false;
    std::map<uint64_t, uint64_t> runs;  // first → end
  };

  void CheckQueue(const std::string& queue);
  void AddStream(const record::Stream& stream);
  void AddRun(const record::Run& run);
  // The stream, if there is one and its jobs [first, first + count) were accepted.
  Stream* Find(uint64_t stream, uint64_t first, uint64_t count);
  // Are the jobs in runs without a hole, or even in a single run?
  void CheckInRuns(uint64_t stream, uint64_t first, uint64_t count, bool in_one);
  void Problem(const std::string& what) { problem_(at_ + ": " + what); }

  const std::function<void(const std::string& line)> problem_;
  std::string at_;  // the row that is looked at, for people
  std::map<int, uint64_t> counts_;
  uint64_t jobs_ = 0;
  std::set<std::string> queues_;
  std::map<uint64_t, Stream> streams_;
};

}  // namespace whippletree
