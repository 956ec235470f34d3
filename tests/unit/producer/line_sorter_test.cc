// Sorting in memory and over a file: the same order, all lines, no file left.
#include "producer/line_sorter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace whippletree {
namespace {

std::vector<std::string> ReadAll(LineSorter& sorter) {
  std::vector<std::string> lines;
  const absl::Status status = sorter.Read([&](std::string_view line) {
    lines.emplace_back(line);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return lines;
}

TEST(LineSorterTest, OrderIsByKeyThenValue) {
  LineSorter sorter(testing::TempDir());
  for (const char* line : {"b\t2", "ab\t1", "a\t9", "a b\t1", "b\t1", "a\t"}) sorter.Add(line);
  EXPECT_EQ(ReadAll(sorter),
            (std::vector<std::string>{"a\t", "a\t9", "a b\t1", "ab\t1", "b\t1", "b\t2"}));
}

TEST(LineSorterTest, KeysWithBytesBelowATabKeepTogether) {
  LineSorter sorter(testing::TempDir());
  sorter.Add("a\t1");
  sorter.Add("a\x01\t1");
  sorter.Add("a\t2");
  EXPECT_EQ(ReadAll(sorter), (std::vector<std::string>{"a\t1", "a\t2", "a\x01\t1"}));
}

TEST(LineSorterTest, SpilledRunsAreMergedWithWhatIsInMemory) {
  LineSorter sorter(testing::TempDir());
  std::vector<std::string> expected;
  for (int i = 0; i < 1000; ++i) {
    const int n = i * 7919 % 1000;
    std::string line = "key" + std::to_string(n % 100) + "\t" + std::to_string(n);
    if (n == 500) line += std::string(600'000, 'x');  // more than is read at a time
    expected.push_back(line);
    sorter.Add(line);
    if (i % 300 == 299) {
      ASSERT_TRUE(sorter.Spill().ok());
      EXPECT_EQ(sorter.memory_bytes(), 0u);
    }
  }
  EXPECT_EQ(sorter.runs(), 3u);
  std::sort(expected.begin(), expected.end());  // no key has a byte below a tab
  EXPECT_EQ(ReadAll(sorter), expected);
}

TEST(LineSorterTest, TheFileHasNoName) {
  const std::string folder = testing::TempDir() + "/line_sorter_test";
  std::filesystem::create_directory(folder);
  LineSorter sorter(folder);
  sorter.Add("a\t1");
  ASSERT_TRUE(sorter.Spill().ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove(folder);
  EXPECT_EQ(ReadAll(sorter), std::vector<std::string>{"a\t1"});
}

TEST(LineSorterTest, AFolderThatIsNoneIsNamed) {
  LineSorter sorter("/nowhere");
  sorter.Add("a\t1");
  const absl::Status status = sorter.Spill();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_NE(std::string(status.message()).find("/nowhere"), std::string::npos);
}

TEST(LineSorterTest, TheReadersErrorEndsIt) {
  LineSorter sorter(testing::TempDir());
  sorter.Add("a\t1");
  sorter.Add("b\t1");
  int taken = 0;
  EXPECT_EQ(sorter.Read([&](std::string_view) {
    ++taken;
    return absl::AbortedError("enough");
  }),
            absl::AbortedError("enough"));
  EXPECT_EQ(taken, 1);
}

}  // namespace
}  // namespace whippletree
