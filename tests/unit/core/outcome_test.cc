// How outcomes come to their producer.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

// A window of several outcome ranges.
Config WideWindow() {
  Config config;
  config.memory_limit_bytes = 4ull << 30;
  return config;
}

const uint64_t kWindowBytes = WideWindow().window_bytes();

wire::ReportItem CompletedWith(uint64_t token, uint32_t index, const std::string& result) {
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, index, 1);
  item.clear_results();
  AppendToRun(result, item.mutable_results());
  return item;
}

// A producer with `jobs` accepted jobs in queue "q", and a worker with a slot for each.
struct Scene {
  explicit Scene(uint32_t jobs, Config config = {}, wire::JobOptions options = {})
      : h(std::move(config)), producer(&h, "p"), worker(&h, "w", {.slots = jobs}) {
    producer.Join();
    producer.SubmitAccepted("q", 1, jobs, options);
    worker.Join();
    token = worker.TakeDelivery().token();
  }
  void CompleteWith(uint32_t index, const std::string& result) {
    worker.Report({CompletedWith(token, index, result)});
  }

  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  uint64_t token = 0;
};

TEST(OutcomeTest, CarriesWhatTheWorkerReturned) {
  Scene s(3);
  s.CompleteWith(1, "the result");
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  EXPECT_EQ(outcomes.queue(), "q");
  EXPECT_EQ(outcomes.first_ordinal(), 1u);
  ASSERT_EQ(outcomes.ranges_size(), 1);
  const wire::OutcomeRange& range = outcomes.ranges(0);
  EXPECT_EQ(range.kind(), wire::OutcomeRange::COMPLETED);
  EXPECT_EQ(range.first(), 2u);
  EXPECT_EQ(range.count(), 1u);
  EXPECT_EQ(range.attempts(), 1u);
  EXPECT_EQ(range.worker(), "w");
  EXPECT_EQ(range.results().block(), "the result");
  EXPECT_EQ(s.h.ledger("q").completed, 1u);
}

TEST(OutcomeTest, CompletionsOfOneReportTravelTogether) {
  Scene s(4);
  s.worker.Report({WorkerPeer::Item(wire::ReportItem::COMPLETED, s.token, 0, 2),
                   WorkerPeer::Item(wire::ReportItem::COMPLETED, s.token, 2, 2)});
  const wire::OutcomeRange range = s.producer.TakeOutcome();
  EXPECT_EQ(range.count(), 4u);
  EXPECT_EQ(range.results().sizes_size(), 4);
}

TEST(OutcomeTest, IsSentAgainUntilAcknowledged) {
  Scene s(1);
  s.worker.Completed(s.token);
  s.producer.TakeOutcome();
  s.h.Run(milliseconds(999));
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(1));
  EXPECT_EQ(s.producer.TakeOutcomes().first_ordinal(), 1u);
  s.h.Run(milliseconds(1999));  // later each time
  s.h.ExpectNothingLeft();
  s.h.Run(milliseconds(1));
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 0u);
  EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
  s.h.Run(seconds(5));
}

TEST(OutcomeTest, IsSentAgainInANewSessionWithNewOrdinals) {
  Scene s(2);
  s.CompleteWith(0, "a");
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  s.CompleteWith(1, "b");
  EXPECT_EQ(s.producer.TakeOutcomes().first_ordinal(), 2u);
  s.producer.Join({{"q", 3, 2}});
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  EXPECT_EQ(outcomes.first_ordinal(), 1u);
  EXPECT_EQ(outcomes.ranges(0).first(), 2u);
}

TEST(OutcomeTest, AcknowledgementOfWhatWasNeverSentIsIgnored) {
  Scene s(1);
  s.producer.Ack("q", 2);
  s.producer.Ack("nowhere", 2);
  s.worker.Completed(s.token);
  s.producer.TakeOutcome();
  s.producer.Ack("q", 3);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 1u);
  s.producer.Ack("q", 1);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 1u);
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 0u);
}

