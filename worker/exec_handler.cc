#include "worker/exec_handler.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <memory>
#include <utility>

#include "common/printable.h"
#include "worker/child_process.h"
#include "worker/child_run.h"

namespace whippletree {
namespace {

constexpr int kExitDataError = 65;       // EX_DATAERR of sysexits.h
constexpr int kExitTemporaryFault = 75;  // EX_TEMPFAIL
constexpr int kExitNotExecutable = 126;  // what shells use
constexpr int kExitNotFound = 127;

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
  EndWatch(JobContext* context, int fd) : context_(context) {
    context->OnEnd([fd] { eventfd_write(fd, 1); });
  }
  ~EndWatch() { context_->OnEnd(nullptr); }
  EndWatch(const EndWatch&) = delete;
  EndWatch& operator=(const EndWatch&) = delete;

 private:
  JobContext* const context_;
};

// Lives as long as the handler's copies.
class ExecHandler {
 public:
  ExecHandler(ExecOptions options, ProcessGuard* guard)
      : options_(std::move(options)), command_(options_.argv), guard_(guard) {}

  absl::StatusOr<std::string> Run(JobContext& context, std::string_view payload) const;

 private:
  absl::StatusOr<std::string> Outcome(ChildRunResult result, JobContext* context) const;

  const ExecOptions options_;
  const Command command_;
  ProcessGuard* const guard_;
};

absl::StatusOr<std::string> ExecHandler::Run(JobContext& context, std::string_view payload) const {
  ProcessGuard::Entry entry;
  if (guard_ != nullptr) entry = guard_->Acquire();
  const absl::Status status = context.status();
  if (!status.ok()) return status;
  const Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake.get() < 0) {
    return absl::UnavailableError(absl::StrCat("cannot make an eventfd: ", strerror(errno)));
  }
  absl::StatusOr<ChildProcess> child =
      command_.Start({absl::StrCat("WHIPPLETREE_JOB_ID=", context.id()),
                      absl::StrCat("WHIPPLETREE_JOB_QUEUE=", context.queue()),
                      absl::StrCat("WHIPPLETREE_JOB_ATTEMPT=", context.attempt())},
                     &entry);
  if (!child.ok()) {
    if (absl::IsFailedPrecondition(child.status())) context.FailWorker(child.status());
    return absl::UnavailableError(child.status().message());
  }
  const EndWatch watch(&context, wake.get());
  ChildRunResult result = RunToEnd(*std::move(child), &entry,
                                   {.input = payload,
                                    .output_bytes_max = options_.result_bytes_max,
                                    .end_fd = wake.get(),
                                    .kill_grace = options_.kill_grace});
  return Outcome(std::move(result), &context);
}

absl::StatusOr<std::string> ExecHandler::Outcome(ChildRunResult result, JobContext* context) const {
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
  if (WIFSIGNALED(result.wait_status)) {
    return WithErrors(
        absl::StatusCode::kUnknown,
        absl::StrCat(name, " was killed by signal ", SignalName(WTERMSIG(result.wait_status))),
        result);
  }
  const int code = WEXITSTATUS(result.wait_status);
  if (code == 0) return std::move(result.output);
  const std::string ended = absl::StrCat(name, " ended with exit code ", code);
  switch (code) {
    case kExitDataError:
      return WithErrors(absl::StatusCode::kInvalidArgument, ended, result);
    case kExitTemporaryFault:
      return WithErrors(absl::StatusCode::kUnavailable, ended, result);
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

Handler MakeExecHandler(ExecOptions options, ProcessGuard* guard) {
  signal(SIGPIPE, SIG_IGN);
  auto handler = std::make_shared<const ExecHandler>(std::move(options), guard);
  return [handler](JobContext& context, std::string_view payload) {
    return handler->Run(context, payload);
  };
}

}  // namespace whippletree
