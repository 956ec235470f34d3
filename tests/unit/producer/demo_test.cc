#include "producer/demo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "producer/demo_data.h"
#include "producer/demo_patterns.h"
#include "producer/demo_workers.h"

namespace whippletree {
namespace {

namespace fs = std::filesystem;

const fs::path kRoot = WHIPPLETREE_SOURCE_DIR;

std::vector<std::string> GoldenLines(std::string_view pattern) {
  std::ifstream in(kRoot / "tests/golden" / (std::string(pattern) + ".txt"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool IsTransition(const std::string& line) { return line.find(" -> ") != std::string::npos; }

TEST(DemoTest, ExpectsOfEachPatternWhatItsGoldenFileSays) {
  int patterns = 0;
  for (const DemoPattern& pattern : DemoPatterns()) {
    std::vector<std::string> golden = GoldenLines(pattern.name);
    ASSERT_FALSE(golden.empty()) << pattern.name;
    golden.erase(std::remove_if(golden.begin(), golden.end(), IsTransition), golden.end());
    EXPECT_EQ(ExpectedLines(pattern.name), golden) << pattern.name;
    ++patterns;
  }
  EXPECT_EQ(patterns, 9);
}

TEST(DemoTest, ExpectsAsManyOpeningsOfTheBreakerAsTheGoldenFile) {
  const std::vector<std::string> golden = GoldenLines("circuit-breaker");
  const auto openings = std::count_if(golden.begin(), golden.end(), [](const std::string& line) {
    return line.find("-> open ") != std::string::npos;
  });
  EXPECT_EQ(static_cast<uint64_t>(openings), kBreakerOpenings);
}

TEST(DemoTest, HasTheTextsOfTheFolder) {
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kRoot / "demo/texts")) {
    std::ifstream in(entry.path());
    std::ostringstream text;
    text << in.rdbuf();
    const auto texts = DemoTexts();
    const auto found = std::find_if(texts.begin(), texts.end(), [&](const DemoText& each) {
      return each.name == entry.path().stem().string();
    });
    ASSERT_NE(found, texts.end()) << entry.path();
    EXPECT_EQ(found->text, text.str());
    ++files;
  }
  EXPECT_EQ(files, 5u);
  EXPECT_EQ(DemoTexts().size(), 5u);
}

TEST(DemoTest, NamesThePatternsWhenOneDoesNotExist) {
  EXPECT_EQ(DemoPatternsError({"all"}), "");
  EXPECT_EQ(DemoPatternsError({"fan", "batch"}), "");
  EXPECT_EQ(DemoPatternsError({"fun"}),
            "there is no pattern \"fun\", only all, producer-consumer, worker-pool, batch, fan, "
            "circuit-breaker, map-reduce, errors, timeout, composition");
  EXPECT_EQ(DemoPatternsError({}).substr(0, 34), "which pattern? all, or some of pro");
}

TEST(RunProgramTest, ReturnsWhatTheProgramPrints) {
  const auto output = RunProgram({"sh", "-c", "echo one; echo two"});
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(*output, "one\ntwo\n");
}

TEST(RunProgramTest, HasTheErrorsOfAProgramThatFails) {
  const absl::Status status = RunProgram({"sh", "-c", "echo broken >&2; exit 3"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "sh: broken\n");
}

TEST(RunProgramTest, SaysThatAProgramIsMissing) {
  const absl::Status status = RunProgram({"whippletree-nothing"}).status();
  EXPECT_EQ(status.message(),
            "whippletree-nothing: cannot be started; is it beside whippletree-producer or in "
            "PATH?\n");
}

TEST(DemoWorkersTest, TellsThatAWorkerHasEndedAndWhatItSaid) {
  DemoWorkers workers("127.0.0.1:1");
  // Wherever the program is, or if it is nowhere: it does not stay.
  ASSERT_TRUE(workers.Start("w", 1, {"--no-such-option"}).ok());
  absl::StatusOr<bool> connected = false;
  while (connected.ok()) connected = workers.Connected();
  EXPECT_EQ(connected.status().message(), "w-1 has ended");
  EXPECT_NE(workers.Output().find("--- w-1\n"), std::string::npos) << workers.Output();
}

}  // namespace
}  // namespace whippletree
