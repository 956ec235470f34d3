// Groups and follow-on jobs.
#include <gtest/gtest.h>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

struct Scene {
  explicit Scene(Config config = {})
      : h(std::move(config)), producer(&h, "p"), worker(&h, "w", {.slots = 10}) {
    producer.Join();
    worker.Join();
  }
  static wire::JobOptions InGroup(uint64_t group) {
    wire::JobOptions options;
    options.set_group(group);
    return options;
  }
  void Close(uint64_t group, uint64_t jobs, const std::string& queue = "q") {
    wire::Envelope message;
    message.mutable_close_group()->set_session(producer.session);
    message.mutable_close_group()->set_group(group);
    wire::GroupCount* count = message.mutable_close_group()->add_counts();
    count->set_queue(queue);
    count->set_jobs(jobs);
    h.Submit(std::move(message));
  }
  wire::GroupUpdates TakeUpdates() {
    return h.Take("p", wire::Envelope::kGroupUpdates).group_updates();
  }
  void AckGroup(uint64_t group) {
    wire::Envelope message;
    message.mutable_group_ack()->set_session(producer.session);
    message.mutable_group_ack()->add_groups(group);
    h.Door("p", std::move(message));
  }
  void AckFollowOn(const std::string& queue, uint64_t next) {
    wire::Envelope message;
    message.mutable_outcome_ack()->set_session(producer.session);
    wire::StreamAck* ack = message.mutable_outcome_ack()->add_streams();
    ack->set_queue(queue);
    ack->set_next(next);
    ack->set_follow_on(true);
    h.Door("p", std::move(message));
  }
  // A completion with one follow-on job for each of `queues`.
  static wire::ReportItem WithFollowOns(uint64_t token, uint32_t index,
                                        const std::vector<std::string>& queues) {
    wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, index, 1);
    for (const std::string& queue : queues) {
      wire::FollowOn* follow_on = item.add_follow_ons();
      follow_on->set_index(index);
      follow_on->set_queue(queue);
      AppendToRun("next", follow_on->mutable_run());
    }
    return item;
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(GroupTest, EndsOnceAfterItsLastMemberAndItsOutcomes) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 3, Scene::InGroup(7));
  s.Close(7, 3);
  EXPECT_EQ(s.TakeUpdates().closed(0), 7u);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.worker.Completed(token, 0, 2);
  EXPECT_EQ(s.producer.TakeOutcome().group(), 7u);
  s.worker.Failed(token, absl::StatusCode::kInvalidArgument, 2, 1);
  s.producer.TakeOutcome();
  s.h.ExpectNothingLeft();  // the outcomes are on their way
  EXPECT_TRUE(s.h.HasLog("group_ended"));
  s.producer.Ack("q", 2);
  s.h.ExpectNothingLeft();
  s.producer.Ack("q", 3);
  const wire::GroupUpdates updates = s.TakeUpdates();
  ASSERT_EQ(updates.ended_size(), 1);
  EXPECT_EQ(updates.ended(0).group(), 7u);
  EXPECT_EQ(updates.ended(0).completed(), 2u);
  EXPECT_EQ(updates.ended(0).dead(), 1u);
  s.AckGroup(7);
  s.h.Run(seconds(5));
  s.h.ExpectNothingLeft();
}

TEST(GroupTest, TheEndIsRepeatedUntilItIsAcknowledged) {
  Scene s;
  s.Close(7, 0);
  EXPECT_EQ(s.TakeUpdates().ended_size(), 1);
  s.h.Run(kRepeatAfter);
  EXPECT_EQ(s.TakeUpdates().ended_size(), 1);
  s.AckGroup(7);
  s.h.Run(kRepeatAfter * 3);
  s.h.ExpectNothingLeft();
}

TEST(GroupTest, WhatIsNewIsToldAloneAndAllIsRepeatedTogether) {
  Scene s;
  for (uint64_t group = 1; group <= 3; ++group) {
    s.Close(group, 0);
    const wire::GroupUpdates updates = s.TakeUpdates();
    ASSERT_EQ(updates.ended_size(), 1);
    EXPECT_EQ(updates.ended(0).group(), group);
  }
  s.AckGroup(2);
  s.h.Run(kRepeatAfter);
  const wire::GroupUpdates updates = s.TakeUpdates();
  ASSERT_EQ(updates.ended_size(), 2);
  EXPECT_EQ(updates.ended(0).group(), 1u);
  EXPECT_EQ(updates.ended(1).group(), 3u);
  s.AckGroup(1);
  s.AckGroup(3);
  s.h.Run(kRepeatAfter * 3);
  s.h.ExpectNothingLeft();
}

TEST(GroupTest, MembersMayComeAfterTheWordToClose) {
  Scene s;
  s.Close(7, 2);
  EXPECT_EQ(s.TakeUpdates().ended_size(), 0);
  s.producer.SubmitAccepted("q", 1, 2, Scene::InGroup(7));
  s.worker.Completed(s.worker.TakeDelivery().token(), 0, 2);
  s.producer.TakeOutcome();
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.TakeUpdates().ended(0).completed(), 2u);
}

