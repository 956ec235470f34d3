#include "worker/child_run.h"

#include <absl/strings/ascii.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/printable.h"

namespace whippletree {
namespace {

constexpr size_t kTailBytesMax = 1024;  // of standard error
constexpr size_t kReadBytes = 64 << 10;
// How often to look for the end of a process where it cannot be polled for.
constexpr Duration kLookInterval = milliseconds(5);

// The end of a stream.
class Tail {
 public:
  void Append(std::string_view bytes) {
    text_.append(bytes);
    if (text_.size() <= 8 * kTailBytesMax) return;
    text_.erase(0, text_.size() - kTailBytesMax);
    cut_ = true;
  }

  // In a form fit for people; empty if there is nothing to see.
  std::string ToString() const {
    absl::string_view end = absl::StripTrailingAsciiWhitespace(text_);
    bool cut = cut_;
    if (end.size() > kTailBytesMax) {
      end.remove_prefix(end.size() - kTailBytesMax);
      cut = true;
    }
    // Not from the middle of a character.
    for (int i = 0; cut && i < 3 && !end.empty() && (end[0] & 0xc0) == 0x80; ++i) {
      end.remove_prefix(1);
    }
    return (cut ? "…" : "") + Printable(std::string_view(end.data(), end.size()), Newlines::kKeep);
  }

 private:
  std::string text_;
  bool cut_ = false;
};

class ChildRun {
 public:
  ChildRun(ChildProcess child, ProcessGuard::Entry* entry, const ChildRunOptions& options)
      : options_(options), input_(options.input), child_(std::move(child)), entry_(entry) {}
  ~ChildRun();
  ChildRun(const ChildRun&) = delete;
  ChildRun& operator=(const ChildRun&) = delete;

  // Returns when the process has ended; it is still a zombie then.
  void Loop();
  // Kills what is left of the group, takes what is left in the pipes. REQUIRES: after Loop().
  ChildRunResult Finish();

 private:
  void Kill(int signal_number);
  void End();
  int PollTimeoutMs() const;
  bool HasEnded(bool told) const;
  void Feed();
  // Reads what is there, at most `bytes_max`; closes `fd` at its end.
  template <typename Take>
  void Drain(Fd* fd, size_t bytes_max, Take take);
  void ReadOutput(size_t bytes_max);
  void ReadFollowOns(size_t bytes_max);
  void Keep(std::string_view bytes, uint64_t bytes_max, std::string* kept, bool* too_much);
  void ReadErrors(size_t bytes_max);
  void Reap();

  const ChildRunOptions& options_;
  std::string_view input_;  // what is not yet written
  ChildProcess child_;
  ProcessGuard::Entry* const entry_;

