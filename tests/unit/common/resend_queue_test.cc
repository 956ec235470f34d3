#include "common/resend_queue.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

constexpr MonoTime kStart{seconds(100)};

// Sends all that is unsent, and returns it.
std::vector<int> SendAll(ResendQueue<int>* queue, MonoTime now) {
  std::vector<int> sent;
  while (queue->has_unsent()) {
    sent.push_back(queue->PeekUnsent().value);
    queue->MarkSent(now);
  }
  return sent;
}

ResendQueue<int> WithItems(int count) {
  ResendQueue<int> queue;
  for (int i = 1; i <= count; ++i) queue.Push(i, 10);
  return queue;
}

TEST(ResendQueueTest, OrdinalsCountFromOne) {
  ResendQueue<int> queue = WithItems(3);
  EXPECT_EQ(queue.next_to_send(), 1u);
  EXPECT_EQ(SendAll(&queue, kStart), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(queue.next_to_send(), 4u);
  EXPECT_EQ(queue.bytes_in_flight(), 30u);
}

TEST(ResendQueueTest, AcknowledgedItemsAreDroppedInOrder) {
  ResendQueue<int> queue = WithItems(3);
  SendAll(&queue, kStart);
  std::vector<int> dropped;
  EXPECT_TRUE(queue.Acknowledge(3, kStart, [&](int item) { dropped.push_back(item); }));
  EXPECT_EQ(dropped, (std::vector<int>{1, 2}));
  EXPECT_EQ(queue.first_ordinal(), 3u);
  EXPECT_EQ(queue.bytes(), 10u);
  EXPECT_EQ(queue.bytes_in_flight(), 10u);
  EXPECT_TRUE(queue.Acknowledge(4, kStart));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.resend_at(), kNever);
}

TEST(ResendQueueTest, OldAndUnknownNumbersChangeNothing) {
  ResendQueue<int> queue = WithItems(3);
  EXPECT_FALSE(queue.Acknowledge(2, kStart));  // nothing was sent
  queue.MarkSent(kStart);
  queue.MarkSent(kStart);
  EXPECT_FALSE(queue.Acknowledge(0, kStart));
  EXPECT_FALSE(queue.Acknowledge(1, kStart));
  EXPECT_FALSE(queue.Acknowledge(4, kStart));
  EXPECT_FALSE(queue.Acknowledge(1'000'000, kStart));
  EXPECT_EQ(queue.size(), 3u);
}

TEST(ResendQueueTest, SendsAgainLaterAndLater) {
  ResendQueue<int> queue = WithItems(1);
  EXPECT_EQ(queue.resend_at(), kNever);
  MonoTime now = kStart;
  for (const int after : {1, 2, 4, 8, 8}) {
    SendAll(&queue, now);
    EXPECT_EQ(queue.resend_at(), now + seconds(after));
    now = queue.resend_at();
    queue.Rewind();
    EXPECT_EQ(queue.resend_at(), kNever);
    EXPECT_EQ(queue.bytes_in_flight(), 0u);
  }
  SendAll(&queue, now);
  queue.Push(2, 10);
  queue.Acknowledge(2, now);
  SendAll(&queue, now);
  EXPECT_EQ(queue.resend_at(), now + seconds(1));  // progress: soon again
}

TEST(ResendQueueTest, TheTimeRunsFromTheOldestUnacknowledged) {
  ResendQueue<int> queue = WithItems(2);
  queue.MarkSent(kStart);
  queue.MarkSent(kStart + milliseconds(900));
  EXPECT_EQ(queue.resend_at(), kStart + seconds(1));
  queue.Acknowledge(2, kStart + milliseconds(950));
  EXPECT_EQ(queue.resend_at(), kStart + milliseconds(1950));
}

TEST(ResendQueueTest, OnlyWhatWasNeverSentMayGrow) {
  ResendQueue<int> queue;
  EXPECT_EQ(queue.UnsentBack(), nullptr);
  queue.Push(1, 10);
  ASSERT_NE(queue.UnsentBack(), nullptr);
  queue.AddBytesToBack(5);
  EXPECT_EQ(queue.bytes(), 15u);
  SendAll(&queue, kStart);
  EXPECT_EQ(queue.UnsentBack(), nullptr);
  queue.Rewind();
  EXPECT_EQ(queue.UnsentBack(), nullptr);  // the other end may have it under this ordinal
  queue.Push(2, 10);
  ASSERT_NE(queue.UnsentBack(), nullptr);
  EXPECT_EQ(queue.UnsentBack()->value, 2);
}

TEST(ResendQueueTest, ALateAcknowledgementCountsAfterRewind) {
  ResendQueue<int> queue = WithItems(3);
  queue.MarkSent(kStart);
  queue.MarkSent(kStart);
  queue.Rewind();
  EXPECT_EQ(queue.sent_below(), 3u);
  EXPECT_FALSE(queue.Acknowledge(4, kStart));
  EXPECT_TRUE(queue.Acknowledge(3, kStart));
  EXPECT_EQ(queue.next_to_send(), 3u);
  EXPECT_EQ(SendAll(&queue, kStart), std::vector<int>{3});
}

TEST(ResendQueueTest, ANewSessionBeginsAnew) {
  ResendQueue<int> queue = WithItems(3);
  SendAll(&queue, kStart);
  queue.Acknowledge(2, kStart);
  queue.Restart();
  EXPECT_EQ(queue.next_to_send(), 1u);
  EXPECT_EQ(queue.sent_below(), 1u);
  ASSERT_NE(queue.UnsentBack(), nullptr);
  EXPECT_EQ(SendAll(&queue, kStart), (std::vector<int>{2, 3}));
}

TEST(ResendQueueTest, ItemsMayBeRemovedBetweenSessions) {
  ResendQueue<int> queue = WithItems(4);
  SendAll(&queue, kStart);
  queue.RemoveIf([](int item) { return item % 2 == 0; });
  EXPECT_EQ(queue.bytes(), 20u);
  EXPECT_EQ(queue.bytes_in_flight(), 0u);
  EXPECT_EQ(SendAll(&queue, kStart), (std::vector<int>{1, 3}));
  queue.Clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

}  // namespace
}  // namespace whippletree
