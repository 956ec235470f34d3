#include "common/codec.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "common/prng.h"
#include "common/run.h"

namespace whippletree {
namespace {

Receiver ReceiverOf(const wire::Envelope& message) {
  if (message.has_submit() || message.has_cancel()) return Receiver::kSubmit;
  return message.has_report() ? Receiver::kComplete : Receiver::kPeer;
}

absl::Status DecodeOf(wire::Envelope message) {
  std::string frame;
  Encode(&message, &frame);
  wire::Envelope decoded;
  return Decode(frame, ReceiverOf(message), &decoded);
}

wire::Envelope GoodSubmit() {
  wire::Envelope message;
  message.mutable_submit()->set_queue("q");
  message.mutable_submit()->set_first(1);
  AppendToRun("payload", message.mutable_submit()->mutable_run());
  return message;
}

wire::Envelope GoodReport() {
  wire::Envelope message;
  wire::ReportItem* item = message.mutable_report()->add_items();
  item->set_kind(wire::ReportItem::COMPLETED);
  item->set_token(1);
  item->set_count(1);
  AppendToRun("result", item->mutable_results());
  return message;
}

wire::Envelope GoodOutcomes() {
  wire::Envelope message;
  wire::OutcomeRange* range = message.mutable_outcomes()->add_ranges();
  range->set_kind(wire::OutcomeRange::COMPLETED);
  range->set_first(1);
  range->set_count(1);
  AppendToRun("result", range->mutable_results());
  return message;
}

wire::Envelope GoodDelivery() {
  wire::Envelope message;
  wire::Delivery* delivery = message.mutable_deliveries()->add_deliveries();
  delivery->set_token(1);
  delivery->set_started(1);
  AppendToRun("payload", delivery->mutable_run());
  return message;
}

TEST(CodecTest, RoundTrip) {
  wire::Envelope message = GoodSubmit();
  std::string frame = "before";
  Encode(&message, &frame);
  EXPECT_EQ(frame.substr(0, 6), "before");  // it appends
  wire::Envelope decoded;
  ASSERT_TRUE(Decode(frame.substr(6), Receiver::kSubmit, &decoded).ok());
  EXPECT_EQ(decoded.version(), 1u);
  EXPECT_EQ(decoded.submit().run().block(), "payload");
}

TEST(CodecTest, GoodMessagesPass) {
  for (const wire::Envelope& message :
       {GoodSubmit(), GoodReport(), GoodOutcomes(), GoodDelivery()}) {
    EXPECT_TRUE(DecodeOf(message).ok()) << message.ShortDebugString();
  }
}

TEST(CodecTest, GarbageIsNoEnvelope) {
  wire::Envelope decoded;
  for (const std::string& garbage :
       {std::string(), std::string("\xff"), std::string(100, '\0'), std::string("hello, broker")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Decode(garbage, Receiver::kDoor, &decoded)));
  }
}

TEST(CodecTest, AnotherVersionIsRefusedWithBothNumbers) {
  wire::Envelope message = GoodSubmit();
  message.set_version(9);
  wire::Envelope decoded;
  const absl::Status status = Decode(message.SerializeAsString(), Receiver::kSubmit, &decoded);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_NE(status.message().find("version 9"), absl::string_view::npos);
  EXPECT_NE(status.message().find("version 1"), absl::string_view::npos);
}

TEST(CodecTest, ABodyIsNeeded) { EXPECT_TRUE(absl::IsInvalidArgument(DecodeOf(wire::Envelope()))); }

// Each changes one thing of a good message.
template <typename Change>
void ExpectBroken(wire::Envelope message, Change&& change) {
  change(&message);
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeOf(message))) << message.ShortDebugString();
}
template <typename Change>
void ExpectTooLarge(wire::Envelope message, Change&& change) {
  change(&message);
  EXPECT_TRUE(absl::IsOutOfRange(DecodeOf(message))) << message.ShortDebugString();
}

TEST(CodecTest, BrokenSubmits) {
  ExpectBroken(GoodSubmit(), [](auto* m) { m->mutable_submit()->clear_run(); });
  ExpectBroken(GoodSubmit(), [](auto* m) { m->mutable_submit()->set_first(0); });
  ExpectTooLarge(GoodSubmit(), [](auto* m) { m->mutable_submit()->set_first(~uint64_t{0}); });
  ExpectBroken(GoodSubmit(), [](auto* m) { m->mutable_submit()->mutable_run()->add_sizes(1); });
}

TEST(CodecTest, BrokenCancels) {
  wire::Envelope good;
  good.mutable_cancel()->add_firsts(1);
  good.mutable_cancel()->add_counts(5);
  EXPECT_TRUE(DecodeOf(good).ok());
  ExpectBroken(good, [](auto* m) { m->mutable_cancel()->add_firsts(1); });
  ExpectTooLarge(good, [](auto* m) { m->mutable_cancel()->set_counts(0, ~uint64_t{0}); });
  ExpectTooLarge(good, [](auto* m) { m->mutable_cancel()->set_firsts(0, ~uint64_t{0}); });
}

