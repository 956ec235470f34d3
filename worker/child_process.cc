#include "worker/child_process.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/printable.h"

namespace whippletree {
namespace {

struct Pipe {
  Fd read, write;
};

// Both ends are above the descriptors that the child is given, so that none takes another's place.
bool MakePipe(Pipe* made) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return false;
  *made = {Fd(fds[0]), Fd(fds[1])};
  for (Fd* fd : {&made->read, &made->write}) {
    if (fd->get() > Command::kJobIdsFd) continue;
    Fd above(fcntl(fd->get(), F_DUPFD_CLOEXEC, Command::kJobIdsFd + 1));
    if (above.get() < 0) return false;
    *fd = std::move(above);
  }
  return true;
}

void SetNonBlocking(const Fd& fd) { WT_CHECK(fcntl(fd.get(), F_SETFL, O_NONBLOCK) == 0); }

// What execvp would try.
std::vector<std::string> Candidates(const std::string& command) {
  if (absl::StrContains(command, "/")) return {command};
  const char* path = std::getenv("PATH");
  const std::vector<std::string> directories =
      absl::StrSplit(path == nullptr ? "/bin:/usr/bin" : path, ':');
  std::vector<std::string> candidates;
  for (const std::string& directory : directories) {
    candidates.push_back(directory.empty() ? command : absl::StrCat(directory, "/", command));
  }
  return candidates;
}

bool IsTransient(int error) {
  return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE ||
         error == ETXTBSY || error == EINTR || error == EIO;
}

// All that the child needs, made before it exists.
struct Plan {
  std::vector<char*> argv;
  std::vector<char*> environment;
  std::vector<const char*> paths;
  int in, out, err, follow_on;  // its ends
  int job_ids;                  // -1: none
  int report;                   // where to write the errno
  pid_t parent;
  rlimit descriptors;
  ProcessGuard::Entry* entry;
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  return pointers;
}

// The child, between vfork and exec: it runs on this process's memory while the thread that made it
// waits, with all signals blocked, and may only make async-signal-safe calls.
[[noreturn]] void RunChild(const Plan& plan) {
  setsid();
  if (plan.entry != nullptr) plan.entry->Set(getpid());
  // The worker may have died before the call: then nobody waits for this process.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != plan.parent) _exit(127);
  dup2(plan.in, STDIN_FILENO);
  dup2(plan.out, STDOUT_FILENO);
  dup2(plan.err, STDERR_FILENO);
  dup2(plan.follow_on, Command::kFollowOnFd);
  // Not before the others: it may have the number of one of these, and theirs are all above.
  if (plan.job_ids == Command::kJobIdsFd) fcntl(plan.job_ids, F_SETFD, 0);
  if (plan.job_ids >= 0) dup2(plan.job_ids, Command::kJobIdsFd);
  setrlimit(RLIMIT_NOFILE, &plan.descriptors);
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &by_default, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);

  int error = ENOENT;
  for (const char* path : plan.paths) {
    execve(path, plan.argv.data(), plan.environment.data());
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (error != EACCES) break;
  }
  [[maybe_unused]] const ssize_t written = write(plan.report, &error, sizeof error);
  _exit(127);
}

// Alone in a function of its own, as vfork(2) asks: nothing here changes after the call.
[[gnu::noinline]] pid_t VforkChild(const Plan& plan) {
  const pid_t pid = vfork();
  if (pid == 0) RunChild(plan);
  return pid;
}

// Returns -1 with errno set if there is no new process.
pid_t StartChild(const Plan& plan) {
  // A handler of this process must not run in the child.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = VforkChild(plan);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

}  // namespace

void Fd::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Command::Command(std::vector<std::string> argv, std::vector<std::string> environment)
    : argv_(std::move(argv)),
      environment_(std::move(environment)),
      paths_(Candidates(argv_.at(0))) {}

absl::Status Command::Check() const {
  int error = ENOENT;
  for (const std::string& path : paths_) {
    struct stat file;
    if (stat(path.c_str(), &file) != 0) continue;
    if (S_ISREG(file.st_mode) && access(path.c_str(), X_OK) == 0) return absl::OkStatus();
    error = EACCES;
  }
  return RunError(error);
}

absl::StatusOr<ChildProcess> Command::Start(const std::vector<std::string>& variables, int job_ids,
                                            ProcessGuard::Entry* entry) const {
  Pipe in, out, err, follow_on, report;
  if (!MakePipe(&in) || !MakePipe(&out) || !MakePipe(&err) || !MakePipe(&follow_on) ||
      !MakePipe(&report)) {
    return RunError(errno);
  }
  SetNonBlocking(in.write);
  SetNonBlocking(out.read);
  SetNonBlocking(err.read);
  SetNonBlocking(follow_on.read);

  Plan plan;
  plan.argv = Pointers(argv_);
  plan.argv.push_back(nullptr);
  plan.environment = Pointers(environment_);
  for (char* variable : Pointers(variables)) plan.environment.push_back(variable);
  plan.environment.push_back(nullptr);
  for (const std::string& path : paths_) plan.paths.push_back(path.c_str());
  plan.in = in.read.get();
  plan.out = out.write.get();
  plan.err = err.write.get();
  plan.follow_on = follow_on.write.get();
  plan.job_ids = job_ids;
  plan.report = report.write.get();
  plan.parent = getpid();
  getrlimit(RLIMIT_NOFILE, &plan.descriptors);
  plan.descriptors.rlim_cur = InheritedDescriptorLimit();
  plan.entry = entry;

  ChildProcess child;
  child.pid = StartChild(plan);
  if (child.pid < 0) return RunError(errno);
  report.write.Close();
  int error = 0;
  ssize_t size;
  while ((size = read(report.read.get(), &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (size == sizeof error) {
    if (entry != nullptr) entry->Clear();
    while (waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return RunError(error);
  }
  child.in = std::move(in.write);
  child.out = std::move(out.read);
  child.err = std::move(err.read);
  child.follow_on = std::move(follow_on.read);
  child.ended = Fd(static_cast<int>(syscall(SYS_pidfd_open, child.pid, 0)));
  return child;
}

absl::Status Command::RunError(int error) const {
  const std::string what = absl::StrCat("cannot run ", Quoted(name()), ": ");
  if (IsTransient(error)) return absl::UnavailableError(absl::StrCat(what, strerror(error)));
  const bool is_path = absl::StrContains(name(), "/");
  std::string why;
  if (error == ENOENT && is_path) {
    why = "there is no such file, or the interpreter that its first line names is missing";
  } else if (error == ENOENT) {
    why = "command not found; install it on this machine or give its full path";
    if (argv_[0].find_first_of(" \t") != std::string::npos) {
      why =
          "command not found; give the program and its arguments without quotes around them all "
          "(--exec tr a-z A-Z), or a command line to a shell (--exec sh -c '...')";
    }
  } else if (error == EACCES) {
    why = "it is not an executable file; try chmod +x";
  } else if (error == ENOEXEC) {
    why = "this machine cannot execute it; a script needs a first line such as #!/bin/sh";
  } else {
    why = strerror(error);
  }
  return absl::FailedPreconditionError(absl::StrCat(what, why));
}

}  // namespace whippletree