TEST(GroupTest, RejectedMembersCount) {
  Config config;
  config.payload_bytes_max = 10;
  Scene s(config);
  s.producer.Submit("q", 1, {std::string(11, 'x')}, Scene::InGroup(7));
  s.producer.TakeUpdate();
  s.producer.TakeOutcome();
  s.Close(7, 1);
  EXPECT_EQ(s.TakeUpdates().ended_size(), 0);
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.TakeUpdates().ended(0).rejected(), 1u);
}

TEST(GroupTest, CancelledMembersCountByGroup) {
  Scene s;
  s.h.Step();
  s.worker.Goodbye();
  s.producer.SubmitAccepted("q", 1, 2, Scene::InGroup(7));
  s.producer.SubmitAccepted("q", 3, 2);
  s.producer.SubmitAccepted("q", 5, 2, Scene::InGroup(8));
  s.producer.Cancel("q", 1, 6);
  s.Close(7, 2);
  s.Close(8, 2);
  s.h.sent.clear();
  s.producer.Ack("q", 4);
  const wire::GroupUpdates updates = s.TakeUpdates();
  ASSERT_EQ(updates.ended_size(), 2);
  EXPECT_EQ(updates.ended(0).cancelled(), 2u);
  EXPECT_EQ(updates.ended(1).cancelled(), 2u);
}

// A batch that waits for more of a group that is closed would wait its linger in vain.
TEST(GroupTest, TheLastMembersAreABatchAtOnce) {
  Config config;
  config.default_policy.batch = {.max_jobs = 4, .linger = std::chrono::hours(1)};
  Scene s(config);
  s.producer.SubmitAccepted("q", 1, 6, Scene::InGroup(7));
  const wire::Delivery full = s.worker.TakeDelivery();
  EXPECT_EQ(full.run().sizes_size(), 4);
  s.Close(7, 6);
  s.TakeUpdates();
  s.h.ExpectNothingLeft();  // the others may still ask for jobs
  s.worker.Completed(full.token(), 0, 4);
  s.producer.TakeOutcome();
  EXPECT_EQ(s.worker.TakeDelivery().run().sizes_size(), 2);
  EXPECT_EQ(s.h.broker.Status().queues(0).batches_by_drain(), 1u);
}

TEST(GroupTest, AnEndedOneTakesNoMore) {
  Scene s;
  s.Close(7, 0);
  s.TakeUpdates();
  s.producer.Submit("q", 1, {"late"}, Scene::InGroup(7));
  s.producer.TakeUpdate();
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::REJECTED);
  EXPECT_EQ(outcome.status().message(), "the group has ended");
}

TEST(GroupTest, ALateWordToCloseChangesNothing) {
  Scene s;
  s.Close(7, 0);
  s.TakeUpdates();
  s.AckGroup(7);
  s.Close(7, 0);
  s.h.Run(seconds(5));
  s.h.ExpectNothingLeft();
}

TEST(GroupTest, OneThatIsNotClosedIsCancelledWhenItsProducerIsGone) {
  Scene s;
  s.worker.Goodbye();
  s.producer.SubmitAccepted("q", 1, 3, Scene::InGroup(7));
  s.producer.SubmitAccepted("q", 4, 2);
  s.h.Run(kProducerRetention + seconds(30));
  EXPECT_EQ(s.h.ledger("q").cancelled, 3u);
  EXPECT_EQ(s.h.ledger("q").waiting(), 2u);
}

