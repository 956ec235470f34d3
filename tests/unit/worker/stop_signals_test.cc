#include "worker/stop_signals.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <vector>

namespace whippletree {
namespace {

void Note(void* of, int count) { static_cast<std::atomic<int>*>(of)->store(count); }

std::atomic<int> g_own = 0;
void OwnHandler(int) { ++g_own; }

bool IsDefault(int number) {
  struct sigaction action {};
  sigaction(number, nullptr, &action);
  return action.sa_handler == SIG_DFL;
}

TEST(StopSignalsTest, EachListenerIsToldHowManyCame) {
  std::atomic<int> first = 0;
  std::atomic<int> second = 0;
  {
    StopSignals one(Note, &first);
    raise(SIGTERM);
    EXPECT_EQ(first, 1);
    StopSignals other(Note, &second);
    raise(SIGINT);
    EXPECT_EQ(first, 2);
    EXPECT_EQ(second, 1);
  }
  EXPECT_TRUE(IsDefault(SIGTERM));
  EXPECT_TRUE(IsDefault(SIGINT));
}

TEST(StopSignalsTest, WhatTheProgramHandlesOrIgnoresIsLeftAlone) {
  std::atomic<int> seen = 0;
  signal(SIGTERM, OwnHandler);
  signal(SIGINT, SIG_IGN);
  {
    StopSignals one(Note, &seen);
    raise(SIGTERM);
    raise(SIGINT);
  }
  EXPECT_EQ(seen, 0);
  EXPECT_EQ(g_own, 1);
  EXPECT_FALSE(IsDefault(SIGTERM));
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
}

TEST(StopSignalsTest, MoreThanThereArePlacesForAreNotTold) {
  std::atomic<int> seen = 0;
  std::atomic<int> beyond = 0;
  std::vector<std::unique_ptr<StopSignals>> all;
  for (int i = 0; i < StopSignals::kMost; ++i) {
    all.push_back(std::make_unique<StopSignals>(Note, &seen));
  }
  StopSignals last(Note, &beyond);
  raise(SIGTERM);
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(beyond, 0);
}

}  // namespace
}  // namespace whippletree
