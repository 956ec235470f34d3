// Gives space back while a disk is nearly full. RocksDB takes erased rows out of its files when it
// rewrites these, and it does that as more is written: a queue that nothing is accepted for any
// more would keep the space of all jobs that have ended since.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "broker/store/store.h"

namespace whippletree {

// Has a thread. Thread-safe.
class SpaceKeeper {
 public:
  // What is asked of the store, from the keeper's thread. Each must be set.
  struct Calls {
    // Takes erased rows out of the files, until `cancelled` is set.
    std::function<void(std::atomic<bool>* cancelled)> compact;
    // Whether files may be rewritten apart from that.
    std::function<void(bool)> allow_compactions;
    // Tells whether anything was written since the last time.
    std::function<uint64_t()> bytes_written;
  };

  explicit SpaceKeeper(Calls calls);
  ~SpaceKeeper();

  // See Store::OnSpace.
  void Set(Space space);

 private:
  void Run();

  const Calls calls_;
  std::atomic<bool> cancelled_ = false;  // the compaction that runs is not wanted any more
  std::mutex mutex_;
  std::condition_variable wake_;
  Space space_ = Space::kPlenty;  // guarded by mutex_
  bool stopping_ = false;         // guarded by mutex_
  std::thread thread_;
};

}  // namespace whippletree
