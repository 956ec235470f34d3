// What a program is started with, and what becomes of its job where it cannot be started.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "worker/exec_handler.h"

namespace whippletree {
namespace {

// Variables of this process, for as long as this lives.
class Variables {
 public:
  explicit Variables(std::vector<std::string> names) : names_(std::move(names)) {
    for (const std::string& name : names_) setenv(name.c_str(), "x", 1);
  }
  ~Variables() {
    for (const std::string& name : names_) unsetenv(name.c_str());
  }

 private:
  const std::vector<std::string> names_;
};

// The names that a program sees of those that begin with T_ or WHIPPLETREE_, and of PATH and HOME.
std::string Names(EnvironmentOptions environment) {
  JobContext context({.id = "1-1", .queue = "q"});
  return *MakeExecHandlers(
              {.argv =
                   {"sh", "-c",
                    "env | grep -oE '^(T_|WHIPPLETREE_|PATH|HOME)[A-Z_]*' | sort | tr '\\n' ' '"},
               .environment = std::move(environment)},
              nullptr)
              .job(context, "");
}

constexpr char kOfJobs[] =
    "WHIPPLETREE_BATCH_SIZE WHIPPLETREE_BROKER WHIPPLETREE_FOLLOW_ON_FD WHIPPLETREE_JOB_ATTEMPT "
    "WHIPPLETREE_JOB_ID WHIPPLETREE_JOB_QUEUE ";

TEST(ExecStartTest, OfTheVariablesOfWhippletreeOnlyThoseOfTheJobAndTheBrokerAreThere) {
  const Variables variables(
      {"T_OTHER", "WHIPPLETREE_NAME", "WHIPPLETREE_QUEUE", "WHIPPLETREE_KEY_FILE", "HOME"});
  EXPECT_EQ(Names({.broker = "b:1"}), std::string("HOME PATH T_OTHER ") + kOfJobs);
}

TEST(ExecStartTest, ACleanEnvironmentHasOnlyWhatIsNamed) {
  const Variables variables({"T_KEPT", "T_OTHER", "WHIPPLETREE_NAME", "HOME"});
  EXPECT_EQ(Names({.clean = true, .keep = {"T_KEPT", "WHIPPLETREE_NAME"}, .broker = "b:1"}),
            std::string("HOME PATH T_KEPT ") + kOfJobs);
}

TEST(ExecStartTest, NamesToKeepAreNamesOfOthers) {
  EXPECT_EQ(KeptNameError("TMPDIR"), "");
  EXPECT_NE(KeptNameError(""), "");
  EXPECT_NE(KeptNameError("A=b"), "");
  EXPECT_NE(KeptNameError("WHIPPLETREE_NAME"), "");
}

TEST(ExecStartTest, AProgramHasNoTerminalToAskAt) {
  JobContext context({.id = "1-1", .queue = "q"});
  const auto result =
      MakeExecHandlers(
          {.argv = {"sh", "-c", "(echo password? >/dev/tty) 2>/dev/null || echo none"}}, nullptr)
          .job(context, "");
  EXPECT_EQ(*result, "none\n");
}

// A program whose file is open for writing by this process.
class BusyProgram {
 public:
  BusyProgram() : path_(testing::TempDir() + "exec_start_test_" + std::to_string(getpid())) {
    std::filesystem::copy_file("/bin/echo", path_,
                               std::filesystem::copy_options::overwrite_existing);
    fd_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_GE(fd_, 0);
  }
  ~BusyProgram() {
    Release();
    std::filesystem::remove(path_);
  }
  void Release() {
    if (const int fd = fd_.exchange(-1); fd >= 0) close(fd);
  }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  std::atomic<int> fd_ = -1;
};

TEST(ExecStartTest, AProgramThatIsBeingWrittenIsTriedAgain) {
  BusyProgram program;
  JobContext context({.id = "1-1", .queue = "q"});
  std::thread release([&] {
    context.SleepFor(milliseconds(100)).IgnoreError();
    program.Release();
  });
  const auto result = MakeExecHandlers({.argv = {program.path(), "a"}}, nullptr).job(context, "");
  release.join();
  EXPECT_EQ(*result, "a\n");
  EXPECT_FALSE(context.handed_back());
}

TEST(ExecStartTest, JobsOfAProgramThatCannotBeStartedNowGoBack) {
  BusyProgram program;
  JobContext context({.id = "1-1", .queue = "q"});
  std::string told;
  const MonoTime begin = ReadMonoClock();
  const auto result =
      MakeExecHandlers(
          {.argv = {program.path(), "a"},
           .on_not_started = [&](const absl::Status& why) { told = std::string(why.message()); }},
          nullptr)
          .job(context, "");
  EXPECT_TRUE(context.handed_back());
  EXPECT_TRUE(context.worker_failure().ok());
  EXPECT_EQ(told, "cannot run \"" + program.path() + "\": Text file busy");
  EXPECT_GE(ReadMonoClock() - begin, seconds(2));  // a pause
}

TEST(ExecStartTest, AProgramThatIsReplacedMeanwhileEndsNoWorker) {
  BusyProgram program;
  program.Release();
  const QueueHandlers handlers = MakeExecHandlers({.argv = {program.path(), "a"}}, nullptr);
  JobContext before({.id = "1-1", .queue = "q"});
  EXPECT_EQ(*handlers.job(before, ""), "a\n");
  std::filesystem::remove(program.path());
  JobContext context({.id = "1-2", .queue = "q"});
  EXPECT_FALSE(handlers.job(context, "").ok());
  EXPECT_TRUE(context.handed_back());
  EXPECT_TRUE(context.worker_failure().ok());
}

TEST(ExecStartTest, ATimeoutEndsTheWait) {
  BusyProgram program;
  JobContext context({.id = "1-1", .queue = "q"});
  context.End(absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      MakeExecHandlers({.argv = {program.path()}}, nullptr).job(context, "").status()));
  EXPECT_FALSE(context.handed_back());
}

}  // namespace
}  // namespace whippletree
