#include "broker/disk_watch.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace whippletree {
namespace {

constexpr uint64_t kReserve = 64'000;
constexpr uint64_t kBallast = kReserve / 4;

// A file system of which the test says what others leave.
class DiskWatchTest : public testing::Test {
 protected:
  DiskWatch::Options MakeOptions() {
    DiskWatch::Options options;
    options.reserve_bytes = kReserve;
    options.calls.free_bytes = [this]() -> absl::StatusOr<uint64_t> {
      ++looks;
      if (broken) return absl::InternalError("no answer");
      return free;
    };
    options.calls.make_ballast = [this](uint64_t bytes) {
      ++ballasts_tried;
      if (!allocates || free < bytes) return absl::ResourceExhaustedError("no room");
      ballast = bytes;
      free -= bytes;
      return absl::OkStatus();
    };
    options.calls.drop_ballast = [this] {
      free += ballast;
      ballast = 0;
    };
    return options;
  }
  // Free bytes that the core is told; 0: nothing.
  uint64_t Poll(Duration later = milliseconds(200)) {
    now += later;
    const auto disk = watch.Poll(now, &logs);
    if (!disk) return 0;
    EXPECT_EQ(disk->reserve_bytes, kReserve);
    return disk->free_bytes;
  }
  bool Said(const std::string& state) const {
    return std::any_of(logs.begin(), logs.end(), [&](const LogEvent& event) {
      return event.event == "ballast" && std::get<std::string>(event.fields[0].second) == state;
    });
  }

  uint64_t free = 1'000'000;
  uint64_t ballast = 0;
  int looks = 0;
  int ballasts_tried = 0;
  bool broken = false;
  bool allocates = true;
  std::vector<LogEvent> logs;
  MonoTime now{seconds(100)};
  DiskWatch watch{MakeOptions()};
};

TEST_F(DiskWatchTest, TellsAtOnceThenWhatChanges) {
  EXPECT_EQ(Poll(), 1'000'000u);
  EXPECT_EQ(ballast, kBallast);  // counts as free: it is for us
  EXPECT_EQ(Poll(), 0u);
  free -= 1;
  EXPECT_EQ(Poll(), 999'999u);
  EXPECT_TRUE(Said("made"));
}

TEST_F(DiskWatchTest, LooksFiveTimesASecondAndMoreOftenNearTheReserve) {
  Poll();
  looks = 0;
  for (int i = 0; i < 100; ++i) Poll(milliseconds(10));
  EXPECT_EQ(looks, 5);
  free = kReserve;
  Poll();
  looks = 0;
  for (int i = 0; i < 100; ++i) Poll(milliseconds(10));
  EXPECT_EQ(looks, 50);
  EXPECT_EQ(watch.next_look() - now, milliseconds(20));
}

TEST_F(DiskWatchTest, CountsWhatWasWrittenSinceTheLastLook) {
  Poll();
  looks = 0;
  watch.OnCommit(1, 300'000);
  EXPECT_EQ(Poll(milliseconds(1)), 700'000u);
  watch.OnDurable(1);  // in files by now, but nobody looked
  EXPECT_EQ(Poll(milliseconds(1)), 0u);
  watch.OnCommit(2, 300'500);  // too little to be told
  EXPECT_EQ(Poll(milliseconds(1)), 0u);
  EXPECT_EQ(looks, 0);
  free -= 300'000;
  EXPECT_EQ(Poll(), 699'500u);  // the second commit is still under way
  watch.OnDurable(2);
  free -= 500;
  EXPECT_EQ(Poll(), 0u);
  EXPECT_EQ(looks, 2);
}

TEST_F(DiskWatchTest, MoreIsWrittenThanThereIs) {
  Poll();
  watch.OnCommit(1, 2'000'000);
  watch.OnCommit(2, 2'100'000);
  now += milliseconds(1);
  EXPECT_EQ(watch.Poll(now, &logs)->free_bytes, 0u);
}

TEST_F(DiskWatchTest, GivesTheBallastUpWhenOthersFillTheDisk) {
  Poll();
  ASSERT_TRUE(watch.has_ballast());
  free = kReserve / 8;
  EXPECT_EQ(Poll(), kReserve / 8 + kBallast);
  EXPECT_TRUE(watch.has_ballast());
  free = 0;
  EXPECT_EQ(Poll(), kBallast);
  EXPECT_EQ(free, kBallast);
  EXPECT_FALSE(watch.has_ballast());
  EXPECT_TRUE(Said("given up"));
  // Others take that, too, and make room by and by.
  free = 10;
  EXPECT_EQ(Poll(), 10u);
  free = kReserve - 1;
  EXPECT_EQ(Poll(), kReserve - 1);
  EXPECT_FALSE(watch.has_ballast());
  free = kReserve;
  EXPECT_EQ(Poll(), kReserve);
  EXPECT_TRUE(watch.has_ballast());
  EXPECT_EQ(free, kReserve - kBallast);
}

TEST_F(DiskWatchTest, WithoutABallastItGoesOnAndTriesNowAndThen) {
  allocates = false;
  for (int i = 0; i < 100; ++i) Poll();
  EXPECT_EQ(ballasts_tried, 2);
  EXPECT_TRUE(Said("not made"));
  EXPECT_EQ(logs.size(), 1u);
  free = 5;
  EXPECT_EQ(Poll(), 5u);
}

TEST_F(DiskWatchTest, ADiskThatDoesNotAnswerIsAsItWas) {
  Poll();
  broken = true;
  free = 0;
  EXPECT_EQ(Poll(), 0u);
  watch.OnCommit(1, 500'000);
  EXPECT_EQ(Poll(), 500'000u);
}

}  // namespace
}  // namespace whippletree
