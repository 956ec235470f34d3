// The largest honest message of each kind that the broker is sent: it fits its frame and is taken.
#include "common/wire_limits.h"

#include <gtest/gtest.h>

#include <string>

#include "common/codec.h"
#include "common/run.h"

namespace whippletree {
namespace {

constexpr uint64_t kPayloadBytesMax = 16 << 20;
constexpr size_t kDataFrameBytesMax = kPayloadBytesMax + kFrameOverheadBytes;
// Sessions and tokens have the broker's epoch in their high bits.
constexpr uint64_t kToken = UINT64_MAX;
constexpr uint32_t kNumber32 = UINT32_MAX;

std::string QueueName(int i) {
  std::string name = std::to_string(i);
  name.insert(0, static_cast<size_t>(kQueueNameBytesMax) - name.size(), 'q');
  return name;
}

void ExpectTaken(wire::Envelope message, Receiver receiver, size_t bytes_max) {
  message.set_commit(kNumberMax);
  message.set_receipt(UINT64_MAX);
  message.set_secret(UINT64_MAX);
  std::string frame;
  Encode(&message, &frame);
  EXPECT_LE(frame.size(), bytes_max);
  wire::Envelope decoded;
  const absl::Status status = Decode(frame, receiver, &decoded);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(decoded.ByteSizeLong(), frame.size());
}

void ExpectTakenAtTheDoor(wire::Envelope message) {
  ExpectTaken(std::move(message), Receiver::kDoor, kDoorFrameBytesMax);
}

void FillHello(wire::Role role, wire::Hello* hello) {
  hello->set_role(role);
  hello->set_name(std::string(128, 'n'));
  hello->set_process(UINT64_MAX);
  hello->set_attempt(UINT64_MAX);
  hello->set_software(std::string(kSoftwareBytesMax, 's'));
  hello->set_broker_start(UINT64_MAX);
  hello->set_store_id(std::string(32, 'i'));
  hello->set_commit(kNumberMax);
  hello->set_receipt(UINT64_MAX);
  hello->set_named(true);
}

void FillCredits(google::protobuf::RepeatedPtrField<wire::Credit>* credits) {
  for (int i = 0; i < kQueuesPerWorkerMax; ++i) {
    wire::Credit* credit = credits->Add();
    credit->set_queue(QueueName(i));
    credit->set_jobs_limit(kNumberMax);
    credit->set_held_max(kNumber32);
    credit->set_service_time_ns(kNumberMax);
  }
}

void FillClaim(int i, wire::StreamClaim* claim) {
  claim->set_queue(QueueName(i));
  claim->set_next(kNumberMax);
  claim->set_wanted(kNumberMax);
  claim->set_follow_on(true);
  claim->set_stream(kToken);
}

void FillOptions(wire::JobOptions* options) {
  options->set_timeout_ms(kNumber32);
  options->set_max_attempts(kNumber32);
  options->set_key(std::string(256, 'k'));
  options->set_discard_outcome(true);
  options->set_not_before_ms(kNumberMax);
  options->set_expires_at_ms(kNumberMax);
  options->set_group(kNumberMax);
}

TEST(WireLimitsTest, TheLargestHelloOfAProducerFits) {
  wire::Envelope message;
  wire::Hello* hello = message.mutable_hello();
  FillHello(wire::PRODUCER, hello);
  for (int i = 0; i < kStreamsPerProducerMax; ++i) FillClaim(i, hello->add_streams());
  for (int i = 0; i < kGroupsPerMessage; ++i) hello->add_groups(kNumberMax);
  static_assert(kGroupsPerMessage >= kGroupsPerProducerMax);
  ExpectTakenAtTheDoor(message);
}

TEST(WireLimitsTest, TheLargestHelloOfAWorkerFits) {
  wire::Envelope message;
  wire::Hello* hello = message.mutable_hello();
  FillHello(wire::WORKER, hello);
  hello->set_slots(kNumber32);
  FillCredits(hello->mutable_credits());
  for (int i = 0; i < kLeasesPerHelloMax; ++i) {
    hello->add_leases(kToken);
    hello->add_lease_secrets(UINT64_MAX);
  }
  ExpectTakenAtTheDoor(message);
}

TEST(WireLimitsTest, TheOtherLargestMessagesAtTheDoorFit) {
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(kToken);
  FillCredits(message.mutable_heartbeat()->mutable_credits());
  message.mutable_heartbeat()->set_deliveries_next(kNumberMax);
  message.mutable_heartbeat()->set_draining(true);
  ExpectTakenAtTheDoor(message);

  message.mutable_open_stream()->set_session(kToken);
  FillClaim(1, message.mutable_open_stream()->mutable_claim());
  ExpectTakenAtTheDoor(message);

  message.mutable_outcome_ack()->set_session(kToken);
  for (int i = 0; i < kStreamsPerAck; ++i) {
    wire::StreamAck* ack = message.mutable_outcome_ack()->add_streams();
    ack->set_queue(QueueName(i));
    ack->set_next(kNumberMax);
    ack->set_follow_on(true);
  }
  ExpectTakenAtTheDoor(message);

  message.mutable_group_ack()->set_session(kToken);
  for (int i = 0; i < kGroupsPerMessage; ++i) message.mutable_group_ack()->add_groups(kNumberMax);
  ExpectTakenAtTheDoor(message);

  wire::DeadRequest* dead = message.mutable_admin_request()->mutable_dead();
  dead->set_queue(QueueName(1));
  for (int i = 0; i < 1000; ++i) {
    dead->add_ids()->set_stream(kToken);
    dead->mutable_ids(i)->set_number(kNumberMax);
  }
  ExpectTakenAtTheDoor(message);
}

TEST(WireLimitsTest, TheLargestSubmitsFit) {
  wire::Envelope message;
  wire::Submit* submit = message.mutable_submit();
  submit->set_session(kToken);
  submit->set_queue(QueueName(1));
  submit->set_first(kNumberMax);
  FillOptions(submit->mutable_options());
  AppendToRun(std::string(kPayloadBytesMax, 'p'), submit->mutable_run());
  submit->add_names(std::string(256, 'n'));
  ExpectTaken(message, Receiver::kSubmit, kDataFrameBytesMax);

  // As many jobs as a run may have, each with a name that a run of 64 KiB has room for.
  submit->clear_run();
  submit->clear_names();
  for (uint32_t i = 0; i < kJobsPerRunMax; ++i) {
    AppendToRun("p", submit->mutable_run());
    submit->add_names("n");
  }
  ExpectTaken(message, Receiver::kSubmit, kDataFrameBytesMax);
}

TEST(WireLimitsTest, TheOtherLargestMessagesOnSubmitFit) {
  wire::Envelope message;
  message.mutable_cancel()->set_session(kToken);
  message.mutable_cancel()->set_queue(QueueName(1));
  for (int i = 0; i < kCancelRangesPerMessage; ++i) {
    message.mutable_cancel()->add_firsts(kNumberMax);
    message.mutable_cancel()->add_counts(kNumberMax);
  }
  ExpectTaken(message, Receiver::kSubmit, kFrameOverheadBytes);

  message.mutable_close_group()->set_session(kToken);
  message.mutable_close_group()->set_group(kNumberMax);
  for (int i = 0; i < kStreamsPerProducerMax; ++i) {
    wire::GroupCount* count = message.mutable_close_group()->add_counts();
    count->set_queue(QueueName(i));
    count->set_jobs(kNumberMax);
  }
  ExpectTaken(message, Receiver::kSubmit, kFrameOverheadBytes);
}

// A batch: each job has an item, every other one failed and every other one asks for two follow-on
// jobs, as many as a handler call may ask for; with the bytes that a worker reports at most.
TEST(WireLimitsTest, TheLargestReportFits) {
  wire::Envelope message;
  wire::Report* report = message.mutable_report();
  report->set_session(kToken);
  report->set_first_ordinal(kNumberMax);
  FillCredits(report->mutable_credits());
  report->set_deliveries_next(kNumberMax);
  report->set_draining(true);
  uint64_t counted = 0;  // as worker/session_reports.cc counts
  for (uint32_t i = 0; i < kJobsPerRunMax; ++i) {
    wire::ReportItem* item = report->add_items();
    item->set_token(kToken);
    item->set_secret(UINT64_MAX);
    item->set_first(i);
    item->set_count(1);
    counted += 32;
    if (i % 2 == 0) {
      item->set_kind(wire::ReportItem::FAILED);
      item->mutable_status()->set_code(2);
      continue;
    }
    item->set_kind(wire::ReportItem::COMPLETED);
    AppendToRun("", item->mutable_results());
    for (int n = 0; n < 2; ++n) {
      wire::FollowOn* follow_on = item->add_follow_ons();
      follow_on->set_index(i);
      follow_on->set_queue("q");
      follow_on->mutable_options()->set_key(std::to_string(n));
      AppendToRun("", follow_on->mutable_run());
      counted += follow_on->ByteSizeLong() + 32;
    }
  }
  const uint64_t rest = kPayloadBytesMax + (256 << 10) - counted;
  wire::Run* results = report->mutable_items(1)->mutable_results();
  results->Clear();
  AppendToRun(std::string(rest, 'r'), results);
  ExpectTaken(message, Receiver::kComplete, kDataFrameBytesMax);
}

}  // namespace
}  // namespace whippletree
