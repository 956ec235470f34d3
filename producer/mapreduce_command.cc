#include "producer/mapreduce_command.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "common/cli.h"
#include "common/clock.h"
#include "common/printable.h"
#include "producer/interrupt.h"
#include "producer/pipe_input.h"
#include "producer/progress.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-producer";

std::string Message(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

absl::Status WriteFailed() {
  return absl::UnavailableError(
      absl::StrCat("cannot write the results to stdout: ", std::strerror(errno)));
}

absl::Status Print(std::string_view key, std::string_view value) {
  for (const std::string_view part : {key, std::string_view("\t"), value, std::string_view("\n")}) {
    if (std::fwrite(part.data(), 1, part.size(), stdout) != part.size()) return WriteFailed();
  }
  return absl::OkStatus();
}

int CodeFor(const absl::Status& status, const MapReduceReport& report) {
  if (status.ok()) return kExitOk;
  if (Signals() > 0) return kExitInterrupted;
  // Jobs failed, or the texts do not fit into jobs.
  if (report.job_failed || absl::IsInvalidArgument(status)) return kExitIncomplete;
  // A file; the broker answered before.
  if (absl::IsUnavailable(status)) return kExitMachine;
  return ExitCodeFor(status);
}

// The text of `file`. A name with a typing error is told here, before anything runs.
absl::StatusOr<MapInput> InputFor(const std::string& file) {
  if (file == "-") return PipeInput(file);
  struct stat info {};
  if (stat(file.c_str(), &info) != 0 || access(file.c_str(), R_OK) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot read ", Quoted(file), ": ", FileError(errno)));
  }
  // What is no file can be opened once only, when its turn comes.
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return PipeInput(file);
  MapInput input = FileInput(file);
  if (auto text = input.open(); !text.ok()) return text.status();
  return input;
}

// Runs it in a thread of its own, so that signals are heard, and cancels its jobs when one comes.
absl::Status RunInterruptibly(Producer& producer, const std::vector<MapInput>& inputs,
                              const MapReduceCommandOptions& options, MapReduceReport* report) {
  MapReduceOptions mapreduce = options.mapreduce;
  mapreduce.stopped = [] { return Signals() > 0; };
  std::atomic<bool> done = false;
  absl::Status status;
  std::thread worker([&] {
    status = MapReduce(producer, inputs, mapreduce, Print, report);
    done = true;
    RaiseEvent();
  });
  for (bool cancelled = false; !done; WaitEvent()) {
    if (cancelled || Signals() == 0) continue;
    cancelled = true;
    if (!options.quiet) {
      PrintError(kProgram, "cancelling the jobs that have no outcome yet (Ctrl-C leaves at once)");
    }
    constexpr uint64_t kAll = uint64_t{1} << 60;
    producer.Cancel(mapreduce.map_queue, 1, kAll);
    producer.Cancel(mapreduce.reduce_queue, 1, kAll);
  }
  worker.join();
  return status;
}

}  // namespace

int RunMapReduce(const MapReduceCommandOptions& options) {
  const MonoTime start = ReadClock().mono;
  std::signal(SIGPIPE, SIG_IGN);  // a write fails with EPIPE instead
  std::vector<MapInput> inputs;
  for (const std::string& file : options.files) {
    absl::StatusOr<MapInput> input = InputFor(file);
    if (!input.ok()) {
      PrintError(kProgram, Message(input.status()));
      return kExitMachine;
    }
    inputs.push_back(*std::move(input));
  }
  ProducerOptions producer_options;
  producer_options.broker = options.broker;
  producer_options.connect_timeout = options.connect_timeout;
  producer_options.log = [first = true, quiet = options.quiet](std::string_view line) mutable {
    if (!quiet && (!first || line != "connected")) PrintError(kProgram, line);
    first = false;
  };
  auto producer = Producer::Connect(std::move(producer_options));
  if (!producer.ok()) {
    PrintError(kProgram, Message(producer.status()));
    return ExitCodeFor(producer.status());
  }
  (*producer)->WatchQueue(options.mapreduce.map_queue);
  (*producer)->WatchQueue(options.mapreduce.reduce_queue);
  CatchSignals();
  MapReduceReport report;
  absl::Status status = RunInterruptibly(**producer, inputs, options, &report);
  if (status.ok() && std::fflush(stdout) != 0) status = WriteFailed();
  if (!status.ok()) {
    PrintError(kProgram, Message(status));
  } else if (isatty(STDERR_FILENO) && !options.quiet) {
    const double elapsed = std::chrono::duration<double>(ReadClock().mono - start).count();
    PrintError(kProgram, absl::StrCat(WithCommas(report.map_jobs), " map and ",
                                      WithCommas(report.reduce_jobs), " reduce jobs in ",
                                      absl::StrFormat("%.1f s", elapsed)));
  }
  return CodeFor(status, report);
}

}  // namespace whippletree
