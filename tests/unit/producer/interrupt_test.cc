#include "producer/interrupt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "common/cli.h"

namespace whippletree {
namespace {

// Signals are the whole process's: this is one test, in the order of a program.
TEST(InterruptTest, TheFirstSignalIsAnEventAndTheSecondTheEnd) {
  RaiseEvent();  // no effect yet
  CatchSignals();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(WaitReadable(ends[0], 0));
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  EXPECT_TRUE(WaitReadable(ends[0], -1));

  std::thread other([] { RaiseEvent(); });
  WaitEvent();
  other.join();
  EXPECT_EQ(Signals(), 0);
  EXPECT_TRUE(WaitReadable(ends[0], 0));  // the event was taken

  EXPECT_EQ(raise(SIGINT), 0);
  EXPECT_EQ(Signals(), 1);
  EXPECT_FALSE(WaitReadable(ends[0], -1));  // an event comes first
  WaitEvent();
  EXPECT_TRUE(WaitReadable(ends[0], 0));
  EXPECT_EXIT(raise(SIGTERM), testing::ExitedWithCode(kExitInterrupted), "");
  EXPECT_EXIT(raise(SIGHUP), testing::ExitedWithCode(kExitInterrupted), "");
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace whippletree
