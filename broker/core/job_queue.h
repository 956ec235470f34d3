// The waiting jobs of one queue: lines of runs by key, jobs whose time has not come (not before a
// time of the calendar, or after a back-off), and sealed batches, the halves of failed ones.
//
// A record is a run, not a job, so a million like jobs are a handful of records; small jobs of many
// producers that do not join are packed, but for the first of a line (job_line.h). Lines take
// turns, except those that their key keeps back; a key without jobs costs nothing.
//
// Cancelled jobs are dropped when they are met. A sweep looks for those that keep places, and for
// all where they are too many: as work that is due, some of it at a time. (job_queue_cancel.cc)
//
// Jobs of stopped streams wait aside, each from when it is met at the head of its line until its
// stream goes on; then they are at the front of their line again. Lines in the order of a key wait
// as a whole. (job_queue_aside.cc)
//
// Slices may be stored (slice.h), wherever they wait. They are joined to large ones, so that a
// million jobs are one record, and asked back row by row when they are near the head of a line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/job_line.h"
#include "broker/core/key_gate.h"
#include "broker/core/slice.h"
#include "broker/core/stored_row.h"
#include "common/interval_set.h"
#include "common/time.h"

namespace whippletree::core {

class JobQueue {
 public:
  // Adds jobs at the end of their line; joins them to the run before when they belong to it.
  void Push(Slice slice);
  // Puts jobs back at the front of their line.
  void Return(Slice slice);
  // Keeps jobs together as one batch, to be taken as a whole: the half of a batch, or a job that is
  // to run apart. REQUIRES: not empty.
  void Seal(std::vector<Slice> batch);
  // Holds jobs back, their key with them, until `until`; then they go to the front.
  void Delay(Slice slice, MonoTime until);
  // Holds jobs back until `until`; then they go to the end of their line.
  void Schedule(Slice slice, WallTime until);
  // Moves jobs whose time has come into their lines, and sweeps: at most so many records. Returns
  // how many: if there are more, next_due() or next_scheduled() is not after `now`.
  uint64_t ReleaseDue(Instant now, uint64_t most = std::numeric_limits<uint64_t>::max());
  // When there is something to be done; kNever: nobody backs off, no key waits for its rate, and
  // nothing is to be swept.
  MonoTime next_due() const;
  WallTime next_scheduled() const;  // WallTime::max(): none

  // How much to take at once. One job is always taken, whatever its size.
  struct Portion {
    uint32_t jobs = 1;
    uint64_t bytes = std::numeric_limits<uint64_t>::max();  // of payload
    bool exactly = false;                                   // not even one job that has more bytes
  };
  // Takes up to `most` of one run from the line whose turn it is.
  // `to_hold`: they would wait in a worker; jobs that must not (suspects, keyed ones, last
  // attempts) are left and nothing is returned; the same if the next job is stored.
  // `default_max_attempts` is the queue's policy.
  // REQUIRES: most.jobs > 0.
  std::optional<Slice> Take(Portion most, bool to_hold, uint32_t default_max_attempts,
                            MonoTime now);

  // The next sealed batch of at most so many jobs that may go and has nothing stored, without what
  // was cancelled; empty if there is none. `apart`: also such as run apart.
  std::vector<Slice> TakeSealed(uint64_t most, bool apart, MonoTime now);

  // None of the stream's jobs is taken until it resumes, but those whose outcome is discarded.
  void Stop(uint64_t stream);
  // Also if it was not stopped.
  void Resume(uint64_t stream);
  bool IsStopped(const Slice& slice) const {
    return stopped_.contains(slice.stream) && !slice.options->discard_outcome();
  }
  bool stops(uint64_t stream) const { return stopped_.contains(stream); }
  bool has_stopped() const { return !stopped_.empty(); }
  // Something ready waits for its stream to go on, or for jobs of such a stream.
  bool waits_for_stopped() const {
    return aside_jobs_ > 0 || !stopped_sealed_.empty() || !lines_behind_.empty();
  }
  // How many jobs wait aside, of waiting(), and their payload, in memory or stored. These may count
  // cancelled jobs.
  uint64_t aside() const { return aside_jobs_; }
  uint64_t aside_bytes() const { return aside_bytes_; }
  // The same without any that is cancelled: no more than there are.
  uint64_t aside_at_least() const { return aside_jobs_ - std::min(aside_jobs_, cancelled_count_); }

