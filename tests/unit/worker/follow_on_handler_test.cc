#include "worker/follow_on_handler.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace whippletree {
namespace {

TEST(FollowOnHandlerTest, AResultBecomesAJobOfTheNextQueue) {
  const QueueHandlers chained =
      WithFollowOn({[](JobContext&, std::string_view payload) -> absl::StatusOr<std::string> {
                      if (payload == "bad") return absl::NotFoundError("no");
                      return std::string(payload);
                    },
                    nullptr},
                   "next");
  EXPECT_EQ(chained.batch, nullptr);
  JobContext context({.id = "1-1", .queue = "q"});
  EXPECT_EQ(*chained.job(context, "x"), "x");
  EXPECT_EQ(*chained.job(context, ""), "");
  EXPECT_TRUE(absl::IsNotFound(chained.job(context, "bad").status()));
  const auto follow_ons = context.TakeFollowOns();
  ASSERT_EQ(follow_ons.size(), 1u);
  EXPECT_EQ(follow_ons[0].queue, "next");
  EXPECT_EQ(follow_ons[0].block, "x");
  EXPECT_EQ(follow_ons[0].sizes.size(), 1u);
}

TEST(FollowOnHandlerTest, EachOfABatchHasItsOwn) {
  const QueueHandlers chained = WithFollowOn(
      {nullptr,
       [](BatchContext&, std::span<const std::string_view>) -> BatchResults {
         return std::vector<absl::StatusOr<std::string>>{"a", absl::NotFoundError("no"), "", "b"};
       }},
      "next");
  EXPECT_EQ(chained.job, nullptr);
  BatchContext context("q", std::vector<BatchContext::Job>(4));
  const std::vector<std::string_view> payloads(4);
  EXPECT_EQ(chained.batch(context, payloads)->size(), 4u);
  const auto follow_ons = context.TakeFollowOns();
  ASSERT_EQ(follow_ons.size(), 2u);
  EXPECT_EQ(follow_ons[0].job, 0u);
  EXPECT_EQ(follow_ons[1].job, 3u);
}

TEST(FollowOnHandlerTest, AResultThatCannotBeSubmittedFailsItsJob) {
  const QueueHandlers chained = WithFollowOn(
      {[](JobContext&, std::string_view) { return std::string("x"); }, nullptr}, "next");
  JobContext context({.id = "1-1", .queue = "q"});
  ASSERT_TRUE(context.Submit("next", std::string(kFollowOnBytesMax, 'x')).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(chained.job(context, "").status()));
}

}  // namespace
}  // namespace whippletree
