// The work of one step is bounded; the rest is carried to the next ones, in order.
#include <gtest/gtest.h>

#include <functional>

#include "broker/core/limits.h"
#include "tests/unit/core/step_scene.h"

namespace whippletree::core {
namespace {

using Scene = StepScene;

TEST(StepWorkTest, AReportOfManyItemsTakesSeveralSteps) {
  Scene s;
  std::vector<wire::ReportItem> items;
  for (uint64_t i = 1; i <= 100; ++i) {
    s.producer.SubmitAccepted("q", i, 1);
    items.push_back(
        WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1));
  }
  const uint64_t most =
      s.MostEnded({s.h.Signed(Channel::kComplete, "", s.worker.ReportMessage(items))});
  EXPECT_LE(most, kMost);
  EXPECT_GE(most, 1u);
  EXPECT_EQ(s.h.ledger("q").completed, 100u);
  EXPECT_EQ(s.worker.TakeReportAck(), 101u);
  EXPECT_GT(s.h.counter("steps_exhausted"), 5u);
  s.h.sent.clear();
}

TEST(StepWorkTest, AFailureOfManyJobsIsTakenApart) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 100);
  std::vector<wire::ReportItem> items;
  uint32_t jobs = 0;
  while (jobs < 100) {
    const wire::Delivery delivery = s.worker.TakeDelivery();
    const auto count = static_cast<uint32_t>(delivery.run().sizes_size());
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, delivery.token(), 0, count);
    *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "no");
    items.push_back(item);
    jobs += count;
  }
  EXPECT_LE(s.MostEnded({s.h.Signed(Channel::kComplete, "", s.worker.ReportMessage(items))}),
            kMost);
  EXPECT_EQ(s.h.ledger("q").dead, 100u);
  EXPECT_EQ(s.worker.TakeReportAck(), items.size() + 1);
  s.h.sent.clear();
}

TEST(StepWorkTest, FollowOnJobsAreAcceptedInSeveralStepsAndOneCommit) {
  Config config = Bounded();
  config.default_policy.durable = true;
  Scene s(config);
  s.h.durable_at_once = true;
  s.producer.SubmitAccepted("q", 1, 1);
  wire::ReportItem item =
      WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1);
  for (int i = 0; i < 60; ++i) {
    wire::FollowOn* follow_on = item.add_follow_ons();
    follow_on->set_queue("next-" + std::to_string(i % 20));
    AppendToRun("next", follow_on->mutable_run());
  }
  const Input report = s.h.Signed(Channel::kComplete, "", s.worker.ReportMessage({item}));
  std::vector<Input> inputs = {report, report};
  int steps = 0;
  int commits = 0;
  do {
    ++steps;
    const uint64_t before = s.h.counter("follow_ons");
    Effects effects;
    s.h.broker.Step(s.h.now, inputs, &effects);
    inputs.clear();
    s.h.broker.CheckInvariants();
    EXPECT_LE(s.h.counter("follow_ons") - before, kMost);
    if (s.h.ledger("q").completed == 0) {
      EXPECT_TRUE(effects.writes.empty());
      EXPECT_TRUE(effects.sends.empty());
    }
    s.h.Take(effects);
    commits += effects.commit != 0 ? 1 : 0;
  } while (s.h.broker.has_carried());
  EXPECT_GT(steps, 10);
  EXPECT_EQ(commits, 1);
  EXPECT_EQ(s.h.counter("follow_ons"), 60u);
  EXPECT_EQ(s.h.counter("stale_completions"), 0u);
  EXPECT_EQ(s.h.ledger("q").completed, 1u);
  EXPECT_EQ(s.h.ledger("next-7").accepted, 3u);
  s.h.ExpectNothingLeft();
  s.h.Step({Durable{s.h.broker.last_commit()}});
  EXPECT_EQ(s.worker.TakeReportAck(), 2u);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::COMPLETED);
  s.h.sent.clear();
}

