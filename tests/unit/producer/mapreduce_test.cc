// Map-reduce with jobs that run here, in the call that submits them.
#include "producer/mapreduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "producer/line_sorter.h"

namespace whippletree {
namespace {

using Handler = std::function<std::string(const std::string& payload)>;
using Lines = std::vector<std::string>;

Lines SplitLines(const std::string& text) {
  Lines lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// NAME, newline, TEXT → "NAME:word<TAB>1" for each word.
std::string CountWords(const std::string& payload) {
  const size_t end = payload.find('\n');
  std::istringstream words(payload.substr(end + 1));
  std::string out;
  for (std::string word; words >> word;) out += payload.substr(0, end) + ":" + word + "\t1\n";
  return out;
}

std::string Sum(const std::string& payload) {
  std::map<std::string, uint64_t> sums;
  for (const std::string& line : SplitLines(payload)) {
    const size_t tab = line.find('\t');
    sums[line.substr(0, tab)] += std::stoull(line.substr(tab + 1));
  }
  std::string out;
  for (const auto& [key, sum] : sums) out += key + "\t" + std::to_string(sum) + "\n";
  return out;
}

MapInput Text(std::string name, const std::string& text) {
  return {std::move(name), [text]() -> absl::StatusOr<std::unique_ptr<std::istream>> {
            return std::make_unique<std::istringstream>(text);
          }};
}

class MapReduceTest : public testing::Test {
 protected:
  class Stage : public JobStage {
   public:
    Stage(MapReduceTest* test, std::string queue) : test_(test), queue_(std::move(queue)) {}
    absl::Status Submit(std::string_view payload, OutcomeCallback callback) override {
      EXPECT_LE(payload.size(), test_->payload_bytes_max);
      test_->payloads[queue_].emplace_back(payload);
      Outcome outcome;
      outcome.queue = queue_;
      outcome.id = "1-" + std::to_string(test_->payloads[queue_].size());
      outcome.kind = OutcomeKind::kCompleted;
      outcome.result = test_->handlers.at(queue_)(std::string(payload));
      if (outcome.result == "dead") {
        outcome.kind = OutcomeKind::kDead;
        outcome.status = absl::InvalidArgumentError("bad text");
      }
      // What does not come before the end of the stage comes at its end.
      held_.emplace_back(std::move(callback), std::move(outcome));
      if (held_.size() > 2) Deliver();
      return absl::OkStatus();
    }
    absl::Status Finish() override {
      while (!held_.empty()) Deliver();
      ++test_->finished;
      return test_->end;
    }

   private:
    void Deliver() {
      auto [callback, outcome] = std::move(held_.back());
      held_.pop_back();
      callback(std::move(outcome));
    }
    MapReduceTest* const test_;
    const std::string queue_;
    std::vector<std::pair<OutcomeCallback, Outcome>> held_;
  };

  absl::Status Run(const std::vector<MapInput>& inputs) {
    const StartStage start =
        [this](const std::string& queue) -> absl::StatusOr<std::unique_ptr<JobStage>> {
      return std::make_unique<Stage>(this, queue);
    };
    return MapReduce(
        start, payload_bytes_max, inputs, options,
        [this](std::string_view key, std::string_view value) {
          results.push_back(std::string(key) + "\t" + std::string(value));
          return absl::OkStatus();
        },
        &report);
  }

  MapReduceOptions options{.map_queue = "map", .reduce_queue = "reduce"};
  uint64_t payload_bytes_max = 1 << 20;
  std::map<std::string, Handler> handlers{{"map", CountWords}, {"reduce", Sum}};
  absl::Status end;

  std::map<std::string, std::vector<std::string>> payloads;  // by queue
  int finished = 0;
  Lines results;
  MapReduceReport report;
};

TEST_F(MapReduceTest, CountsWords) {
  ASSERT_TRUE(Run({Text("a", "x y x"), Text("b", "x z\ny")}).ok());
  EXPECT_EQ(results, (Lines{"a:x\t2", "a:y\t1", "b:x\t1", "b:y\t1", "b:z\t1"}));
  EXPECT_EQ(payloads["map"], (Lines{"a\nx y x", "b\nx z\ny"}));
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(report.map_jobs, 2u);
  EXPECT_EQ(report.reduce_rounds, 1u);
  EXPECT_FALSE(report.job_failed);
}

TEST_F(MapReduceTest, WithoutLinesThereIsNothingToReduce) {
  ASSERT_TRUE(Run({Text("empty", "")}).ok());
  EXPECT_TRUE(results.empty());
  EXPECT_EQ(report.map_jobs, 1u);
  EXPECT_EQ(report.reduce_jobs, 0u);
  EXPECT_TRUE(Run({}).ok());
}

TEST_F(MapReduceTest, AllValuesOfAKeyAreInOneReduceJobSorted) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "w" + std::to_string(i * 7919 % 100) + " ";
  options.piece_bytes = 500;
  ASSERT_TRUE(Run({Text("t", text)}).ok());
  EXPECT_GT(report.map_jobs, 10u);
  EXPECT_GT(payloads["reduce"].size(), 3u);  // some partition has more than a piece
  std::set<std::string> seen;
  for (const std::string& payload : payloads["reduce"]) {
    const Lines lines = SplitLines(payload);
    EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end()));
    std::set<std::string> keys;
    for (const std::string& line : lines) keys.emplace(KeyOf(line));
    for (const std::string& key : keys) EXPECT_TRUE(seen.insert(key).second) << key;
  }
  ASSERT_EQ(results.size(), 100u);
  for (const std::string& line : results) EXPECT_TRUE(line.ends_with("\t20")) << line;
}

