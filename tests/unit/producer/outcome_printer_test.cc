#include "producer/outcome_printer.h"

#include <gtest/gtest.h>

#include <string>

namespace whippletree {
namespace {

Outcome Completed(uint64_t number, std::string result) {
  Outcome outcome;
  outcome.queue = "q";
  outcome.number = number;
  outcome.id = "3-" + std::to_string(number);
  outcome.kind = OutcomeKind::kCompleted;
  outcome.result = std::move(result);
  outcome.attempts = 1;
  outcome.worker = "w1";
  return outcome;
}

Outcome Dead(uint64_t number, const absl::Status& status) {
  Outcome outcome = Completed(number, "");
  outcome.kind = OutcomeKind::kDead;
  outcome.status = status;
  outcome.attempts = 3;
  return outcome;
}

std::string Print(const Outcome& outcome, const OutcomePrinter::Options& options) {
  OutcomePrinter printer(options);
  std::string out;
  printer.Add(outcome, &out);
  return out;
}

OutcomePrinter::Options Text() { return {}; }
OutcomePrinter::Options Json() { return {.format = OutputFormat::kJsonLines}; }
OutcomePrinter::Options Ordered() { return {.ordered = true}; }

TEST(OutcomePrinterTest, AResultIsOneLine) {
  EXPECT_EQ(Print(Completed(1, "144"), Text()), "144\n");
  EXPECT_EQ(Print(Completed(1, "144\n"), Text()), "144\n");  // as programs print it
  EXPECT_EQ(Print(Completed(1, "a\nb\n\n"), Text()), "a\nb\n\n");
  EXPECT_EQ(Print(Completed(1, ""), Text()), "\n");
  EXPECT_EQ(Print(Dead(1, absl::UnavailableError("x")), Text()), "\n");
}

TEST(OutcomePrinterTest, NulEndsResultsAsTheyAre) {
  const OutcomePrinter::Options nul = {.terminator = '\0'};
  EXPECT_EQ(Print(Completed(1, "a\nb\n"), nul), std::string("a\nb\n\0", 5));
  EXPECT_EQ(Print(Completed(1, ""), nul), std::string("\0", 1));
}

TEST(OutcomePrinterTest, JsonLines) {
  EXPECT_EQ(Print(Completed(7, "ö\"\n"), Json()),
            "{\"number\":7,\"id\":\"3-7\",\"outcome\":\"completed\",\"result\":\"ö\\\"\\n\","
            "\"attempts\":1,\"worker\":\"w1\"}\n");
  EXPECT_EQ(Print(Completed(7, "\xff\x01"), Json()),
            "{\"number\":7,\"id\":\"3-7\",\"outcome\":\"completed\",\"result_base64\":\"/wE=\","
            "\"attempts\":1,\"worker\":\"w1\"}\n");
  EXPECT_EQ(Print(Dead(7, absl::UnavailableError("exit 75")), Json()),
            "{\"number\":7,\"id\":\"3-7\",\"outcome\":\"dead\",\"status\":\"UNAVAILABLE\","
            "\"error\":\"exit 75\",\"attempts\":3,\"worker\":\"w1\"}\n");
}

TEST(OutcomePrinterTest, JsonOutlivesBrokenMessages) {
  const std::string line = Print(Dead(7, absl::InternalError("\xff")), Json());
  EXPECT_NE(line.find("\"error\":\"\uFFFD\""), std::string::npos) << line;
}

TEST(OutcomePrinterTest, AsTheyComeUnlessOrdered) {
  OutcomePrinter printer(Text());
  std::string out;
  for (const int n : {3, 1, 2}) printer.Add(Completed(n, std::to_string(n)), &out);
  EXPECT_EQ(out, "3\n1\n2\n");
  EXPECT_EQ(printer.held(), 0u);
}

TEST(OutcomePrinterTest, OrderedHoldsBackOnlyWhatItMust) {
  OutcomePrinter printer(Ordered());
  std::string out;
  printer.Add(Completed(3, "3"), &out);
  printer.Add(Completed(2, "2"), &out);
  EXPECT_EQ(out, "");
  EXPECT_EQ(printer.held(), 2u);
  printer.Add(Completed(1, "1"), &out);
  EXPECT_EQ(out, "1\n2\n3\n");
  EXPECT_EQ(printer.held(), 0u);
  printer.Add(Completed(4, "4"), &out);
  EXPECT_EQ(out, "1\n2\n3\n4\n");
}

TEST(OutcomePrinterTest, OutcomesFromBeforeAreNotWaitedFor) {
  OutcomePrinter printer({.ordered = true, .first_number = 10});
  std::string out;
  printer.Add(Completed(11, "11"), &out);
  printer.Add(Completed(4, "4"), &out);
  printer.Add(Completed(10, "10"), &out);
  EXPECT_EQ(out, "4\n10\n11\n");
}

TEST(OutcomePrinterTest, BadInputHasItsPlace) {
  // Input: bad, job 1, bad, bad, job 2, bad.
  OutcomePrinter printer({.format = OutputFormat::kJsonLines, .ordered = true});
  std::string out;
  const auto lines = [&out] {
    std::string kinds;
    for (size_t i = 0; i < out.size(); i = out.find('\n', i) + 1) kinds += out[i + 2];
    return kinds;  // n: a job's "number", l: a bad "line"
  };
  printer.AddBadInput({1, "x"}, 1, &out);
  EXPECT_EQ(lines(), "l");
  printer.AddBadInput({3, "y"}, 2, &out);
  printer.AddBadInput({4, "z"}, 2, &out);
  printer.AddBadInput({6, "last"}, 3, &out);
  printer.Add(Completed(2, "2"), &out);
  EXPECT_EQ(lines(), "l");
  EXPECT_EQ(printer.held(), 4u);
  printer.Add(Completed(1, "1"), &out);
  EXPECT_EQ(lines(), "lnllnl");
  EXPECT_EQ(printer.held(), 0u);
  EXPECT_NE(out.find("{\"line\":3,\"outcome\":\"rejected\",\"status\":\"INVALID_ARGUMENT\","
                     "\"error\":\"y\"}\n"),
            std::string::npos);
}

TEST(OutcomePrinterTest, BadInputIsAnEmptyLineInText) {
  OutcomePrinter printer(Ordered());
  std::string out;
  printer.Add(Completed(1, "1"), &out);
  printer.AddBadInput({2, "x"}, 2, &out);
  printer.Add(Completed(2, "3"), &out);
  EXPECT_EQ(out, "1\n\n3\n");
}

Outcome Cancelled(uint64_t number) {
  Outcome outcome = Dead(number, absl::CancelledError("by its producer"));
  outcome.kind = OutcomeKind::kCancelled;
  return outcome;
}

TEST(OutcomePrinterTest, CancelledJobsLeaveNoEmptyLines) {
  EXPECT_EQ(Print(Cancelled(1), Text()), "");
  EXPECT_NE(Print(Cancelled(1), Json()), "");
}

TEST(OutcomePrinterTest, OrderedLinesStayInStepWithCancelledJobs) {
  OutcomePrinter printer(Ordered());
  std::string out;
  printer.Add(Completed(4, "4"), &out);
  printer.Add(Cancelled(3), &out);
  printer.Add(Completed(1, "1"), &out);
  EXPECT_EQ(out, "1\n");
  printer.Add(Cancelled(2), &out);
  EXPECT_EQ(out, "1\n\n\n4\n");
  printer.Add(Cancelled(5), &out);
  printer.Add(Cancelled(6), &out);
  printer.End(&out);
  EXPECT_EQ(out, "1\n\n\n4\n");  // nothing comes after the last ones
}

TEST(OutcomePrinterTest, EndPrintsWhatIsHeldInOrder) {
  OutcomePrinter printer(Ordered());
  std::string out;
  printer.Add(Completed(5, "5"), &out);
  printer.Add(Completed(3, "3"), &out);
  printer.End(&out);
  EXPECT_EQ(out, "3\n5\n");
  EXPECT_EQ(printer.held(), 0u);
}

TEST(FailureLineTest, IsOneLineAndSaysWhy) {
  EXPECT_EQ(FailureLine(Dead(17, absl::UnavailableError("exit status 75: busy\ntry later\n"))),
            "job 17 (3-17) dead after 3 attempts on w1: UNAVAILABLE: exit status 75: busy\\ntry "
            "later");
  Outcome rejected;
  rejected.number = 4;
  rejected.kind = OutcomeKind::kRejected;
  rejected.status = absl::InvalidArgumentError("no such queue");
  EXPECT_EQ(FailureLine(rejected), "job 4 rejected: INVALID_ARGUMENT: no such queue");
  EXPECT_EQ(FailureLine({7, "a\x1b[2J"}, InputFormat::kLines), "line 7: a\\x1b[2J");
  EXPECT_EQ(FailureLine({7, "a"}, InputFormat::kNul), "item 7: a");
  EXPECT_LT(FailureLine(Dead(1, absl::InternalError(std::string(9999, 'x')))).size(), 510u);
}

Outcome FollowOn(Outcome outcome) {
  outcome.follow_on = true;
  outcome.queue = "next";
  return outcome;
}

TEST(OutcomePrinterTest, AFollowOnJobHasALineIfItCompleted) {
  EXPECT_EQ(Print(FollowOn(Completed(1, "144")), Text()), "144\n");
  EXPECT_EQ(Print(FollowOn(Dead(1, absl::UnavailableError("x"))), Text()), "");
}

TEST(OutcomePrinterTest, AFollowOnJobNamesItsQueueInJson) {
  EXPECT_EQ(Print(FollowOn(Completed(7, "x")), Json()),
            "{\"number\":7,\"id\":\"3-7\",\"outcome\":\"completed\",\"follow_on\":true,"
            "\"queue\":\"next\",\"result\":\"x\",\"attempts\":1,\"worker\":\"w1\"}\n");
}

TEST(OutcomePrinterTest, OrderedFollowOnJobsComeLast) {
  OutcomePrinter printer(Ordered());
  std::string out;
  printer.Add(FollowOn(Completed(1, "x")), &out);
  printer.Add(Completed(2, "b"), &out);
  printer.Add(FollowOn(Completed(2, "y")), &out);
  printer.Add(Completed(1, "a"), &out);
  EXPECT_EQ(out, "a\nb\n");
  printer.End(&out);
  EXPECT_EQ(out, "a\nb\nx\ny\n");
}

TEST(FailureLineTest, AFollowOnJobIsNamedByIdAndQueue) {
  EXPECT_EQ(FailureLine(FollowOn(Dead(7, absl::UnavailableError("x")))),
            "follow-on job 3-7 of queue next dead after 3 attempts on w1: UNAVAILABLE: x");
}

}  // namespace
}  // namespace whippletree
