#include "worker/handlers.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "common/printable.h"
#include "worker/pattern_handlers.h"

namespace whippletree {
namespace {

constexpr size_t kShownBytesMax = 100;  // of a payload in an error

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

absl::StatusOr<std::string> Crash(JobContext&, std::string_view) {
  kill(getpid(), SIGKILL);
  return absl::InternalError("crash: still here");
}

absl::StatusOr<std::string> Echo(JobContext&, std::string_view payload) {
  return std::string(payload);
}

absl::StatusOr<std::string> Fail(JobContext& context, std::string_view) {
  return absl::UnavailableError(absl::StrCat("fail: attempt ", context.attempt(), " failed"));
}

absl::StatusOr<std::string> Second(JobContext& context, std::string_view payload) {
  if (context.attempt() == 1) return absl::UnavailableError("second: the first attempt fails");
  return std::string(payload);
}

absl::StatusOr<std::string> Sleep(JobContext& context, std::string_view payload) {
  absl::Duration duration;
  if (!absl::ParseDuration(Absl(payload), &duration) || duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("sleep: expected a duration such as 200ms, 2s or 0.5s, got ",
                     Quoted(payload, kShownBytesMax)));
  }
  const absl::Status status = context.SleepFor(absl::ToChronoNanoseconds(duration));
  if (!status.ok()) return status;
  return std::string(payload);
}

absl::StatusOr<std::string> Square(JobContext&, std::string_view payload) {
  int64_t number = 0;
  int64_t square = 0;
  if (!absl::SimpleAtoi(Absl(payload), &number) ||
      __builtin_mul_overflow(number, number, &square)) {
    return absl::InvalidArgumentError(
        absl::StrCat("square: expected a whole number from -3037000499 to 3037000499, got ",
                     Quoted(payload, kShownBytesMax)));
  }
  return absl::StrCat(square);
}

absl::StatusOr<std::string> Upper(JobContext&, std::string_view payload) {
  return absl::AsciiStrToUpper(Absl(payload));
}

}  // namespace

std::span<const NamedHandler> BuiltInHandlers() {
  // Never destroyed: threads may run handlers while the process exits.
  static const auto& handlers = *new std::vector<NamedHandler>{
      {"crash", "kills its own worker process, as a fault would", {Crash, nullptr}},
      {"echo", "the payload as it is", {Echo, nullptr}},
      {"fail", "fails every time with UNAVAILABLE, so that it is retried", {Fail, nullptr}},
      {"flaky", "fails with UNAVAILABLE if the payload is 1, else gives ok", {RunFlaky, nullptr}},
      {"product", "of a batch of whole numbers: the batch and its product", {nullptr, RunProduct}},
      {"replace", "replaces o by 0, i by 1, a by 4, t by 7, blanks by ~", {RunReplace, nullptr}},
      {"second", "fails at the first attempt, then gives back the payload", {Second, nullptr}},
      {"seventh", "processed-N for a whole number N; multiples of 7 fail", {RunSeventh, nullptr}},
      {"sleep",
       "sleeps as long as the payload says (200ms, 2s), then gives it back",
       {Sleep, nullptr}},
      {"square", "the square of a whole number", {Square, nullptr}},
      {"sum", "of a batch of whole numbers: the first job gets their sum", {nullptr, RunSum}},
      {"total", "the sum of each key in lines KEY<TAB>COUNT", {RunTotal, nullptr}},
      {"upper", "the payload with the letters a to z in upper case", {Upper, nullptr}},
      {"words", "lines NAME:word<TAB>count for a name, a newline and a text", {RunWords, nullptr}},
  };
  return handlers;
}

const NamedHandler* FindHandler(std::string_view name) {
  for (const NamedHandler& handler : BuiltInHandlers()) {
    if (handler.name == name) return &handler;
  }
  return nullptr;
}

}  // namespace whippletree