TEST(GroupTest, SoAreTheJobsThatFollowItsMembers) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1, Scene::InGroup(7));
  s.worker.Report({Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next"})});
  s.h.sent.clear();
  s.h.Run(kProducerRetention + seconds(30));
  EXPECT_EQ(s.h.ledger("next").cancelled, 1u);
  s.h.sent.clear();
}

TEST(GroupTest, AnotherStartOfTheBrokerSaysThatItIsLost) {
  Scene s;
  ProducerPeer other(&s.h, "other");
  wire::Envelope hello = other.HelloMessage({});
  hello.mutable_hello()->add_groups(7);
  hello.mutable_hello()->set_broker_start(12345);
  s.h.Door("other", std::move(hello));
  other.TakeWelcome();
  const wire::Envelope updates = s.h.Take("other", wire::Envelope::kGroupUpdates);
  EXPECT_TRUE(updates.group_updates().ended(0).lost());
}

TEST(FollowOnTest, JoinsTheGroupAndItsOutcomeGoesToTheProducer) {
  Scene s;
  WorkerPeer second(&s.h, "second", {.queues = {"next"}});
  second.Join();
  s.producer.SubmitAccepted("q", 1, 1, Scene::InGroup(7));
  s.Close(7, 1);
  s.TakeUpdates();
  s.worker.Report({Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next"})});
  EXPECT_FALSE(s.producer.TakeOutcomes().follow_on());
  s.producer.Ack("q", 2);
  s.h.Run(milliseconds(1));
  const wire::Delivery delivery = second.TakeDelivery();
  EXPECT_EQ(delivery.run().block(), "next");
  EXPECT_EQ(delivery.options().group(), 7u);
  s.h.ExpectNothingLeft();  // the group is not over
  second.Completed(delivery.token());
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  EXPECT_TRUE(outcomes.follow_on());
  EXPECT_EQ(outcomes.queue(), "next");
  EXPECT_EQ(outcomes.ranges(0).group(), 7u);
  EXPECT_EQ(outcomes.ranges(0).stream(), delivery.stream());
  s.AckFollowOn("next", 2);
  EXPECT_EQ(s.TakeUpdates().ended(0).completed(), 2u);
  EXPECT_EQ(s.h.queue("next").follow_ons, 1u);
}

TEST(FollowOnTest, IsTakenOnceAlthoughTheReportIsRepeated) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  wire::Envelope report = s.worker.ReportMessage({Scene::WithFollowOns(token, 0, {"next"})});
  s.h.Complete(report);
  s.h.Complete(report);
  EXPECT_EQ(s.h.ledger("next").accepted, 1u);
  s.h.sent.clear();
}

TEST(FollowOnTest, AStaleCompletionBringsNone) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.TakeDelivery();
  s.worker.Report({Scene::WithFollowOns(999, 0, {"next"})});
  EXPECT_FALSE(s.h.broker.queues().contains("next"));
}

TEST(FollowOnTest, IsTakenThoughTheQueueIsFull) {
  Config config;
  config.queues["next"].capacity_jobs = 1;
  Scene s(config);
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Report(
      {Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next", "next", "next"})});
  EXPECT_EQ(s.h.ledger("next").waiting(), 3u);
  s.h.sent.clear();
}

TEST(FollowOnTest, ABadOneEndsItsJobAndNotTheOthers) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 2);
  const uint64_t token = s.worker.TakeDelivery().token();
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, token, 0, 2);
  wire::FollowOn* follow_on = item.add_follow_ons();
  follow_on->set_index(1);
  follow_on->set_queue("no good name");
  AppendToRun("next", follow_on->mutable_run());
  s.worker.Report({item});
  EXPECT_EQ(s.h.ledger("q").completed, 1u);
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  s.h.sent.clear();
}

TEST(FollowOnTest, ItsJobIsTriedAgainWhenTheMemoryIsFull) {
  Config config;
  config.memory_limit_bytes = 1 << 20;
  Scene s(config);
  s.producer.SubmitAccepted("q", 1, 1);
  wire::ReportItem item = Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next"});
  AppendToRun(std::string(700'000, 'x'), item.mutable_follow_ons(0)->mutable_run());
  s.worker.Report({item});
  EXPECT_EQ(s.h.queue("q").jobs.delayed(), 1u);
  EXPECT_FALSE(s.h.broker.queues().contains("next"));
  EXPECT_LT(s.h.broker.used_bytes(), 100'000u);
}

TEST(FollowOnTest, NothingFollowsAResultThatIsTooLarge) {
  Config config;
  config.result_bytes_max = 10;
  Scene s(config);
  s.producer.SubmitAccepted("q", 1, 1);
  wire::ReportItem item = Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next"});
  item.clear_results();
  AppendToRun(std::string(11, 'x'), item.mutable_results());
  s.worker.Report({item});
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_FALSE(s.h.broker.queues().contains("next"));
  s.h.sent.clear();
}

TEST(FollowOnTest, OfAJobWithoutWaitHasNoOutcomeToKeep) {
  Scene s;
  WorkerPeer second(&s.h, "second", {.queues = {"next"}});
  second.Join();
  wire::JobOptions options;
  options.set_discard_outcome(true);
  s.producer.SubmitAccepted("q", 1, 1, options);
  s.worker.Report({Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next"})});
  second.Completed(second.TakeDelivery().token());
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.ledger("next").completed, 1u);
}

TEST(FollowOnTest, GoesOnWhenTheProducerIsGone) {
  Scene s;
  WorkerPeer second(&s.h, "second", {.queues = {"next"}});
  second.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  s.producer.Goodbye();
  s.worker.Report({Scene::WithFollowOns(token, 0, {"next"})});
  second.Completed(second.TakeDelivery().token());
  EXPECT_EQ(s.h.ledger("next").completed, 1u);
}

TEST(FollowOnTest, OutcomesAreSentAgainInANewSession) {
  Scene s;
  WorkerPeer second(&s.h, "second", {.queues = {"next"}});
  second.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Report({Scene::WithFollowOns(s.worker.TakeDelivery().token(), 0, {"next"})});
  second.Completed(second.TakeDelivery().token());
  s.h.sent.clear();
  s.producer.Join({{.queue = "q", .next = 2}});
  s.producer.TakeOutcomes();
  const wire::Outcomes outcomes = s.producer.TakeOutcomes();
  EXPECT_TRUE(outcomes.follow_on());
  EXPECT_EQ(outcomes.first_ordinal(), 1u);
}

}  // namespace
}  // namespace whippletree::core