  ChildRunResult result_;
  Tail errors_;
  MonoTime kill_at_ = kNever;  // after SIGTERM
  bool reaped_ = false;
};

void ChildRun::Loop() {
  Feed();
  while (true) {
    pollfd fds[] = {{child_.in.get(), POLLOUT, 0},
                    {child_.out.get(), POLLIN, 0},
                    {child_.err.get(), POLLIN, 0},
                    {child_.ended.get(), POLLIN, 0},
                    {child_.follow_on.get(), POLLIN, 0},
                    {result_.was_told_to_end ? -1 : options_.end_fd, POLLIN, 0}};
    if (poll(fds, std::size(fds), PollTimeoutMs()) < 0 && errno != EINTR) {
      Kill(SIGKILL);  // no memory for poll: cannot go on without
    }
    const bool told = fds[3].revents != 0;
    if (fds[5].revents != 0 && !told) End();
    if (kill_at_ != kNever && ReadClock().mono >= kill_at_) {
      kill_at_ = kNever;
      Kill(SIGKILL);
    }
    if (fds[0].revents != 0) Feed();
    if (fds[1].revents != 0) ReadOutput(kReadBytes);
    if (fds[2].revents != 0) ReadErrors(kReadBytes);
    if (fds[4].revents != 0) ReadFollowOns(kReadBytes);
    if (HasEnded(told)) return;
  }
}

void ChildRun::Kill(int signal_number) {
  kill(-child_.pid, signal_number);
  if (signal_number == SIGKILL) kill(child_.pid, SIGKILL);  // if it left its group
}

void ChildRun::End() {
  result_.was_told_to_end = true;
  if (options_.kill_grace > Duration(0)) {
    Kill(SIGTERM);
    kill_at_ = ReadClock().mono + options_.kill_grace;
  } else {
    Kill(SIGKILL);
  }
}

int ChildRun::PollTimeoutMs() const {
  Duration timeout = Duration::max();
  if (child_.ended.get() < 0) timeout = kLookInterval;
  if (kill_at_ != kNever) timeout = std::min(timeout, kill_at_ - ReadClock().mono);
  if (timeout == Duration::max()) return -1;
  return static_cast<int>(std::clamp<int64_t>(ToMilliseconds(timeout) + 1, 0, 60'000));
}

// The process stays a zombie, so that its number, and that of its group, is not used again.
bool ChildRun::HasEnded(bool told) const {
  if (child_.ended.get() >= 0 && !told) return false;
  siginfo_t info = {};
  return waitid(P_PID, static_cast<id_t>(child_.pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == child_.pid;
}

void ChildRun::Feed() {
  while (!input_.empty() && child_.in.get() >= 0) {
    const ssize_t size = write(child_.in.get(), input_.data(), input_.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size < 0) break;  // EPIPE: it does not want the rest
    input_.remove_prefix(static_cast<size_t>(size));
  }
  child_.in.Close();
}

template <typename Take>
void ChildRun::Drain(Fd* fd, size_t bytes_max, Take take) {
  char buffer[kReadBytes];
  while (bytes_max > 0 && fd->get() >= 0) {
    const ssize_t size = read(fd->get(), buffer, std::min(bytes_max, sizeof buffer));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return fd->Close();
    take(std::string_view(buffer, static_cast<size_t>(size)));
    bytes_max -= static_cast<size_t>(size);
  }
}

void ChildRun::Keep(std::string_view bytes, uint64_t bytes_max, std::string* kept, bool* too_much) {
  if (bytes.size() > bytes_max - kept->size()) {
    if (!*too_much && !reaped_) Kill(SIGKILL);
    *too_much = true;
  } else {
    kept->append(bytes);
  }
}

void ChildRun::ReadOutput(size_t bytes_max) {
  Drain(&child_.out, bytes_max, [this](std::string_view bytes) {
    Keep(bytes, options_.output_bytes_max, &result_.output, &result_.wrote_too_much);
  });
}

void ChildRun::ReadFollowOns(size_t bytes_max) {
  Drain(&child_.follow_on, bytes_max, [this](std::string_view bytes) {
    Keep(bytes, options_.follow_on_bytes_max, &result_.follow_ons,
         &result_.wrote_too_many_follow_ons);
  });
}

void ChildRun::ReadErrors(size_t bytes_max) {
  Drain(&child_.err, bytes_max, [this](std::string_view bytes) { errors_.Append(bytes); });
}

// The group is killed, and its entry cleared, while its number cannot be another's yet.
void ChildRun::Reap() {
  Kill(SIGKILL);
  entry_->Clear();
  while (waitpid(child_.pid, &result_.wait_status, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
}

ChildRun::~ChildRun() {
  if (!reaped_) Reap();  // an exception passes through
}

// What is in the pipes now, the program wrote before it ended, or its group before it was killed.
ChildRunResult ChildRun::Finish() {
  Reap();
  int bytes = 0;
  if (child_.out.get() >= 0 && ioctl(child_.out.get(), FIONREAD, &bytes) == 0) {
    ReadOutput(static_cast<size_t>(bytes));
  }
  if (child_.err.get() >= 0 && ioctl(child_.err.get(), FIONREAD, &bytes) == 0) {
    ReadErrors(static_cast<size_t>(bytes));
  }
  if (child_.follow_on.get() >= 0 && ioctl(child_.follow_on.get(), FIONREAD, &bytes) == 0) {
    ReadFollowOns(static_cast<size_t>(bytes));
  }
  result_.errors = errors_.ToString();
  return std::move(result_);
}

}  // namespace

ChildRunResult RunToEnd(ChildProcess child, ProcessGuard::Entry* entry,
                        const ChildRunOptions& options) {
  ChildRun run(std::move(child), entry, options);
  run.Loop();
  return run.Finish();
}

}  // namespace whippletree