TEST_F(MapReduceTest, EachPartitionWithKeysMakesAJob) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "w" + std::to_string(i) + " ";
  ASSERT_TRUE(Run({Text("t", text)}).ok());
  EXPECT_EQ(payloads["reduce"].size(), 3u);
}

TEST_F(MapReduceTest, LinesBeyondTheMemoryAreSpilledAndTheResultIsTheSame) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "w" + std::to_string(i * 7919 % 500) + "\n";
  options.piece_bytes = 1000;
  ASSERT_TRUE(Run({Text("t", text)}).ok());
  const Lines in_memory = std::exchange(results, {});
  EXPECT_EQ(in_memory.size(), 500u);
  options.memory_bytes = 4000;
  ASSERT_TRUE(Run({Text("t", text)}).ok());
  EXPECT_EQ(results, in_memory);
}

TEST_F(MapReduceTest, AKeyWithMoreValuesThanAPayloadIsReducedInRounds) {
  payload_bytes_max = 60;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "often ";
  text += "rare";
  ASSERT_TRUE(Run({Text("t", text)}).ok());
  EXPECT_EQ(results, (Lines{"t:often\t1000", "t:rare\t1"}));
  EXPECT_GE(report.reduce_rounds, 3u);
  EXPECT_EQ(finished, 1 + static_cast<int>(report.reduce_rounds));
}

TEST_F(MapReduceTest, AReducerThatMakesNothingLessIsRefused) {
  payload_bytes_max = 60;
  handlers["reduce"] = [](const std::string& payload) { return payload; };
  std::string text;
  for (int i = 0; i < 100; ++i) text += "often ";
  const absl::Status status = Run({Text("t", text)});
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(std::string(status.message()).find("\"t:often\""), std::string::npos) << status;
  EXPECT_TRUE(report.job_failed);
  EXPECT_TRUE(results.empty());
}

TEST_F(MapReduceTest, AFailedJobFailsTheWholeWhenTheOthersHaveEnded) {
  options.piece_bytes = 4;
  handlers["map"] = [](const std::string& payload) {
    return payload == "t\ntwo " ? "dead" : CountWords(payload);
  };
  const absl::Status status = Run({Text("t", "one two six ten all end")});
  EXPECT_EQ(status, absl::InvalidArgumentError("job 1-2 of queue map dead: bad text"));
  EXPECT_EQ(finished, 1);
  EXPECT_TRUE(report.job_failed);
  EXPECT_TRUE(results.empty());
  EXPECT_TRUE(payloads["reduce"].empty());
}

TEST_F(MapReduceTest, ALineWithoutATabIsNamed) {
  handlers["map"] = [](const std::string&) { return "no tab here\n"; };
  const absl::Status status = Run({Text("t", "one")});
  EXPECT_EQ(status, absl::InvalidArgumentError(
                        "the result of job 1-1 of queue map has the line \"no tab here\": expected "
                        "KEY<TAB>VALUE on each line"));
  EXPECT_TRUE(report.job_failed);
}

TEST_F(MapReduceTest, BlankLinesAreIgnoredAndTheLastNeedsNoNewline) {
  handlers["map"] = [](const std::string&) { return "\nk\t1\n\nk\t2"; };
  ASSERT_TRUE(Run({Text("t", "one")}).ok());
  EXPECT_EQ(results, (Lines{"k\t3"}));
}

TEST_F(MapReduceTest, ALineLargerThanAPayloadIsRefused) {
  payload_bytes_max = 30;
  handlers["map"] = [](const std::string&) { return "k\t" + std::string(40, '1'); };
  const absl::Status status = Run({Text("t", "one")});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST_F(MapReduceTest, ATextThatCannotBeReadIsNamed) {
  const absl::Status status = Run({Text("t", "one"), FileInput("/nowhere/some.txt")});
  EXPECT_EQ(status, absl::UnavailableError("\"some\": cannot read \"/nowhere/some.txt\": No such "
                                           "file or directory"));
  EXPECT_EQ(finished, 1);
  EXPECT_FALSE(report.job_failed);
}

TEST_F(MapReduceTest, AFolderIsNoText) {
  const absl::Status status = Run({FileInput("/")});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(MapReduceTest, FilesAreNamedWithoutFolderAndTxt) {
  const std::string path = testing::TempDir() + "/mapreduce_test.one.txt";
  std::ofstream(path) << "x y";
  ASSERT_TRUE(Run({FileInput(path)}).ok());
  std::filesystem::remove(path);
  EXPECT_EQ(results, (Lines{"mapreduce_test.one:x\t1", "mapreduce_test.one:y\t1"}));
}

TEST_F(MapReduceTest, StopsWhenItIsTold) {
  options.piece_bytes = 4;
  options.stopped = [this] { return payloads["map"].size() == 2; };
  EXPECT_TRUE(absl::IsCancelled(Run({Text("t", "one two six ten")})));
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(payloads["map"].size(), 2u);
}

TEST_F(MapReduceTest, TheEndOfAStageIsItsError) {
  end = absl::UnavailableError("the broker restarted");
  EXPECT_EQ(Run({Text("t", "one")}), end);
  EXPECT_TRUE(payloads["reduce"].empty());
}

}  // namespace
}  // namespace whippletree
