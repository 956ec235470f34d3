// Formats outcomes for stdout, as they come or in the order of the input, and failures for stderr.
//
// Each input has one entry in the output, so that line n of the output belongs to line n of the
// input with `ordered`: a job without a result, and input that was no job, leave an empty one. As
// text, cancelled jobs have one only with `ordered` and another entry after it: who interrupts
// 100,000 jobs does not want to see as many empty lines. Follow-on jobs have no input: as text they
// have an entry only if they completed, with `ordered` after all others.
// Pure, not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "producer/job_reader.h"
#include "producer/producer.h"

namespace whippletree {

enum class OutputFormat { kText, kJsonLines };

class OutcomePrinter {
 public:
  struct Options {
    OutputFormat format = OutputFormat::kText;
    // Text only. '\n': entries are lines, and a newline that a result ends with is not doubled.
    // Another one ends each result as it is.
    char terminator = '\n';
    // By number, from `first_number` on; what is lower is printed as it comes. Else all is.
    bool ordered = false;
    uint64_t first_number = 1;
  };

  explicit OutcomePrinter(Options options);

  // Appends to `out` what can be printed now. An outcome that has to wait for its turn is held.
  void Add(const Outcome& outcome, std::string* out);
  // `before`: the number of the first job after the bad input. It must not have been added yet.
  void AddBadInput(const BadInput& bad, uint64_t before, std::string* out);
  // Appends what is held, in order, with no regard to what is missing.
  void End(std::string* out);

  // Entries held because of `ordered`.
  uint64_t held() const { return held_.size(); }

 private:
  bool HasNoEntry(const Outcome& outcome) const;
  void AppendText(const std::string& result, std::string* out) const;
  void Append(const Outcome& outcome, std::string* out) const;
  void Append(const BadInput& bad, std::string* out) const;
  void AddFollowOn(const Outcome& outcome, std::string* out);
  void AppendReady(std::string* out);
  void PayEmptyEntries(std::string* out);

  const Options options_;
  uint64_t next_;  // number of the job whose turn it is
  // Formatted, by number and, for bad input before that number, place in the input; a job is last.
  // Empty for a job without an entry.
  std::map<std::pair<uint64_t, uint64_t>, std::string> held_;
  std::string follow_ons_;  // what `ordered` prints last
  uint64_t bad_inputs_ = 0;
  uint64_t empty_entries_owed_ = 0;  // for cancelled jobs, due before the next entry
};

// One line without its end: "job 17 (3-17) dead after 3 attempts on w1: UNAVAILABLE: …"; of a
// follow-on job "follow-on job 8-3 of queue mail dead after …".
// REQUIRES: `outcome` is not completed.
std::string FailureLine(const Outcome& outcome);
// "line 7: …", with InputFormat::kNul "item 7: …".
std::string FailureLine(const BadInput& bad, InputFormat format);

}  // namespace whippletree
