// A line for the log, before anyone formats it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace whippletree {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogValue = std::variant<std::string, int64_t, uint64_t, double, bool>;
using LogFields = std::vector<std::pair<std::string_view, LogValue>>;

struct LogEvent {
  LogLevel level;
  std::string_view event;  // a constant
  LogFields fields;        // names are constants
};

}  // namespace whippletree
