#include "producer/submit.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/cli.h"
#include "common/clock.h"
#include "common/printable.h"
#include "producer/interrupt.h"
#include "producer/outcome_writer.h"
#include "producer/progress.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-producer";

// Input read at a time: what it holds is submitted together, and at once.
constexpr size_t kPieceBytes = 64 << 10;
// How soon to try again when the library takes no more jobs. It has 100,000 of them then.
constexpr int kFullRetryMs = 5;
// For a broker that is away to be back, while jobs are to be cancelled.
constexpr Duration kAwayPatience = seconds(5);
constexpr Duration kLookInterval = milliseconds(20);

class Submission {
 public:
  explicit Submission(const SubmitOptions& options)
      : options_(options),
        start_(ReadClock().mono),
        terminal_(STDERR_FILENO, DrawsProgress(options)),
        meter_(start_),
        writer_(WriterOptions(), &terminal_) {}

  int Run() {
    if (!OpenInput()) return kExitMachine;
    if (const absl::Status status = Connect(); !status.ok()) {
      writer_.Finish();  // nobody waits for it any more
      terminal_.Print(Line(std::string(status.message())));
      return ExitCodeFor(status);
    }
    CatchSignals();
    {
      std::optional<Ticker> ticker;
      if (terminal_.drawn()) ticker.emplace([this] { DrawProgress(); });
      ReadInput();
      if (!other_input_) Wait();
    }
    return Finish();
  }

 private:
  static bool DrawsProgress(const SubmitOptions& options) {
    if (options.quiet || options.progress == ShowProgress::kOff) return false;
    if (options.progress == ShowProgress::kAlways) return true;
    const char* term = std::getenv("TERM");
    return isatty(STDERR_FILENO) && term != nullptr && std::string_view(term) != "dumb";
  }

  OutcomeWriter::Options WriterOptions() {
    OutcomeWriter::Options writer;
    writer.input_format = options_.format;
    writer.printer.format = options_.output;
    writer.printer.terminator = options_.format == InputFormat::kNul ? '\0' : '\n';
    writer.printer.ordered = options_.ordered;
    writer.print = !options_.no_wait;
    writer.program = kProgram;
    writer.on_write_error = [this](int error) {
      output_error_ = error;
      RaiseEvent();
    };
    return writer;
  }

  static std::string Line(std::string_view message) {
    return absl::StrCat(kProgram, ": ", Printable(message));
  }

  // Says something that is no error.
  void Note(std::string_view message) {
    if (!options_.quiet) terminal_.Print(Line(message));
  }

  // Whether to read and submit no more.
  bool Ended() const { return Signals() > 0 || output_error_ != 0 || !failure_.ok(); }

  bool OpenInput() {
    if (options_.file != "-") {
      input_ = open(options_.file.c_str(), O_RDONLY | O_CLOEXEC);
      if (input_ < 0) return InputFailed();
    }
    struct stat info {};
    if (fstat(input_, &info) != 0) return InputFailed();
    if (S_ISREG(info.st_mode)) input_bytes_total_ = static_cast<uint64_t>(info.st_size);
    if (isatty(input_)) {
      Note(options_.format == InputFormat::kNul
               ? "reading jobs from the terminal; Ctrl-D ends"
               : "reading jobs from the terminal, one a line; Ctrl-D ends");
    }
    return true;
  }

  // Says that the input cannot be read; `errno` says why.
  bool InputFailed() {
    const int error = errno;
    terminal_.Print(
        Line(absl::StrCat("cannot read ", options_.file == "-" ? "stdin" : Quoted(options_.file),
                          ": ", FileError(error))));
    input_failed_ = true;
    return false;
  }

