#include "broker/ledger.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

wire::StatusReply Status(uint64_t accepted) {
  wire::StatusReply status;
  wire::QueueStatus* queue = status.add_queues();
  queue->set_name("a");
  queue->set_accepted(accepted);
  queue->set_waiting(1);
  queue->set_leased(2);
  queue->set_completed(3);
  queue->set_dead(4);
  queue->set_cancelled(5);
  queue->set_expired(6);
  *status.add_queues() = status.queues(0);
  status.mutable_queues(1)->set_name("b");
  return status;
}

TEST(LedgerTest, AddsUpEveryQueueAndAll) {
  EXPECT_TRUE(LedgerBalances(Status(21)));
  EXPECT_EQ(LedgerText(Status(21)),
            "QUEUE  ACCEPTED  WAITING  LEASED  COMPLETED  DEAD  CANCELLED  EXPIRED  BALANCE\n"
            "a            21        1       2          3     4          5        6  ok\n"
            "b            21        1       2          3     4          5        6  ok\n"
            "all          42        2       4          6     8         10       12  ok\n");
}

TEST(LedgerTest, SaysWhatIsMissing) {
  EXPECT_FALSE(LedgerBalances(Status(25)));
  EXPECT_NE(LedgerText(Status(25)).find("6  4 missing\n"), std::string::npos);
  EXPECT_NE(LedgerText(Status(25)).find("12  8 missing\n"), std::string::npos);
  EXPECT_FALSE(LedgerBalances(Status(20)));
  EXPECT_NE(LedgerText(Status(20)).find("1 too many\n"), std::string::npos);
}

TEST(LedgerTest, BalancesWithoutQueues) {
  EXPECT_TRUE(LedgerBalances({}));
  EXPECT_EQ(LedgerText({}),
            "QUEUE  ACCEPTED  WAITING  LEASED  COMPLETED  DEAD  CANCELLED  EXPIRED  BALANCE\n"
            "all           0        0       0          0     0          0        0  ok\n");
}

}  // namespace
}  // namespace whippletree
