#include "broker/store/row_checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "store_testing.h"

namespace whippletree {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

record::Record EndedRow(uint64_t stream, uint64_t first, uint64_t count) {
  record::Record record;
  record.mutable_ended()->set_stream(stream);
  record.mutable_ended()->set_first(first);
  record.mutable_ended()->set_count(count);
  return record;
}

record::Record ReturnedRow(uint64_t stream, uint64_t first, uint64_t count) {
  record::Record record;
  record.mutable_returned()->set_stream(stream);
  record.mutable_returned()->set_first(first);
  record.mutable_returned()->set_count(count);
  return record;
}

record::Record LeaseRow(uint64_t token, uint64_t stream, uint64_t first, uint32_t count) {
  record::Record record;
  record.mutable_lease()->set_token(token);
  record::LeasePart* part = record.mutable_lease()->add_parts();
  part->set_stream(stream);
  part->set_first(first);
  part->set_count(count);
  return record;
}

record::Record OutcomeRow(uint64_t stream, uint64_t first, uint64_t count) {
  record::Record record;
  record.mutable_outcome()->set_stream(stream);
  record.mutable_outcome()->mutable_outcome()->set_first(first);
  record.mutable_outcome()->mutable_outcome()->set_count(count);
  return record;
}

// A queue with a stream of jobs below 20, of which 5 to 9 and 10 to 14 are in two runs; and `rows`.
std::vector<std::string> ProblemsWith(const std::vector<record::Record>& rows) {
  Rows all;
  Apply({QueueRow("q"), StreamRow(1, "q", 20), RunRow(1, 5, 5), RunRow(1, 10, 5)}, &all);
  Apply(rows, &all);
  std::vector<std::string> problems;
  RowChecker checker([&](const std::string& line) { problems.push_back(line); });
  for (const auto& [key, value] : all) checker.Add(key, value);
  return problems;
}

TEST(RowCheckerTest, RowsThatFitTogetherAreRight) {
  EXPECT_THAT(ProblemsWith({EndedRow(1, 5, 2), EndedRow(1, 14, 1), ReturnedRow(1, 7, 6),
                            LeaseRow(1, 1, 1, 14), OutcomeRow(1, 1, 4)}),
              IsEmpty());
}

TEST(RowCheckerTest, AValueThatIsNotARecordIsFound) {
  std::vector<std::string> problems;
  RowChecker checker([&](const std::string& line) { problems.push_back(line); });
  checker.Add(KeyOf(RunKey(1, 2)), "\xff\xff");
  checker.Add(KeyOf(RunKey(1, 2)), "");
  checker.Add(KeyOf(RunKey(1, 2)), RunRow(1, 3).SerializeAsString());
  EXPECT_THAT(problems, ElementsAre("run 1-2: its value is not readable",
                                    "run 1-2: a record has no row that this version knows",
                                    "run 1-2: its value is that of run 1-3"));
}

TEST(RowCheckerTest, StreamsThatAreMissingAreFound) {
  EXPECT_THAT(ProblemsWith({RunRow(2, 1), EndedRow(3, 1, 1), ReturnedRow(4, 1, 1),
                            LeaseRow(9, 5, 1, 1), OutcomeRow(6, 1, 1)}),
              ElementsAre("lease 9: stream 5 is missing", "run 2-1: stream 2 is missing",
                          "ended 3-1: stream 3 is missing", "returned 4-1: stream 4 is missing",
                          "outcome 6-1: stream 6 is missing"));
}

TEST(RowCheckerTest, AQueueThatIsMissingIsFound) {
  EXPECT_THAT(ProblemsWith({StreamRow(2, "other", 2), RunRow(2, 1)}),
              ElementsAre("run 2-1: the queue of stream 2 is missing"));
}

// Their streams may be gone, their queue is not.
TEST(RowCheckerTest, NamesAndDeadJobsAreOfAQueue) {
  record::Record names;
  names.mutable_job_names()->set_stream(9);
  names.mutable_job_names()->set_queue("q");
  record::Record dead;
  dead.mutable_dead()->set_stream(9);
  dead.mutable_dead()->set_queue("q");
  EXPECT_THAT(ProblemsWith({names, dead}), IsEmpty());
  names.mutable_job_names()->set_queue("other");
  dead.mutable_dead()->set_queue("other");
  EXPECT_THAT(ProblemsWith({names, dead}), ElementsAre("job_names 9-0: its queue other is missing",
                                                       "dead 9-0: its queue other is missing"));
}

TEST(RowCheckerTest, AttemptsAreOfJobsInRuns) {
  record::Record attempts;
  attempts.mutable_attempts()->set_stream(1);
  attempts.mutable_attempts()->set_first(14);
  attempts.mutable_attempts()->set_count(2);
  EXPECT_THAT(ProblemsWith({attempts}), ElementsAre("attempts 1-14: job 1-15 of it is in no run"));
}

TEST(RowCheckerTest, JobsThatWereNotAcceptedAreFound) {
  EXPECT_THAT(ProblemsWith({RunRow(1, 18, 3), LeaseRow(1, 1, 20, 1)}),
              ElementsAre("lease 1: has 1 jobs from 20 on; stream 1 has those below 20",
                          "run 1-18: has 3 jobs from 18 on; stream 1 has those below 20"));
}

TEST(RowCheckerTest, OverlappingRunsAreFound) {
  EXPECT_THAT(ProblemsWith({RunRow(1, 7, 2)}),
              ElementsAre("run 1-7: jobs of it are in the run before, too"));
}

TEST(RowCheckerTest, ARunWhoseBytesDoNotFitIsFound) {
  record::Record run = RunRow(1, 15, 2, "abc");
  run.mutable_run()->mutable_jobs()->set_block("abcde");
  EXPECT_THAT(ProblemsWith({run}), ElementsAre("run 1-15: its jobs have 6 bytes, its block 5"));
}

TEST(RowCheckerTest, PartsOutsideOfRunsAreFound) {
  EXPECT_THAT(ProblemsWith({EndedRow(1, 8, 3), EndedRow(1, 15, 1), ReturnedRow(1, 4, 2),
                            ReturnedRow(1, 9, 7)}),
              ElementsAre("ended 1-8: job 1-10 of it is in no run together with the others",
                          "ended 1-15: job 1-15 of it is in no run together with the others",
                          "returned 1-4: job 1-4 of it is in no run",
                          "returned 1-9: job 1-15 of it is in no run"));
}

}  // namespace
}  // namespace whippletree