TEST(CodecTest, BrokenReports) {
  const auto item = [](wire::Envelope* m) { return m->mutable_report()->mutable_items(0); };
  ExpectBroken(GoodReport(), [&](auto* m) { item(m)->set_count(0); });
  ExpectBroken(GoodReport(), [&](auto* m) { item(m)->set_count(2); });
  ExpectBroken(GoodReport(), [&](auto* m) { item(m)->set_count(kJobsPerRunMax + 1); });
  ExpectBroken(GoodReport(), [&](auto* m) { item(m)->set_first(kJobsPerRunMax + 1); });
  ExpectBroken(GoodReport(), [&](auto* m) { item(m)->clear_results(); });
}

TEST(CodecTest, BrokenOutcomes) {
  const auto range = [](wire::Envelope* m) { return m->mutable_outcomes()->mutable_ranges(0); };
  ExpectBroken(GoodOutcomes(), [&](auto* m) { range(m)->set_first(0); });
  ExpectBroken(GoodOutcomes(), [&](auto* m) { range(m)->set_count(0); });
  ExpectBroken(GoodOutcomes(), [&](auto* m) { range(m)->set_count(2); });
  ExpectBroken(GoodOutcomes(), [&](auto* m) { range(m)->clear_results(); });
  ExpectBroken(GoodOutcomes(), [&](auto* m) {
    range(m)->set_kind(wire::OutcomeRange::DEAD);
    range(m)->mutable_results()->add_sizes(1'000'000);
  });
}

TEST(CodecTest, BrokenDeliveries) {
  const auto delivery = [](wire::Envelope* m) {
    return m->mutable_deliveries()->mutable_deliveries(0);
  };
  ExpectBroken(GoodDelivery(), [&](auto* m) { delivery(m)->clear_run(); });
  ExpectBroken(GoodDelivery(), [&](auto* m) { delivery(m)->set_started(2); });
  ExpectBroken(GoodDelivery(), [&](auto* m) {
    delivery(m)->add_indexes(0);
    delivery(m)->add_indexes(1);
  });
  ExpectBroken(GoodDelivery(), [&](auto* m) { delivery(m)->add_indexes(kJobsPerRunMax); });
  ExpectBroken(GoodDelivery(), [&](auto* m) {
    AppendToRun("payload", delivery(m)->mutable_run());
    delivery(m)->add_indexes(1);
    delivery(m)->add_indexes(1);
  });
  // A lease that ended meanwhile has nothing in it.
  wire::Envelope ended;
  ended.mutable_deliveries()->add_deliveries();
  EXPECT_TRUE(DecodeOf(ended).ok());
}

TEST(CodecTest, ChangedBytesNeverCrash) {
  // It complains of each string that is no UTF-8.
  google::protobuf::LogHandler* const log = google::protobuf::SetLogHandler(nullptr);
  Prng prng(11);
  for (wire::Envelope message : {GoodSubmit(), GoodReport(), GoodOutcomes(), GoodDelivery()}) {
    std::string frame;
    Encode(&message, &frame);
    for (int i = 0; i < 5000; ++i) {
      std::string changed = frame.substr(0, prng.Between(0, frame.size()));
      for (uint64_t flips = prng.Below(4); flips > 0 && !changed.empty(); --flips) {
        changed[prng.Below(changed.size())] = static_cast<char>(prng.Below(256));
      }
      wire::Envelope decoded;
      Decode(changed, ReceiverOf(message), &decoded).IgnoreError();
    }
  }
  google::protobuf::SetLogHandler(log);
}

TEST(CodecTest, QueueNames) {
  for (const char* good : {"q", "a.b_c-d:e/f", "Q9"}) EXPECT_EQ(QueueNameError(good), "") << good;
  EXPECT_EQ(QueueNameError(std::string(128, 'q')), "");
  for (const char* bad : {"", "a b", "ä", "a\n", "a*"}) EXPECT_NE(QueueNameError(bad), "") << bad;
  EXPECT_NE(QueueNameError(std::string(129, 'q')), "");
}

TEST(CodecTest, OfAnotherVersionOnlyTheVersionNeedBeReadable) {
  wire::Envelope envelope;
  const absl::Status newer = Decode("\x08\x02\x1a\x0dsomething new", Receiver::kDoor, &envelope);
  EXPECT_TRUE(absl::IsFailedPrecondition(newer)) << newer;
  EXPECT_TRUE(
      absl::IsInvalidArgument(Decode("\x08\x01\x1a\x0dsomething", Receiver::kDoor, &envelope)));
  EXPECT_TRUE(absl::IsInvalidArgument(Decode("something", Receiver::kDoor, &envelope)));
}

}  // namespace
}  // namespace whippletree