  // Asks back what is stored and comes next. (job_queue_stored.cc, as all about stored jobs.)
  LoadsAsked AskForStored(const LoadPlan& plan, MonoTime now);
  // What was asked back is here: the whole row that begins with job `first`. Returns how many bytes
  // of payload are in memory by it; fewer than the row has, or none, if jobs ended meanwhile.
  uint64_t Fill(uint64_t stream, uint64_t first, const std::shared_ptr<RunData>& row);
  // It cannot be had. Returns the jobs that wait for it; they are to be cancelled.
  IntervalSet FailLoad(uint64_t stream, uint64_t first);
  // Whether all is in memory that Take would give next, up to so many jobs or bytes.
  bool IsLoaded(uint64_t jobs, uint64_t bytes, MonoTime now);
  // The job whose turn it is, or a sealed batch, is not in memory.
  bool WaitsForStored() const;

  // Jobs that were taken before this broker started.
  void Enter(const Slice& slice) { keys_.Enter(slice.options->key(), slice.count()); }
  // Jobs that were taken have ended, or are about to come back.
  void Leave(const Slice& slice);

  // From now on. Rates of keys are as if idle since `start`.
  void SetKeyPolicy(const KeyPolicy& policy, MonoTime start, MonoTime now);
  // At least how many jobs Take would give now one by one, counted up to `most`. Among the first so
  // many are no cancelled or stopped ones then.
  uint64_t Startable(uint64_t most, MonoTime now);

  // Drops waiting jobs of a stream. REQUIRES: all of them wait here.
  void Cancel(uint64_t stream, const IntervalSet& jobs);
  // Payload bytes that cancelled jobs have given up since the last call.
  uint64_t TakeDroppedBytes() { return std::exchange(dropped_bytes_, 0); }

  uint64_t waiting() const {
    return ready_ + aside_jobs_ + sealed_jobs_ + delayed_ + scheduled_ - cancelled_count_;
  }
  // These may count cancelled jobs that were not met yet.
  uint64_t ready() const { return ready_; }  // in lines
  uint64_t ready_bytes() const { return ready_bytes_; }
  uint64_t delayed() const { return delayed_; }
  uint64_t scheduled() const { return scheduled_; }
  size_t sealed() const { return sealed_.size(); }  // batches
  bool has_ready() const { return ready_ > 0 || !sealed_.empty(); }
  // Some jobs are ready and not known to be kept back by their key. `apart`: also if these are to
  // run apart.
  bool may_start(bool apart = true) const {
    return !turns_.empty() || sealed_.size() > (apart ? 0 : sealed_apart_);
  }
  // The jobs whose turn it is. REQUIRES: Startable() > 0.
  const Slice& front() const { return turns_.front()->second.jobs.front(); }
  // Slice::arrived of the oldest job in a line. REQUIRES: ready() > 0.
  MonoTime oldest() const { return arrivals_.begin()->first; }
  // How much memory they take beside their payload, in records.
  size_t records() const { return records_ + packed_ / kPackedPerRecord; }
  // The same of the lines by key.
  uint64_t line_bytes() const { return line_bytes_; }
  uint64_t stored_jobs() const { return stored_jobs_; }
  uint64_t stored_bytes() const { return stored_bytes_; }  // of their payload, about
  // Of jobs in lines and sealed batches: they are to be asked back.
  uint64_t stored_ready() const { return stored_ready_; }
  uint64_t loading_bytes() const { return loading_bytes_; }  // asked back
  size_t loads() const { return loading_.size(); }           // the same, in rows

