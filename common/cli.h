// The command lines of the three programs: values with units, addresses, errors and exit codes that
// are the same everywhere. CLI11 does the parsing; this header does not include it.
//
//   CLI::App app("Says what it does.", "whippletree-worker");
//   std::string broker;
//   AddBroker(&app, &broker);
//   if (auto code = ParseCommandLine(&app, argc, argv)) return *code;
//
// Every option can also be given as an environment variable: --some-flag as WHIPPLETREE_SOME_FLAG
// (not those with configurable(false)). The command line goes before the environment. No value may
// be empty.
// Not thread-safe.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/address.h"
#include "common/log.h"
#include "common/time.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
class Option;
}  // namespace CLI

namespace whippletree {

// What the programs exit with. ExitCodesHelp() is the same list for people.
enum ExitCode : int {
  kExitOk = 0,
  kExitIncomplete = 1,    // producer: some jobs did not complete
  kExitUsage = 2,         // wrong command line
  kExitUnreachable = 3,   // no broker at that address
  kExitRefused = 4,       // the broker refuses: another version of the protocol, no room, …
  kExitMachine = 5,       // something of this machine: port in use, file not readable, no command
  kExitInterrupted = 130  // by a signal, before the work was done
};

// The footer of every --help.
std::string ExitCodesHelp();

// For a status that ends a program: UNAVAILABLE, DEADLINE_EXCEEDED: kExitUnreachable;
// FAILED_PRECONDITION, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNIMPLEMENTED:
// kExitRefused;
// CANCELLED: kExitInterrupted; INVALID_ARGUMENT: kExitUsage; OK: kExitOk; others: kExitMachine.
ExitCode ExitCodeFor(const absl::Status& status);

// Writes one line, `program: message`, to stderr; what is not printable is escaped.
void PrintError(std::string_view program, std::string_view message);
// The same for each line of the status' message.
void PrintErrors(std::string_view program, const absl::Status& status);

// Calls handler(number) at the signal, unless the program was started with it ignored (nohup, a
// shell's background job) and it is not SIGTERM. What was interrupted goes on.
void CatchSignal(int number, void (*handler)(int));

// ---- Values ---------------------------------------------------------------------------------
// Errors are INVALID_ARGUMENT and say what is expected.

// A number and a unit, or several: 500ms, 2s, 0.5s, 5m, 1h30m; 0 without a unit. At most 100 years.
absl::StatusOr<Duration> ParseDuration(std::string_view text);
// "1.5s"; ParseDuration() reads it.
std::string FormatDuration(Duration duration);

// Why a file cannot be read or written, by its errno, and what to do where that helps.
std::string FileError(int error);

// Bytes, or with a unit: 1000000, 64KiB, 1.5GiB, 10MB. K, M, G and T alone mean KiB, …; the case of
// letters does not matter.
absl::StatusOr<uint64_t> ParseByteSize(std::string_view text);
// "64KiB", "5TB", "1000001"; ParseByteSize() reads it.
std::string FormatByteSize(uint64_t bytes);

// The one of `known` that `word` may be a misspelling of; "" if none is near.
std::string Nearest(const std::string& word, const std::vector<std::string>& known);

// ---- Options --------------------------------------------------------------------------------
// `name` is as in CLI::App::add_option: "--slots" or "-n,--slots". What the value is before parsing
// is shown as the default.

CLI::Option* AddDuration(CLI::App* app, const std::string& name, Duration* value,
                         const std::string& description);
CLI::Option* AddByteSize(CLI::App* app, const std::string& name, uint64_t* value,
                         const std::string& description);
// A whole number from `min` to `max`.
CLI::Option* AddNumber(CLI::App* app, const std::string& name, uint64_t value_default,
                       std::function<void(uint64_t)> set, const std::string& description,
                       uint64_t min, uint64_t max);
template <typename T>
CLI::Option* AddNumber(CLI::App* app, const std::string& name, T* value,
                       const std::string& description, uint64_t min = 0,
                       uint64_t max = std::numeric_limits<T>::max()) {
  auto set = [value](uint64_t number) { *value = static_cast<T>(number); };
  return AddNumber(app, name, static_cast<uint64_t>(*value), set, description, min, max);
}
// One of `names`; `set` gets it.
CLI::Option* AddChoice(CLI::App* app, const std::string& name,
                       const std::vector<std::string>& names, const std::string& name_default,
                       std::function<void(const std::string&)> set, const std::string& description);
// --broker HOST:PORT; `address` becomes "host:port" and is 127.0.0.1:7711 unless given.
CLI::Option* AddBroker(CLI::App* app, std::string* address);
// --log-format and --log-level.
void AddLogOptions(CLI::App* app, LogOptions* options);

// Parses `args` (without the program's name). Adds --version, the names in the environment and the
// layout of --help. Nullopt: go on. Else what to exit with: --help and --version have printed their
// text on stdout (kExitOk); an error is one line on stderr that names the flag (kExitUsage).
std::optional<int> ParseCommandLine(CLI::App* app, std::vector<std::string> args);
std::optional<int> ParseCommandLine(CLI::App* app, int argc, char** argv);

}  // namespace whippletree
