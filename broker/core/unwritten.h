// What waits in the store alone, but is not durable yet: until then the store has it in memory.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "common/check.h"

namespace whippletree::core {

class Unwritten {
 public:
  // `used_bytes`: of the broker's memory; what is unwritten is counted there.
  explicit Unwritten(uint64_t* used_bytes) : used_bytes_(*used_bytes) {}

  // REQUIRES: `commit` is not below that of the call before.
  void Add(uint64_t commit, uint64_t bytes) {
    if (by_commit_.empty() || by_commit_.back().first != commit) by_commit_.emplace_back(commit, 0);
    by_commit_.back().second += bytes;
    bytes_ += bytes;
    used_bytes_ += bytes;
  }
  // Commits up to this one are durable.
  void Release(uint64_t durable) {
    for (; !by_commit_.empty() && by_commit_.front().first <= durable; by_commit_.pop_front()) {
      bytes_ -= by_commit_.front().second;
      used_bytes_ -= by_commit_.front().second;
    }
  }

  uint64_t bytes() const { return bytes_; }
  void Check() const {
    uint64_t bytes = 0;
    for (const auto& [commit, part] : by_commit_) bytes += part;
    WT_CHECK(bytes == bytes_);
  }

 private:
  uint64_t& used_bytes_;
  std::deque<std::pair<uint64_t, uint64_t>> by_commit_;
  uint64_t bytes_ = 0;
};

}  // namespace whippletree::core
