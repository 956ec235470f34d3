#include "worker/exec_handler.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/printable.h"
#include "common/status.h"
#include "worker/child_process.h"
#include "worker/child_run.h"
#include "worker/exec_batch.h"

namespace whippletree {
namespace {

constexpr int kExitDataError = 65;       // EX_DATAERR of sysexits.h
constexpr int kExitTemporaryFault = 75;  // EX_TEMPFAIL
constexpr int kExitNotExecutable = 126;  // what shells use
constexpr int kExitNotFound = 127;

// How long a start is tried, and the pauses between: the first one, then twice as long.
constexpr Duration kStartPatience = seconds(2);
constexpr Duration kStartPause = milliseconds(50);

// Of descriptor 3: payloads, names of queues, tabs and newlines.
constexpr uint64_t kFollowOnInputBytesMax = 2 * kFollowOnBytesMax;

absl::Status WithErrors(absl::StatusCode code, std::string message, const ChildRunResult& result) {
  if (!result.errors.empty()) absl::StrAppend(&message, "; stderr: ", result.errors);
  ProgramEnd end;
  // One that was killed for what it did, or for the time it took, did not end by itself.
  if (!result.was_told_to_end && !result.wrote_too_much && !result.wrote_too_many_follow_ons) {
    const int status = result.wait_status;
    if (WIFEXITED(status)) end.exit_code = static_cast<uint32_t>(WEXITSTATUS(status));
    if (WIFSIGNALED(status)) end.signal = static_cast<uint32_t>(WTERMSIG(status));
  }
  return WithProgramEnd(absl::Status(code, message), end);
}

// "11 (SIGSEGV)".
std::string SignalName(int number) {
  const char* abbreviation = sigabbrev_np(number);
  return abbreviation == nullptr ? absl::StrCat(number)
                                 : absl::StrCat(number, " (SIG", abbreviation, ")");
}

// A file in memory with this content, to be read from its begin. Without a descriptor: errno says
// why.
Fd MakeFile(std::string_view content) {
  Fd file(memfd_create("whippletree-job-ids", MFD_CLOEXEC));
  while (file.get() >= 0 && !content.empty()) {
    const ssize_t size = write(file.get(), content.data(), content.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return Fd();
    content.remove_prefix(static_cast<size_t>(size));
  }
  if (file.get() >= 0) lseek(file.get(), 0, SEEK_SET);
  return file;
}

// Makes `fd`, an eventfd, readable when the job is to end, for as long as this lives.
class EndWatch {
 public:
  EndWatch(CallContext* context, int fd) : context_(context) {
    context->OnEnd([fd] { eventfd_write(fd, 1); });
  }
  ~EndWatch() { context_->OnEnd(nullptr); }
  EndWatch(const EndWatch&) = delete;
  EndWatch& operator=(const EndWatch&) = delete;

 private:
  CallContext* const context_;
};

// Lives as long as the handler's copies.
class ExecHandler {
 public:
  ExecHandler(ExecOptions options, ProcessGuard* guard)
      : options_(std::move(options)),
        command_(options_.argv, ProgramEnvironment(options_.environment)),
        guard_(guard) {}

  absl::StatusOr<std::string> RunJob(JobContext& context, std::string_view payload) const;
  BatchResults RunBatch(BatchContext& context, std::span<const std::string_view> payloads) const;

 private:
  // What the program is told of its job, or of the first one of its batch.
  struct About {
    std::string_view id;
    uint32_t attempt;
    size_t batch_size;
    std::string ids;  // of all, one a line; empty: it is a job by itself
  };
  // Runs the program to its end. Its result and follow-on jobs, if it ended well.
  absl::StatusOr<ChildRunResult> Run(const About& about, std::string_view input,
                                     CallContext* context) const;
  // Tries for a while. Else the jobs go back, or the worker ends.
  absl::StatusOr<ChildProcess> Start(const std::vector<std::string>& variables, int job_ids,
                                     ProcessGuard::Entry* entry, CallContext* context) const;
  absl::StatusOr<ChildRunResult> Outcome(ChildRunResult result, CallContext* context) const;

  const ExecOptions options_;
  const Command command_;
  ProcessGuard* const guard_;
  mutable std::atomic<bool> was_started_{false};
};

absl::StatusOr<std::string> ExecHandler::RunJob(JobContext& context,
                                                std::string_view payload) const {
  absl::StatusOr<ChildRunResult> result =
      Run({context.id(), context.attempt(), 1, {}}, payload, &context);
  if (!result.ok()) return result.status();
  const absl::Status status =
      ForEachFollowOn(result->follow_ons, [&](std::string_view queue, std::string_view follow_on) {
        return context.Submit(std::string(queue), follow_on);
      });
  if (!status.ok()) return status;
  return std::move(result->output);
}

BatchResults ExecHandler::RunBatch(BatchContext& context,
                                   std::span<const std::string_view> payloads) const {
  const ExecBatch batch(payloads, options_.separator);
  std::vector<std::string> outputs;
  absl::Status first_job;  // what becomes of it for its follow-on jobs
  if (batch.size() > 0) {
    const size_t first = batch.first();
    std::string ids;
    for (const size_t i : batch.taken()) absl::StrAppend(&ids, context.id(i), "\n");
    absl::StatusOr<ChildRunResult> result =
        Run({context.id(first), context.attempt(first), batch.size(), std::move(ids)},
            batch.input(), &context);
    if (!result.ok()) return result.status();
    absl::StatusOr<std::vector<std::string>> split =
        batch.SplitOutput(result->output, Printable(command_.name()));
    if (!split.ok() && options_.retry_wrong_count) return split.status();
    if (!split.ok()) return batch.Results(split.status());
    outputs = *std::move(split);
    first_job = ForEachFollowOn(result->follow_ons,
                                [&](std::string_view queue, std::string_view follow_on) {
                                  return context.Submit(std::string(queue), follow_on, {}, first);
                                });
  }
  std::vector<absl::StatusOr<std::string>> results = batch.Results(std::move(outputs));
  if (!first_job.ok()) results[batch.first()] = first_job;
  return results;
}

absl::StatusOr<ChildRunResult> ExecHandler::Run(const About& about, std::string_view input,
                                                CallContext* context) const {
  ProcessGuard::Entry entry;
  if (guard_ != nullptr) entry = guard_->Acquire();
  const absl::Status status = context->status();
  if (!status.ok()) return status;
  const Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake.get() < 0) {
    return absl::UnavailableError(absl::StrCat("cannot make an eventfd: ", strerror(errno)));
  }
  std::vector<std::string> variables = {
      absl::StrCat("WHIPPLETREE_JOB_ID=", std::string(about.id)),
      absl::StrCat("WHIPPLETREE_JOB_QUEUE=", context->queue()),
      absl::StrCat("WHIPPLETREE_JOB_ATTEMPT=", about.attempt),
      absl::StrCat("WHIPPLETREE_BATCH_SIZE=", about.batch_size),
      absl::StrCat("WHIPPLETREE_FOLLOW_ON_FD=", Command::kFollowOnFd)};
  Fd job_ids;
  if (!about.ids.empty()) {
    job_ids = MakeFile(about.ids);
    if (job_ids.get() < 0) {
      return absl::UnavailableError(absl::StrCat("cannot make a file of ids: ", strerror(errno)));
    }
    variables.push_back(absl::StrCat("WHIPPLETREE_JOB_IDS_FD=", Command::kJobIdsFd));
  }
  absl::StatusOr<ChildProcess> child = Start(variables, job_ids.get(), &entry, context);
  if (!child.ok()) return child.status();
  job_ids.Close();
  const EndWatch watch(context, wake.get());
  ChildRunResult result = RunToEnd(*std::move(child), &entry,
                                   {.input = input,
                                    .output_bytes_max = options_.result_bytes_max,
                                    .follow_on_bytes_max = kFollowOnInputBytesMax,
                                    .end_fd = wake.get(),
                                    .kill_grace = options_.kill_grace});
  return Outcome(std::move(result), context);
}

absl::StatusOr<ChildProcess> ExecHandler::Start(const std::vector<std::string>& variables,
                                                int job_ids, ProcessGuard::Entry* entry,
                                                CallContext* context) const {
  Duration waited{0};
  for (Duration pause = kStartPause;; pause *= 2) {
    absl::StatusOr<ChildProcess> child = command_.Start(variables, job_ids, entry);
    if (child.ok()) {
      was_started_ = true;
      return child;
    }
    const absl::Status not_started = absl::UnavailableError(child.status().message());
    if (absl::IsFailedPrecondition(child.status()) && !was_started_) {
      context->FailWorker(child.status());
      return not_started;
    }
    if (waited >= kStartPatience) {
      if (options_.on_not_started) options_.on_not_started(not_started);
      context->HandBack();
      return not_started;
    }
    if (absl::Status status = context->SleepFor(pause); !status.ok()) return status;
    waited += pause;
  }
}

absl::StatusOr<ChildRunResult> ExecHandler::Outcome(ChildRunResult result,
                                                    CallContext* context) const {
  const std::string name = Printable(command_.name());
  if (result.was_told_to_end) {
    const absl::Status status = context->status();
    return WithErrors(status.code(), std::string(status.message()), result);
  }
  if (result.wrote_too_much) {
    return WithErrors(
        absl::StatusCode::kOutOfRange,
        absl::StrCat(name, " wrote more than ", options_.result_bytes_max, " bytes of result"),
        result);
  }
  if (result.wrote_too_many_follow_ons) {
    return WithErrors(
        absl::StatusCode::kOutOfRange,
        absl::StrCat(name, " wrote more than ", kFollowOnInputBytesMax, " bytes of follow-on jobs"),
        result);
  }
  if (WIFSIGNALED(result.wait_status)) {
    return WithErrors(
        absl::StatusCode::kUnknown,
        absl::StrCat(name, " was killed by signal ", SignalName(WTERMSIG(result.wait_status))),
        result);
  }
  const int code = WEXITSTATUS(result.wait_status);
  if (code == 0) return result;
  const std::string ended = absl::StrCat(name, " ended with exit code ", code);
  switch (code) {
    case kExitDataError:
      return WithErrors(absl::StatusCode::kInvalidArgument, ended, result);
    case kExitTemporaryFault: {
      const absl::Status failed = WithErrors(absl::StatusCode::kUnavailable, ended, result);
      const RetryAfterLine line = RetryAfterIn(result.errors);
      if (!line.warning.empty() && options_.on_odd_line) {
        options_.on_odd_line(context->queue(), line.warning);
      }
      if (line.delay == Duration(0)) return failed;
      return WithProgramEnd(RetryAfter(line.delay, std::string(failed.message())),
                            ProgramEndOf(failed));
    }
    case kExitNotExecutable:
      return WithErrors(absl::StatusCode::kUnknown, ended + " (not executable)", result);
    case kExitNotFound:
      return WithErrors(absl::StatusCode::kUnknown, ended + " (command not found)", result);
    default:
      return WithErrors(absl::StatusCode::kUnknown, ended, result);
  }
}

}  // namespace

QueueHandlers MakeExecHandlers(ExecOptions options, ProcessGuard* guard) {
  signal(SIGPIPE, SIG_IGN);
  auto handler = std::make_shared<const ExecHandler>(std::move(options), guard);
  return {.job = [handler](JobContext& context,
                           std::string_view payload) { return handler->RunJob(context, payload); },
          .batch =
              [handler](BatchContext& context, std::span<const std::string_view> payloads) {
                return handler->RunBatch(context, payloads);
              }};
}

}  // namespace whippletree
