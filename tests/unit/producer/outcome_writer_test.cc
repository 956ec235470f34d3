#include "producer/outcome_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>

namespace whippletree {
namespace {

// A pipe that a thread reads to its end.
class Reader {
 public:
  Reader() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out_ = ends[0];
    in_ = ends[1];
    thread_ = std::thread([this] {
      char buffer[4096];
      for (ssize_t n; (n = read(out_, buffer, sizeof(buffer))) > 0;) {
        text_.append(buffer, static_cast<size_t>(n));
      }
    });
  }
  ~Reader() { Text(); }

  int in() const { return in_; }

  // All that was written. Nothing can be written afterwards.
  const std::string& Text() {
    if (thread_.joinable()) {
      close(in_);
      thread_.join();
      close(out_);
    }
    return text_;
  }

 private:
  int out_;
  int in_;
  std::string text_;
  std::thread thread_;
};

Outcome Completed(uint64_t number, std::string result) {
  Outcome outcome;
  outcome.number = number;
  outcome.kind = OutcomeKind::kCompleted;
  outcome.result = std::move(result);
  return outcome;
}

Outcome Ended(uint64_t number, OutcomeKind kind) {
  Outcome outcome;
  outcome.number = number;
  outcome.kind = kind;
  outcome.status = absl::UnavailableError("busy");
  return outcome;
}

OutcomeWriter::Options To(const Reader& out) {
  OutcomeWriter::Options options;
  options.fd = out.in();
  options.program = "prog";
  return options;
}

TEST(OutcomeWriterTest, WritesOutcomesAndTellsFailures) {
  Reader out, err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter writer(To(out), &messages);
  writer.Add(Completed(2, "b"));  // from an earlier run, before it started
  writer.Start(5);
  writer.Add(Completed(6, "f"));
  writer.Add(Ended(5, OutcomeKind::kDead));
  writer.AddBadInput({3, "wrong"}, 7);
  writer.AddBadInput({1, "told, without an entry"}, std::nullopt);
  writer.Add(Ended(7, OutcomeKind::kCancelled));
  writer.Finish();
  writer.Finish();
  EXPECT_EQ(out.Text(), "b\nf\n\n\n");
  EXPECT_EQ(err.Text(),
            "prog: job 5 dead: UNAVAILABLE: busy\n"
            "prog: line 3: wrong\n"
            "prog: line 1: told, without an entry\n");
  const OutcomeCounts counts = writer.counts();
  EXPECT_EQ(counts.jobs(), 4u);
  EXPECT_EQ(counts.completed, 2u);
  EXPECT_EQ(counts.dead, 1u);
  EXPECT_EQ(counts.cancelled, 1u);
  EXPECT_EQ(counts.bad_inputs, 2u);
}

TEST(OutcomeWriterTest, HeldOutcomesAreWrittenInTheEnd) {
  Reader out, err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter::Options options = To(out);
  options.printer.ordered = true;
  OutcomeWriter writer(options, &messages);
  writer.Start(1);
  for (const int n : {4, 2, 1}) writer.Add(Completed(n, std::to_string(n)));
  writer.Finish();
  EXPECT_EQ(out.Text(), "1\n2\n4\n");
}

TEST(OutcomeWriterTest, ManyFailuresAreToldInOneLine) {
  Reader out, err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter writer(To(out), &messages);
  writer.Start(1);
  for (int n = 1; n <= 1030; ++n) writer.Add(Ended(n, OutcomeKind::kDead));
  writer.Finish();
  const std::string& text = err.Text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 21);
  EXPECT_TRUE(text.ends_with("\nprog: 1,010 more failed, not shown\n")) << text;
}

TEST(OutcomeWriterTest, WithoutPrintOnlyFailuresAreTold) {
  Reader out, err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter::Options options = To(out);
  options.print = false;
  OutcomeWriter writer(options, &messages);
  writer.Start(1);
  writer.Add(Ended(1, OutcomeKind::kRejected));
  writer.AddBadInput({2, "wrong"}, 2);
  writer.Finish();
  EXPECT_EQ(out.Text(), "");
  EXPECT_EQ(err.Text(), "prog: job 1 rejected: UNAVAILABLE: busy\nprog: line 2: wrong\n");
}

TEST(OutcomeWriterTest, ABrokenOutputIsToldOnceAndTheRestIsCounted) {
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  Reader err;
  TerminalLine messages(err.in(), false);
  std::atomic<int> told = 0, error = 0;
  OutcomeWriter::Options options;
  options.fd = ends[1];
  options.on_write_error = [&](int e) {
    error = e;
    ++told;
  };
  OutcomeWriter writer(options, &messages);
  writer.Start(1);
  for (int n = 1; n <= 10'000; ++n) writer.Add(Completed(n, std::string(100, 'x')));
  writer.Finish();
  close(ends[1]);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(error, EPIPE);
  EXPECT_EQ(writer.counts().completed, 10'000u);
}

TEST(OutcomeWriterTest, GatheredOutcomesAreWrittenWhenAskedFor) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Reader err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter::Options options;
  options.fd = ends[1];
  OutcomeWriter writer(options, &messages);
  writer.Start(1);
  writer.Add(Completed(1, "a"));
  writer.Add(Completed(2, "b"));
  writer.WriteSoon();
  std::string text;
  char buffer[16];
  while (text.size() < 4) {  // before it ends
    const ssize_t n = read(ends[0], buffer, sizeof(buffer));
    ASSERT_GT(n, 0);
    text.append(buffer, static_cast<size_t>(n));
  }
  EXPECT_EQ(text, "a\nb\n");
  writer.Finish();
  close(ends[0]);
  close(ends[1]);
}

TEST(OutcomeWriterTest, ManyOutcomesAreWrittenUnasked) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Reader err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter::Options options;
  options.fd = ends[1];
  OutcomeWriter writer(options, &messages);
  writer.Start(1);
  for (int n = 1; n <= 10'000; ++n) writer.Add(Completed(n, "x"));
  char buffer[16];
  EXPECT_GT(read(ends[0], buffer, sizeof(buffer)), 0);
  // What is left fits the pipe.
  writer.Finish();
  close(ends[0]);
  close(ends[1]);
}

TEST(OutcomeWriterTest, ASlowReaderBoundsWhatWaits) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Reader err;
  TerminalLine messages(err.in(), false);
  OutcomeWriter::Options options;
  options.fd = ends[1];
  OutcomeWriter writer(options, &messages);
  writer.Start(1);
  constexpr int jobs = 200;
  std::atomic<int> added = 0;
  std::thread library([&] {
    for (int n = 1; n <= jobs; ++n, ++added) writer.Add(Completed(n, std::string(1 << 20, 'x')));
  });
  // What the thread took, and what may wait: 64 MiB and a little.
  while (added < 32) std::this_thread::yield();
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_LE(added, 70);

  size_t bytes = 0;
  std::thread reader([&] {
    std::string buffer(1 << 20, '\0');
    for (ssize_t n; (n = read(ends[0], buffer.data(), buffer.size())) > 0;) bytes += n;
  });
  library.join();
  writer.Finish();
  close(ends[1]);
  reader.join();
  close(ends[0]);
  EXPECT_EQ(added, jobs);
  EXPECT_EQ(bytes, jobs * ((size_t{1} << 20) + 1));
}

}  // namespace
}  // namespace whippletree
