// Kills what the worker started when the worker itself dies, kill -9 included.
//
// A small process of its own, the guard, is forked early. It holds the read end of a pipe whose
// write end only the worker has, and shares a table of process groups with it. When the worker
// dies, however it does, the pipe ends, and the guard kills every group in the table.
#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace whippletree {

// Thread-safe.
class ProcessGuard {
 public:
  // A place in the table. Outlived by its guard. Not thread-safe.
  class Entry {
   public:
    Entry() = default;
    Entry(Entry&& other) noexcept;
    Entry& operator=(Entry&& other) noexcept;
    ~Entry() { Release(); }

    // Puts a process group under guard. Async-signal-safe; the group's first process calls it, so
    // that there is no time at which it runs unguarded.
    void Set(pid_t process_group);
    // To be called while the number cannot be another process's yet: before the group's first
    // process has been waited for.
    void Clear() { Set(0); }

   private:
    friend class ProcessGuard;
    Entry(ProcessGuard* guard, uint32_t index) : guard_(guard), index_(index) {}
    void Release();

    ProcessGuard* guard_ = nullptr;  // nullptr: guards nothing
    uint32_t index_ = 0;
  };

  // Forks the guard, with room for `groups_max` groups at a time. REQUIRES: better no thread yet.
  // Errors: RESOURCE_EXHAUSTED, the system has no process, memory or descriptor left.
  static absl::StatusOr<std::unique_ptr<ProcessGuard>> Start(uint32_t groups_max);

  // The guard goes without killing anything. REQUIRES: no Entry is left.
  ~ProcessGuard();
  ProcessGuard(const ProcessGuard&) = delete;
  ProcessGuard& operator=(const ProcessGuard&) = delete;

  // Waits while all places are taken.
  Entry Acquire();

  // Of the guard process.
  pid_t pid() const { return pid_; }

 private:
  // Shared with another process, and written between vfork and exec.
  using SharedPid = std::atomic<pid_t>;
  static_assert(SharedPid::is_always_lock_free);

  ProcessGuard(SharedPid* table, uint32_t groups_max);
  [[noreturn]] void RunGuard(int pipe_fd, std::vector<pid_t>* killed);

  SharedPid* const table_;  // in memory shared with the guard
  const uint32_t groups_max_;
  pid_t pid_ = -1;
  int pipe_fd_ = -1;  // the write end; nothing is ever written

  std::mutex mutex_;
  std::condition_variable released_;
  std::vector<uint32_t> free_;  // indexes of table_
};

}  // namespace whippletree