  absl::Status Connect() {
    ProducerOptions producer;
    producer.broker = options_.broker;
    producer.name = options_.name;
    producer.connect_timeout = options_.connect_timeout;
    producer.delivered = [this] {
      // Killed, a named one is to be started again: what the broker forgets must have been written.
      if (!options_.name.empty()) return writer_.Flush();
      writer_.WriteSoon();
      return true;
    };
    // So that signals are heard while it takes no more: SubmitJobs() waits itself.
    producer.block = false;
    // That it connects at first is what everybody expects.
    producer.log = [this, first = true](std::string_view line) mutable {
      if (!first || line != "connected") Note(line);
      first = false;
    };
    absl::StatusOr<std::unique_ptr<Producer>> connected = Producer::Connect(std::move(producer));
    if (!connected.ok()) return connected.status();
    producer_ = *std::move(connected);
    producer_->WatchQueue(options_.queue);
    if (!options_.name.empty()) {
      const absl::StatusOr<uint64_t> first = producer_->OpenStream(
          options_.queue, [this](Outcome outcome) { writer_.Add(std::move(outcome)); }, &earlier_);
      if (!first.ok()) return first.status();
      first_ = *first;
      skip_ = first_ - 1;
    }
    if (options_.group) {
      producer_->OnFollowOn([this](Outcome outcome) { writer_.Add(std::move(outcome)); });
      const absl::StatusOr<uint64_t> group = producer_->OpenGroup();
      if (!group.ok()) return group.status();
      group_ = *group;
    }
    next_ = first_;
    if (skip_ > 0) {
      Note(absl::StrCat(
          "skipping the first ", WithCommas(skip_), " jobs of the input, which \"", options_.name,
          "\" has submitted before; outcomes of them to come: ", WithCommas(earlier_.unsettled)));
    }
    if (EarlierFailed() > 0) {
      OutcomeCounts ends;
      ends.dead = earlier_.dead;
      ends.cancelled = earlier_.cancelled;
      ends.expired = earlier_.expired;
      terminal_.Print(Line(absl::StrCat(
          "not all jobs that \"", options_.name, "\" has submitted before have completed",
          CountsText(ends), earlier_.dead > 0 ? "; see whippletree-broker dead list" : "")));
    }
    writer_.Start(first_);
    return absl::OkStatus();
  }

  uint64_t EarlierFailed() const { return earlier_.dead + earlier_.cancelled + earlier_.expired; }

  void ReadInput() {
    JobReader reader(
        {options_.format, producer_->payload_bytes_max(), options_.job_names, options_.defaults,
         options_.delay, options_.expires_in},
        [this](std::span<const std::string_view> payloads, std::span<const std::string_view> names,
               const JobOptions& options) { SubmitJobs(payloads, names, options); },
        [this](BadInput bad) {
          // What lies before a job that was submitted before has been told before.
          writer_.AddBadInput(std::move(bad), skip_ > 0 ? std::nullopt : std::optional(next_));
        });
    std::vector<char> piece(kPieceBytes);
    while (!Ended()) {
      if (!WaitReadable(input_, -1)) continue;
      const ssize_t n = read(input_, piece.data(), piece.size());
      if (n > 0) {
        input_bytes_read_ += static_cast<uint64_t>(n);
        reader.Add({piece.data(), static_cast<size_t>(n)}, ReadClock().wall);
      } else if (n == 0) {
        reader.End(ReadClock().wall);
        break;
      } else if (errno != EINTR && errno != EAGAIN) {
        InputFailed();
        break;
      }
    }
    if (skip_ > 0 && !Ended()) {
      RefuseInput(absl::StrCat("the input has ", WithCommas(skip_), skip_ == 1 ? " job" : " jobs",
                               " fewer than \"", options_.name, "\" has submitted before"));
    }
    input_ended_ = true;
  }

  // It is not that of which the first jobs were submitted before: nothing of it is.
  void RefuseInput(const std::string& why) {
    if (std::exchange(other_input_, true)) return;
    failure_ = absl::InvalidArgumentError(
        why + "; give the same input again, or another --name to submit all of it");
  }

