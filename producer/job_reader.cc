#include "producer/job_reader.h"

#include <absl/status/statusor.h>
#include <absl/strings/str_cat.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/cli.h"
#include "common/printable.h"
#include "common/utf8.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

using Json = nlohmann::json;

constexpr char kExpected[] = "expected an object such as {\"payload\": \"text\"}";

// What JSON may add around a payload, and in it: each byte can be written as \u00XX.
constexpr uint64_t kJsonBytesPerByte = 6;
constexpr uint64_t kJsonBytesExtra = 16 << 10;

constexpr size_t kNameBytesMax = 256;

size_t LineBytesMax(const JobReader::Options& options) {
  return options.format == InputFormat::kJsonLines
             ? options.payload_bytes_max * kJsonBytesPerByte + kJsonBytesExtra
             : options.payload_bytes_max + (options.names ? kNameBytesMax + 1 : 0);
}

std::string TooLarge(uint64_t bytes, uint64_t bytes_max) {
  return absl::StrCat("the payload has ", bytes, " bytes, the broker takes at most ", bytes_max,
                      ": split it, or pass a reference to the data instead");
}

// Takes one job from the parser's events, so that no document is built and what does not belong
// into a job is refused where it begins, however much of it follows.
class JobSax : public nlohmann::json_sax<Json> {
 public:
  explicit JobSax(const JobReader::Options& defaults)
      : options(defaults.defaults), delay(defaults.delay), expires_in(defaults.expires_in) {}

  std::string payload;
  std::string name;
  JobOptions options;
  Duration delay;
  Duration expires_in;
  std::string error;  // why the parser was stopped

  bool null() override { return Other("null"); }
  bool boolean(bool) override { return Other("a boolean"); }
  bool number_integer(number_integer_t) override { return Number(0); }  // negative
  bool number_unsigned(number_unsigned_t value) override { return Number(value); }
  bool number_float(number_float_t, const string_t&) override { return Number(0); }
  bool binary(binary_t&) override { return Other("binary data"); }
  bool start_array(size_t) override { return Other("an array"); }
  bool end_array() override { return true; }

  bool start_object(size_t) override {
    if (in_object_) return Other("an object");
    in_object_ = true;
    return true;
  }

  bool key(string_t& field) override {
    for (size_t i = 0; i < std::size(kFields); ++i) {
      if (field != kFields[i].name) continue;
      if (seen_[i]) return Stop(absl::StrCat("\"", field, "\" is there twice"));
      seen_[i] = true;
      field_ = &kFields[i];
      return true;
    }
    return Stop(
        absl::StrCat("unknown field ", Quoted(field, 40),
                     ": expected payload, name, key, timeout, max_attempts, delay or expires_in"));
  }

  bool string(string_t& value) override {
    if (field_ == &kFields[kPayload]) {
      payload = std::move(value);
    } else if (field_ == &kFields[kName]) {
      if (value.empty() || value.size() > kNameBytesMax) return Other(Quoted(value, 40));
      name = std::move(value);
    } else if (field_ == &kFields[kKey]) {
      if (value.size() > kKeyBytesMax)
        return Other(absl::StrCat("one of ", value.size(), " bytes"));
      options.key = std::move(value);
    } else if (field_ == &kFields[kTimeout]) {
      const absl::StatusOr<Duration> timeout = ParseDuration(value);
      if (!timeout.ok() || *timeout < kTimeoutMin || *timeout > kTimeoutMax) {
        return Other(Quoted(value, 40));
      }
      options.timeout = *timeout;
    } else if (field_ == &kFields[kDelay] || field_ == &kFields[kExpiresIn]) {
      const absl::StatusOr<Duration> time = ParseDuration(value);
      const bool is_delay = field_ == &kFields[kDelay];
      if (!time.ok() || (!is_delay && *time < milliseconds(1))) return Other(Quoted(value, 40));
      (is_delay ? delay : expires_in) = *time;
    } else {
      return Other("a string");
    }
    return true;
  }

  bool end_object() override {
    if (!seen_[kPayload]) return Stop("the field \"payload\" is missing");
    if (expires_in == Duration(0) || expires_in > delay) return true;
    return Stop(absl::StrCat("the job expires before it may be started: \"expires_in\" (",
                             FormatDuration(expires_in), ") must be longer than \"delay\" (",
                             FormatDuration(delay), ")"));
  }

  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return Stop(absl::StrCat("not valid JSON at column ", position, ": ", kExpected));
  }

 private:
  struct Field {
    std::string_view name;
    std::string_view expected;
  };
  enum { kPayload, kName, kKey, kTimeout, kMaxAttempts, kDelay, kExpiresIn };
  static constexpr Field kFields[] = {
      {"payload", "a string (quote it if it is JSON itself)"},
      {"name", "a string of 1 to 256 bytes"},
      {"key", "a string of at most 256 bytes"},
      {"timeout", "a string such as \"5s\", from \"1ms\" to \"1000h\""},
      {"max_attempts", "a whole number from 1 to 1000"},
      {"delay", "a string such as \"5s\""},
      {"expires_in", "a string such as \"5m\", at least \"1ms\""},
  };

  bool Number(uint64_t value) {
    if (field_ != &kFields[kMaxAttempts]) return Other("a number");
    if (value == 0) return Other("another number");  // also what is below, or no whole one
    if (value > kAttemptsMax) return Other(absl::StrCat(value));
    options.max_attempts = static_cast<uint32_t>(value);
    return true;
  }

  // A value that does not fit its place.
  bool Other(std::string_view found) {
    if (!in_object_) return Stop(absl::StrCat(kExpected, ", found ", std::string(found)));
    return Stop(absl::StrCat("\"", std::string(field_->name), "\" must be ",
                             std::string(field_->expected), ", found ", std::string(found)));
  }

  bool Stop(std::string why) {
    if (error.empty()) error = std::move(why);
    return false;
  }

  bool in_object_ = false;
  const Field* field_ = nullptr;
  bool seen_[std::size(kFields)] = {};
};

}  // namespace

