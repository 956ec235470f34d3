// The futures of closed groups. Thread-safe.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <future>
#include <map>
#include <mutex>
#include <utility>

#include "producer/producer.h"

namespace whippletree {

class GroupPromises {
 public:
  // REQUIRES: not called before for this group.
  std::future<GroupEnd> Add(uint64_t group) {
    const std::lock_guard lock(mutex_);
    return promises_[group].get_future();
  }

  // Without effect for a group that is not waited for.
  void End(GroupEnd end) {
    std::unique_lock lock(mutex_);
    auto promise = promises_.extract(end.group);
    lock.unlock();
    if (promise) promise.mapped().set_value(std::move(end));
  }

  // There will be no end of any.
  void EndAll(const absl::Status& status) {
    std::unique_lock lock(mutex_);
    auto promises = std::exchange(promises_, {});
    lock.unlock();
    for (auto& [group, promise] : promises) {
      GroupEnd end;
      end.group = group;
      end.status = status;
      promise.set_value(std::move(end));
    }
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, std::promise<GroupEnd>> promises_;  // guarded by mutex_
};

}  // namespace whippletree
