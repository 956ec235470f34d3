#include "worker/handlers.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <future>
#include <string>

namespace whippletree {
namespace {

absl::StatusOr<std::string> Call(std::string_view name, std::string_view payload,
                                 uint32_t attempt = 1) {
  JobContext context({.id = "1-1", .queue = "q", .attempt = attempt});
  return FindHandler(name)->handlers.job(context, payload);
}

TEST(HandlersTest, NamesAreSortedUniqueAndDescribed) {
  const auto handlers = BuiltInHandlers();
  EXPECT_TRUE(std::is_sorted(handlers.begin(), handlers.end(),
                             [](const auto& a, const auto& b) { return a.name <= b.name; }));
  for (const NamedHandler& handler : handlers) {
    EXPECT_EQ(FindHandler(handler.name), &handler);
    EXPECT_FALSE(handler.description.empty());
    EXPECT_EQ(handler.description.find('\n'), std::string_view::npos);
  }
  EXPECT_EQ(FindHandler("nosuch"), nullptr);
}

TEST(HandlersTest, SquareTakesWholeNumbers) {
  EXPECT_EQ(*Call("square", "12"), "144");
  EXPECT_EQ(*Call("square", "-3"), "9");
  EXPECT_EQ(*Call("square", "3037000499"), "9223372030926249001");
  for (const char* wrong : {"", "x", "1.5", "3037000500", "9223372036854775808", "12x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Call("square", wrong).status())) << wrong;
  }
  EXPECT_EQ(Call("square", "a\nb").status().message(),
            "square: expected a whole number from -3037000499 to 3037000499, got \"a\\nb\"");
}

TEST(HandlersTest, UpperAndEchoTakeAnyBytes) {
  EXPECT_EQ(*Call("upper", "abcÄ1\n"), "ABCÄ1\n");
  const std::string bytes("\0\xff\n", 3);
  EXPECT_EQ(*Call("echo", bytes), bytes);
  EXPECT_EQ(*Call("upper", bytes), bytes);
}

TEST(HandlersTest, FailAndSecondAreRetryable) {
  EXPECT_TRUE(absl::IsUnavailable(Call("fail", "x", 1).status()));
  EXPECT_TRUE(absl::IsUnavailable(Call("fail", "x", 9).status()));
  EXPECT_TRUE(absl::IsUnavailable(Call("second", "x", 1).status()));
  EXPECT_EQ(*Call("second", "x", 2), "x");
}

TEST(HandlersTest, SleepGivesBackItsPayload) {
  EXPECT_EQ(*Call("sleep", "1ms"), "1ms");
  EXPECT_EQ(*Call("sleep", "0.001s"), "0.001s");
  for (const char* wrong : {"", "x", "5", "-1s"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Call("sleep", wrong).status())) << wrong;
  }
}

TEST(HandlersTest, SleepEndsWithItsJob) {
  JobContext context({.id = "1-1", .queue = "q"});
  auto result = std::async(std::launch::async, [&] {
    return FindHandler("sleep")->handlers.job(context, "1000h").status();
  });
  context.End(absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.get()));
}

TEST(HandlersDeathTest, CrashKillsTheProcess) {
  EXPECT_EXIT(Call("crash", "").status().IgnoreError(), testing::KilledBySignal(SIGKILL), "");
}

}  // namespace
}  // namespace whippletree
