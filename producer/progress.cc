#include "producer/progress.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "common/printable.h"
#include "common/utf8.h"

namespace whippletree {
namespace {

constexpr Duration kLineInterval = milliseconds(200);
constexpr Duration kRateWindow = seconds(5);
// Fewer outcomes than this in the window say little: then the rate is that since the start.
constexpr uint64_t kRateOutcomesMin = 5;

constexpr char kEraseLine[] = "\r\x1b[K";
constexpr size_t kColumnsDefault = 80;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string Rate(double per_second) {
  return per_second < 9.95 ? absl::StrFormat("%.1f/s", per_second)
                           : WithCommas(static_cast<uint64_t>(per_second + 0.5)) + "/s";
}

// "0:07", "12:34", "3:00:00".
std::string ClockTime(double seconds) {
  const uint64_t s = static_cast<uint64_t>(std::min(seconds, 3.6e6) + 0.5);
  return s < 3600 ? absl::StrFormat("%d:%02d", s / 60, s % 60)
                  : absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
}

std::string Elapsed(Duration duration) {
  const double s = Seconds(duration);
  return s < 10    ? absl::StrFormat("%.2f s", s)
         : s < 600 ? absl::StrFormat("%.1f s", s)
                   : ClockTime(s);
}

size_t Columns(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kColumnsDefault;
}

// A stderr that nobody reads is no reason to stop.
void WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

void OutcomeCounts::Add(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kCompleted:
      ++completed;
      return;
    case OutcomeKind::kDead:
      ++dead;
      return;
    case OutcomeKind::kCancelled:
      ++cancelled;
      return;
    case OutcomeKind::kExpired:
      ++expired;
      return;
    case OutcomeKind::kRejected:
      ++rejected;
      return;
    case OutcomeKind::kRepeated:
      ++repeated;
      return;
    case OutcomeKind::kUnknown:
      ++unknown;
      return;
  }
}

std::string WithCommas(uint64_t n) {
  std::string text = absl::StrCat(n);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

std::string CountsText(const OutcomeCounts& counts) {
  std::vector<std::string> parts;
  const std::pair<uint64_t, const char*> kinds[] = {
      {counts.accepted, "accepted"}, {counts.completed, "completed"},
      {counts.dead, "dead"},         {counts.cancelled, "cancelled"},
      {counts.expired, "expired"},   {counts.rejected, "rejected"},
      {counts.repeated, "repeated"}, {counts.unknown, "unknown"}};
  for (const auto& [count, kind] : kinds) {
    if (count > 0) parts.push_back(absl::StrCat(WithCommas(count), " ", kind));
  }
  return parts.empty() ? "" : absl::StrCat(": ", absl::StrJoin(parts, ", "));
}

std::string Summary(const OutcomeCounts& counts, Duration elapsed) {
  const uint64_t jobs = counts.jobs();
  std::string out =
      absl::StrCat(WithCommas(jobs), jobs == 1 ? " job in " : " jobs in ", Elapsed(elapsed));
  if (jobs > 0 && elapsed > Duration(0)) {
    absl::StrAppend(&out, " (", Rate(static_cast<double>(jobs) / Seconds(elapsed)), ")");
  }
  out += CountsText(counts);
  if (counts.bad_inputs > 0) {
    absl::StrAppend(&out, "; ", WithCommas(counts.bad_inputs),
                    counts.bad_inputs == 1 ? " bad input" : " bad inputs");
  }
  return out;
}

std::string Summary(const GroupEnd& end) {
  OutcomeCounts counts;
  counts.completed = end.completed;
  counts.dead = end.dead;
  counts.cancelled = end.cancelled;
  counts.expired = end.expired;
  counts.rejected = end.rejected;
  std::string out = absl::StrCat("the group has ended: ", WithCommas(end.jobs()),
                                 end.jobs() == 1 ? " job" : " jobs");
  out += CountsText(counts);
  if (!end.status.ok()) absl::StrAppend(&out, "; some are missing: ", end.status.message());
  return out;
}

double ProgressMeter::RatePerSecond(MonoTime now, uint64_t done) {
  while (!window_.empty() && now - window_.front().time > kRateWindow) window_.pop_front();
  const Point from = !window_.empty() && done - window_.front().done >= kRateOutcomesMin
                         ? window_.front()
                         : Point{start_, 0};
  window_.push_back({now, done});
  const double elapsed = Seconds(now - from.time);
  return elapsed > 0 ? static_cast<double>(done - from.done) / elapsed : 0;
}

std::optional<std::string> ProgressMeter::Line(MonoTime now, const ProgressSample& sample) {
  if (now < next_line_) return std::nullopt;
  next_line_ = now + kLineInterval;

  // How many jobs there will be; 0: not known.
  uint64_t total = sample.input_ended ? sample.submitted : 0;
  if (total == 0 && sample.input_bytes_read > 0 && sample.input_bytes_total > 0) {
    total = static_cast<uint64_t>(static_cast<double>(sample.submitted) *
                                  static_cast<double>(sample.input_bytes_total) /
                                  static_cast<double>(sample.input_bytes_read));
    total = std::max(total, sample.submitted);
  }
  std::string line = WithCommas(sample.done);
  if (total > 0) {
    absl::StrAppend(&line, " of ", sample.input_ended ? "" : "about ", WithCommas(total), " (",
                    static_cast<uint64_t>(100.0 * static_cast<double>(sample.done) /
                                          static_cast<double>(total)),
                    "%)");
  } else {
    absl::StrAppend(&line, " of ", WithCommas(sample.submitted), " so far");
  }
  if (sample.failed > 0) absl::StrAppend(&line, ", ", WithCommas(sample.failed), " failed");
  const double rate = RatePerSecond(now, sample.done);
  absl::StrAppend(&line, ", ", Rate(rate));
  if (total > sample.done && rate > 0) {
    absl::StrAppend(&line, ", ETA ", ClockTime(static_cast<double>(total - sample.done) / rate));
  }
  if (!sample.connected) {
    absl::StrAppend(&line, " [the broker does not answer]");
  } else if (!sample.note.empty()) {
    absl::StrAppend(&line, " [", sample.note, "]");
  } else if (sample.full) {
    absl::StrAppend(&line, " [", sample.full_reason.empty() ? "the queue is full" : "waiting: ",
                    Printable(sample.full_reason), "]");
  }
  return line;
}

void TerminalLine::Draw(std::string_view line) {
  if (!drawn_) return;
  const std::lock_guard lock(mutex_);
  // A full last column would wrap on some terminals.
  WriteAll(fd_, kEraseLine + Shorten(line, Columns(fd_) - 1));
  visible_ = true;
}

void TerminalLine::Clear() {
  WithoutLine([] {});
}

void TerminalLine::WithoutLine(const std::function<void()>& write) {
  const std::lock_guard lock(mutex_);
  if (visible_) WriteAll(fd_, kEraseLine);
  visible_ = false;
  write();
}

void TerminalLine::Print(std::string_view line) {
  const std::lock_guard lock(mutex_);
  WriteAll(fd_, absl::StrCat(visible_ ? kEraseLine : "", std::string(line), "\n"));
  visible_ = false;
}

Ticker::Ticker(std::function<void()> draw)
    : thread_([this, draw = std::move(draw)] {
        std::unique_lock lock(mutex_);
        while (!ended_.wait_for(lock, kLineInterval, [this] { return end_; })) draw();
      }) {}

Ticker::~Ticker() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  ended_.notify_one();
  thread_.join();
}

}  // namespace whippletree
