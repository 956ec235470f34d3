// The books of a round: what was submitted, what came back, each once and right, and when.
//
// One thread submits, one takes results. Who finds a mistake ends the process: a round with one is
// no measurement.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>

#include "common/time.h"
#include "tests/bench/drivers/payload.h"

namespace whippletree::bench {

// Prints one line on stderr and ends the process with status 1.
[[noreturn]] void Fail(std::string_view what);

class Ledger {
 public:
  // At most `window` jobs are without a result at a time.
  Ledger(size_t payload_bytes, uint64_t window);

  const Payloads& payloads() const { return payloads_; }
  uint64_t submitted() const { return submitted_.load(std::memory_order_relaxed); }
  uint64_t settled() const { return published_.load(std::memory_order_acquire); }
  // When the last result came, by the thread that takes results.
  MonoTime last_result() const { return last_result_; }

  // ---- by the thread that submits
  // Blocks until `n` more jobs fit into the window. REQUIRES: n <= window.
  void WaitForRoom(uint64_t n);
  // The number of the first of `n` jobs that are about to be submitted.
  uint64_t Submit(uint64_t n) { return submitted_.fetch_add(n); }
  void Close() { closed_.store(true); }
  // Blocks until every submitted job has its result.
  void WaitForAll();

  // ---- by the thread that takes results
  // The number is in the result. REQUIRES: payloads of at least kNumberBytes.
  void OnResult(std::string_view result);
  void OnResultOf(uint64_t number, std::string_view result);
  // Tells the other thread of the results so far: once for many.
  void Publish();
  bool done() const { return closed_.load() && settled_ == submitted_.load(); }

 private:
  static constexpr uint64_t kJobsMax = 1ull << 30;
  struct Free {
    void operator()(uint64_t* p) const { std::free(p); }
  };

  void WaitUntilAtMost(uint64_t outstanding);

  const Payloads payloads_;
  const uint64_t window_;
  // A bit for each job; pages that no job has reached are not there.
  const std::unique_ptr<uint64_t[], Free> seen_;
  std::atomic<uint64_t> submitted_{0};
  std::atomic<bool> closed_{false};
  uint64_t settled_ = 0;
  std::atomic<uint64_t> published_{0};
  MonoTime last_result_{};
  std::atomic<uint64_t> wake_at_{UINT64_MAX};  // published_ for which the other thread waits
  std::mutex mutex_;
  std::condition_variable room_;
};

}  // namespace whippletree::bench
