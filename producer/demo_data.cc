#include "producer/demo_data.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <functional>
#include <map>

#include "common/check.h"

namespace whippletree {
namespace {

using Lines = std::vector<std::string>;

// A line for each of `first` to `last`.
Lines ForEach(int64_t first, int64_t last, const std::function<std::string(int64_t)>& line) {
  Lines lines;
  for (int64_t n = first; n <= last; ++n) lines.push_back(line(n));
  return lines;
}

constexpr int64_t kItems = 51;
constexpr int64_t kBatchSize = 4;

Lines Batches() {
  return ForEach(0, kItems - 1, [](int64_t item) {
    std::vector<int64_t> batch;
    int64_t product = 1;
    const int64_t begin = item / kBatchSize * kBatchSize;
    for (int64_t n = begin; n < std::min(begin + kBatchSize, kItems); ++n) {
      batch.push_back(n);
      product *= n;
    }
    return absl::StrCat("[", absl::StrJoin(batch, " "), "] ", product);
  });
}

Lines Replaced() {
  Lines lines = DemoSentences();
  for (std::string& line : lines) {
    for (const auto& [from, to] :
         {std::pair('o', '0'), {'i', '1'}, {' ', '~'}, {'a', '4'}, {'t', '7'}}) {
      std::replace(line.begin(), line.end(), from, to);
    }
  }
  return lines;
}

Lines BreakerOutcomes() {
  Lines lines;
  for (const std::string& operation : DemoOperations()) {
    lines.push_back(absl::StrCat(lines.size() + 1, operation == "1" ? " dead" : " completed"));
  }
  return lines;
}

Lines WordCounts() {
  std::map<std::string, int> counts;
  for (const DemoText& text : DemoTexts()) {
    std::string words = absl::AsciiStrToLower({text.text.data(), text.text.size()});
    for (char& c : words) {
      if (c == '-') c = '_';
      if (std::string_view("()[]{}!?,.;'#$%@").find(c) != std::string_view::npos) c = ' ';
    }
    for (const absl::string_view word :
         absl::StrSplit(words, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
      ++counts[absl::StrCat(std::string(text.name), ":", word)];
    }
  }
  Lines lines;
  for (const auto& [key, count] : counts) lines.push_back(absl::StrCat(key, "\t", count));
  return lines;
}

std::string SumOfSquares(int64_t last) {
  int64_t sum = 0;
  for (int64_t n = 1; n <= last; ++n) sum += n * n;
  return absl::StrCat(sum);
}

}  // namespace

std::vector<std::string> DemoNumbers(int64_t first, int64_t last, int64_t factor) {
  return ForEach(first, last, [&](int64_t n) { return absl::StrCat(n * factor); });
}

std::vector<std::string> DemoSentences() {
  Lines sentences;
  for (const char* beginning :
       {"The quick brown fox", "Go concurrency", "Hello, world!", "Once upon a time,"}) {
    for (const char* ending :
         {"jumps over the lazy dog.", "is an open-source programming language.",
          "is not parallelism.", "keep calm and code on."}) {
      sentences.push_back(absl::StrCat(beginning, " ", ending));
    }
  }
  constexpr size_t kAgain = 9;
  for (size_t i = 0; i < kAgain; ++i) sentences.push_back(sentences[i]);
  return sentences;
}

std::vector<std::string> DemoOperations() {
  return {"1", "1", "1", "1", "0", "1", "0", "0", "1", "1", "0"};
}

std::vector<std::string> DemoDurations() {
  return ForEach(1, 10, [](int64_t n) { return n % 2 == 0 ? "20ms" : "10s"; });
}

std::vector<std::string> ExpectedLines(std::string_view pattern) {
  if (pattern == "producer-consumer") {
    return ForEach(1, 25, [](int64_t n) { return absl::StrCat(n, " ", n * n); });
  }
  if (pattern == "worker-pool") {
    return ForEach(1, 50, [](int64_t id) { return absl::StrCat(id, " ", 4 * id * id); });
  }
  if (pattern == "batch") return Batches();
  if (pattern == "fan") return Replaced();
  if (pattern == "circuit-breaker") return BreakerOutcomes();
  if (pattern == "map-reduce") return WordCounts();
  if (pattern == "errors") {
    return ForEach(1, 50, [](int64_t n) {
      return n % 7 == 0 ? absl::StrCat(n, " dead INVALID_ARGUMENT")
                        : absl::StrCat(n, " completed processed-", n);
    });
  }
  if (pattern == "timeout") {
    return ForEach(1, 10, [](int64_t n) {
      return absl::StrCat(n, n % 2 == 0 ? " completed 20ms" : " dead DEADLINE_EXCEEDED");
    });
  }
  WT_CHECK(pattern == "composition");
  return {SumOfSquares(1000)};
}

}  // namespace whippletree
