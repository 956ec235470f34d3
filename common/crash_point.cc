#include "common/crash_point.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace whippletree {
namespace {

constexpr char kVariable[] = "WHIPPLETREE_CRASH_POINT";

// Written before there are threads.
std::string armed_point;
std::atomic<uint64_t> passes_left{0};

}  // namespace

absl::StatusOr<std::optional<std::string>> ArmCrashPoint(std::span<const std::string_view> points) {
  const char* variable = std::getenv(kVariable);
  if (variable == nullptr) return std::nullopt;
  const std::string value = variable;
  unsetenv(kVariable);
  const size_t colon = value.find(':');
  const std::string point = value.substr(0, colon);
  uint64_t count = 0;
  const bool counted =
      colon != std::string::npos && absl::SimpleAtoi(value.substr(colon + 1), &count) && count > 0;
  if (!counted || std::find(points.begin(), points.end(), point) == points.end()) {
    std::string names;
    for (std::string_view name : points) names += (names.empty() ? "" : ", ") + std::string(name);
    return absl::InvalidArgumentError(absl::StrCat(
        kVariable, ": '", value, "' is not POINT:COUNT with a count above 0 and one of ", names));
  }
  armed_point = point;
  passes_left = count;
  crash_point_armed = true;
  return absl::StrCat("this process will kill itself at crash point ", point, ", pass ", count,
                      " (", kVariable, " is set)");
}

void PassCrashPoint(std::string_view point) {
  if (point != armed_point || passes_left.fetch_sub(1) != 1) return;
  // Whoever reads the log sees why; nothing is flushed that a kill -9 would not.
  const std::string line = "crash point " + std::string(point) + ": killed\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  kill(getpid(), SIGKILL);
}

}  // namespace whippletree
