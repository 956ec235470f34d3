#include "worker/pattern_handlers.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "common/printable.h"

namespace whippletree {
namespace {

constexpr size_t kShownBytesMax = 100;  // of a payload in an error

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

absl::Status NotANumber(std::string_view handler, std::string_view payload) {
  return absl::InvalidArgumentError(absl::StrCat(
      std::string(handler), ": expected a whole number, got ", Quoted(payload, kShownBytesMax)));
}

// The whole numbers of a batch, and the answers of the jobs, so far only errors.
struct Numbers {
  std::vector<int64_t> numbers;
  std::vector<size_t> jobs;  // whose they are
  std::vector<absl::StatusOr<std::string>> results;
};

Numbers ParseBatch(std::string_view handler, std::span<const std::string_view> payloads) {
  Numbers parsed;
  parsed.results.assign(payloads.size(), std::string());
  for (size_t i = 0; i < payloads.size(); ++i) {
    int64_t number = 0;
    if (absl::SimpleAtoi(Absl(payloads[i]), &number)) {
      parsed.numbers.push_back(number);
      parsed.jobs.push_back(i);
    } else {
      parsed.results[i] = NotANumber(handler, payloads[i]);
    }
  }
  return parsed;
}

std::string Lines(const std::map<std::string, int64_t>& counts) {
  std::string lines;
  for (const auto& [key, count] : counts) absl::StrAppend(&lines, key, "\t", count, "\n");
  return lines;
}

char WordCharacter(char c) {
  if (c == '-') return '_';
  constexpr std::string_view kBlanks = "()[]{}!?,.;'#$%@";
  return kBlanks.find(c) != std::string_view::npos ? ' ' : absl::ascii_tolower(c);
}

}  // namespace

absl::StatusOr<std::string> RunFlaky(JobContext&, std::string_view payload) {
  if (payload == "1") return absl::UnavailableError("asked to fail");
  return "ok";
}

absl::StatusOr<std::string> RunReplace(JobContext&, std::string_view payload) {
  constexpr std::string_view kFrom = "oi at";
  constexpr std::string_view kTo = "01~47";
  std::string text(payload);
  for (char& c : text) {
    const size_t at = kFrom.find(c);
    if (at != std::string_view::npos) c = kTo[at];
  }
  return text;
}

absl::StatusOr<std::string> RunSeventh(JobContext&, std::string_view payload) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(Absl(payload), &number)) return NotANumber("seventh", payload);
  if (number % 7 == 0) return absl::InvalidArgumentError(absl::StrCat("job ", number, " fails"));
  return absl::StrCat("processed-", number);
}

absl::StatusOr<std::string> RunWords(JobContext&, std::string_view payload) {
  const size_t end = payload.find('\n');
  if (end == std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "words: expected a name, a newline and a text, got ", Quoted(payload, kShownBytesMax)));
  }
  const std::string name(payload.substr(0, end));
  std::string text(payload.substr(end + 1));
  std::transform(text.begin(), text.end(), text.begin(), WordCharacter);
  std::map<std::string, int64_t> counts;
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(" \t\n\v\f\r"), absl::SkipEmpty())) {
    ++counts[absl::StrCat(name, ":", word)];
  }
  return Lines(counts);
}

absl::StatusOr<std::string> RunTotal(JobContext&, std::string_view payload) {
  std::map<std::string, int64_t> sums;
  for (const absl::string_view line : absl::StrSplit(Absl(payload), '\n', absl::SkipEmpty())) {
    const size_t tab = line.rfind('\t');
    int64_t count = 0;
    if (tab == absl::string_view::npos || !absl::SimpleAtoi(line.substr(tab + 1), &count)) {
      return absl::InvalidArgumentError(absl::StrCat("total: expected lines KEY<TAB>COUNT, got ",
                                                     Quoted(std::string(line), kShownBytesMax)));
    }
    int64_t& sum = sums[std::string(line.substr(0, tab))];
    if (__builtin_add_overflow(sum, count, &sum)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "total: the sum of ", Quoted(std::string(line.substr(0, tab))), " does not fit 64 bits"));
    }
  }
  return Lines(sums);
}

BatchResults RunProduct(BatchContext&, std::span<const std::string_view> payloads) {
  Numbers batch = ParseBatch("product", payloads);
  int64_t product = 1;
  for (const int64_t number : batch.numbers) {
    if (__builtin_mul_overflow(product, number, &product)) {
      return absl::InvalidArgumentError("product: the product of the batch does not fit 64 bits");
    }
  }
  const std::string result = absl::StrCat("[", absl::StrJoin(batch.numbers, " "), "] ", product);
  for (const size_t job : batch.jobs) batch.results[job] = result;
  return std::move(batch.results);
}

BatchResults RunSum(BatchContext&, std::span<const std::string_view> payloads) {
  Numbers batch = ParseBatch("sum", payloads);
  int64_t sum = 0;
  for (const int64_t number : batch.numbers) {
    if (__builtin_add_overflow(sum, number, &sum)) {
      return absl::InvalidArgumentError("sum: the sum of the batch does not fit 64 bits");
    }
  }
  if (!batch.jobs.empty()) batch.results[batch.jobs.front()] = absl::StrCat(sum);
  return std::move(batch.results);
}

}  // namespace whippletree
