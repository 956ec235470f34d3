#include "producer/progress.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace whippletree {
namespace {

constexpr MonoTime kStart = MonoTime(seconds(1000));

TEST(WithCommasTest, GroupsDigits) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(18'446'744'073'709'551'615u), "18,446,744,073,709,551,615");
}

TEST(OutcomeCountsTest, WhatHasNotCompletedHasFailed) {
  OutcomeCounts counts;
  for (const OutcomeKind kind :
       {OutcomeKind::kCompleted, OutcomeKind::kCompleted, OutcomeKind::kDead,
        OutcomeKind::kCancelled, OutcomeKind::kExpired, OutcomeKind::kRejected,
        OutcomeKind::kRepeated, OutcomeKind::kUnknown}) {
    counts.Add(kind);
  }
  counts.bad_inputs = 3;
  EXPECT_EQ(counts.jobs(), 8u);
  EXPECT_EQ(counts.failed(), 8u);  // a repeated one has not
}

TEST(SummaryTest, CountsByOutcome) {
  OutcomeCounts counts;
  EXPECT_EQ(Summary(counts, seconds(1)), "0 jobs in 1.00 s");
  counts.completed = 1;
  EXPECT_EQ(Summary(counts, milliseconds(500)), "1 job in 0.50 s (2.0/s): 1 completed");
  counts.completed = 99'998;
  counts.dead = 2;
  counts.bad_inputs = 1;
  EXPECT_EQ(Summary(counts, seconds(32)),
            "100,000 jobs in 32.0 s (3,125/s): 99,998 completed, 2 dead; 1 bad input");
  counts.accepted = 1;
  EXPECT_EQ(counts.jobs(), 100'001u);
  EXPECT_EQ(counts.failed(), 3u);
  EXPECT_EQ(Summary(counts, seconds(3600)),
            "100,001 jobs in 1:00:00 (28/s): 1 accepted, 99,998 completed, 2 dead; 1 bad input");
}

TEST(ProgressMeterTest, ShowsTotalRateAndTimeLeftOnceTheInputEnded) {
  ProgressMeter meter(kStart);
  ProgressSample sample;
  sample.submitted = 10'000;
  sample.done = 1'000;
  EXPECT_EQ(meter.Line(kStart + seconds(2), sample), "1,000 of 10,000 so far, 500/s");
  sample.input_ended = true;
  sample.done = 2'000;
  sample.failed = 3;
  EXPECT_EQ(meter.Line(kStart + seconds(4), sample),
            "2,000 of 10,000 (20%), 3 failed, 500/s, ETA 0:16");
  sample.done = 10'000;
  EXPECT_EQ(meter.Line(kStart + seconds(6), sample), "10,000 of 10,000 (100%), 3 failed, 2,250/s");
}

TEST(ProgressMeterTest, GuessesTheTotalFromTheBytesOfAFile) {
  ProgressMeter meter(kStart);
  ProgressSample sample;
  sample.submitted = 1'000;
  sample.done = 500;
  sample.input_bytes_read = 10'000;
  sample.input_bytes_total = 50'000;
  EXPECT_EQ(meter.Line(kStart + seconds(1), sample), "500 of about 5,000 (10%), 500/s, ETA 0:09");
}

TEST(ProgressMeterTest, IsDrawnAtMostFiveTimesASecond) {
  ProgressMeter meter(kStart);
  int lines = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    lines += meter.Line(kStart + milliseconds(ms), ProgressSample()).has_value();
  }
  EXPECT_EQ(lines, 5);
}

TEST(ProgressMeterTest, TheRateIsThatOfTheLastSeconds) {
  ProgressMeter meter(kStart);
  ProgressSample sample;
  sample.submitted = 100'000;
  for (int s = 0; s <= 100; ++s) {
    sample.done = s < 90 ? s * 10 : 900 + (s - 90) * 1000;
    const auto line = meter.Line(kStart + seconds(s), sample);
    if (s == 50) {
      EXPECT_EQ(line, "500 of 100,000 so far, 10/s");
    } else if (s == 100) {
      EXPECT_EQ(line, "10,900 of 100,000 so far, 1,000/s");
    }
  }
}

