// Holds back what must not be said before a commit is durable. A class of the core, so that the
// promise "acknowledged means durable" is kept by structure and tried in the simulator.
//
// Order holds among sends that name ever later commits (those of one stream, of one lease); a send
// that depends on nothing never waits for a disk.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace whippletree::core {

template <typename T>
class CommitGate {
 public:
  uint64_t durable() const { return durable_; }
  size_t held() const { return held_count_; }

  // Calls release(item) now if `commit` is durable, else when it becomes so.
  template <typename Release>
  void Pass(uint64_t commit, T item, Release&& release) {
    if (commit <= durable_) {
      release(std::move(item));
      return;
    }
    held_[commit].push_back(std::move(item));
    ++held_count_;
  }

  // Every commit up to `commit` is durable: releases what waited for these, oldest commit first.
  template <typename Release>
  void OnDurable(uint64_t commit, Release&& release) {
    if (commit <= durable_) return;
    durable_ = commit;
    while (!held_.empty() && held_.begin()->first <= commit) {
      std::vector<T> items = std::move(held_.begin()->second);
      held_.erase(held_.begin());
      held_count_ -= items.size();
      for (T& item : items) release(std::move(item));
    }
  }

 private:
  uint64_t durable_ = 0;
  size_t held_count_ = 0;
  std::map<uint64_t, std::vector<T>> held_;
};

}  // namespace whippletree::core