TEST(OutcomeTest, LeavesWithinAWindowOfBytes) {
  Scene s(20, WideWindow());
  const uint64_t bytes = kWindowBytes / 10;
  uint32_t sent = 0;
  for (uint32_t i = 0; i < 20; ++i) {
    s.CompleteWith(i, std::string(bytes, 'x'));
    while (s.h.HasFrameFor("p")) sent += s.producer.TakeOutcomes().ranges_size();
  }
  EXPECT_EQ(sent, 9u);  // with their overhead ten are too many
  s.producer.Ack("q", 4);
  while (s.h.HasFrameFor("p")) sent += s.producer.TakeOutcomes().ranges_size();
  EXPECT_EQ(sent, 12u);
  while (sent < 20) {
    s.producer.Ack("q", sent + 1);
    while (s.h.HasFrameFor("p")) sent += s.producer.TakeOutcomes().ranges_size();
  }
  s.producer.Ack("q", 21);
  EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
}

TEST(OutcomeTest, OneThatIsLargerThanTheWindowIsSentAlone) {
  Scene s(1, WideWindow());
  s.CompleteWith(0, std::string(2 * kWindowBytes, 'x'));
  EXPECT_EQ(s.producer.TakeOutcome().results().block().size(), 2 * kWindowBytes);
}

TEST(OutcomeTest, ARangeHasNoMoreJobsThanARun) {
  for (const uint32_t more : {kJobsPerRunMax - 1, kJobsPerRunMax}) {
    Scene s(1, WideWindow());
    s.worker.options.held_max = kJobsPerRunMax;
    s.worker.Heartbeat();
    s.producer.SubmitAccepted("q", 2, more);
    wire::ReportItem first = WorkerPeer::Item(wire::ReportItem::COMPLETED, s.token, 0, 1);
    wire::ReportItem rest =
        WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, more);
    for (wire::Run* results : {first.mutable_results(), rest.mutable_results()}) {
      results->clear_block();
      for (uint32_t& size : *results->mutable_sizes()) size = 0;
    }
    s.worker.Report({first, rest});
    EXPECT_EQ(s.producer.TakeOutcomes().ranges(0).count(), more < kJobsPerRunMax ? more + 1 : 1);
    s.h.sent.clear();
  }
}

// What was sent once must not grow: the producer may have it, and drops the same ordinal.
TEST(OutcomeTest, ARangeThatWasSentDoesNotGrow) {
  Scene s(2);
  s.CompleteWith(0, "a");
  s.producer.TakeOutcome();
  s.h.Run(milliseconds(998));
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(s.producer.session);
  s.h.Step({SendFailed{SendFailed::Reason::kAgain, Send{"p", s.producer.session, message}}});
  s.h.Run(milliseconds(2));  // time to send it again, but its socket takes nothing
  s.CompleteWith(1, "b");
  s.h.Run(milliseconds(3));
  s.h.Take("p", wire::Envelope::kHeartbeat);
  const wire::Outcomes again = s.producer.TakeOutcomes();
  EXPECT_EQ(again.first_ordinal(), 1u);
  ASSERT_EQ(again.ranges_size(), 2);
  EXPECT_EQ(again.ranges(0).count(), 1u);
  EXPECT_EQ(again.ranges(1).count(), 1u);
}

TEST(OutcomeTest, ALateAcknowledgementCountsWhileTheOutcomeWaitsToBeSentAgain) {
  Scene s(1);
  s.CompleteWith(0, "a");
  s.producer.TakeOutcome();
  s.h.Run(milliseconds(998));
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(s.producer.session);
  s.h.Step({SendFailed{SendFailed::Reason::kAgain, Send{"p", s.producer.session, message}}});
  s.h.Run(milliseconds(2));
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.h.queue("q").outcome_jobs, 0u);
  s.h.Run(milliseconds(3));
  s.h.Take("p", wire::Envelope::kHeartbeat);
}

TEST(OutcomeTest, DiscardedOnesAreOnlyCounted) {
  wire::JobOptions options;
  options.set_discard_outcome(true);
  Config config;
  config.default_policy.max_attempts = 1;
  Scene s(2, config, options);
  s.CompleteWith(0, "nobody wants it");
  s.worker.Failed(s.token, absl::StatusCode::kInternal, 1);
  EXPECT_EQ(s.h.ledger("q").completed, 1u);
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
}

TEST(OutcomeTest, OutcomesOfAProducerThatIsGoneAreNotKept) {
  Scene s(2);
  s.CompleteWith(0, "a");
  s.producer.TakeOutcome();
  s.producer.Goodbye();
  EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
  s.CompleteWith(1, "b");
  EXPECT_EQ(s.h.queue("q").outcome_bytes, 0u);
  EXPECT_EQ(s.h.ledger("q").completed, 2u);
}

}  // namespace
}  // namespace whippletree::core
