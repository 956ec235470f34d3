#include "common/run.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

wire::Run MakeRun(const std::vector<std::string>& payloads) {
  wire::Run run;
  for (const std::string& payload : payloads) AppendToRun(payload, &run);
  return run;
}

std::vector<std::string> PayloadsOf(const RunData& data) {
  std::vector<std::string> payloads;
  for (uint32_t i = 0; i < data.count(); ++i) payloads.emplace_back(data.payload(i));
  return payloads;
}

TEST(RunTest, KeepsPayloadsOfEqualAndOfOtherSizes) {
  for (const std::vector<std::string>& payloads :
       {std::vector<std::string>{"aa", "bb", "cc"}, {"a", "", "ccc"}, {"", "", ""}, {"one"}}) {
    wire::Run run = MakeRun(payloads);
    ASSERT_TRUE(IsValidRun(run));
    const RunData data(&run);
    EXPECT_EQ(PayloadsOf(data), payloads);
    EXPECT_EQ(data.bytes(0, data.count()), data.block(0, data.count()).size());
  }
}

TEST(RunTest, AppendedPayloadsStayTheSame) {
  RunData data;
  std::vector<std::string> expected;
  for (const char* payload : {"12", "34", "5", "", "6789"}) {
    data.Append(payload);
    expected.push_back(payload);
    EXPECT_EQ(PayloadsOf(data), expected);
  }
  RunData other;
  other.Append("x");
  other.Append(data, 1, 4);
  EXPECT_EQ(PayloadsOf(other), (std::vector<std::string>{"x", "34", "5", ""}));
}

TEST(RunTest, AllJobsAreMovedIntoARun) {
  for (const std::vector<std::string>& payloads :
       {std::vector<std::string>{"aa", "bb", "cc"}, {"a", "", "ccc"}, {"one"}}) {
    RunData data;
    for (const std::string& payload : payloads) data.Append(payload);
    wire::Run run;
    data.MoveTo(&run);
    EXPECT_EQ(data.count(), 0u);
    ASSERT_TRUE(IsValidRun(run));
    EXPECT_EQ(PayloadsOf(RunData(&run)), payloads);
    data.Append("next");
    EXPECT_EQ(PayloadsOf(data), std::vector<std::string>{"next"});
  }
}

TEST(RunTest, TheOnlyPayloadIsTaken) {
  RunData data;
  data.Append("one");
  EXPECT_EQ(data.Take(), "one");
  EXPECT_EQ(data.count(), 0u);
}

TEST(RunTest, ALargeFirstPayloadIsMovedAndOthersFollow) {
  std::string large(100'000, 'x');
  const char* const at = large.data();
  wire::Run run;
  AppendToRun(std::move(large), &run);
  EXPECT_EQ(run.block().data(), at);
  AppendToRun("y", &run);
  AppendToRun("", &run);
  ASSERT_TRUE(IsValidRun(run));
  EXPECT_EQ(PayloadsOf(RunData(&run)),
            (std::vector<std::string>{std::string(100'000, 'x'), "y", ""}));
}

TEST(RunTest, PartsOfEqualAndOfOtherSizesAreAppended) {
  RunData equal;
  for (const char* payload : {"aa", "bb", "cc"}) equal.Append(payload);
  RunData mixed;
  for (const char* payload : {"1", "22", "333"}) mixed.Append(payload);
  RunData all;
  all.Append(equal, 1, 3);
  all.Append(equal, 0, 0);
  EXPECT_EQ(PayloadsOf(all), (std::vector<std::string>{"bb", "cc"}));
  all.Append(mixed, 1, 2);
  all.Append(equal, 0, 1);
  all.Append(mixed, 2, 3);
  EXPECT_EQ(PayloadsOf(all), (std::vector<std::string>{"bb", "cc", "22", "aa", "333"}));
  RunData from_mixed;
  from_mixed.Append(mixed, 1, 3);
  EXPECT_EQ(PayloadsOf(from_mixed), (std::vector<std::string>{"22", "333"}));
}

TEST(RunTest, KnowsHowManyFit) {
  RunData data;
  for (const char* payload : {"a", "bb", "ccc", "dddd"}) data.Append(payload);
  EXPECT_EQ(data.Fitting(0, 4, 100), 4u);
  EXPECT_EQ(data.Fitting(0, 4, 10), 4u);
  EXPECT_EQ(data.Fitting(0, 4, 9), 3u);
  EXPECT_EQ(data.Fitting(1, 3, 4), 1u);
  EXPECT_EQ(data.Fitting(1, 4, 1), 0u);
  EXPECT_EQ(data.Fitting(2, 2, 5), 0u);
}

TEST(RunTest, CopiesAPart) {
  wire::Run run = MakeRun({"a", "bb", "ccc", "dddd"});
  const RunData data(&run);
  EXPECT_EQ(data.bytes(1, 3), 5u);
  wire::Run part = MakeRun({"first"});
  data.CopyTo(1, 3, &part);
  ASSERT_TRUE(IsValidRun(part));
  EXPECT_EQ(PayloadsOf(RunData(&part)), (std::vector<std::string>{"first", "bb", "ccc"}));
}

TEST(RunTest, SizesAndBlockMustAgree) {
  wire::Run run;
  EXPECT_FALSE(IsValidRun(run));
  run.add_sizes(3);
  EXPECT_FALSE(IsValidRun(run));
  run.set_block("abc");
  EXPECT_TRUE(IsValidRun(run));
  run.set_block("abcd");
  EXPECT_FALSE(IsValidRun(run));
  run.clear_sizes();
  EXPECT_FALSE(IsValidRun(run));
}

TEST(RunTest, SizesMustNotOverflow) {
  wire::Run run;
  run.add_sizes(0xffffffff);
  run.add_sizes(2);
  run.set_block("a");  // the sum modulo 2^32
  EXPECT_FALSE(IsValidRun(run));
}

TEST(RunTest, JobsAreBounded) {
  wire::Run run;
  for (uint32_t i = 0; i < kJobsPerRunMax; ++i) run.add_sizes(0);
  EXPECT_TRUE(IsValidRun(run));
  run.add_sizes(0);
  EXPECT_FALSE(IsValidRun(run));
}

}  // namespace
}  // namespace whippletree
