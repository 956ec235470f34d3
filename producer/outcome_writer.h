// Takes outcomes from the library's thread and writes them, on a thread of its own, because whoever
// reads stdout may be slow and the library must not wait for a pipe.
//
// Memory is bounded: Add() blocks while too much waits to be written. The connection to the broker
// then rests, and goes on with nothing lost once the output is read again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "producer/job_reader.h"
#include "producer/outcome_printer.h"
#include "producer/producer.h"
#include "producer/progress.h"

namespace whippletree {

// Add(), AddBadInput(), WriteSoon(), counts() and Flush() are thread-safe; the rest is for one
// thread.
class OutcomeWriter {
 public:
  struct Options {
    InputFormat input_format = InputFormat::kLines;
    OutcomePrinter::Options printer;
    int fd = 1;
    bool print = true;  // false: only failures are told
    // Begins the lines about failures.
    std::string program;
    // Gets errno, once, when `fd` cannot be written any more; later outcomes are only counted.
    // Called by the writer's thread.
    std::function<void(int error)> on_write_error;
  };

  // Failures go to `messages`, which must outlive the writer.
  OutcomeWriter(Options options, TerminalLine* messages);
  ~OutcomeWriter();  // Finish()
  OutcomeWriter(const OutcomeWriter&) = delete;
  OutcomeWriter& operator=(const OutcomeWriter&) = delete;

  // Begins to write. Add() may have been called before; until then it does not block.
  // `first_number`: see OutcomePrinter::Options.
  void Start(uint64_t first_number);

  // Outcomes are gathered: they are written when there are many of them, or when WriteSoon(),
  // Flush() or Finish() is called. Bad input is told at once.
  void Add(Outcome&& outcome);
  // `before`: see OutcomePrinter; nullopt: it is told and counted, without an entry in the output.
  void AddBadInput(BadInput bad, std::optional<uint64_t> before);

  // Has what was added written, without waiting for it.
  void WriteSoon();

  // Without follow-on jobs.
  OutcomeCounts counts() const;

  // Blocks until all that was added before is written, but for what `ordered` holds back. False: it
  // could not be written, or the writer has finished.
  bool Flush();

  // Writes everything that was added, what `ordered` held back too, and ends the thread.
  void Finish();

 private:
  struct Bad {
    BadInput input;
    std::optional<uint64_t> before;
  };
  using Item = std::variant<Outcome, Bad>;

  void Push(Item&& item, uint64_t bytes);
  void Run();
  void Print(const Item& item, std::string* out);
  void Fail(std::string_view line);
  void Write(std::string_view bytes);

  const Options options_;
  TerminalLine* const messages_;
  const bool shares_terminal_;  // with the progress line

  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::condition_variable taken_;
  std::condition_variable written_;
  // Guarded by mutex_.
  std::vector<Item> items_;
  uint64_t items_bytes_ = 0;
  uint64_t items_added_ = 0;
  uint64_t items_written_ = 0;
  bool started_ = false;
  bool finishing_ = false;
  bool finished_ = false;
  bool lost_ = false;  // something could not be written
  OutcomeCounts counts_;

  // Of the thread.
  std::optional<OutcomePrinter> printer_;
  uint64_t failures_ = 0;
  bool write_failed_ = false;
  std::thread thread_;
};

}  // namespace whippletree
