// Whatever comes from outside is answered, counted and changes nothing.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "common/version.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  Scene() : producer(&h, "p"), worker(&h, "w") {
    producer.Join();
    worker.Join();
    producer.SubmitAccepted("q", 1, 1);
    worker.TakeDelivery();
    before = Described();
  }
  ~Scene() { EXPECT_EQ(Described(), before); }
  // The queues and workers, which bad input must not change.
  std::string Described() const {
    wire::StatusReply status = h.broker.Status();
    status.clear_counters();
    return status.ShortDebugString();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  std::string before;
};

wire::Envelope With(void (*fill)(wire::Envelope*)) {
  wire::Envelope message;
  fill(&message);
  return message;
}

TEST(BadInputTest, GarbageIsAnsweredAtTheDoor) {
  Scene s;
  for (const char* garbage : {"", "\xff\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n"}) {
    s.h.Step({BrokerHarness::FromBytes(Channel::kDoor, "stranger", garbage)});
    const wire::Refusal refusal = s.h.TakeRefusal("stranger");
    EXPECT_EQ(refusal.status().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(refusal.action(), wire::Refusal::NONE);
  }
  EXPECT_EQ(s.h.counter("rejected_frames"), 3u);
  EXPECT_TRUE(s.h.HasLog("rejected_frame"));
}

TEST(BadInputTest, GarbageOnTheDataSocketsIsCounted) {
  Scene s;
  s.h.Step({BrokerHarness::FromBytes(Channel::kSubmit, "", "\xff\xff"),
            BrokerHarness::FromBytes(Channel::kComplete, "", "\xff\xff")});
  EXPECT_EQ(s.h.counter("rejected_frames"), 2u);
}

TEST(BadInputTest, AnotherVersionIsToldToGiveUp) {
  Scene s;
  wire::Envelope message = With([](wire::Envelope* e) { e->mutable_heartbeat(); });
  message.set_version(2);
  s.h.Step({BrokerHarness::FromBytes(Channel::kDoor, "newer", message.SerializeAsString())});
  const wire::Refusal refusal = s.h.TakeRefusal("newer");
  EXPECT_EQ(refusal.action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(refusal.status().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_NE(refusal.status().message().find("version 2"), std::string::npos);
}

TEST(BadInputTest, EveryBodyHasItsSocket) {
  Scene s;
  const std::vector<std::pair<Channel, wire::Envelope>> frames = {
      {Channel::kDoor, s.producer.SubmitMessage("q", 2, {"2"})},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_cancel(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_report(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_welcome(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_refusal(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_stream_updates(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_outcomes(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_deliveries(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_revoke(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_cancel_jobs(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_report_ack(); })},
      {Channel::kDoor, With([](wire::Envelope* e) { e->mutable_admin_reply(); })},
      {Channel::kSubmit, With([](wire::Envelope* e) { e->mutable_report(); })},
      {Channel::kSubmit, With([](wire::Envelope* e) { e->mutable_hello(); })},
      {Channel::kSubmit, With([](wire::Envelope* e) { e->mutable_admin_request(); })},
      {Channel::kComplete, s.producer.SubmitMessage("q", 2, {"2"})},
      {Channel::kComplete, With([](wire::Envelope* e) { e->mutable_goodbye(); })},
  };
  uint64_t rejected = 0;
  for (const auto& [channel, message] : frames) {
    s.h.Step({BrokerHarness::Frame(channel, "stranger", message)});
    EXPECT_EQ(s.h.counter("rejected_frames"), ++rejected) << message.ShortDebugString();
    if (channel == Channel::kDoor) {
      EXPECT_EQ(s.h.TakeRefusal("stranger").action(), wire::Refusal::NONE);
    }
  }
}

TEST(BadInputTest, FramesWithoutASessionAreCounted) {
  Scene s;
  s.h.Submit(With([](wire::Envelope* e) {
    e->mutable_submit()->set_queue("q");
    e->mutable_submit()->set_first(2);
    AppendToRun("2", e->mutable_submit()->mutable_run());
  }));
  s.h.Submit(With([](wire::Envelope* e) { e->mutable_cancel()->set_queue("q"); }));
  s.h.Complete(With([](wire::Envelope* e) { e->mutable_report(); }));
  EXPECT_EQ(s.h.counter("frames_of_other_sessions"), 3u);
  for (auto fill : {+[](wire::Envelope* e) { e->mutable_heartbeat(); },
                    +[](wire::Envelope* e) { e->mutable_open_stream(); },
                    +[](wire::Envelope* e) { e->mutable_outcome_ack(); },
                    +[](wire::Envelope* e) { e->mutable_goodbye(); }}) {
    s.h.Door("stranger", With(fill));
    EXPECT_EQ(s.h.TakeRefusal("stranger").action(), wire::Refusal::SAY_HELLO);
  }
  EXPECT_EQ(s.h.counter("frames_of_other_sessions"), 7u);
}

TEST(BadInputTest, BadHellosAreRefused) {
  Scene s;
  const wire::Envelope good_producer = ProducerPeer(&s.h, "new").HelloMessage({{"q", 1, 1}});
  const wire::Envelope good_worker = WorkerPeer(&s.h, "new").HelloMessage();
  const auto producer = [&](auto&& change) {
    wire::Envelope message = good_producer;
    change(message.mutable_hello());
    return message;
  };
  const auto worker = [&](auto&& change) {
    wire::Envelope message = good_worker;
    change(message.mutable_hello());
    return message;
  };
  const std::vector<std::pair<wire::Envelope, std::string>> hellos = {
      {producer([](wire::Hello* h) { h->clear_role(); }), "hello without a role"},
      {producer([](wire::Hello* h) { h->clear_name(); }), "a peer's name has 1 to 128 bytes"},
      {producer([](wire::Hello* h) { h->set_name(std::string(129, 'n')); }),
       "a peer's name has 1 to 128 bytes"},
      {producer([](wire::Hello* h) { h->mutable_streams(0)->set_queue("no spaces"); }),
       "a queue's name has 1 to 128 of the characters A-Z a-z 0-9 . _ - : /"},
      {worker([](wire::Hello* h) { h->set_slots(0); }), "a worker has 1 to 4096 slots"},
      {worker([](wire::Hello* h) { h->set_slots(4097); }), "a worker has 1 to 4096 slots"},
      {worker([](wire::Hello* h) { h->clear_credits(); }), "a worker serves 1 to 1024 queues"},
      {worker([](wire::Hello* h) { h->mutable_credits(0)->set_queue(""); }),
       "a queue's name has 1 to 128 of the characters A-Z a-z 0-9 . _ - : /"},
  };
  uint64_t rejected = 0;
  for (const auto& [hello, error] : hellos) {
    s.h.Door("new", hello);
    const wire::Refusal refusal = s.h.TakeRefusal("new");
    EXPECT_EQ(refusal.status().message(), error);
    EXPECT_EQ(refusal.action(), wire::Refusal::GIVE_UP);
    EXPECT_EQ(s.h.counter("rejected_hellos"), ++rejected);
  }
}

TEST(BadInputTest, WhatIsBeyondALimitIsToldToGiveUp) {
  Scene s;
  wire::Envelope hello = WorkerPeer(&s.h, "new").HelloMessage();
  for (int i = 0; i < kQueuesPerWorkerMax; ++i) {
    hello.mutable_hello()->add_credits()->set_queue("q");
  }
  s.h.Door("new", hello);
  const wire::Refusal refusal = s.h.TakeRefusal("new");
  EXPECT_EQ(refusal.action(), wire::Refusal::GIVE_UP);
  EXPECT_EQ(refusal.status().code(), static_cast<int>(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(refusal.status().message(),
            "Hello.credits has more than 1024 entries: use fewer, or several messages");
  EXPECT_EQ(s.h.counter("rejected_frames"), 1u);
  EXPECT_TRUE(s.h.HasLog("rejected_frame"));
}

// The harness reads all that is sent as a peer does.
TEST(BadInputTest, WhatIsSaidOfTheLargestNumbersIsReadable) {
  Scene s;
  ProducerPeer far(&s.h, "far");
  const wire::Welcome welcome = far.Join({{"q", kNumberMax, kNumberMax}, {"w", 1, kNumberMax}});
  ASSERT_EQ(welcome.streams_size(), 2);
  EXPECT_EQ(welcome.streams(0).next(), kNumberMax);
  wire::JobOptions bad;
  bad.set_max_attempts(kAttemptsMax + 1);
  far.Submit("q", kNumberMax, {"1", "2", "3"}, bad);
  EXPECT_EQ(far.TakeUpdate().next(), kNumberMax + 3);
  const wire::OutcomeRange outcome = far.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::REJECTED);
  EXPECT_EQ(outcome.first(), kNumberMax);
  far.Ack("q", 2);
  far.Goodbye();
  // Further ones cannot be said.
  s.h.Submit(far.SubmitMessage("q", kNumberMax + 3, {"4"}));
  EXPECT_EQ(s.h.counter("rejected_frames"), 1u);
  s.before = s.Described();  // the queue `w` is new
}

TEST(BadInputTest, AGroupIsOfQueuesWithNames) {
  Scene s;
  for (const std::string& name : {std::string(), std::string(200, 'q'), std::string("a b")}) {
    wire::Envelope message;
    message.mutable_close_group()->set_session(s.producer.session);
    message.mutable_close_group()->set_group(5);
    message.mutable_close_group()->add_counts()->set_queue(name);
    s.h.Submit(message);
  }
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.counter("rejected_frames"), 3u);
}

TEST(BadInputTest, OddReportItemsChangeNothing) {
  Scene s;
  const uint64_t token = s.h.broker.leases().all().begin()->first;
  s.worker.Report({WorkerPeer::Item(wire::ReportItem::UNSPECIFIED, token, 0, 1)});
  EXPECT_EQ(s.h.counter("rejected_frames"), 1u);
  s.worker.Report({WorkerPeer::Item(wire::ReportItem::COMPLETED, 0, 0, 1),
                   WorkerPeer::Item(wire::ReportItem::STARTED, token, kJobsPerRunMax, 1),
                   WorkerPeer::Item(wire::ReportItem::FAILED, ~uint64_t{0}, 3, 60'000)});
  EXPECT_EQ(s.h.counter("stale_completions"), 60'002u);
}

TEST(BadInputTest, NamesThatNobodyServesAreIgnored) {
  Scene s;
  wire::Envelope message;
  message.mutable_heartbeat()->set_session(s.worker.session);
  wire::Credit* credit = message.mutable_heartbeat()->add_credits();
  credit->set_queue("never mentioned");
  credit->set_jobs_limit(kNumberMax);
  s.h.Door("w", message);
  s.h.Take("w", wire::Envelope::kHeartbeat);
}

TEST(BadInputTest, AnUnknownRequestOfAnAdminIsAnswered) {
  Scene s;
  wire::Envelope message;
  message.mutable_admin_request()->set_id(7);
  s.h.Door("admin", message);
  const wire::Envelope reply = s.h.Take("admin", wire::Envelope::kAdminReply);
  EXPECT_EQ(reply.admin_reply().id(), 7u);
  EXPECT_EQ(reply.admin_reply().error().code(), static_cast<int>(absl::StatusCode::kUnimplemented));
}

TEST(StatusTest, SaysWhatIsThere) {
  Scene s;
  wire::Envelope message;
  message.mutable_admin_request()->set_id(8);
  message.mutable_admin_request()->mutable_status();
  s.h.Door("admin", message);
  const wire::Envelope envelope = s.h.Take("admin", wire::Envelope::kAdminReply);
  const wire::StatusReply& status = envelope.admin_reply().status();
  EXPECT_EQ(status.software(), kSoftware);
  EXPECT_EQ(status.producers(), 1u);
  ASSERT_EQ(status.queues_size(), 1);
  EXPECT_EQ(status.queues(0).accepted(), 1u);
  EXPECT_EQ(status.queues(0).leased(), 1u);
  ASSERT_EQ(status.workers_size(), 1);
  EXPECT_EQ(status.workers(0).state(), "active");
  EXPECT_EQ(status.workers(0).leased(), 1u);
  EXPECT_EQ(status.workers(0).queues(0).credit(), 999'999u);
}

}  // namespace
}  // namespace whippletree::core
