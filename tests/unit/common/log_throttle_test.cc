#include "common/log_throttle.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

constexpr MonoTime kStart{seconds(100)};

LogEvent Event(std::string_view event, const std::string& queue = "") {
  LogEvent log{LogLevel::kInfo, event, {}};
  if (!queue.empty()) log.fields.push_back({"queue", queue});
  return log;
}

int Admitted(LogThrottle* throttle, const LogEvent& event, MonoTime now, int tries) {
  int admitted = 0;
  for (int i = 0; i < tries; ++i) admitted += throttle->Admit(event, now) ? 1 : 0;
  return admitted;
}

TEST(LogThrottleTest, FiveLinesASecondForEachEventAndQueue) {
  LogThrottle throttle;
  EXPECT_EQ(Admitted(&throttle, Event("dead", "a"), kStart, 100), 5);
  EXPECT_EQ(Admitted(&throttle, Event("dead", "b"), kStart, 100), 5);
  EXPECT_EQ(Admitted(&throttle, Event("lost"), kStart, 3), 3);
  EXPECT_EQ(Admitted(&throttle, Event("dead", "a"), kStart + milliseconds(999), 1), 0);
  EXPECT_EQ(Admitted(&throttle, Event("dead", "a"), kStart + seconds(1), 100), 5);
}

TEST(LogThrottleTest, ASummarySaysHowManyWereLeftOut) {
  LogThrottle throttle;
  Admitted(&throttle, Event("dead", "a"), kStart, 100);
  EXPECT_TRUE(throttle.TakeSummaries(kStart + milliseconds(500)).empty());
  const std::vector<LogEvent> summaries = throttle.TakeSummaries(kStart + seconds(1));
  ASSERT_EQ(summaries.size(), 1u);
  EXPECT_EQ(summaries[0].event, "suppressed");
  ASSERT_EQ(summaries[0].fields.size(), 3u);
  EXPECT_EQ(std::get<std::string>(summaries[0].fields[0].second), "dead");
  EXPECT_EQ(std::get<std::string>(summaries[0].fields[1].second), "a");
  EXPECT_EQ(std::get<uint64_t>(summaries[0].fields[2].second), 95u);
  EXPECT_TRUE(throttle.TakeSummaries(kStart + seconds(5)).empty());
}

TEST(LogThrottleTest, ASecondThatIsOverIsSummedUpByTheNextLine) {
  LogThrottle throttle;
  Admitted(&throttle, Event("dead"), kStart, 7);
  EXPECT_TRUE(throttle.Admit(Event("dead"), kStart + seconds(2)));
  const std::vector<LogEvent> summaries = throttle.TakeSummaries(kStart + seconds(2));
  ASSERT_EQ(summaries.size(), 1u);
  EXPECT_EQ(std::get<uint64_t>(summaries[0].fields.back().second), 2u);
}

TEST(LogThrottleTest, NothingLeftOutNothingSaid) {
  LogThrottle throttle;
  Admitted(&throttle, Event("dead"), kStart, 5);
  EXPECT_TRUE(throttle.TakeSummaries(kStart + seconds(2)).empty());
}

}  // namespace
}  // namespace whippletree
