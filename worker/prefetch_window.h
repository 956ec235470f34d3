// How many jobs of one queue a worker should have: enough to stay busy while the next ones are on
// their way, and no more. No knob: it follows what is measured.
//
// Slots running jobs of `service` each need slots · (turnaround + 1 ms) / service jobs beyond those
// that run. Thousands of 1 µs jobs, none beyond the slots when a job takes longer than a
// turnaround. The window doubles at most once a report on the way up and falls at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/time.h"

namespace whippletree {

class PrefetchWindow {
 public:
  explicit PrefetchWindow(uint32_t slots) : slots_(slots), jobs_(slots) {}

  // Jobs to have, running ones included; at least the number of slots.
  uint32_t jobs() const { return jobs_; }
  // 0: not known.
  Duration service_time() const { return service_; }
  // Slot time of what the worker should have beyond the jobs that run, of whatever queues.
  Duration ahead() const { return slots_ * (turnaround_ + kAhead); }

  // `jobs` jobs took `busy` of slot time altogether; `bytes` of payload or result, what is more.
  void OnFinished(uint64_t jobs, Duration busy, uint64_t bytes) {
    if (jobs == 0) return;
    batch_jobs_ += jobs;
    batch_busy_ += busy;
    batch_bytes_ += bytes;
  }

  // A report went out: takes what finished since the last one into account.
  void Update() {
    if (batch_jobs_ == 0) return;
    const Duration mean = std::max(Duration(1), batch_busy_ / static_cast<int64_t>(batch_jobs_));
    // A slower sample counts at once, a quicker one by and by.
    service_ = mean > service_ ? mean : service_ - (service_ - mean) / 4;
    const uint64_t bytes = batch_bytes_ / batch_jobs_;
    bytes_ = bytes > bytes_ ? bytes : bytes_ - (bytes_ - bytes) / 4;
    batch_jobs_ = batch_bytes_ = 0;
    batch_busy_ = Duration(0);
    uint64_t extra = static_cast<uint64_t>(ahead() / service_);
    extra = std::min(extra, kBytesAhead / std::max<uint64_t>(1, bytes_));
    const uint64_t target = std::min<uint64_t>(slots_ + extra, kJobsMax);
    jobs_ = static_cast<uint32_t>(std::min<uint64_t>(target, uint64_t{jobs_} * 2));
  }

  // Time from a report to its acknowledgement, a commit included.
  void OnTurnaround(Duration sample) {
    turnaround_ = turnaround_ == Duration(0) ? sample : turnaround_ + (sample - turnaround_) / 8;
    turnaround_ = std::min<Duration>(turnaround_, kTurnaroundMax);
  }

 private:
  static constexpr Duration kAhead = milliseconds(1);
  static constexpr Duration kTurnaroundMax = milliseconds(100);
  static constexpr uint64_t kBytesAhead = 8 << 20;
  static constexpr uint64_t kJobsMax = 65'536;

  uint32_t slots_;
  uint32_t jobs_;
  Duration service_{};
  Duration turnaround_{};
  uint64_t bytes_ = 0;
  uint64_t batch_jobs_ = 0;
  Duration batch_busy_{};
  uint64_t batch_bytes_ = 0;
};

}  // namespace whippletree
