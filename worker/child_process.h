// Starts a program: no shell, pipes for its standard streams and for descriptor 3, a session of its
// own.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/process_guard.h"

namespace whippletree {

// Owns a file descriptor; -1: none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { Close(); }

  int get() const { return fd_; }
  void Close();

 private:
  int fd_ = -1;
};

struct ChildProcess {
  // Also the number of its process group and session. It has to be waited for.
  pid_t pid = -1;
  // This process's ends, which do not block. `follow_on` is what it writes to descriptor 3.
  Fd in, out, err, follow_on;
  // Readable once the process has ended; none where the system has no pidfd (Linux before 5.3).
  Fd ended;
};

// A command and where to look for it. Thread-safe.
class Command {
 public:
  static constexpr int kFollowOnFd = 3;
  static constexpr int kJobIdsFd = 4;
  // Descriptors of this process that a program takes at most: the two ends of five pipes and a file
  // while it is started; then half of that.
  static constexpr uint32_t kDescriptors = 11;

  // `environment`: as NAME=VALUE, what it gets. Reads PATH of this process. REQUIRES:
  // !argv.empty(), and that 0, 1 and 2 are open.
  explicit Command(std::vector<std::string> argv, std::vector<std::string> environment = {});

  const std::string& name() const { return argv_[0]; }

  // FAILED_PRECONDITION, as from Start(), if the command is not there or not executable.
  absl::Status Check() const;

  // Starts the command. `variables` are NAME=VALUE, added to its environment, which has none of
  // these names. `job_ids`, unless -1, becomes its descriptor 4. The process has no terminal,
  // default signal handlers, none blocked, the limit of descriptors that this one was started
  // with, enters its group into `entry` before it runs, and
  // is killed when the calling thread ends. Takes as long as the new process takes to call exec.
  // Errors: FAILED_PRECONDITION: the command cannot be run here, ever; the message says what to do.
  // UNAVAILABLE: not now (no process, memory or descriptor left).
  absl::StatusOr<ChildProcess> Start(const std::vector<std::string>& variables, int job_ids,
                                     ProcessGuard::Entry* entry) const;

 private:
  absl::Status RunError(int error) const;

  const std::vector<std::string> argv_;
  const std::vector<std::string> environment_;
  const std::vector<std::string> paths_;  // to try in turn
};

}  // namespace whippletree
