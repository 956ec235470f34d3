#include "worker/process_guard.h"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "common/check.h"

namespace whippletree {
namespace {

// A program that was being started when the worker died enters itself into the table a moment
// later: the guard looks for that long.
constexpr int kSweeps = 20;
constexpr timespec kSweepInterval = {.tv_sec = 0, .tv_nsec = 5'000'000};

constexpr char kTitle[] = "whippletree-guard";

absl::Status SystemError(const char* what) {
  return absl::ResourceExhaustedError(
      absl::StrCat("cannot start the process guard: ", what, ": ", strerror(errno)));
}

void CloseRange(unsigned first, unsigned last) {
  if (first > last || syscall(SYS_close_range, first, last, 0) == 0) return;
  for (unsigned fd = first; fd <= std::min(last, 65'535u); ++fd) close(static_cast<int>(fd));
}

// Renames this process for ps and pkill, which otherwise show it as a second worker. The kernel
// shows the memory of the arguments as the command line; where that is, /proc says.
void SetTitle() {
  prctl(PR_SET_NAME, kTitle);
  char text[1024];
  const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size <= 0) return;
  text[size] = '\0';
  // Fields 48 and 49; the second one is in brackets and may hold anything.
  const char* at = strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 48; ++field) {
    at = strchr(at, ' ');
    if (at != nullptr) ++at;
  }
  if (at == nullptr) return;
  char* end = nullptr;
  const uintptr_t begin_address = strtoull(at, &end, 10);
  const uintptr_t end_address = strtoull(end, nullptr, 10);
  if (begin_address == 0 || end_address <= begin_address) return;
  char* arguments = reinterpret_cast<char*>(begin_address);
  const size_t size_max = end_address - begin_address;
  memset(arguments, 0, size_max);
  memcpy(arguments, kTitle, std::min(size_max, sizeof kTitle) - 1);
}

}  // namespace

ProcessGuard::Entry::Entry(Entry&& other) noexcept
    : guard_(std::exchange(other.guard_, nullptr)), index_(other.index_) {}

ProcessGuard::Entry& ProcessGuard::Entry::operator=(Entry&& other) noexcept {
  std::swap(guard_, other.guard_);
  std::swap(index_, other.index_);
  return *this;
}

void ProcessGuard::Entry::Set(pid_t process_group) {
  if (guard_ != nullptr) guard_->table_[index_].store(process_group);
}

void ProcessGuard::Entry::Release() {
  if (guard_ == nullptr) return;
  Clear();
  {
    std::unique_lock lock(guard_->mutex_);
    guard_->free_.push_back(index_);
  }
  guard_->released_.notify_one();
  guard_ = nullptr;
}

absl::StatusOr<std::unique_ptr<ProcessGuard>> ProcessGuard::Start(uint32_t groups_max) {
  WT_CHECK(groups_max > 0);
  void* memory = mmap(nullptr, groups_max * sizeof(SharedPid), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return SystemError("mmap");
  auto* table = static_cast<SharedPid*>(memory);
  for (uint32_t i = 0; i < groups_max; ++i) new (&table[i]) SharedPid(0);
  std::unique_ptr<ProcessGuard> guard(new ProcessGuard(table, groups_max));
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SystemError("pipe");
  guard->pipe_fd_ = fds[1];
  // Allocated here: the guard allocates nothing, so that the worker may have threads after all.
  std::vector<pid_t> killed(groups_max, 0);
  // All signals are blocked from the guard's first moment on: a Ctrl-C goes to both processes.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  guard->pid_ = fork();
  if (guard->pid_ == 0) guard->RunGuard(fds[0], &killed);
  const int fork_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  close(fds[0]);
  errno = fork_errno;
  if (guard->pid_ < 0) return SystemError("fork");
  return guard;
}

ProcessGuard::ProcessGuard(SharedPid* table, uint32_t groups_max)
    : table_(table), groups_max_(groups_max), free_(groups_max) {
  std::iota(free_.begin(), free_.end(), 0u);
}

ProcessGuard::~ProcessGuard() {
  WT_CHECK(free_.size() == groups_max_);
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (pipe_fd_ >= 0) close(pipe_fd_);
  munmap(table_, groups_max_ * sizeof(SharedPid));
}

ProcessGuard::Entry ProcessGuard::Acquire() {
  std::unique_lock lock(mutex_);
  released_.wait(lock, [this] { return !free_.empty(); });
  const uint32_t index = free_.back();
  free_.pop_back();
  return Entry(this, index);
}

// The guard process. Neither a terminal nor a signal to the worker's group may end it before the
// worker, and it must keep nothing open that others wait for the end of.
// REQUIRES: all signals are blocked.
void ProcessGuard::RunGuard(int pipe_fd, std::vector<pid_t>* killed) {
  setsid();
  if (pipe_fd > 0) CloseRange(0, static_cast<unsigned>(pipe_fd) - 1);
  CloseRange(static_cast<unsigned>(pipe_fd) + 1, ~0u);
  if (chdir("/") != 0) _exit(1);
  SetTitle();

  char byte;
  while (read(pipe_fd, &byte, 1) < 0 && errno == EINTR) {
  }
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (uint32_t i = 0; i < groups_max_; ++i) {
      const pid_t group = table_[i].load();
      // Once each: the number may soon be another's.
      if (group <= 1 || group == (*killed)[i]) continue;
      kill(-group, SIGKILL);
      (*killed)[i] = group;
    }
    nanosleep(&kSweepInterval, nullptr);
  }
  _exit(0);
}

}  // namespace whippletree