  // Submits them together as soon as the library takes them, unless Ended().
  void SubmitJobs(std::span<const std::string_view> payloads,
                  std::span<const std::string_view> names, JobOptions options) {
    const uint64_t skipped = std::min<uint64_t>(skip_, payloads.size());
    if (skipped > 0) {
      const absl::Status same = producer_->SkipEarlier(
          options_.queue, payloads.first(skipped), names.empty() ? names : names.first(skipped));
      if (!same.ok()) return RefuseInput(std::string(same.message()));
    }
    skip_ -= skipped;
    payloads = payloads.subspan(skipped);
    if (!names.empty()) names = names.subspan(skipped);
    if (payloads.empty()) return;
    options.discard_outcome = options_.no_wait;
    options.group = group_;
    while (!Ended()) {
      const absl::StatusOr<uint64_t> first = producer_->SubmitMany(
          options_.queue, payloads, options,
          [this](Outcome outcome) { writer_.Add(std::move(outcome)); }, names);
      if (first.ok()) {
        next_ = *first + payloads.size();
        return;
      }
      if (first.status().code() != absl::StatusCode::kResourceExhausted) {
        failure_ = first.status();
        return;
      }
      WaitReadable(-1, kFullRetryMs);
    }
  }

  // Waits for what was submitted, or cancels it if the user or the output end it.
  void Wait() {
    std::atomic<bool> done = false;
    absl::Status status;
    std::thread waiter([&] {
      std::future<GroupEnd> end;
      status = CloseGroup(&end);
      if (status.ok()) {
        status = options_.no_wait ? producer_->WaitAccepted() : producer_->WaitOutcomes();
      }
      if (end.valid() && status.ok()) group_end_ = end.get();
      done = true;
      RaiseEvent();
    });
    while (!done && Signals() == 0 && output_error_ == 0) WaitEvent();
    if (!done) {
      TellOutputError();
      if (options_.no_wait || !options_.name.empty()) Leave();
      Note("cancelling the jobs that have no outcome yet (Ctrl-C leaves at once)");
      if (next_ > first_) producer_->Cancel(options_.queue, first_, next_ - first_);
      WaitForCancelled(done);
    }
    waiter.join();
    if (failure_.ok()) failure_ = status;
  }

  // A broker that is away does not answer.
  void WaitForCancelled(const std::atomic<bool>& done) {
    MonoTime give_up_at = ReadMonoClock() + kAwayPatience;
    while (!done) {
      const MonoTime now = ReadMonoClock();
      if (producer_->counts().connected) give_up_at = now + kAwayPatience;
      if (now >= give_up_at) {
        const Producer::Counts counts = producer_->counts();
        Note(absl::StrCat("the broker does not answer: what becomes of ",
                          WithCommas(counts.submitted - counts.settled),
                          " jobs is unknown, they may still run"));
        return producer_->StopWaiting();
      }
      std::this_thread::sleep_for(kLookInterval);
    }
  }

  // Before the outcomes are waited for: jobs of a group that is open may wait for others that could
  // fill their batch.
  absl::Status CloseGroup(std::future<GroupEnd>* end) {
    if (!options_.group) return absl::OkStatus();
    auto closed = producer_->CloseGroup(group_);
    if (!closed.ok()) return closed.status();
    *end = *std::move(closed);
    return absl::OkStatus();
  }

  // Tells it once, if there is one.
  void TellOutputError() {
    if (output_error_ == 0 || output_error_told_) return;
    output_error_told_ = true;
    terminal_.Print(
        Line(absl::StrCat("cannot write the outcomes to stdout: ", std::strerror(output_error_))));
  }