TEST(StepWorkTest, AJobWhoseLastFollowOnJobIsNotTakenHasNone) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  wire::ReportItem item =
      WorkerPeer::Item(wire::ReportItem::COMPLETED, s.worker.TakeDelivery().token(), 0, 1);
  for (int i = 0; i < 60; ++i) {
    wire::FollowOn* follow_on = item.add_follow_ons();
    follow_on->set_queue(i < 59 ? "next" : "no good name");
    AppendToRun("next", follow_on->mutable_run());
  }
  s.worker.Report({item});
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_EQ(s.h.ledger("next").accepted, 0u);
  EXPECT_EQ(s.h.counter("follow_ons"), 0u);
  s.h.sent.clear();
}

// One job in each of so many queues.
void SubmitToQueues(Scene* s, int queues) {
  for (int i = 0; i < queues; ++i) s->producer.SubmitAccepted("many-" + std::to_string(i), 1, 1);
  s->h.sent.clear();
}

uint64_t QueuesWith(const BrokerHarness& h, const std::function<bool(const Queue&)>& has) {
  uint64_t n = 0;
  for (const auto& [name, queue] : h.broker.queues()) n += has(*queue) ? 1 : 0;
  return n;
}

TEST(StepWorkTest, ATickOfManyQueuesTakesSeveralSteps) {
  Scene s;
  SubmitToQueues(&s, 35);
  const auto with_rate = [&] {
    return QueuesWith(s.h, [](const Queue& queue) { return queue.accepted_per_second > 0; });
  };
  s.h.now.mono += milliseconds(600);
  s.h.now.wall += milliseconds(600);
  EXPECT_LE(s.MostChanged({}, with_rate), kMost);
  EXPECT_EQ(with_rate(), 35u);
  EXPECT_GT(s.h.broker.NextDeadline(), s.h.now.mono);
}

TEST(StepWorkTest, NewPoliciesReachManyQueuesInSeveralStepsAndHoldFromTheNextDispatchOn) {
  Scene s;
  SubmitToQueues(&s, 35);
  WorkerPeer worker(&s.h, "late", {.slots = 1000, .queues = {"many-9"}});
  const auto follow = [&] {
    return QueuesWith(s.h, [](const Queue& queue) { return queue.policy.concurrency == 1; });
  };
  Policies policies;
  policies.defaults = s.h.broker.config().default_policy;
  policies.defaults.concurrency = 1;
  s.producer.SubmitAccepted("many-9", 2, 10);
  EXPECT_LE(
      s.MostChanged(
          {std::move(policies), s.h.Signed(Channel::kDoor, "late", worker.HelloMessage())}, follow),
      kMost);
  EXPECT_EQ(follow(), s.h.broker.queues().size());
  EXPECT_EQ(s.h.ledger("many-9").leased, 1u);
  s.h.sent.clear();
}

TEST(StepWorkTest, ACancelOfManyRangesTakesSeveralSteps) {
  Scene s;
  s.Pause();
  s.producer.SubmitAccepted("q", 1, 200);
  wire::Envelope message;
  message.mutable_cancel()->set_session(s.producer.session);
  message.mutable_cancel()->set_queue("q");
  for (uint64_t i = 200; i > 0; i -= 2) {
    message.mutable_cancel()->add_firsts(i);
    message.mutable_cancel()->add_counts(1);
  }
  EXPECT_LE(s.MostEnded({s.h.Signed(Channel::kSubmit, "", message)}), kMost);
  EXPECT_EQ(s.h.ledger("q").cancelled, 100u);
  s.h.sent.clear();
}