TEST(ProgressMeterTest, SlowJobsHaveARateToo) {
  ProgressMeter meter(kStart);
  ProgressSample sample;
  sample.submitted = 6;
  sample.input_ended = true;
  std::optional<std::string> line;
  for (int s = 0; s <= 60; ++s) {
    sample.done = s / 20;
    line = meter.Line(kStart + seconds(s), sample);
  }
  EXPECT_EQ(line, "3 of 6 (50%), 0.1/s, ETA 1:00");
}

TEST(ProgressMeterTest, SaysWhatHoldsItUp) {
  ProgressMeter meter(kStart);
  ProgressSample sample;
  sample.full = true;
  EXPECT_EQ(meter.Line(kStart, sample), "0 of 0 so far, 0.0/s [the queue is full]");
  sample.full_reason = "the disk is full";
  EXPECT_EQ(meter.Line(kStart + seconds(1), sample),
            "0 of 0 so far, 0.0/s [waiting: the disk is full]");
  sample.note = "no worker serves the queue";
  EXPECT_EQ(meter.Line(kStart + seconds(2), sample),
            "0 of 0 so far, 0.0/s [no worker serves the queue]");
  sample.connected = false;
  EXPECT_EQ(meter.Line(kStart + seconds(3), sample),
            "0 of 0 so far, 0.0/s [the broker does not answer]");
}

// What `write` makes a TerminalLine write.
template <typename Write>
std::string Written(bool drawn, Write write) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  TerminalLine line(ends[1], drawn);
  write(&line);
  close(ends[1]);
  std::string out(4096, '\0');
  out.resize(static_cast<size_t>(std::max<ssize_t>(0, read(ends[0], out.data(), out.size()))));
  close(ends[0]);
  return out;
}

TEST(TerminalLineTest, LinesReplaceTheOneThatIsDrawn) {
  EXPECT_EQ(Written(true,
                    [](TerminalLine* line) {
                      line->Print("a");
                      line->Draw("1");
                      line->Draw("2");
                      line->Print("b");
                      line->Draw("3");
                      line->Clear();
                      line->Clear();
                    }),
            "a\n\r\x1b[K1\r\x1b[K2\r\x1b[Kb\n\r\x1b[K3\r\x1b[K");
}

TEST(TerminalLineTest, OnlyPrintsIfNothingIsToBeDrawn) {
  EXPECT_EQ(Written(false,
                    [](TerminalLine* line) {
                      line->Draw("1");
                      line->Print("a");
                      line->Clear();
                    }),
            "a\n");
}

TEST(TerminalLineTest, MakesRoomForOtherOutput) {
  EXPECT_EQ(Written(true,
                    [](TerminalLine* line) {
                      line->Draw("1");
                      line->WithoutLine([] {});
                      line->WithoutLine([] {});
                    }),
            "\r\x1b[K1\r\x1b[K");
}

TEST(TerminalLineTest, IsCutToTheWidth) {
  EXPECT_EQ(Written(true, [](TerminalLine* line) { line->Draw(std::string(200, 'x')); }),
            "\r\x1b[K" + std::string(78, 'x') + "…");
}

TEST(SummaryTest, OfAGroup) {
  GroupEnd end;
  EXPECT_EQ(Summary(end), "the group has ended: 0 jobs");
  end.completed = 1'000;
  end.dead = 2;
  EXPECT_EQ(Summary(end), "the group has ended: 1,002 jobs: 1,000 completed, 2 dead");
  end.status = absl::UnavailableError("the broker restarted");
  EXPECT_EQ(Summary(end),
            "the group has ended: 1,002 jobs: 1,000 completed, 2 dead; some are missing: the "
            "broker restarted");
}

}  // namespace
}  // namespace whippletree