  // Ends the process without cancelling anything; outcomes that are here are written.
  [[noreturn]] void Leave() {
    const Producer::Counts counts = producer_->counts();
    Note(absl::StrCat(
        "interrupted: ", WithCommas(counts.accepted), " jobs were accepted and go on, ",
        WithCommas(counts.submitted - std::min(counts.accepted, counts.submitted)), " were not",
        options_.name.empty() ? ""
                              : "; the same --name with the same input goes on where this ended"));
    writer_.Finish();
    terminal_.Clear();
    // The library may be waiting for the broker: do not wait for it.
    std::_Exit(output_error_ != 0 ? kExitMachine : kExitInterrupted);
  }

  void DrawProgress() {
    const Producer::Counts counts = producer_->counts();
    ProgressSample sample;
    sample.submitted = counts.submitted + earlier_.unsettled;
    sample.done = options_.no_wait ? counts.accepted : counts.settled;
    sample.failed = writer_.counts().failed();
    sample.input_ended = input_ended_;
    sample.input_bytes_read = input_bytes_read_;
    sample.input_bytes_total = input_bytes_total_;
    sample.connected = counts.connected;
    sample.full = counts.full;
    sample.full_reason = counts.full_reason;
    sample.note = counts.note;
    if (const auto line = meter_.Line(ReadClock().mono, sample)) terminal_.Draw(*line);
  }

  int Finish() {
    const uint64_t accepted = producer_->counts().accepted;
    producer_.reset();  // jobs without an outcome become kUnknown here
    writer_.Finish();
    terminal_.Clear();
    OutcomeCounts counts = writer_.counts();
    const uint64_t submitted = next_ - first_;
    if (options_.no_wait) {
      counts.accepted = std::min(accepted, submitted) - std::min(accepted, counts.jobs());
    }
    if (counts.jobs() < submitted) counts.unknown += submitted - counts.jobs();

    const int code = Code(counts);
    TellOutputError();
    if (!failure_.ok()) terminal_.Print(Line(std::string(failure_.message())));
    if (!other_input_ && (isatty(STDERR_FILENO) || code != kExitOk || counts.repeated > 0)) {
      Note(Summary(counts, ReadClock().mono - start_));
    }
    if (group_end_) Note(Summary(*group_end_));
    return code;
  }

  int Code(const OutcomeCounts& counts) const {
    if (Signals() > 0) return kExitInterrupted;
    if (output_error_ != 0 || input_failed_) return kExitMachine;
    // A queue that the broker refuses rejects what was read until that was known, be it all or not.
    if (!failure_.ok() && counts.rejected == 0) return ExitCodeFor(failure_);
    const bool group_incomplete =
        group_end_ &&
        (!group_end_->status.ok() || group_end_->completed + counts.repeated != group_end_->jobs());
    return counts.failed() > 0 || EarlierFailed() > 0 || group_incomplete ? kExitIncomplete
                                                                          : kExitOk;
  }

  const SubmitOptions options_;
  const MonoTime start_;
  TerminalLine terminal_;
  ProgressMeter meter_;  // of the ticker
  OutcomeWriter writer_;
  std::unique_ptr<Producer> producer_;  // its thread calls writer_: ends before it

  int input_ = STDIN_FILENO;
  bool input_failed_ = false;
  bool output_error_told_ = false;
  bool other_input_ = false;  // than what was submitted before
  absl::Status failure_;      // why no more can be submitted or waited for
  uint64_t first_ = 1;        // number of the first job that this process submits
  uint64_t next_ = 1;         // … and of the one after its last
  uint64_t skip_ = 0;         // jobs at the front of the input that were submitted before
  Producer::Earlier earlier_;
  uint64_t group_ = 0;  // of the jobs; 0: none
  std::optional<GroupEnd> group_end_;

  // Read by the ticker.
  std::atomic<bool> input_ended_{false};
  std::atomic<uint64_t> input_bytes_read_{0};
  std::atomic<uint64_t> input_bytes_total_{0};
  // Set by the writer's thread.
  std::atomic<int> output_error_{0};
};

}  // namespace

int RunSubmit(const SubmitOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);  // a write fails with EPIPE instead
  return Submission(options).Run();
}

}  // namespace whippletree