TEST(StepWorkTest, ACancelOfManyLeasesAsksForTheirEndInSeveralSteps) {
  Scene s;
  for (uint64_t i = 1; i <= 100; ++i) s.producer.SubmitAccepted("q", i, 1);
  s.h.sent.clear();
  wire::Envelope message;
  message.mutable_cancel()->set_session(s.producer.session);
  message.mutable_cancel()->set_queue("q");
  message.mutable_cancel()->add_firsts(1);
  message.mutable_cancel()->add_counts(100);
  std::vector<Input> inputs = {s.h.Signed(Channel::kSubmit, "", message)};
  size_t asked = 0;
  do {
    Effects effects;
    s.h.broker.Step(s.h.now, inputs, &effects);
    inputs.clear();
    EXPECT_LE(effects.sends.size(), kMost + 1);
    asked += effects.sends.size();
    if (effects.commit != 0) inputs.emplace_back(Durable{effects.commit});
  } while (s.h.broker.has_more() || !inputs.empty());
  EXPECT_EQ(asked, 100u);
}

// Each of these is an outcome of its own.
TEST(StepWorkTest, ACancelOfJobsOfManyGroupsTakesSeveralSteps) {
  Scene s;
  s.Pause();
  wire::JobOptions options;
  for (uint64_t i = 1; i <= 100; ++i) {
    options.set_group(1 + i % 2);
    s.producer.SubmitAccepted("q", i, 1, options);
  }
  wire::Envelope message;
  message.mutable_cancel()->set_session(s.producer.session);
  message.mutable_cancel()->set_queue("q");
  message.mutable_cancel()->add_firsts(1);
  message.mutable_cancel()->add_counts(100);
  EXPECT_LE(s.MostEnded({s.h.Signed(Channel::kSubmit, "", message)}), kMost + 1);
  EXPECT_EQ(s.h.ledger("q").cancelled, 100u);
  s.h.sent.clear();
}

TEST(StepWorkTest, JobsWithNamesAreAcceptedInSeveralSteps) {
  Scene s;
  s.Pause();
  wire::Envelope message =
      s.producer.SubmitMessage("q", 1, std::vector<std::string>(100, "payload"));
  for (int i = 0; i < 100; ++i) {
    message.mutable_submit()->add_names("name-" + std::to_string(i / 2));  // each comes twice
  }
  const auto next = [&] {
    const auto& queue = s.h.queue("q");
    return queue.ledger.accepted + s.h.counter("repeated_names");
  };
  EXPECT_LE(s.MostChanged({s.h.Signed(Channel::kSubmit, "", message)}, next), kMost + 1);
  EXPECT_EQ(s.h.ledger("q").accepted, 50u);
  EXPECT_EQ(s.h.counter("repeated_names"), 50u);
  EXPECT_EQ(s.h.counter("repeated_jobs"), 0u);
  s.h.sent.clear();
}

// Each of these gives its name free.
TEST(StepWorkTest, ACancelOfNamedJobsTakesSeveralSteps) {
  Scene s;
  s.Pause();
  wire::Envelope message =
      s.producer.SubmitMessage("q", 1, std::vector<std::string>(100, "payload"));
  for (int i = 0; i < 100; ++i) {
    message.mutable_submit()->add_names("name-" + std::to_string(i));
  }
  s.MostChanged({s.h.Signed(Channel::kSubmit, "", message)},
                [&] { return s.h.queue("q").ledger.accepted; });
  ASSERT_EQ(s.h.queue("q").names.count(), 100u);
  wire::Envelope cancel;
  cancel.mutable_cancel()->set_session(s.producer.session);
  cancel.mutable_cancel()->set_queue("q");
  cancel.mutable_cancel()->add_firsts(1);
  cancel.mutable_cancel()->add_counts(100);
  EXPECT_LE(s.MostEnded({s.h.Signed(Channel::kSubmit, "", cancel)}), kMost + 1);
  EXPECT_EQ(s.h.ledger("q").cancelled, 100u);
  EXPECT_EQ(s.h.queue("q").names.count(), 0u);
  s.h.sent.clear();
}

