#include "common/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "common/printable.h"

namespace whippletree {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 2> kFormatNames = {"text", "json"};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

// Writes the level as this file names it (spdlog says "warning"), padded to `width`.
class LevelFlag : public spdlog::custom_flag_formatter {
 public:
  explicit LevelFlag(size_t width) : width_(width) {}

  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    std::string_view name = kLevelNames[3];
    if (message.level <= spdlog::level::debug) name = kLevelNames[0];
    if (message.level == spdlog::level::info) name = kLevelNames[1];
    if (message.level == spdlog::level::warn) name = kLevelNames[2];
    out.append(name.data(), name.data() + name.size());
    for (size_t i = name.size(); i < width_; ++i) out.push_back(' ');
  }
  std::unique_ptr<spdlog::custom_flag_formatter> clone() const override {
    return std::make_unique<LevelFlag>(width_);
  }

 private:
  const size_t width_;
};

struct Sink {
  LogFormat format = LogFormat::kText;
  std::shared_ptr<spdlog::logger> logger;
};

Sink MakeSink(const LogOptions& options) {
  const bool json = options.format == LogFormat::kJson;
  auto mode = json || std::getenv("NO_COLOR") != nullptr ? spdlog::color_mode::never
                                                         : spdlog::color_mode::automatic;
  auto logger = std::make_shared<spdlog::logger>(
      "whippletree", std::make_shared<spdlog::sinks::stderr_color_sink_mt>(mode));
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<LevelFlag>('*', json ? size_t{0} : size_t{5});
  formatter->set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%*",%v})"
                              : "%Y-%m-%dT%H:%M:%S.%eZ %^%*%$ %v");
  logger->set_formatter(std::move(formatter));
  logger->set_level(ToSpdlog(options.level));
  // A log that cannot be written must not add lines of its own, let alone stop the program.
  logger->set_error_handler([](const std::string&) {});
  return {options.format, std::move(logger)};
}

// Never destroyed: threads may log while the process exits.
Sink& GlobalSink() {
  static Sink& sink = *new Sink(MakeSink({}));
  return sink;
}

std::string JsonText(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string JsonValue(const LogValue& value) {
  return std::visit([](const auto& v) { return JsonText(nlohmann::json(v)); }, value);
}

// As it is if that is unmistakable: neither empty nor with blanks, quotes, '=' or anything that is
// not printable.
std::string TextString(const std::string& value) {
  const bool plain = !value.empty() && value.find_first_of(" \"=\\") == std::string::npos &&
                     Printable(value) == value;
  return plain ? value : Quoted(value);
}

std::string TextValue(const LogValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return TextString(*text);
  return JsonValue(value);
}

}  // namespace

std::string_view ToString(LogLevel level) { return kLevelNames[static_cast<size_t>(level)]; }
std::string_view ToString(LogFormat format) { return kFormatNames[static_cast<size_t>(format)]; }

std::optional<LogLevel> ParseLogLevel(std::string_view text) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == text) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

std::optional<LogFormat> ParseLogFormat(std::string_view text) {
  for (size_t i = 0; i < kFormatNames.size(); ++i) {
    if (kFormatNames[i] == text) return static_cast<LogFormat>(i);
  }
  return std::nullopt;
}

void InitLog(const LogOptions& options) { GlobalSink() = MakeSink(options); }

bool LogEnabled(LogLevel level) { return GlobalSink().logger->should_log(ToSpdlog(level)); }

void WriteLog(const LogEvent& event) {
  if (!LogEnabled(event.level)) return;
  const Sink& sink = GlobalSink();
  const std::string text = FormatEvent(sink.format, event);
  // As a string view, not as a format.
  sink.logger->log(ToSpdlog(event.level), spdlog::string_view_t(text.data(), text.size()));
}

void Log(LogLevel level, std::string_view event, LogFields fields) {
  WriteLog({level, event, std::move(fields)});
}

std::string FormatEvent(LogFormat format, const LogEvent& event) {
  std::string out;
  if (format == LogFormat::kJson) {
    out = "\"event\":" + JsonText(std::string(event.event));
    for (const auto& [name, value] : event.fields) {
      out += ',' + JsonText(std::string(name)) + ':' + JsonValue(value);
    }
    return out;
  }
  out = event.event;
  for (const auto& [name, value] : event.fields) {
    out += ' ';
    out += name;
    out += '=';
    out += TextValue(value);
  }
  return out;
}

}  // namespace whippletree
