// The library's types and those of the wire.
#include "producer/convert.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "producer/callbacks.h"
#include "producer/group_promises.h"

namespace whippletree {
namespace {

TEST(JobOptionsTest, TimesAreMillisecondsSince1970) {
  JobOptions options;
  EXPECT_EQ(ToWire(options).not_before_ms(), 0u);
  EXPECT_EQ(ToWire(options).expires_at_ms(), 0u);
  options.not_before = WallTime(milliseconds(1'700'000'000'123));
  options.expires_at = options.not_before + seconds(1);
  options.group = 7;
  EXPECT_TRUE(CheckOptions(options).ok());
  EXPECT_EQ(ToWire(options).not_before_ms(), 1'700'000'000'123u);
  EXPECT_EQ(ToWire(options).expires_at_ms(), 1'700'000'001'123u);
  EXPECT_EQ(ToWire(options).group(), 7u);
}

TEST(JobOptionsTest, AJobThatNeverRunsIsRefused) {
  JobOptions options;
  options.not_before = options.expires_at = WallTime(seconds(5));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckOptions(options)));
  options.not_before = options.expires_at = WallTime(seconds(-5));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckOptions(options)));
}

TEST(GroupEndTest, OfALostGroupIsUnavailable) {
  wire::GroupEnd end;
  end.set_group(3);
  end.set_completed(4);
  end.set_rejected(1);
  EXPECT_TRUE(FromWire(end).status.ok());
  EXPECT_EQ(FromWire(end).jobs(), 5u);
  end.set_lost(true);
  EXPECT_EQ(FromWire(end).status, absl::UnavailableError("the broker restarted"));
}

TEST(OutcomeMakerTest, NamesJobGroupAndResult) {
  SettledJobs jobs;
  jobs.queue = "q";
  jobs.stream = 8;
  jobs.follow_on = true;
  jobs.range.set_kind(wire::OutcomeRange::COMPLETED);
  jobs.range.set_first(5);
  jobs.range.set_count(2);
  jobs.range.set_group(3);
  AppendToRun("a", jobs.range.mutable_results());
  AppendToRun("b", jobs.range.mutable_results());
  OutcomeMaker maker(&jobs);
  const Outcome outcome = maker.Make(6);
  EXPECT_EQ(outcome.id, "8-6");
  EXPECT_EQ(outcome.result, "b");
  EXPECT_EQ(outcome.group, 3u);
  EXPECT_TRUE(outcome.follow_on);
  EXPECT_TRUE(outcome.status.ok());
}

