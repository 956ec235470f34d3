#include "common/cli.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/time/time.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "common/printable.h"

namespace whippletree {
namespace {

constexpr absl::Duration kDurationMax = absl::Hours(24 * 365 * 100);
constexpr size_t kShownBytesMax = 100;  // of a wrong value in an error

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Invalid(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text, kShownBytesMax), " ", std::string(why)));
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

struct Unit {
  std::string_view name;  // in lower case
  uint64_t bytes;
};

constexpr std::array<Unit, 14> kUnits = {{{"", 1},
                                          {"b", 1},
                                          {"k", 1ull << 10},
                                          {"m", 1ull << 20},
                                          {"g", 1ull << 30},
                                          {"t", 1ull << 40},
                                          {"kib", 1ull << 10},
                                          {"mib", 1ull << 20},
                                          {"gib", 1ull << 30},
                                          {"tib", 1ull << 40},
                                          {"kb", 1'000},
                                          {"mb", 1'000'000},
                                          {"gb", 1'000'000'000},
                                          {"tb", 1'000'000'000'000}}};

constexpr std::array<std::string_view, 4> kBinaryUnits = {"KiB", "MiB", "GiB", "TiB"};

// An option whose value `read` turns into something; a status that is not OK is the user's error.
CLI::Option* AddValue(CLI::App* app, const std::string& name, const std::string& type,
                      const std::string& value_default,
                      std::function<absl::Status(std::string_view)> read,
                      const std::string& description) {
  const std::string shown = name.substr(name.rfind(',') + 1);
  auto set = [shown, read = std::move(read)](const std::string& text) {
    const absl::Status status = read(text);
    if (!status.ok()) throw CLI::ValidationError(shown, std::string(status.message()));
  };
  return app->add_option_function<std::string>(name, set, description)
      ->type_name(type)
      ->default_str(value_default);
}

// As AddValue, for a parser that returns the value.
template <typename T>
std::function<absl::Status(std::string_view)> Into(absl::StatusOr<T> (*parse)(std::string_view),
                                                   T* value) {
  return [parse, value](std::string_view text) {
    absl::StatusOr<T> parsed = parse(text);
    if (parsed.ok()) *value = *parsed;
    return parsed.status();
  };
}

}  // namespace

std::string ExitCodesHelp() {
  return "Exit codes:\n"
         "  0    done\n"
         "  1    some jobs did not complete (producer)\n"
         "  2    wrong command line\n"
         "  3    the broker cannot be reached\n"
         "  4    the broker refused: another version of the protocol, not allowed, no room\n"
         "  5    this machine: port in use, file not readable, command not found, …\n"
         "  130  interrupted before the work was done\n";
}

ExitCode ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return kExitRefused;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    case absl::StatusCode::kInvalidArgument:
      return kExitUsage;
    default:
      return kExitMachine;
  }
}

void CatchSignal(int number, void (*handler)(int)) {
  struct sigaction action {};
  sigaction(number, nullptr, &action);
  if (action.sa_handler == SIG_IGN && number != SIGTERM) return;
  action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, nullptr);
}

void PrintError(std::string_view program, std::string_view message) {
  const std::string line = std::string(program) + ": " + Printable(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void PrintErrors(std::string_view program, const absl::Status& status) {
  for (const auto& line : absl::StrSplit(status.message(), '\n')) {
    PrintError(program, {line.data(), line.size()});
  }
}

absl::StatusOr<Duration> ParseDuration(std::string_view text) {
  absl::Duration duration;
  // absl::ParseDuration takes "-1s" and "inf" too.
  if (text.empty() || !(IsDigit(text[0]) || text[0] == '.') ||
      !absl::ParseDuration(Absl(text), &duration)) {
    return Invalid(text,
                   "is not a duration: expected a number and a unit, as in 500ms, 2s, 5m or 1h");
  }
  if (duration > kDurationMax) return Invalid(text, "is too long: at most 100 years (876000h)");
  return absl::ToChronoNanoseconds(duration);
}

std::string FormatDuration(Duration duration) {
  return absl::FormatDuration(absl::FromChrono(duration));
}

std::string FileError(int error) {
  std::string text = std::strerror(error);
  if (error == EACCES || error == EPERM) {
    text +=
        ": give the user that runs this the right to it (chmod, chown), also to its directories";
  }
  return text;
}

absl::StatusOr<uint64_t> ParseByteSize(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::string unit_name = absl::AsciiStrToLower(Absl(text.substr(digits)));
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& candidate) {
    return candidate.name == unit_name;
  });
  const std::string_view number = text.substr(0, digits);
  uint64_t whole = 0;
  double fraction = 0;
  const bool is_whole = absl::SimpleAtoi(Absl(number), &whole);
  if (digits == 0 || unit == kUnits.end() ||
      (!is_whole && !absl::SimpleAtod(Absl(number), &fraction))) {
    return Invalid(text, "is not a size: expected bytes, as in 1000000, 64KiB, 512MiB or 1GiB");
  }
  uint64_t bytes = 0;
  const double product = std::round(fraction * static_cast<double>(unit->bytes));
  const bool too_large = is_whole ? __builtin_mul_overflow(whole, unit->bytes, &bytes)
                                  : !(product < static_cast<double>(1ull << 63));
  if (too_large) return Invalid(text, "is too large: more than 64 bits can count");
  return is_whole ? bytes : static_cast<uint64_t>(product);
}