void SetTimes(WallTime now, Duration delay, Duration expires_in, JobOptions* options) {
  options->not_before = delay > Duration(0) ? now + delay : WallTime{};
  options->expires_at = expires_in > Duration(0) ? now + expires_in : WallTime{};
}

JobReader::JobReader(Options options, OnJobs on_jobs, OnBadInput on_bad_input)
    : options_(std::move(options)),
      terminator_(options_.format == InputFormat::kNul ? '\0' : '\n'),
      line_bytes_max_(LineBytesMax(options_)),
      on_jobs_(std::move(on_jobs)),
      on_bad_input_(std::move(on_bad_input)) {}

void JobReader::SetNow(WallTime now) {
  now_ = now;
  gathered_options_ = options_.defaults;
  SetTimes(now, options_.delay, options_.expires_in, &gathered_options_);
}

void JobReader::Add(std::string_view piece, WallTime now) {
  SetNow(now);
  bool begun = !begun_.empty() || skipped_ > 0;
  bool ended = false;
  size_t end;
  while ((end = piece.find(terminator_)) != std::string_view::npos) {
    const std::string_view part = piece.substr(0, end);
    piece.remove_prefix(end + 1);
    if (begun) Keep(part);
    FinishLine(begun ? begun_ : part);
    begun = false;
    ended = true;
  }
  Flush();
  if (ended) begun_.clear();  // not earlier: a gathered job may have lain in it
  Keep(piece);
}

void JobReader::End(WallTime now) {
  SetNow(now);
  if (begun_.empty() && skipped_ == 0) return;
  FinishLine(begun_);
  Flush();
  begun_.clear();
}

// Adds to the line that has begun.
void JobReader::Keep(std::string_view part) {
  if (skipped_ == 0 && begun_.size() + part.size() <= line_bytes_max_) {
    begun_.append(part);
    return;
  }
  if (skipped_ == 0) skipped_ = begun_.size();
  skipped_ += part.size();
  std::string().swap(begun_);
}

void JobReader::FinishLine(std::string_view line) {
  const size_t bytes = skipped_ > 0 ? skipped_ : line.size();
  skipped_ = 0;
  if (bytes > line_bytes_max_) {
    Refuse(options_.format == InputFormat::kJsonLines
               ? absl::StrCat("the line has ", bytes, " bytes: no payload within the broker's ",
                              "limit of ", options_.payload_bytes_max, " bytes needs that")
               : TooLarge(bytes, options_.payload_bytes_max));
  } else if (options_.format == InputFormat::kJsonLines) {
    FinishJson(line);
  } else if (options_.names) {
    FinishNamed(line);
  } else {
    Gather(line, {});
  }
  ++line_;
}

void JobReader::FinishNamed(std::string_view line) {
  const size_t tab = line.find('\t');
  if (tab == std::string_view::npos) {
    return Refuse("expected the job's name, a tab and its payload, found no tab");
  }
  const std::string_view name = line.substr(0, tab);
  const std::string_view payload = line.substr(tab + 1);
  if (name.empty() || name.size() > kNameBytesMax || !IsUtf8(name)) {
    return Refuse(absl::StrCat("the job's name, before the tab, must be UTF-8 text of 1 to 256 ",
                               "bytes, found ", Quoted(name, 40)));
  }
  if (payload.size() > options_.payload_bytes_max) {
    return Refuse(TooLarge(payload.size(), options_.payload_bytes_max));
  }
  Gather(payload, name);
}

void JobReader::Gather(std::string_view payload, std::string_view name) {
  gathered_.push_back(payload);
  names_.push_back(name);
  any_name_ = any_name_ || !name.empty();
}

void JobReader::FinishJson(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
  JobSax job(options_);
  if (!Json::sax_parse(line.begin(), line.end(), &job)) return Refuse(std::move(job.error));
  if (job.payload.size() > options_.payload_bytes_max) {
    return Refuse(TooLarge(job.payload.size(), options_.payload_bytes_max));
  }
  if (options_.names && job.name.empty()) return Refuse("the field \"name\" is missing");
  SetTimes(now_, job.delay, job.expires_in, &job.options);
  if (job.options != gathered_options_) {
    Flush();
    gathered_options_ = std::move(job.options);
  }
  const std::string_view payload = decoded_.emplace_back(std::move(job.payload));
  Gather(payload, job.name.empty() ? std::string_view() : decoded_.emplace_back(job.name));
}

void JobReader::Refuse(std::string message) {
  Flush();
  on_bad_input_({line_, std::move(message)});
}

void JobReader::Flush() {
  if (gathered_.empty()) return;
  if (!any_name_) names_.clear();
  on_jobs_(gathered_, names_, gathered_options_);
  gathered_.clear();
  names_.clear();
  any_name_ = false;
  decoded_.clear();
}

}  // namespace whippletree