TEST(OutcomeMakerTest, TheOnlyResultIsNotCopied) {
  SettledJobs jobs;
  jobs.range.set_kind(wire::OutcomeRange::COMPLETED);
  jobs.range.set_first(5);
  jobs.range.set_count(1);
  AppendToRun(std::string(100'000, 'x'), jobs.range.mutable_results());
  const char* const at = jobs.range.results().block().data();
  OutcomeMaker maker(&jobs);
  const Outcome outcome = std::move(maker.Make(5));
  EXPECT_EQ(outcome.result, std::string(100'000, 'x'));
  EXPECT_EQ(outcome.result.data(), at);
}

TEST(OutcomeMakerTest, EachOutcomeIsWholeAfterTheLastOneWasMovedAway) {
  SettledJobs jobs;
  jobs.queue = "q";
  jobs.stream = 8;
  jobs.range.set_kind(wire::OutcomeRange::COMPLETED);
  jobs.range.set_first(5);
  jobs.range.set_count(2);
  jobs.range.set_worker("w");
  AppendToRun("a", jobs.range.mutable_results());
  AppendToRun("b", jobs.range.mutable_results());
  OutcomeMaker maker(&jobs);
  Outcome first = std::move(maker.Make(5));
  EXPECT_EQ(first.result, "a");
  // As a callback may leave it: moved from, or changed.
  first = std::move(maker.Make(5));
  const Outcome& second = maker.Make(6);
  EXPECT_TRUE(second.status.ok()) << second.status;
  EXPECT_EQ(second.queue, "q");
  EXPECT_EQ(second.id, "8-6");
  EXPECT_EQ(second.result, "b");
  EXPECT_EQ(second.worker, "w");
}

TEST(OutcomeMakerTest, EachDeadJobHasItsStatusAfterTheLastOneWasMovedAway) {
  SettledJobs jobs;
  jobs.queue = "q";
  jobs.range.set_kind(wire::OutcomeRange::DEAD);
  jobs.range.set_first(1);
  jobs.range.set_count(2);
  *jobs.range.mutable_status() = ToWire(absl::InternalError("no"));
  OutcomeMaker maker(&jobs);
  maker.Make(1).result = "left behind by a callback";
  const Outcome first = std::move(maker.Make(1));
  EXPECT_EQ(first.status, absl::InternalError("no"));
  EXPECT_EQ(first.result, "");
  EXPECT_EQ(maker.Make(2).status, absl::InternalError("no"));
}

TEST(FillRunTest, NamesCountAsBytes) {
  const std::string payload(20'000, 'x');
  const std::string name(256, 'n');
  const std::vector<std::string_view> payloads(4, payload);
  const std::vector<std::string_view> names(4, name);
  RunData run;
  RunData run_names;
  EXPECT_EQ(FillRun(payloads, names, 0, &run, &run_names), 3u);
  EXPECT_EQ(run.count(), 3u);
  EXPECT_EQ(run_names.count(), 3u);
  EXPECT_EQ(run_names.payload(2), name);
}

TEST(CheckNameTest, NamesAreShortTexts) {
  EXPECT_TRUE(CheckName("").ok());
  EXPECT_TRUE(CheckName(std::string(256, 'n')).ok());
  EXPECT_FALSE(CheckName(std::string(257, 'n')).ok());
  EXPECT_FALSE(CheckName("\xff").ok());
}

TEST(OutcomeMakerTest, AJobWhoseNameWasThereBeforeIsRepeated) {
  SettledJobs jobs;
  jobs.range.set_kind(wire::OutcomeRange::REJECTED);
  jobs.range.set_first(1);
  jobs.range.set_count(1);
  jobs.range.mutable_status()->set_code(static_cast<int>(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(OutcomeMaker(&jobs).Make(1).kind, OutcomeKind::kRepeated);
  jobs.range.mutable_status()->set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(OutcomeMaker(&jobs).Make(1).kind, OutcomeKind::kRejected);
  EXPECT_EQ(ToString(OutcomeKind::kRepeated), "repeated");
  EXPECT_EQ(ToString(OutcomeKind::kUnknown), "unknown");
}

TEST(FillRunTest, LargePayloadsAreInRunsOfTheirOwn) {
  const std::string large(100'000, 'x');
  const std::vector<std::string_view> payloads = {"a", "b", large, "c"};
  RunData first, second, third;
  EXPECT_EQ(FillRun(payloads, {}, 0, &first, nullptr), 2u);
  EXPECT_EQ(FillRun(payloads, {}, 2, &second, nullptr), 3u);
  EXPECT_EQ(FillRun(payloads, {}, 3, &third, nullptr), 4u);
  EXPECT_EQ(second.count(), 1u);
}

TEST(GroupPromisesTest, EachGroupEndsOnce) {
  GroupPromises promises;
  std::future<GroupEnd> first = promises.Add(1);
  std::future<GroupEnd> second = promises.Add(2);
  GroupEnd told;
  told.group = 1;
  told.completed = 5;
  promises.End(told);
  told.completed = 6;
  promises.End(told);
  promises.EndAll(absl::UnavailableError("closed"));
  EXPECT_EQ(first.get().completed, 5u);
  const GroupEnd end = second.get();
  EXPECT_EQ(end.group, 2u);
  EXPECT_EQ(end.status, absl::UnavailableError("closed"));
}

TEST(CallbacksTest, JobsOfOneCallShareACallbackAndOthersHaveTheEarlierOne) {
  Callbacks callbacks;
  std::string called;
  callbacks.SetEarlier("q", [&](Outcome) { called += "e"; });
  callbacks.Add("q", 5, 3, false, [&](Outcome) { called += "a"; });
  callbacks.Add("q", 8, 1, true, [&](Outcome) { called += "b"; });
  Callbacks::Part part = callbacks.Take("q", 3, 9);
  (*part.callback)({});
  EXPECT_EQ(part.end, 5u);
  part = callbacks.Take("q", 5, 9);
  (*part.callback)({});
  EXPECT_EQ(part.end, 8u);
  part = callbacks.Take("q", 8, 9);
  (*part.callback)({});
  EXPECT_TRUE(part.discarded);
  EXPECT_EQ(called, "eab");
  EXPECT_EQ(callbacks.Take("other", 1, 4).callback, nullptr);
}

}  // namespace
}  // namespace whippletree
