#include "broker/core/unread_replies.h"

#include <gtest/gtest.h>

namespace whippletree::core {
namespace {

using Verdict = UnreadReplies::Verdict;

constexpr MonoTime kStart{seconds(5)};

TEST(UnreadRepliesTest, OneForEachConnection) {
  UnreadReplies unread;
  EXPECT_EQ(unread.Check("a", kStart), Verdict::kAnswer);
  unread.Add("a", 7, 1000, kStart);
  EXPECT_EQ(unread.bytes(), 1000 + UnreadReplies::kOverheadBytes);
  EXPECT_EQ(unread.Check("a", kStart), Verdict::kUnread);
  EXPECT_EQ(unread.Check("a", kStart), Verdict::kDrop);
  EXPECT_EQ(unread.Check("b", kStart), Verdict::kAnswer);
  unread.OnRead("b", 7);
  unread.OnRead("a", 8);
  EXPECT_EQ(unread.Check("a", kStart), Verdict::kDrop);
  unread.OnRead("a", 7);
  EXPECT_EQ(unread.Check("a", kStart), Verdict::kAnswer);
  EXPECT_EQ(unread.bytes(), 0u);
}

TEST(UnreadRepliesTest, AllTogetherAreBounded) {
  UnreadReplies unread;
  unread.Add("a", 1, UnreadReplies::kBytesMax, kStart);
  EXPECT_EQ(unread.Check("b", kStart), Verdict::kFull);
  EXPECT_EQ(unread.Check("a", kStart), Verdict::kUnread);
  unread.OnRead("a", 1);
  EXPECT_EQ(unread.Check("b", kStart), Verdict::kAnswer);
}

TEST(UnreadRepliesTest, EachIsForgottenInTime) {
  UnreadReplies unread;
  unread.Add("a", 1, 100, kStart);
  unread.Add("b", 2, 100, kStart + seconds(1));
  const MonoTime end = kStart + UnreadReplies::kKept;
  EXPECT_EQ(unread.Check("a", end - Duration(1)), Verdict::kUnread);
  EXPECT_EQ(unread.Check("a", end), Verdict::kAnswer);
  EXPECT_EQ(unread.Check("b", end), Verdict::kUnread);
  EXPECT_EQ(unread.bytes(), 100 + UnreadReplies::kOverheadBytes);
  EXPECT_EQ(unread.Check("c", end + seconds(1)), Verdict::kAnswer);
  EXPECT_EQ(unread.bytes(), 0u);
}

}  // namespace
}  // namespace whippletree::core
