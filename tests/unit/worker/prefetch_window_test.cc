#include "worker/prefetch_window.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

// Reports `rounds` batches of `jobs` that took `service` each.
void Finish(PrefetchWindow* window, int rounds, uint64_t jobs, Duration service,
            uint64_t bytes = 0) {
  for (int i = 0; i < rounds; ++i) {
    window->OnFinished(jobs, service * static_cast<int64_t>(jobs), bytes * jobs);
    window->Update();
  }
}

TEST(PrefetchWindowTest, BeginsWithOneJobPerSlot) {
  PrefetchWindow window(4);
  EXPECT_EQ(window.jobs(), 4u);
  window.Update();
  EXPECT_EQ(window.jobs(), 4u);
}

TEST(PrefetchWindowTest, DoublesOnQuickCompletions) {
  PrefetchWindow window(2);
  for (uint32_t expected : {4u, 8u, 16u, 32u}) {
    Finish(&window, 1, 10, microseconds(1));
    EXPECT_EQ(window.jobs(), expected);
  }
}

TEST(PrefetchWindowTest, CoversTheTurnaroundAndAMillisecond) {
  PrefetchWindow window(2);
  window.OnTurnaround(milliseconds(4));
  Finish(&window, 20, 10, microseconds(100));
  EXPECT_EQ(window.jobs(), 2u + 2 * 50);
}

TEST(PrefetchWindowTest, FallsAtOnceOnASlowCompletion) {
  PrefetchWindow window(2);
  Finish(&window, 20, 10, microseconds(1));
  EXPECT_GT(window.jobs(), 1000u);
  Finish(&window, 1, 1, seconds(10));
  EXPECT_EQ(window.jobs(), 2u);
  Finish(&window, 1, 1, microseconds(1));  // and forgets it only by and by
  EXPECT_EQ(window.jobs(), 2u);
  EXPECT_GT(window.service_time(), seconds(7));
}

TEST(PrefetchWindowTest, LongJobsAreNotHeld) {
  PrefetchWindow window(1);
  window.OnTurnaround(milliseconds(1));
  Finish(&window, 20, 1, milliseconds(3));
  EXPECT_EQ(window.jobs(), 1u);
}

TEST(PrefetchWindowTest, IsBounded) {
  PrefetchWindow window(4000);
  window.OnTurnaround(seconds(100));
  Finish(&window, 30, 1000, Duration(0));
  EXPECT_EQ(window.jobs(), 65'536u);
}

TEST(PrefetchWindowTest, LargeJobsAreHeldWithinABoundOfBytes) {
  PrefetchWindow window(2);
  Finish(&window, 30, 10, microseconds(1), 1 << 20);
  EXPECT_EQ(window.jobs(), 2u + 8);
}

TEST(PrefetchWindowTest, TurnaroundsAreSmoothedAndBounded) {
  PrefetchWindow window(1);
  window.OnTurnaround(seconds(3600));
  Finish(&window, 20, 1, milliseconds(1));
  EXPECT_EQ(window.jobs(), 1u + 101);
  for (int i = 0; i < 100; ++i) window.OnTurnaround(milliseconds(1));
  Finish(&window, 1, 1, milliseconds(1));
  EXPECT_LE(window.jobs(), 1u + 3);
}

}  // namespace
}  // namespace whippletree
