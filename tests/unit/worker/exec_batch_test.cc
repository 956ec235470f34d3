// Programs that run batches, and what else they say: follow-on jobs, retry-after.
#include "worker/exec_batch.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/exec_handler.h"

namespace whippletree {
namespace {

using Strings = std::vector<std::string>;
using Views = std::vector<std::string_view>;

std::vector<BatchContext::Job> TestJobs(size_t count) {
  std::vector<BatchContext::Job> jobs;
  for (uint32_t i = 0; i < count; ++i) jobs.push_back({"3-" + std::to_string(i + 1), i + 1});
  return jobs;
}

BatchResults RunBatch(BatchContext& context, const std::string& script, const Views& payloads,
                      char separator = '\n') {
  const QueueHandlers handlers =
      MakeExecHandlers({.argv = {"sh", "-c", script}, .separator = separator}, nullptr);
  return handlers.batch(context, payloads);
}

BatchResults RunBatch(const std::string& script, const Views& payloads, char separator = '\n') {
  BatchContext context("shell", TestJobs(payloads.size()));
  return RunBatch(context, script, payloads, separator);
}

absl::StatusOr<std::string> RunJob(JobContext& context, const std::string& script) {
  return MakeExecHandlers({.argv = {"sh", "-c", script}}, nullptr).job(context, "payload");
}

Strings Values(const BatchResults& results) {
  Strings values;
  if (!results.ok()) return {std::string(results.status().message())};
  for (const auto& result : *results) {
    values.push_back(result.ok() ? *result : std::string(result.status().message()));
  }
  return values;
}

TEST(ExecBatchTest, OneLineInAndOneLineOutForEachJob) {
  EXPECT_EQ(Values(RunBatch("tr a-z A-Z", {"a", "", "c d"})), (Strings{"A", "", "C D"}));
  EXPECT_EQ(Values(RunBatch("printf 'a\\nb'", {"1", "2"})), (Strings{"a", "b"}));
  EXPECT_EQ(Values(RunBatch("cat", {"alone"})), (Strings{"alone"}));
}

TEST(ExecBatchTest, NulEndsPiecesWhenAskedTo) {
  EXPECT_EQ(Values(RunBatch("tr a-z A-Z", {"a\nb", "c"}, '\0')), (Strings{"A\nB", "C"}));
  EXPECT_EQ(Values(RunBatch("cat", {std::string_view("a\0", 2), "c"}, '\0')),
            (Strings{"payload contains a NUL byte, which ends a job of a batch with --nul", "c"}));
}

TEST(ExecBatchTest, APayloadWithASeparatorFailsAlone) {
  const BatchResults results = RunBatch(
      "cat; echo $WHIPPLETREE_BATCH_SIZE $WHIPPLETREE_JOB_ID "
      "$WHIPPLETREE_JOB_ATTEMPT >&2; exit 0",
      {"a\nb", "c", "d\n"});
  const std::string why = "payload contains a newline; start the worker with --nul";
  EXPECT_EQ(Values(results), (Strings{why, "c", why}));
  EXPECT_TRUE(absl::IsInvalidArgument(results->at(0).status()));
  EXPECT_EQ(Values(RunBatch("exit 7", {"a\nb"})), Strings{why});  // no program is started
}

// What the program did for them it would do once more.
TEST(ExecBatchTest, AnotherNumberOfLinesEndsEachJobAsDead) {
  const std::string why =
      "sh wrote 2 lines for 3 jobs; it must write one for each job of a batch, or nothing";
  const BatchResults results = RunBatch("echo 1; echo 2", {"a", "b", "c"});
  EXPECT_EQ(Values(results), (Strings{why, why, why}));
  for (const auto& result : *results) {
    EXPECT_FALSE(IsRetryable(static_cast<int>(result.status().code())));
  }
  EXPECT_EQ(Values(RunBatch("echo 1", {"a", "x\ny", "b"}))[1],
            "payload contains a newline; start the worker with --nul");
  EXPECT_EQ(RunBatch("echo 1; echo 2", {"a"}, '\0').status(), absl::OkStatus());
  EXPECT_EQ(Values(RunBatch("printf '1\\0002\\0003'", {"a"}, '\0')),
            Strings{"sh wrote 3 NUL-ended pieces for 1 jobs; it must write one for each job of a "
                    "batch, or nothing"});
}

TEST(ExecBatchTest, AnotherNumberOfLinesFailsTheWholeWhereThatMayBeTriedAgain) {
  BatchContext context("q", TestJobs(2));
  const std::vector<std::string_view> payloads = {"a", "b"};
  const BatchResults results =
      MakeExecHandlers({.argv = {"sh", "-c", "echo 1"}, .retry_wrong_count = true}, nullptr)
          .batch(context, payloads);
  EXPECT_EQ(results.status().message(),
            "sh wrote 1 line for 2 jobs; it must write one for each job of a batch, or nothing");
}

TEST(ExecBatchTest, NoOutputCompletesAllWithEmptyResults) {
  EXPECT_EQ(Values(RunBatch("cat >/dev/null", {"a", "b", "c"})), (Strings{"", "", ""}));
  EXPECT_EQ(Values(RunBatch("cat >/dev/null", {"a", "b"}, '\0')), (Strings{"", ""}));
}

TEST(ExecBatchTest, TheIdsOfAllAreInAFileInTheOrderOfTheLines) {
  const std::string script = "cat <&$WHIPPLETREE_JOB_IDS_FD";
  EXPECT_EQ(Values(RunBatch(script, {"a", "b", "c"})), (Strings{"3-1", "3-2", "3-3"}));
  EXPECT_EQ(Values(RunBatch("cat /dev/fd/4", {"a", "x\ny", "c"})),
            (Strings{"3-1", "payload contains a newline; start the worker with --nul", "3-3"}));
  const std::vector<std::string_view> many(5000, "x");
  EXPECT_EQ(Values(RunBatch("cat /dev/fd/4", many)).back(), "3-5000");
  JobContext context({.id = "4-2", .queue = "q", .attempt = 9});
  EXPECT_EQ(
      *RunJob(context, "test -z \"$WHIPPLETREE_JOB_IDS_FD\" && ! test -e /dev/fd/4 && echo none"),
      "none\n");
}

TEST(ExecBatchTest, ExitCodesAreForTheWhole) {
  EXPECT_TRUE(absl::IsInvalidArgument(RunBatch("cat; exit 65", {"a", "b"}).status()));
  EXPECT_TRUE(absl::IsUnavailable(RunBatch("cat; exit 75", {"a", "b"}).status()));
  EXPECT_EQ(RunBatch("exit 1", {"a", "b\n"}).status(),
            WithProgramEnd(absl::UnknownError("sh ended with exit code 1"), {.exit_code = 1}));
}

TEST(ExecBatchTest, TheFirstJobIsInTheEnvironment) {
  const std::string script =
      "echo $WHIPPLETREE_JOB_ID $WHIPPLETREE_JOB_ATTEMPT $WHIPPLETREE_BATCH_SIZE "
      "$WHIPPLETREE_FOLLOW_ON_FD";
  EXPECT_EQ(Values(RunBatch(script + "; echo; echo", {"a", "b", "c"}))[0], "3-1 1 3 3");
  EXPECT_EQ(Values(RunBatch(script + "; echo", {"x\ny", "b", "c"}))[1], "3-2 2 2 3");
  JobContext context({.id = "4-2", .queue = "q", .attempt = 9});
  EXPECT_EQ(*RunJob(context, script), "4-2 9 1 3\n");
}

TEST(ExecFollowOnTest, LinesOnDescriptor3AreFollowOnJobs) {
  JobContext context({.id = "4-2", .queue = "q"});
  EXPECT_EQ(*RunJob(context, "printf 'a\\tone\\na\\tt\\two\\nb\\t' >&3; echo done"), "done\n");
  const auto follow_ons = context.TakeFollowOns();
  ASSERT_EQ(follow_ons.size(), 2u);
  EXPECT_EQ(follow_ons[0].queue, "a");
  EXPECT_EQ(follow_ons[0].block, "onet\two");
  EXPECT_EQ(follow_ons[0].sizes, (std::vector<uint32_t>{3, 4}));
  EXPECT_EQ(follow_ons[1].queue, "b");
  EXPECT_EQ(follow_ons[1].sizes, std::vector<uint32_t>{0});
}

TEST(ExecFollowOnTest, ABadLineFailsTheJob) {
  JobContext context({.id = "4-2", .queue = "q"});
  EXPECT_EQ(RunJob(context, "printf 'a\\tone\\noops\\n' >&3").status(),
            absl::InvalidArgumentError(
                "line 2 of the follow-on jobs, \"oops\": expected QUEUE<TAB>PAYLOAD"));
  const absl::Status bad_name = RunJob(context, "printf 'a b\\tone\\n' >&3").status();
  EXPECT_TRUE(absl::IsInvalidArgument(bad_name));
  EXPECT_NE(bad_name.message().find("line 1"), absl::string_view::npos);
}

TEST(ExecFollowOnTest, ThoseOfABatchBelongToItsFirstJob) {
  BatchContext context("q", TestJobs(3));
  EXPECT_EQ(Values(RunBatch(context, "cat; printf 'a\\tx\\n' >&3", {"1\n", "2", "3"})).size(), 3u);
  const auto follow_ons = context.TakeFollowOns();
  ASSERT_EQ(follow_ons.size(), 1u);
  EXPECT_EQ(follow_ons[0].job, 1u);  // the first that the program got

  const BatchResults results = RunBatch("cat; echo oops >&3", {"1", "2"});
  EXPECT_TRUE(absl::IsInvalidArgument(results->at(0).status()));
  EXPECT_EQ(*results->at(1), "2");
}

TEST(ExecFollowOnTest, ManyArriveWholeWhateverThePipeHolds) {
  JobContext context({.id = "4-2", .queue = "q"});
  EXPECT_TRUE(RunJob(context, "seq 20000 | sed 's/^/next\t/' >&3; seq 20000 >&2").ok());
  const auto follow_ons = context.TakeFollowOns();
  ASSERT_EQ(follow_ons.size(), 1u);
  EXPECT_EQ(follow_ons[0].sizes.size(), 20'000u);
}

TEST(ExecFollowOnTest, TooManyBytesEndTheProgram) {
  JobContext context({.id = "4-2", .queue = "q"});
  const absl::Status status = RunJob(context, "exec cat /dev/zero >&3").status();
  EXPECT_EQ(status, absl::OutOfRangeError("sh wrote more than 134217728 bytes of follow-on jobs"));
}

TEST(ExecRetryAfterTest, ALineOfStderrSaysWhen) {
  JobContext context({.id = "4-2", .queue = "q"});
  const absl::Status status =
      RunJob(context, "echo busy >&2; echo 'retry-after: 2s' >&2; exit 75").status();
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_EQ(RetryAfterOf(status), seconds(2));
  EXPECT_EQ(status.message(), "sh ended with exit code 75; stderr: busy\nretry-after: 2s");
  EXPECT_EQ(RetryAfterOf(RunBatch("echo retry-after:5ms >&2; exit 75", {"a"}).status()),
            milliseconds(5));
}

TEST(ExecRetryAfterTest, CountsOnlyWithItsExitCodeAndADuration) {
  JobContext context({.id = "4-2", .queue = "q"});
  EXPECT_EQ(RunJob(context, "echo 'retry-after: 2s' >&2; exit 1").status().code(),
            absl::StatusCode::kUnknown);
  EXPECT_TRUE(
      absl::IsUnavailable(RunJob(context, "echo 'retry-after: soon' >&2; exit 75").status()));
  EXPECT_EQ(RetryAfterIn("retry-after: 1s\nretry-after: 3s\n").delay, seconds(3));
  EXPECT_EQ(RetryAfterIn("I said retry-after: 1s").delay, Duration(0));
  EXPECT_EQ(RetryAfterIn("retry-after: -1s").delay, Duration(0));
}

TEST(ExecRetryAfterTest, WhatIsNotTakenAsItStandsIsTold) {
  const auto warning = [](const char* text) { return RetryAfterIn(text).warning; };
  for (const char* good : {"", "retry-after: 0", "retry-after: 1h", "retry-after: 1ms",
                           "retry-after: soon\nretry-after: 1s\n", "I said retry-after: soon"}) {
    EXPECT_EQ(warning(good), "") << good;
  }
  for (const char* bad : {"2", "soon", "-1s", "", "2 s"}) {
    EXPECT_EQ(warning(("retry-after: " + std::string(bad)).c_str()),
              "retry-after: \"" + std::string(bad) +
                  "\" is not a duration: expected a number and a unit, as in 500ms, 2s or 5m; the "
                  "line is ignored");
  }
  for (const char* much : {"1000h", "3601s", "inf", "99999999999h"}) {
    const RetryAfterLine line = RetryAfterIn("retry-after: " + std::string(much));
    EXPECT_EQ(line.delay, std::chrono::hours(1));
    EXPECT_EQ(line.warning, "retry-after: \"" + std::string(much) +
                                "\" is longer than a queue is held: 1h is taken for it");
  }
}

TEST(ExecRetryAfterTest, TheWorkerGetsTheWarning) {
  JobContext context({.id = "4-2", .queue = "q"});
  std::vector<std::string> told;
  ExecOptions options{.argv = {"sh"}};
  options.on_odd_line = [&](const std::string& queue, const std::string& warning) {
    told.push_back(queue + ": " + warning);
  };
  const QueueHandlers handlers = MakeExecHandlers(std::move(options), nullptr);
  const absl::Status status =
      handlers.job(context, "echo 'retry-after: 1000h' >&2; exit 75").status();
  EXPECT_EQ(RetryAfterOf(status), std::chrono::hours(1));
  EXPECT_EQ(told, std::vector<std::string>{"q: retry-after: \"1000h\" is longer than a queue is "
                                           "held: 1h is taken for it"});
}

}  // namespace
}  // namespace whippletree
