#include "common/crash_point.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>

namespace whippletree {
namespace {

constexpr std::string_view kPoints[] = {"first.before", "first.after"};

class CrashPointTest : public testing::Test {
 protected:
  ~CrashPointTest() override {
    unsetenv("WHIPPLETREE_CRASH_POINT");
    crash_point_armed = false;
  }
  static auto Arm(const char* value) {
    setenv("WHIPPLETREE_CRASH_POINT", value, 1);
    return ArmCrashPoint(kPoints);
  }
};

TEST_F(CrashPointTest, WithoutTheVariableNothingIsArmed) {
  const auto warning = ArmCrashPoint(kPoints);
  ASSERT_TRUE(warning.ok());
  EXPECT_FALSE(warning->has_value());
  EXPECT_FALSE(crash_point_armed);
}

TEST_F(CrashPointTest, WarnsAndHidesTheVariableFromChildren) {
  const auto warning = Arm("first.after:3");
  ASSERT_TRUE(warning.ok());
  EXPECT_EQ(**warning,
            "this process will kill itself at crash point first.after, pass 3 "
            "(WHIPPLETREE_CRASH_POINT is set)");
  EXPECT_EQ(std::getenv("WHIPPLETREE_CRASH_POINT"), nullptr);
}

TEST_F(CrashPointTest, WhatIsNotAPointAndACountIsRefused) {
  for (const char* value : {"", "first.after", "first.after:", "first.after:0", "first.after:-1",
                            "first.after:two", "second:1", ":1"}) {
    const auto warning = Arm(value);
    EXPECT_EQ(warning.status().code(), absl::StatusCode::kInvalidArgument) << value;
    EXPECT_NE(warning.status().message().find("first.before, first.after"), std::string::npos);
    EXPECT_FALSE(crash_point_armed);
  }
}

using CrashPointDeathTest = CrashPointTest;

TEST_F(CrashPointDeathTest, KillsAtThatPassOfThatPoint) {
  ASSERT_TRUE(Arm("first.after:2").ok());
  CrashPoint("first.before");
  CrashPoint("first.before");
  CrashPoint("first.after");
  EXPECT_EXIT(CrashPoint("first.after"), testing::KilledBySignal(SIGKILL),
              "crash point first.after: killed");
}

TEST(CrashPointNamesTest, EachIsOne) {
  std::set<std::string_view> names;
  size_t count = 0;
  for (std::string_view name : kBrokerCrashPoints) count += names.insert(name).second ? 1 : 100;
  for (std::string_view name : kWorkerCrashPoints) count += names.insert(name).second ? 1 : 100;
  for (std::string_view name : kProducerCrashPoints) count += names.insert(name).second ? 1 : 100;
  EXPECT_EQ(count, names.size());
}

}  // namespace
}  // namespace whippletree