  // Until when jobs are held back.
  struct Until {
    MonoTime mono = kNever;           // kNever: they do not back off
    WallTime wall = WallTime::max();  // max: it is not before a time of the calendar
  };
  // Calls each(slice, until) for all waiting jobs until it returns false. Cancelled jobs may be
  // among them.
  template <typename Each>
  void ForEach(Each&& each) const {
    const auto ready = [&](const Slice& slice) { return each(slice, Until{}); };
    for (const auto* batches : {&sealed_, &stopped_sealed_}) {
      for (const auto& batch : *batches) {
        if (!std::all_of(batch.begin(), batch.end(), ready)) return;
      }
    }
    for (const auto& [key, line] : lines_) {
      if (!line.jobs.ForEach(ready)) return;
    }
    for (const auto& [stream, lines] : aside_) {
      for (const auto& [key, aside] : lines) {
        if (!aside.line.ForEach(ready)) return;
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
  uint64_t packed() const { return packed_; }
  const KeyGate& keys() const { return keys_; }
  std::map<std::string, uint64_t> SealedByKey() const;
  // The sums about stored jobs are right; CHECKs.
  void CheckStored() const;

 private:
  static constexpr uint64_t kPackedPerRecord = 16;
  // Records of stopped streams, or cancelled ones, that one call looks at.
  static constexpr uint64_t kPassedMax = 1000;

  struct Line;
  using Lines = std::map<std::string, Line>;
  using Turns = std::list<Lines::iterator>;
  struct Line {
    JobLine jobs;
    Turns::iterator turn;   // if it is in turns
    bool in_turns = false;  // else its key keeps it back, or it waits behind a stopped stream
  };
  // Jobs of one key that wait until their stream goes on: nothing of it is ready.
  struct Aside {
    JobLine line;
    JobLine::Arrivals arrivals;
    uint64_t jobs = 0;
    uint64_t bytes = 0;  // in memory
    uint64_t stored_jobs = 0;
    uint64_t stored_bytes = 0;
  };
  // A row that was asked back.
  struct Awaited {
    std::string key;  // of the line whose jobs wait for it
    uint64_t end = 0;
    uint64_t jobs = 0;  // that wait for it, at most
    uint64_t bytes = 0;
  };
  // Where one is in a line, on the way in the order of Take.
  struct Cursor {
    Lines::iterator line;
    JobLine::Cursor at;
    uint64_t allowed = 0;  // jobs that its key lets pass
  };
  // What a sweep looks at, in this order; only a whole one goes beyond kBackingOff.
  enum class SweepAt { kNowhere, kSealed, kStoppedSealed, kBackingOff, kScheduled, kLines, kAside };
  struct SweepState {
    SweepAt at = SweepAt::kNowhere;
    uint32_t number = 0;
    bool whole = false;
    // What comes next there.
    uint64_t batches = 0;  // so many
    std::pair<MonoTime, uint64_t> backing_off{};
    std::pair<WallTime, uint64_t> scheduled{};
    uint64_t stream = 0;
    std::string key{};
  };

  JobLine::Counts counts() { return {&records_, &packed_, &arrivals_}; }
  JobLine::Counts counts(Aside* aside) { return {&records_, &packed_, &aside->arrivals}; }

  // Takes its turn, if it did not.
  Lines::iterator LineOf(const std::string& key);
  void EraseLine(Lines::iterator line);
  // What a line with this key takes: its key is known to the gate as well.
  static uint64_t BytesOfLine(const std::string& key);
  void TakeTurn(Lines::iterator line);
  void TakeTurnOf(const std::string& key);  // if there is such a line
  void LeaveTurns(Line* line);
  // The line waits for its key.
  void Park(Lines::iterator line, MonoTime now);
  bool MayGo(const std::vector<Slice>& batch, MonoTime now);
  // job_queue_aside.cc
  bool HasStopped(const std::vector<Slice>& batch) const;
  // The line's order is that of a key.
  bool IsOrdered(const std::string& key) const { return keys_.ordered() && !key.empty(); }
  // The first record of the line is stopped, and not being loaded: it goes aside. False: nothing of
  // the line may go now, for it is empty or waits behind it; then it must leave the turns.
  bool PassStopped(Lines::iterator line);
  // Moves what is stopped or cancelled out of the way of the first `most` jobs. False: not done,
  // there is much.
  bool ClearFront(uint64_t most, MonoTime now);
  // The same for one line, with so many looks, which become fewer. Returns how many jobs there are.
  // `*goes_on` is false if the line waits behind what is stopped.
  uint64_t ClearFrontOf(Lines::iterator line, uint64_t most, uint64_t* looks, bool* goes_on);
  // `at_front`: before those of their line that are there.
  void SetAside(Slice slice, bool at_front);
  void CountAside(const Slice& slice, Aside* aside);
  void UncountAside(const Slice& slice, Aside* aside);
  // All that waits aside is in the lines again.
  void BringBack(uint64_t stream);
  // After cancelled jobs of the stream were named: lines behind them may go on.
  void RetryBehind(uint64_t stream);

  void CountReady(const Slice& slice);
  void UncountReady(const Slice& slice);
  void CountDelayed(const Slice& slice);
  void UncountDelayed(const Slice& slice);
  void CountScheduled(const Slice& slice);
  void UncountScheduled(const Slice& slice);
  // `ready`: in a line or a sealed batch.
  void CountStored(const Slice& slice, bool ready);
  void UncountStored(const Slice& slice, bool ready);
  std::deque<Cursor> Cursors(uint64_t lines_max, MonoTime now);
  // Asks for the row that has the first job of `slice`. Returns how many jobs of it are in that
  // row; 0: it may not be asked for now.
  uint32_t AskForRow(const Slice& slice, bool must, const LoadPlan& plan, LoadsAsked* asked);
  // The same for the record at the cursor, which is cut in two; what is cancelled is dropped.
  // False: not now.
  bool AskForSlice(JobLine::Cursor* at, bool must, const LoadPlan& plan, LoadsAsked* asked);
  void AskForSealed(const LoadPlan& plan, LoadsAsked* asked);
  enum class Place { kLine, kSealed, kStoppedSealed };
  // Calls each(slice, place) for the slices that wait for the row, which they do no more.
  template <typename Each>
  void EndLoad(uint64_t stream, uint64_t first, Each&& each);
  // How many jobs at the front of `slice` are cancelled; these are forgotten. `*clean` is how many
  // after them are not.
  uint32_t SkipCancelled(const Slice& slice, uint32_t* clean);
  // Those of a slice in a line are dropped, up to the first that is not cancelled.
  void DropCancelledHead(Slice* slice);
  // How many jobs of the slice come before its first that is cancelled.
  uint32_t CleanHead(const Slice& slice) const;
  bool HasCancelled(const Slice& slice) const;
  bool HasCancelled(const std::vector<Slice>& batch) const;
  // Returns how many records it has looked at, at most `most`.
  uint64_t Sweep(uint64_t most);
  bool is_sweeping() const { return sweep_wanted_ || sweep_.at != SweepAt::kNowhere; }
  // Of what the sweep looks at now. Each return whether that is done.
  bool SweepPart(uint64_t* looks);
  bool SweepBatches(std::deque<std::vector<Slice>>* batches, uint64_t* looks);
  // From `*next` on, which is moved.
  template <typename Held, typename Uncount, typename Count>
  bool SweepHeld(Held* held, typename Held::key_type* next, uint64_t* looks, Uncount&& uncount,
                 Count&& count);
  bool SweepLines(uint64_t* looks);
  bool SweepAside(uint64_t* looks);
  static bool IsApart(const std::vector<Slice>& batch);
  void AddSealed(std::vector<Slice> batch);
  std::vector<Slice> ExtractSealed(std::deque<std::vector<Slice>>::iterator batch);
  // Seals again what is not cancelled of a batch that was in `sealed_` (`ready`), or else in
  // `stopped_sealed_`.
  void SealCleaned(std::vector<Slice> batch, bool ready);
  // The parts of `slice` that are not cancelled; the others are forgotten.
  std::deque<Slice> Cleaned(Slice slice);
  // The same for as much of `slice` as so many looks allow, which become fewer; it is the rest
  // then.
  std::deque<Slice> CleanedPart(Slice* slice, uint64_t* looks);

  Lines lines_;  // none is empty
  Turns turns_;
  KeyGate keys_;
  std::set<std::pair<MonoTime, std::string>> parked_;  // until when, for their rate
  JobLine::Arrivals arrivals_;                         // of the lines' records
  std::deque<std::vector<Slice>> sealed_;
  uint64_t sealed_apart_ = 0;                               // of these: such as run apart
  std::set<uint64_t> stopped_;                              // streams
  std::map<uint64_t, std::map<std::string, Aside>> aside_;  // by stream and key; none is empty
  std::deque<std::vector<Slice>> stopped_sealed_;           // each with jobs of a stopped stream
  std::map<uint64_t, std::set<std::string>> lines_behind_;  // by stream: keys, perhaps
  MonoTime pass_again_at_ = kNever;  // there was more to be set aside than one call does
  uint64_t aside_jobs_ = 0;
  uint64_t aside_bytes_ = 0;
  std::multimap<std::pair<MonoTime, uint64_t>, Slice> backing_off_;
  std::multimap<std::pair<WallTime, uint64_t>, Slice> by_wall_time_;
  std::map<uint64_t, IntervalSet> cancelled_;  // by stream
  uint64_t cancelled_count_ = 0;
  bool sweep_wanted_ = false;
  SweepState sweep_;
  uint64_t dropped_bytes_ = 0;
  uint64_t delay_count_ = 0;
  uint64_t ready_ = 0;
  uint64_t ready_bytes_ = 0;
  uint64_t sealed_jobs_ = 0;  // stopped ones as well
  uint64_t delayed_ = 0;
  uint64_t scheduled_ = 0;
  size_t records_ = 0;
  uint64_t packed_ = 0;  // jobs in packs
  uint64_t line_bytes_ = 0;
  uint64_t stored_jobs_ = 0;
  uint64_t stored_bytes_ = 0;
  uint64_t stored_ready_ = 0;
  uint64_t loading_bytes_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, Awaited> loading_;  // by stream and first job of the row
};

// The most starts of a job of `slice`.
uint32_t MaxAttempts(const Slice& slice, uint32_t default_max_attempts);
// The attempt that comes next, or is under way, is the last one.
bool IsLastAttempt(const Slice& slice, uint32_t default_max_attempts);

}  // namespace whippletree::core