std::string FormatByteSize(uint64_t bytes) {
  // More than this of a unit is not read at a glance: 5TB is, and 4882812500KiB is not.
  constexpr uint64_t kReadable = 9'999;
  std::string binary;
  for (size_t i = kBinaryUnits.size(); i > 0 && bytes > 0 && binary.empty(); --i) {
    const uint64_t unit = 1ull << (10 * i);
    if (bytes % unit != 0) continue;
    binary = absl::StrCat(bytes / unit, std::string(kBinaryUnits[i - 1]));
    if (bytes / unit <= kReadable) return binary;
  }
  uint64_t unit = 1'000'000'000'000;
  for (const char* name : {"TB", "GB", "MB"}) {
    if (bytes >= unit && bytes % unit == 0) return absl::StrCat(bytes / unit, name);
    unit /= 1'000;
  }
  return binary.empty() ? absl::StrCat(bytes) : binary;
}

CLI::Option* AddDuration(CLI::App* app, const std::string& name, Duration* value,
                         const std::string& description) {
  return AddValue(app, name, "DURATION", FormatDuration(*value), Into(&ParseDuration, value),
                  description);
}

CLI::Option* AddByteSize(CLI::App* app, const std::string& name, uint64_t* value,
                         const std::string& description) {
  return AddValue(app, name, "SIZE", FormatByteSize(*value), Into(&ParseByteSize, value),
                  description);
}

CLI::Option* AddNumber(CLI::App* app, const std::string& name, uint64_t value_default,
                       std::function<void(uint64_t)> set, const std::string& description,
                       uint64_t min, uint64_t max) {
  auto read = [min, max, set = std::move(set)](std::string_view text) -> absl::Status {
    uint64_t number = 0;
    const bool is_number =
        std::all_of(text.begin(), text.end(), IsDigit) && absl::SimpleAtoi(Absl(text), &number);
    if (!is_number || number < min || number > max) {
      const bool bounded = max != std::numeric_limits<uint64_t>::max();
      return Invalid(text, absl::StrCat("is not a whole number ",
                                        bounded ? absl::StrCat("from ", min, " to ", max)
                                                : absl::StrCat("of at least ", min)));
    }
    set(number);
    return absl::OkStatus();
  };
  return AddValue(app, name, "N", absl::StrCat(value_default), std::move(read), description);
}

CLI::Option* AddChoice(CLI::App* app, const std::string& name,
                       const std::vector<std::string>& names, const std::string& name_default,
                       std::function<void(const std::string&)> set,
                       const std::string& description) {
  auto read = [names, set = std::move(set)](std::string_view text) -> absl::Status {
    if (std::find(names.begin(), names.end(), text) == names.end()) {
      const std::vector<std::string> most(names.begin(), names.end() - 1);
      return Invalid(
          text, "is not known here: expected " + absl::StrJoin(most, ", ") + " or " + names.back());
    }
    set(std::string(text));
    return absl::OkStatus();
  };
  return AddValue(app, name, absl::StrJoin(names, "|"), name_default, std::move(read), description);
}

CLI::Option* AddBroker(CLI::App* app, std::string* address) {
  if (address->empty()) *address = HostPort{"127.0.0.1", kDoorPortDefault}.ToString();
  auto read = [address](std::string_view text) {
    const absl::StatusOr<HostPort> parsed = ParseHostPort(text);
    if (parsed.ok()) *address = parsed->ToString();
    return parsed.status();
  };
  return AddValue(app, "--broker", "HOST:PORT", *address, read, "Address of the broker's door");
}

void AddLogOptions(CLI::App* app, LogOptions* options) {
  auto read_format = [options](std::string_view text) {
    const std::optional<LogFormat> format = ParseLogFormat(text);
    if (!format) return Invalid(text, "is not a log format: text or json");
    options->format = *format;
    return absl::OkStatus();
  };
  auto read_level = [options](std::string_view text) {
    const std::optional<LogLevel> level = ParseLogLevel(text);
    if (!level) return Invalid(text, "is not a log level: debug, info, warn or error");
    options->level = *level;
    return absl::OkStatus();
  };
  AddValue(app, "--log-format", "FORMAT", std::string(ToString(options->format)), read_format,
           "How lines of the log (on stderr) look: text, or json (an object a line)");
  AddValue(app, "--log-level", "LEVEL", std::string(ToString(options->level)), read_level,
           "The lowest level that is logged: debug, info, warn or error");
}

}  // namespace whippletree
