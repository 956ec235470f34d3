#include "worker/pattern_handlers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "worker/handlers.h"

namespace whippletree {
namespace {

absl::StatusOr<std::string> Call(std::string_view name, std::string_view payload) {
  JobContext context({.id = "1-1", .queue = "q"});
  return FindHandler(name)->handlers.job(context, payload);
}

BatchResults CallBatch(std::string_view name, std::vector<std::string_view> payloads) {
  BatchContext context("q", std::vector<BatchContext::Job>(payloads.size()));
  return FindHandler(name)->handlers.batch(context, payloads);
}

TEST(PatternHandlersTest, FlakyFailsWhenAskedTo) {
  EXPECT_EQ(Call("flaky", "1").status(), absl::UnavailableError("asked to fail"));
  EXPECT_EQ(*Call("flaky", "0"), "ok");
  EXPECT_EQ(*Call("flaky", "11"), "ok");
}

TEST(PatternHandlersTest, ReplaceTakesLowerCaseOnly) {
  EXPECT_EQ(*Call("replace", "Once upon a time, keep calm and code on."),
            "Once~up0n~4~71me,~keep~c4lm~4nd~c0de~0n.");
  EXPECT_EQ(*Call("replace", "OIAT\n"), "OIAT\n");
}

TEST(PatternHandlersTest, SeventhFailsForMultiplesOfSeven) {
  EXPECT_EQ(*Call("seventh", "1"), "processed-1");
  EXPECT_EQ(Call("seventh", "14").status(), absl::InvalidArgumentError("job 14 fails"));
  EXPECT_EQ(Call("seventh", "x").status(),
            absl::InvalidArgumentError("seventh: expected a whole number, got \"x\""));
}

TEST(PatternHandlersTest, WordsAreCountedByTheRule) {
  EXPECT_EQ(*Call("words", "text\nThe cat; the CAT's well-known (cat)!\n\tThe"),
            "text:cat\t3\ntext:s\t1\ntext:the\t3\ntext:well_known\t1\n");
  EXPECT_EQ(*Call("words", "empty\n ...\n"), "");
  EXPECT_TRUE(absl::IsInvalidArgument(Call("words", "no text").status()));
}

TEST(PatternHandlersTest, TotalStartsFromZero) {
  EXPECT_EQ(*Call("total", "b:x\t1\na:y\t2\nb:x\t40\n"), "a:y\t2\nb:x\t41\n");
  EXPECT_EQ(*Call("total", "k\t1"), "k\t1\n");
  EXPECT_EQ(*Call("total", ""), "");
  for (const char* wrong : {"k", "k\tx", "k\t9223372036854775807\nk\t1"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Call("total", wrong).status())) << wrong;
  }
}

TEST(PatternHandlersTest, ProductIsOfTheBatch) {
  const BatchResults results = CallBatch("product", {"0", "1", "2", "3"});
  ASSERT_EQ(results->size(), 4u);
  for (const auto& result : *results) EXPECT_EQ(*result, "[0 1 2 3] 0");
  EXPECT_EQ(*CallBatch("product", {"-7", "8"})->at(1), "[-7 8] -56");
  EXPECT_TRUE(absl::IsInvalidArgument(CallBatch("product", {"9223372036854775807", "2"}).status()));
}

TEST(PatternHandlersTest, SumIsTheFirstJobsResult) {
  const BatchResults results = CallBatch("sum", {"1", "20", "-3"});
  ASSERT_EQ(results->size(), 3u);
  EXPECT_EQ(*results->at(0), "18");
  EXPECT_EQ(*results->at(1), "");
  EXPECT_EQ(*results->at(2), "");
  EXPECT_TRUE(absl::IsInvalidArgument(CallBatch("sum", {"9223372036854775807", "1"}).status()));
}

TEST(PatternHandlersTest, OneBadNumberLeavesTheOthers) {
  const BatchResults products = CallBatch("product", {"x", "2", "3"});
  EXPECT_EQ(products->at(0).status(),
            absl::InvalidArgumentError("product: expected a whole number, got \"x\""));
  EXPECT_EQ(*products->at(2), "[2 3] 6");
  const BatchResults sums = CallBatch("sum", {"x", "2", "3"});
  EXPECT_TRUE(absl::IsInvalidArgument(sums->at(0).status()));
  EXPECT_EQ(*sums->at(1), "5");
}

}  // namespace
}  // namespace whippletree
