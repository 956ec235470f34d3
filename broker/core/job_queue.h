// The waiting jobs of one queue: lines of runs by key, jobs whose time has not come (not before a
// time of the calendar, or after a back-off), and sealed batches, the halves of failed ones.
//
// A record is a run, not a job, so a million like jobs are a handful of records. Lines take turns,
// except those that their key keeps back; a key without jobs costs nothing. Cancelled jobs are
// dropped when they are met.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/key_gate.h"
#include "broker/core/slice.h"
#include "common/interval_set.h"
#include "common/time.h"

namespace whippletree::core {

class JobQueue {
 public:
  // Adds jobs at the end of their line; joins them to the run before when they belong to it.
  void Push(Slice slice);
  // Puts jobs back at the front of their line.
  void Return(Slice slice);
  // Keeps jobs together as one batch, to be taken as a whole. REQUIRES: not empty.
  void Seal(std::vector<Slice> batch);
  // Holds jobs back, their key with them, until `until`; then they go to the front.
  void Delay(Slice slice, MonoTime until);
  // Holds jobs back until `until`; then they go to the end of their line.
  void Schedule(Slice slice, WallTime until);
  // Moves the jobs whose time has come into their lines.
  void ReleaseDue(Instant now);
  MonoTime next_due() const;        // kNever: nobody backs off, and no key waits for its rate
  WallTime next_scheduled() const;  // WallTime::max(): none

  // How much to take at once. One job is always taken, whatever its size.
  struct Portion {
    uint32_t jobs = 1;
    uint64_t bytes = std::numeric_limits<uint64_t>::max();  // of payload
    bool exactly = false;                                   // not even one job that has more bytes
  };
  // Takes up to `most` of one run from the line whose turn it is.
  // `to_hold`: they would wait in a worker; jobs that must not (suspects, keyed ones, last
  // attempts) are left and nothing is returned. `default_max_attempts` is the queue's policy.
  // REQUIRES: most.jobs > 0.
  std::optional<Slice> Take(Portion most, bool to_hold, uint32_t default_max_attempts,
                            MonoTime now);

  // The next sealed batch that may go, without what was cancelled; empty if there is none.
  std::vector<Slice> TakeSealed(MonoTime now);

  // Jobs that were taken before this broker started.
  void Enter(const Slice& slice) { keys_.Enter(slice.options->key(), slice.count()); }
  // Jobs that were taken have ended, or are about to come back.
  void Leave(const Slice& slice);

  // From now on. Rates of keys are as if idle since `start`.
  void SetKeyPolicy(const KeyPolicy& policy, MonoTime start, MonoTime now);
  // At least how many jobs Take would give now one by one, counted up to `most`.
  uint64_t Startable(uint64_t most, MonoTime now);

  // Drops waiting jobs of a stream. REQUIRES: all of them wait here.
  void Cancel(uint64_t stream, const IntervalSet& jobs);
  // Payload bytes that cancelled jobs have given up since the last call.
  uint64_t TakeDroppedBytes() { return std::exchange(dropped_bytes_, 0); }

  uint64_t waiting() const {
    return ready_ + sealed_jobs_ + delayed_ + scheduled_ - cancelled_count_;
  }
  // These may count cancelled jobs that were not met yet; see ForgetCancelled().
  uint64_t ready() const { return ready_; }  // in lines
  uint64_t ready_bytes() const { return ready_bytes_; }
  uint64_t delayed() const { return delayed_; }
  uint64_t scheduled() const { return scheduled_; }
  size_t sealed() const { return sealed_.size(); }  // batches
  bool has_ready() const { return ready_ > 0 || !sealed_.empty(); }
  // Some jobs are ready and not known to be kept back by their key.
  bool may_start() const { return !turns_.empty() || !sealed_.empty(); }
  // The jobs whose turn it is. REQUIRES: Startable() > 0.
  const Slice& front() const { return turns_.front()->second.slices.front(); }
  // Slice::arrived of the oldest job in a line. REQUIRES: ready() > 0.
  MonoTime oldest() const { return *arrivals_.begin(); }
  size_t records() const { return records_; }
  // Drops all cancelled jobs now, so that all numbers are exact.
  void ForgetCancelled() {
    if (cancelled_count_ > 0) Sweep();
  }

  // Until when jobs are held back.
  struct Until {
    MonoTime mono = kNever;           // kNever: they do not back off
    WallTime wall = WallTime::max();  // max: it is not before a time of the calendar
  };
  // Calls each(slice, until) for all waiting jobs until it returns false. Cancelled jobs may be
  // among them.
  template <typename Each>
  void ForEach(Each&& each) const {
    for (const auto& batch : sealed_) {
      for (const Slice& slice : batch) {
        if (!each(slice, Until{})) return;
      }
    }
    for (const auto& [key, line] : lines_) {
      for (const Slice& slice : line.slices) {
        if (!each(slice, Until{})) return;
      }
    }
    for (const auto& [until, slice] : backing_off_) {
      if (!each(slice, Until{until.first, WallTime::max()})) return;
    }
    for (const auto& [until, slice] : by_wall_time_) {
      if (!each(slice, Until{kNever, until.first})) return;
    }
  }

  // For tests.
  const KeyGate& keys() const { return keys_; }
  std::map<std::string, uint64_t> SealedByKey() const;

 private:
  struct Line {
    std::deque<Slice> slices;
    bool in_turns = false;  // else its key keeps it back
  };
  using Lines = std::map<std::string, Line>;

  Line& LineOf(const Slice& slice);
  void TakeTurn(Lines::iterator line);
  // The line waits for its key.
  void Park(Lines::iterator line, MonoTime now);
  bool MayGo(const std::vector<Slice>& batch, MonoTime now);
  void PopFront(Line* line);
  // How many jobs at the front of `slice` are cancelled; these are forgotten. `*clean` is how many
  // after them are not.
  uint32_t SkipCancelled(const Slice& slice, uint32_t* clean);
  // Drops all cancelled jobs at once.
  void Sweep();
  // The parts of `slice` that are not cancelled; the others are forgotten.
  std::deque<Slice> Cleaned(Slice slice);

  Lines lines_;  // none is empty
  std::deque<Lines::iterator> turns_;
  KeyGate keys_;
  std::set<std::pair<MonoTime, std::string>> parked_;  // until when, for their rate
  std::multiset<MonoTime> arrivals_;                   // of the lines' records
  std::deque<std::vector<Slice>> sealed_;
  std::map<std::pair<MonoTime, uint64_t>, Slice> backing_off_;
  std::map<std::pair<WallTime, uint64_t>, Slice> by_wall_time_;
  std::map<uint64_t, IntervalSet> cancelled_;  // by stream
  uint64_t cancelled_count_ = 0;
  uint64_t dropped_bytes_ = 0;
  uint64_t delay_count_ = 0;
  uint64_t ready_ = 0;
  uint64_t ready_bytes_ = 0;
  uint64_t sealed_jobs_ = 0;
  uint64_t delayed_ = 0;
  uint64_t scheduled_ = 0;
  size_t records_ = 0;
};

// The most starts of a job of `slice`.
uint32_t MaxAttempts(const Slice& slice, uint32_t default_max_attempts);

}  // namespace whippletree::core
