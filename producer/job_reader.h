// Cuts input into jobs: lines, NUL-terminated items, or JSON lines like
//
//   {"payload": "text", "name": "order 815", "key": "customer 7", "timeout": "5s",
//    "max_attempts": 3, "delay": "10s", "expires_in": "5m"}
//
// With names, lines and items begin with the job's name and a tab.
// Input comes in pieces of any size; what is held is one unfinished line. Bad input is told apart,
// with its line and what was expected, and the rest goes on. Pure, not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "producer/producer.h"

namespace whippletree {

enum class InputFormat { kLines, kNul, kJsonLines };

// What a job's timeout may be: the protocol counts milliseconds in 32 bits.
inline constexpr Duration kTimeoutMin = milliseconds(1);
inline constexpr Duration kTimeoutMax = std::chrono::hours(1000);

// Sets when a job may be started and when it expires: `delay` and `expires_in` after `now`, where 0
// means none.
void SetTimes(WallTime now, Duration delay, Duration expires_in, JobOptions* options);

struct BadInput {
  uint64_t line = 0;    // from 1; with kNul: the item
  std::string message;  // what is wrong and what was expected, without the line
};

class JobReader {
 public:
  struct Options {
    InputFormat format = InputFormat::kLines;
    uint64_t payload_bytes_max = 0;  // larger ones are bad input
    // Each job has a name; else only JSON lines that say one.
    bool names = false;
    // For what a job does not say itself; not_before and expires_at come from `delay` and
    // `expires_in`.
    JobOptions defaults;
    Duration delay{0};       // not started before that has passed
    Duration expires_in{0};  // expires if it still waits then; 0: never
  };

  // Jobs in the order of the input, bad input between them in its place. `names` has one for each
  // of them, or nothing. Payloads and names are valid during the call only.
  using OnJobs =
      std::function<void(std::span<const std::string_view> payloads,
                         std::span<const std::string_view> names, const JobOptions& options)>;
  using OnBadInput = std::function<void(BadInput bad)>;

  // REQUIRES: `on_jobs` and `on_bad_input` do not call this reader.
  JobReader(Options options, OnJobs on_jobs, OnBadInput on_bad_input);

  // Takes the next piece of the input, which was read at `now`: delays and expiries count from
  // there. Jobs that end in it are reported before the return, as many at a time as share their
  // options.
  void Add(std::string_view piece, WallTime now);

  // The input has ended: what is left is a job too, even though nothing terminates it.
  void End(WallTime now);

 private:
  void Keep(std::string_view part);
  void FinishLine(std::string_view line);
  void FinishJson(std::string_view line);
  void FinishNamed(std::string_view line);
  void Gather(std::string_view payload, std::string_view name);
  void Refuse(std::string message);
  void Flush();
  void SetNow(WallTime now);

  const Options options_;
  const char terminator_;
  const size_t line_bytes_max_;  // without the terminator
  const OnJobs on_jobs_;
  const OnBadInput on_bad_input_;

  uint64_t line_ = 1;   // the one that the next byte belongs to
  std::string begun_;   // of that line, from earlier pieces
  size_t skipped_ = 0;  // bytes of that line if it is too long; it is not kept then

  WallTime now_{};

  // Jobs not reported yet, all with gathered_options_.
  std::vector<std::string_view> gathered_;
  std::vector<std::string_view> names_;  // of these
  bool any_name_ = false;
  JobOptions gathered_options_;
  std::deque<std::string> decoded_;  // owns what of these is not in the input as it is
};

}  // namespace whippletree
