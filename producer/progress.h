// What a person is told while jobs run, and at the end: counts, rate, time left.
// Pure and not thread-safe, but for TerminalLine, which is thread-safe, and Ticker, which is a
// thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "common/time.h"
#include "producer/producer.h"

namespace whippletree {

struct OutcomeCounts {
  uint64_t accepted = 0;  // nobody asked for the outcome
  uint64_t completed = 0;
  uint64_t dead = 0;
  uint64_t cancelled = 0;
  uint64_t expired = 0;
  uint64_t rejected = 0;
  uint64_t repeated = 0;  // another job has the name, and runs for it
  uint64_t unknown = 0;
  uint64_t bad_inputs = 0;  // never became jobs

  void Add(OutcomeKind kind);
  uint64_t jobs() const {
    return accepted + completed + dead + cancelled + expired + rejected + repeated + unknown;
  }
  // All that is not right, bad input included.
  uint64_t failed() const { return jobs() - accepted - completed - repeated + bad_inputs; }
};

// "1,234,567".
std::string WithCommas(uint64_t n);

// ": 998 completed, 2 dead", or nothing.
std::string CountsText(const OutcomeCounts& counts);

// "1,000 jobs in 3.2 s (312/s): 998 completed, 2 dead; 1 bad input".
std::string Summary(const OutcomeCounts& counts, Duration elapsed);

// "the group has ended: 12 jobs: 10 completed, 2 dead; some are missing: the broker restarted".
std::string Summary(const GroupEnd& end);

struct ProgressSample {
  uint64_t submitted = 0;
  uint64_t done = 0;
  uint64_t failed = 0;
  bool input_ended = false;
  // What of the input was read, to guess how many jobs there will be; 0: not known.
  uint64_t input_bytes_read = 0;
  uint64_t input_bytes_total = 0;
  bool connected = true;
  bool full = false;        // the queue takes no more for now
  std::string full_reason;  // why, if it is not its own capacity
  std::string note;         // what keeps jobs from being run; empty: nothing known
};

// Makes the progress line, with a rate of the last seconds.
class ProgressMeter {
 public:
  explicit ProgressMeter(MonoTime start) : start_(start) {}

  // Nullopt: too early, the line is drawn at most 5 times a second.
  std::optional<std::string> Line(MonoTime now, const ProgressSample& sample);

 private:
  struct Point {
    MonoTime time;
    uint64_t done;
  };
  double RatePerSecond(MonoTime now, uint64_t done);

  const MonoTime start_;
  MonoTime next_line_{};
  std::deque<Point> window_;
};

// Writes lines to a terminal below which a line that changes stands.
class TerminalLine {
 public:
  // `fd` stays open. With `drawn` false, Draw() does nothing.
  TerminalLine(int fd, bool drawn) : fd_(fd), drawn_(drawn) {}

  // Replaces the line at the bottom, cut to the width of the terminal.
  void Draw(std::string_view line);
  // Takes it away, until the next Draw().
  void Clear();
  // Runs `write`, which writes to the same terminal, while the line is away.
  void WithoutLine(const std::function<void()>& write);
  // Writes a line that stays.
  void Print(std::string_view line);

  bool drawn() const { return drawn_; }

 private:
  const int fd_;
  const bool drawn_;
  std::mutex mutex_;
  bool visible_ = false;  // guarded by mutex_
};

// Calls `draw` 5 times a second, on a thread of its own, until it is destroyed.
class Ticker {
 public:
  explicit Ticker(std::function<void()> draw);
  ~Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace whippletree
