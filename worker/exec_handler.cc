#include "worker/exec_handler.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "common/printable.h"
#include "worker/child_process.h"
#include "worker/child_run.h"
#include "worker/exec_batch.h"

namespace whippletree {
namespace {

constexpr int kExitDataError = 65;       // EX_DATAERR of sysexits.h
constexpr int kExitTemporaryFault = 75;  // EX_TEMPFAIL
constexpr int kExitNotExecutable = 126;  // what shells use
constexpr int kExitNotFound = 127;

// Of descriptor 3: payloads, names of queues, tabs and newlines.
constexpr uint64_t kFollowOnInputBytesMax = 2 * kFollowOnBytesMax;

absl::Status WithErrors(absl::StatusCode code, std::string message, const ChildRunResult& result) {
  if (!result.errors.empty()) absl::StrAppend(&message, "; stderr: ", result.errors);
  return absl::Status(code, message);
}

// "11 (SIGSEGV)".
std::string SignalName(int number) {
  const char* abbreviation = sigabbrev_np(number);
  return abbreviation == nullptr ? absl::StrCat(number)
                                 : absl::StrCat(number, " (SIG", abbreviation, ")");
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
      : options_(std::move(options)), command_(options_.argv), guard_(guard) {}

  absl::StatusOr<std::string> RunJob(JobContext& context, std::string_view payload) const;
  BatchResults RunBatch(BatchContext& context, std::span<const std::string_view> payloads) const;

 private:
  // What the program is told of its job, or of the first one of its batch.
  struct About {
    std::string_view id;
    uint32_t attempt;
    size_t batch_size;
  };
  // Runs the program to its end. Its result and follow-on jobs, if it ended well.
  absl::StatusOr<ChildRunResult> Run(const About& about, std::string_view input,
                                     CallContext* context) const;
  absl::StatusOr<ChildRunResult> Outcome(ChildRunResult result, CallContext* context) const;

  const ExecOptions options_;
  const Command command_;
  ProcessGuard* const guard_;
};

absl::StatusOr<std::string> ExecHandler::RunJob(JobContext& context,
                                                std::string_view payload) const {
  absl::StatusOr<ChildRunResult> result =
      Run({context.id(), context.attempt(), 1}, payload, &context);
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
    absl::StatusOr<ChildRunResult> result =
        Run({context.id(first), context.attempt(first), batch.size()}, batch.input(), &context);
    if (!result.ok()) return result.status();
    absl::StatusOr<std::vector<std::string>> split =
        batch.SplitOutput(result->output, Printable(command_.name()));
    if (!split.ok()) return split.status();
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
  absl::StatusOr<ChildProcess> child =
      command_.Start({absl::StrCat("WHIPPLETREE_JOB_ID=", std::string(about.id)),
                      absl::StrCat("WHIPPLETREE_JOB_QUEUE=", context->queue()),
                      absl::StrCat("WHIPPLETREE_JOB_ATTEMPT=", about.attempt),
                      absl::StrCat("WHIPPLETREE_BATCH_SIZE=", about.batch_size),
                      absl::StrCat("WHIPPLETREE_FOLLOW_ON_FD=", Command::kFollowOnFd)},
                     &entry);
  if (!child.ok()) {
    if (absl::IsFailedPrecondition(child.status())) context->FailWorker(child.status());
    return absl::UnavailableError(child.status().message());
  }
  const EndWatch watch(context, wake.get());
  ChildRunResult result = RunToEnd(*std::move(child), &entry,
                                   {.input = input,
                                    .output_bytes_max = options_.result_bytes_max,
                                    .follow_on_bytes_max = kFollowOnInputBytesMax,
                                    .end_fd = wake.get(),
                                    .kill_grace = options_.kill_grace});
  return Outcome(std::move(result), context);
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
      const Duration delay = RetryAfterIn(result.errors);
      if (delay == Duration(0)) return failed;
      return RetryAfter(delay, std::string(failed.message()));
    }
    case kExitNotExecutable:
    case kExitNotFound:
      break;
    default:
      return WithErrors(absl::StatusCode::kUnknown, ended, result);
  }
  const char* hint = code == kExitNotFound
                         ? " (command not found): install what it runs on this machine"
                         : " (not executable): make what it runs executable";
  const absl::Status why =
      WithErrors(absl::StatusCode::kFailedPrecondition, absl::StrCat(ended, hint), result);
  context->FailWorker(why);
  return absl::UnavailableError(why.message());
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