TEST(StepWorkTest, JobsThatAreTooLargeAreRejectedInSeveralSteps) {
  Config config = Bounded();
  config.payload_bytes_max = 1;
  Scene s(config);
  const std::vector<std::string> payloads(100, "large");
  const Input submit =
      s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("other", 1, payloads));
  EXPECT_LE(s.MostChanged({submit}, [&] { return s.h.counter("rejected_jobs"); }), kMost);
  EXPECT_EQ(s.h.counter("rejected_jobs"), 100u);
  s.h.sent.clear();
}

TEST(StepWorkTest, TheLeasesOfAWorkerThatLeavesEndInSeveralSteps) {
  Scene s;
  for (uint64_t i = 1; i <= 100; ++i) s.producer.SubmitAccepted("q", i, 1);
  ASSERT_EQ(s.h.ledger("q").leased, 100u);
  wire::Envelope goodbye;
  goodbye.mutable_goodbye()->set_session(s.worker.session);
  // Comes again at once, and is new.
  WorkerPeer again(&s.h, "w", {.slots = 1, .process = 2});
  std::vector<Input> inputs = {s.h.Signed(Channel::kDoor, "w", goodbye),
                               s.h.Signed(Channel::kDoor, "w", again.HelloMessage())};
  EXPECT_LE(s.MostChanged(std::move(inputs), [&] { return s.h.ledger("q").leased; }), kMost);
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  EXPECT_EQ(s.h.counter("rejected_hellos"), 0u);
  s.h.sent.clear();
}

TEST(StepWorkTest, TheLeasesOfASilentWorkerEndInSeveralSteps) {
  Scene s;
  for (uint64_t i = 1; i <= 100; ++i) s.producer.SubmitAccepted("q", i, 1);
  s.h.sent.clear();
  for (int i = 0; i < 19; ++i) s.h.Run(milliseconds(500));
  s.h.now.mono += milliseconds(600);
  s.h.now.wall += milliseconds(600);
  EXPECT_LE(s.MostChanged({}, [&] { return s.h.ledger("q").leased; }), kMost);
  EXPECT_EQ(s.h.ledger("q").leased, 0u);
  EXPECT_EQ(s.h.counter("leases_expired"), 100u);
  s.h.sent.clear();
}

TEST(StepWorkTest, WhatAWorkerDoesNotListEndsInSeveralSteps) {
  Scene s;
  for (uint64_t i = 1; i <= 100; ++i) s.producer.SubmitAccepted("q", i, 1);
  s.worker.options.slots = 1;
  const Input hello = s.h.Signed(Channel::kDoor, "w", s.worker.HelloMessage());
  EXPECT_LE(s.MostChanged({hello}, [&] { return s.h.ledger("q").leased; }), kMost);
  EXPECT_EQ(s.h.ledger("q").leased, 1u);
  s.h.sent.clear();
}

TEST(StepWorkTest, HeldJobsAreAskedBackInSeveralSteps) {
  Scene s;
  s.h.sent.clear();
  WorkerPeer holds(&s.h, "holds", {.slots = 1, .queues = {"held"}, .held_max = 1000});
  holds.Join();
  wire::JobOptions options;
  for (uint64_t i = 1; i <= 100; ++i) {
    options.set_timeout_ms(static_cast<uint32_t>(i));  // a lease of its own
    s.producer.SubmitAccepted("held", i, 1, options);
  }
  s.h.sent.clear();
  const auto revoked = [&] {
    uint64_t jobs = 0;
    for (const auto& [token, lease] : s.h.broker.leases().all()) jobs += lease.revoked.size();
    return jobs;
  };
  wire::Envelope message;
  message.mutable_admin_request()->mutable_pause()->set_queue("held");
  message.mutable_admin_request()->mutable_pause()->set_paused(true);
  EXPECT_LE(s.MostChanged({s.h.Signed(Channel::kDoor, "admin", message)}, revoked), kMost);
  EXPECT_EQ(revoked(), 99u);
  s.h.sent.clear();
}

