// What the programs log: events with named fields, one a line, to stderr.
//
//   Log(LogLevel::kInfo, "worker_joined", {{"worker", name}, {"slots", 4}});
//
//   text  2026-11-23T18:00:00.123Z info  worker_joined worker=w1 slots=4
//   json  {"time":"2026-11-23T18:00:00.123Z","level":"info","event":"worker_joined","worker":"w1",
//          "slots":4}
//
// Events and field names are constants of the program; values may be anything a stranger sent: they
// cannot end the line, start another field or reach the terminal.
// Thread-safe, except InitLog.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/log_event.h"

namespace whippletree {

enum class LogFormat { kText, kJson };

struct LogOptions {
  LogFormat format = LogFormat::kText;
  LogLevel level = LogLevel::kInfo;  // the lowest that is written
};

// "debug", "info", "warn", "error".
std::string_view ToString(LogLevel level);
// "text", "json".
std::string_view ToString(LogFormat format);
// Nullopt: there is no such level or format.
std::optional<LogLevel> ParseLogLevel(std::string_view text);
std::optional<LogFormat> ParseLogFormat(std::string_view text);

// Sets format and level for the process; until then they are LogOptions' defaults. Text on a
// terminal is colored, unless NO_COLOR is set.
// REQUIRES: no other thread logs.
void InitLog(const LogOptions& options);

// False: nothing of this level is written, so it need not be made.
bool LogEnabled(LogLevel level);

void WriteLog(const LogEvent& event);
void Log(LogLevel level, std::string_view event, LogFields fields = {});

// The part of the line that follows time and level: `event a=1`, or `"event":…,"a":1`.
std::string FormatEvent(LogFormat format, const LogEvent& event);

}  // namespace whippletree
