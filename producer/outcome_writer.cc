#include "producer/outcome_writer.h"

#include <absl/strings/str_cat.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace whippletree {
namespace {

constexpr uint64_t kWaitingBytesMax = 32 << 20;
constexpr uint64_t kManyBytes = 256 << 10;  // worth a wake-up of the thread
constexpr uint64_t kItemBytes = 200;        // what an outcome takes beside its result
constexpr size_t kWriteBytes = 64 << 10;
constexpr uint64_t kFailuresToldMax = 20;

}  // namespace

OutcomeWriter::OutcomeWriter(Options options, TerminalLine* messages)
    : options_(std::move(options)),
      messages_(messages),
      shares_terminal_(messages->drawn() && isatty(options_.fd)) {}

OutcomeWriter::~OutcomeWriter() { Finish(); }

void OutcomeWriter::Start(uint64_t first_number) {
  OutcomePrinter::Options printer = options_.printer;
  printer.first_number = first_number;
  printer_.emplace(printer);
  {
    const std::lock_guard lock(mutex_);
    started_ = true;
  }
  thread_ = std::thread([this] { Run(); });
}

void OutcomeWriter::Add(Outcome&& outcome) {
  const uint64_t bytes = kItemBytes + outcome.result.size();
  Push(std::move(outcome), bytes);
}

void OutcomeWriter::AddBadInput(BadInput bad, std::optional<uint64_t> before) {
  Push(Bad{std::move(bad), before}, kItemBytes);
  WriteSoon();
}

void OutcomeWriter::WriteSoon() { added_.notify_one(); }

void OutcomeWriter::Push(Item&& item, uint64_t bytes) {
  std::unique_lock lock(mutex_);
  taken_.wait(lock, [&] { return !started_ || items_.empty() || items_bytes_ < kWaitingBytesMax; });
  if (const Outcome* outcome = std::get_if<Outcome>(&item)) {
    if (!outcome->follow_on) counts_.Add(outcome->kind);
  } else {
    ++counts_.bad_inputs;
  }
  items_.push_back(std::move(item));
  if (items_bytes_ < kManyBytes && items_bytes_ + bytes >= kManyBytes) added_.notify_one();
  items_bytes_ += bytes;
  ++items_added_;
}

bool OutcomeWriter::Flush() {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = items_added_;
  added_.notify_one();
  written_.wait(lock, [&] { return items_written_ >= wanted || finished_; });
  return items_written_ >= wanted && !lost_;
}

OutcomeCounts OutcomeWriter::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void OutcomeWriter::Finish() {
  {
    const std::lock_guard lock(mutex_);
    finishing_ = true;
  }
  added_.notify_one();
  if (thread_.joinable()) thread_.join();
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  written_.notify_all();
}

void OutcomeWriter::Run() {
  std::vector<Item> items;
  std::string out;
  for (bool last = false; !last;) {
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [&] { return !items_.empty() || finishing_; });
      last = items_.empty();
      items.clear();
      items.swap(items_);
      items_bytes_ = 0;
    }
    taken_.notify_all();
    for (const Item& item : items) {
      Print(item, &out);
      if (out.size() < kWriteBytes) continue;
      Write(out);
      out.clear();
    }
    if (last) printer_->End(&out);
    Write(out);
    out.clear();
    {
      const std::lock_guard lock(mutex_);
      items_written_ += items.size();
      lost_ = write_failed_;
    }
    written_.notify_all();
  }
  if (failures_ > kFailuresToldMax) {
    messages_->Print(absl::StrCat(options_.program, ": ", WithCommas(failures_ - kFailuresToldMax),
                                  " more failed, not shown"));
  }
}

void OutcomeWriter::Print(const Item& item, std::string* out) {
  if (const Bad* bad = std::get_if<Bad>(&item)) {
    Fail(FailureLine(bad->input, options_.input_format));
    if (options_.print && bad->before) printer_->AddBadInput(bad->input, *bad->before, out);
    return;
  }
  const Outcome& outcome = std::get<Outcome>(item);
  // A job is cancelled only because the user asked for it; of a repeated one another runs.
  const bool failed = outcome.kind != OutcomeKind::kCompleted &&
                      outcome.kind != OutcomeKind::kCancelled &&
                      outcome.kind != OutcomeKind::kRepeated;
  if (failed) Fail(FailureLine(outcome));
  if (options_.print) printer_->Add(outcome, out);
}

void OutcomeWriter::Fail(std::string_view line) {
  if (++failures_ > kFailuresToldMax) return;
  messages_->Print(absl::StrCat(options_.program, ": ", std::string(line)));
}

void OutcomeWriter::Write(std::string_view bytes) {
  if (bytes.empty() || write_failed_) return;
  int error = 0;
  const auto write_all = [&] {
    while (!bytes.empty() && error == 0) {
      const ssize_t n = write(options_.fd, bytes.data(), bytes.size());
      if (n >= 0) {
        bytes.remove_prefix(static_cast<size_t>(n));
      } else if (errno == EAGAIN) {  // somebody who shares the terminal may have set O_NONBLOCK
        pollfd ready = {options_.fd, POLLOUT, 0};
        poll(&ready, 1, -1);
      } else if (errno != EINTR) {
        error = errno;
      }
    }
  };
  if (shares_terminal_) {
    messages_->WithoutLine(write_all);
  } else {
    write_all();
  }
  if (error == 0) return;
  write_failed_ = true;
  if (options_.on_write_error) options_.on_write_error(error);
}

}  // namespace whippletree