TEST(StepWorkTest, JobsThatExpireTogetherDoSoInSeveralSteps) {
  Scene s;
  s.Pause();
  wire::JobOptions options;
  const auto at = static_cast<uint64_t>(ToMilliseconds(s.h.now.wall.time_since_epoch())) + 900;
  for (uint64_t i = 1; i <= 100; ++i) {
    options.set_expires_at_ms(at + i % 2);
    s.producer.SubmitAccepted("q", i, 1, options);
  }
  s.h.sent.clear();
  s.h.now.mono += milliseconds(950);
  s.h.now.wall += milliseconds(950);
  EXPECT_LE(s.MostChanged({}, [&] { return s.h.ledger("q").expired; }), kMost);
  EXPECT_EQ(s.h.ledger("q").expired, 100u);
  s.h.sent.clear();
}

TEST(StepWorkTest, WhatComesLaterWaitsForWhatIsCarried) {
  Scene s;
  std::vector<Input> inputs;
  for (uint64_t i = 1; i <= 50; ++i) {
    inputs.push_back(s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("q", i, {"x"})));
  }
  Effects effects;
  s.h.broker.Step(s.h.now, inputs, &effects);
  s.h.Take(effects);
  EXPECT_TRUE(s.h.broker.has_carried());
  EXPECT_EQ(s.h.ledger("q").accepted, kMost);
  // One that is ahead of what is carried is no gap.
  s.h.Step({s.h.Signed(Channel::kSubmit, "", s.producer.SubmitMessage("q", 51, {"x"}))});
  EXPECT_EQ(s.h.ledger("q").accepted, 51u);
  EXPECT_EQ(s.h.counter("early_runs"), 0u);
  s.h.sent.clear();
}

TEST(StepWorkTest, JobsThatComeDueTogetherDoSoInSeveralSteps) {
  Scene s;
  std::vector<wire::ReportItem> items;
  for (uint64_t i = 1; i <= 60; ++i) {
    s.producer.SubmitAccepted("q", i, 1);
    wire::ReportItem item =
        WorkerPeer::Item(wire::ReportItem::FAILED, s.worker.TakeDelivery().token(), 0, 1);
    *item.mutable_status() = WireStatus(absl::StatusCode::kUnavailable, "again");
    items.push_back(item);
  }
  s.worker.Report(items);
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 60u);
  s.h.now.mono += seconds(2);
  Effects effects;
  s.h.broker.Step(s.h.now, {}, &effects);
  s.h.Take(effects);
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 60u - kMost);
  EXPECT_LE(s.h.broker.NextDeadline(), s.h.now.mono);
  s.h.Run(seconds(1));
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 0u);
  EXPECT_EQ(s.h.ledger("q").leased, 60u);
  s.h.sent.clear();
}

TEST(StepWorkTest, AWorkerThatTakesManyRecordsIsGivenThemInSeveralSteps) {
  BrokerHarness h(Bounded());
  ProducerPeer producer(&h, "p");
  producer.Join();
  wire::JobOptions options;
  for (uint64_t i = 1; i <= 60; ++i) {
    options.set_timeout_ms(static_cast<uint32_t>(i));  // a record of its own
    producer.SubmitAccepted("q", i, 1, options);
  }
  WorkerPeer worker(&h, "w", {.slots = 1000});
  std::vector<Input> inputs = {h.Signed(Channel::kDoor, "w", worker.HelloMessage())};
  Effects effects;
  h.broker.Step(h.now, inputs, &effects);
  h.Take(effects);
  EXPECT_TRUE(h.broker.has_more());
  EXPECT_LE(h.ledger("q").leased, kMost);
  h.Step();
  EXPECT_EQ(h.ledger("q").leased, 60u);
  h.sent.clear();
}

}  // namespace
}  // namespace whippletree::core
