// Dead jobs: kept with payload and history, looked at, requeued, dropped.
#include "broker/core/dead_jobs.h"

#include <gtest/gtest.h>

#include "broker/core/attempt_log.h"
#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using Request = wire::DeadRequest;

wire::Attempt AttemptOf(const std::string& worker) {
  wire::Attempt attempt;
  attempt.set_worker(worker);
  return attempt;
}

TEST(AttemptLogTest, JobsThatFailedTogetherPartLater) {
  AttemptLog log;
  AttemptLog::Writes writes;
  log.Add(1, 1, 11, AttemptOf("a"), &writes);
  log.Add(1, 4, 6, AttemptOf("b"), &writes);
  EXPECT_EQ(log.Find(1, 3)->size(), 1);
  ASSERT_EQ(log.Find(1, 5)->size(), 2);
  EXPECT_EQ(log.Find(1, 5)->at(1).worker(), "b");
  EXPECT_EQ(log.Find(1, 6)->size(), 1);
  EXPECT_EQ(log.Find(1, 11), nullptr);
  EXPECT_EQ(log.Find(2, 5), nullptr);
  log.Remove(1, 2, 10, &writes);
  EXPECT_EQ(log.Find(1, 5), nullptr);
  EXPECT_EQ(log.Find(1, 10)->size(), 1);
  AttemptLog restored;
  std::map<uint64_t, record::Attempts> rows;
  for (const record::Record& write : writes) {
    if (write.erased()) {
      rows.erase(write.attempts().first());
    } else {
      rows[write.attempts().first()] = write.attempts();
    }
  }
  for (const auto& [first, row] : rows) restored.Restore(row);
  EXPECT_EQ(restored.bytes(), log.bytes());
  for (uint64_t n = 1; n <= 11; ++n) {
    EXPECT_EQ(restored.Find(1, n) == nullptr, log.Find(1, n) == nullptr) << n;
  }
  log.Remove(1, 1, 20, nullptr);
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.bytes(), 0u);
}

TEST(AttemptLogTest, TheLastOnesAreKept) {
  AttemptLog log;
  for (int i = 0; i < 15; ++i) log.Add(1, 1, 2, AttemptOf(std::to_string(i)), nullptr);
  ASSERT_EQ(log.Find(1, 1)->size(), kAttemptsKept);
  EXPECT_EQ(log.Find(1, 1)->at(0).worker(), "5");
  EXPECT_EQ(log.Find(1, 1)->at(9).worker(), "14");
}

struct Scene {
  explicit Scene(QueuePolicy policy = {}, bool durable = true)
      : h(MakeConfig(policy, durable)), producer(&h, "p"), worker(&h, "w") {
    producer.Join();
    worker.Join();
  }
  static Config MakeConfig(QueuePolicy policy, bool durable) {
    policy.durable = durable;
    policy.backoff_min = policy.backoff_max = Duration(0);
    Config config;
    config.default_policy = policy;
    return config;
  }
  // The next job of the producer dies at once.
  void Kill(const std::string& payload, const wire::JobOptions& options = {}) {
    producer.Submit("q", next, {payload}, options);
    EXPECT_EQ(producer.TakeUpdate().next(), ++next);
    worker.Failed(worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(producer.TakeOutcome().kind(), wire::OutcomeRange::DEAD);
  }
  static wire::DeadReply Ask(BrokerHarness* h, Request::Action action, const std::string& queue,
                             const std::vector<uint64_t>& numbers = {}) {
    wire::AdminRequest request;
    request.mutable_dead()->set_action(action);
    request.mutable_dead()->set_queue(queue);
    for (const uint64_t number : numbers) {
      request.mutable_dead()->add_ids()->set_stream(1);
      request.mutable_dead()->mutable_ids()->rbegin()->set_number(number);
    }
    const wire::AdminReply reply = h->Ask(std::move(request));
    EXPECT_EQ(reply.error().code(), 0) << reply.error().message();
    return reply.dead();
  }
  wire::DeadReply Ask(Request::Action action, const std::string& queue,
                      const std::vector<uint64_t>& numbers = {}) {
    return Ask(&h, action, queue, numbers);
  }

  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
  uint64_t next = 1;
};

TEST(DeadJobsTest, AnIdThatIsSaidTwiceIsDoneOnce) {
  Scene s;
  s.Kill("a");
  s.Kill("b");
  EXPECT_EQ(s.Ask(Request::SHOW, "", {1, 1, 1}).jobs_size(), 1);
  EXPECT_EQ(s.Ask(Request::DROP, "", {1, 1}).jobs_size(), 1);
  EXPECT_EQ(s.h.broker.dead().count(), 1u);
  const wire::DeadReply requeued = s.Ask(Request::REQUEUE, "", {2, 2, 2});
  EXPECT_EQ(requeued.jobs_size(), 1);
  EXPECT_EQ(s.h.broker.dead().count(), 0u);
  EXPECT_EQ(s.h.broker.queues().at("q")->ledger.accepted, 3u);
  s.worker.TakeDelivery();
}

TEST(DeadJobsTest, IdsAndAQueueTogetherAreRefused) {
  Scene s;
  s.Kill("a");
  for (const auto action : {Request::SHOW, Request::DROP, Request::REQUEUE, Request::LIST}) {
    wire::AdminRequest request;
    request.mutable_dead()->set_action(action);
    request.mutable_dead()->set_queue("q");
    request.mutable_dead()->add_ids()->set_stream(1);
    EXPECT_EQ(s.h.Ask(std::move(request)).error().code(),
              static_cast<int>(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_EQ(s.h.broker.dead().count(), 1u);
}

// A job that is requeued and dies again is not requeued once more by the same command.
TEST(DeadJobsTest, ACommandWorksOnWhatWasThereWhenItBegan) {
  Scene s;
  for (const char* payload : {"a", "b", "c"}) s.Kill(payload);
  wire::DeadRequest request;
  request.set_queue("q");
  request.set_limit(2);
  const auto ask = [&](Request::Action action) {
    request.set_action(action);
    wire::AdminRequest admin;
    *admin.mutable_dead() = request;
    wire::DeadReply reply = s.h.Ask(std::move(admin)).dead();
    request.set_through(reply.through());
    return reply;
  };
  wire::DeadReply reply = ask(Request::REQUEUE);
  EXPECT_EQ(reply.jobs_size(), 2);
  EXPECT_TRUE(reply.more());
  for (int i = 0; i < 2; ++i) {
    s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(s.h.broker.dead().count(), 3u);
  reply = ask(Request::REQUEUE);
  EXPECT_EQ(reply.jobs_size(), 1);
  EXPECT_FALSE(reply.more());
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ask(Request::REQUEUE).jobs_size(), 0);
  EXPECT_EQ(ask(Request::DROP).jobs_size(), 0);
  EXPECT_EQ(s.h.broker.dead().count(), 3u);
}

TEST(DeadJobsTest, PayloadStatusAndHistoryAreKept) {
  QueuePolicy policy;
  policy.max_attempts = 3;
  Scene s(policy);
  wire::JobOptions options;
  options.set_key("k");
  s.producer.Submit("q", 1, {"payload"}, options);
  s.producer.TakeUpdate();
  for (int i = 0; i < 3; ++i) {
    s.h.Run(milliseconds(1));
    s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kUnavailable);
  }
  s.producer.TakeOutcome();
  const wire::DeadReply reply = s.Ask(Request::SHOW, "", {1});
  ASSERT_EQ(reply.jobs_size(), 1);
  const wire::DeadJob& job = reply.jobs(0);
  EXPECT_EQ(job.payload(), "payload");
  EXPECT_EQ(job.queue(), "q");
  EXPECT_EQ(job.attempts(), 3u);
  EXPECT_EQ(job.producer(), "p");
  EXPECT_EQ(job.worker(), "w");
  EXPECT_EQ(job.key(), "k");
  EXPECT_EQ(FromWire(job.status()), absl::UnavailableError("it failed"));
  ASSERT_EQ(job.history_size(), 3);
  EXPECT_LT(job.history(0).at_ms(), job.history(2).at_ms());
  EXPECT_EQ(job.history(2).at_ms(), job.died_at_ms());
  EXPECT_EQ(job.history(1).worker(), "w");
  EXPECT_TRUE(s.h.Rows(record::Record::kAttempts).empty());
}

TEST(DeadJobsTest, AListHasNoPayloads) {
  Scene s;
  s.Kill("one");
  s.Kill("two");
  const wire::DeadReply reply = s.Ask(Request::LIST, "");
  ASSERT_EQ(reply.jobs_size(), 2);
  EXPECT_EQ(reply.kept(), 2u);
  EXPECT_EQ(reply.jobs(0).id().number(), 1u);
  EXPECT_EQ(reply.jobs(1).payload_bytes(), 3u);
  EXPECT_EQ(reply.jobs(1).payload(), "");
  EXPECT_EQ(s.h.broker.Status().queues(0).dead_kept(), 2u);
}

TEST(DeadJobsTest, AListGoesOnWhereTheLastOneEnded) {
  Scene s;
  for (int i = 0; i < 3; ++i) s.Kill("payload");
  wire::AdminRequest request;
  request.mutable_dead()->set_queue("q");
  request.mutable_dead()->set_limit(2);
  const wire::DeadReply reply = s.h.Ask(request).dead();
  ASSERT_EQ(reply.jobs_size(), 2);
  EXPECT_TRUE(reply.more());
  request.mutable_dead()->set_after(reply.jobs(1).order());
  const wire::DeadReply rest = s.h.Ask(request).dead();
  ASSERT_EQ(rest.jobs_size(), 1);
  EXPECT_EQ(rest.jobs(0).id().number(), 3u);
  EXPECT_FALSE(rest.more());
}

TEST(DeadJobsTest, TheOldestGoFirst) {
  QueuePolicy policy;
  policy.dead_jobs_max = 2;
  Scene s(policy);
  for (int i = 0; i < 4; ++i) s.Kill("payload");
  const wire::DeadReply reply = s.Ask(Request::LIST, "q");
  ASSERT_EQ(reply.jobs_size(), 2);
  EXPECT_EQ(reply.jobs(0).id().number(), 3u);
  EXPECT_EQ(s.h.counter("dead_dropped"), 2u);
  EXPECT_EQ(std::count_if(s.h.logs.begin(), s.h.logs.end(),
                          [](const LogEvent& log) { return log.event == "dead_dropped"; }),
            1);
  EXPECT_EQ(s.h.Rows(record::Record::kDead).size(), 2u);
  EXPECT_EQ(s.h.ledger("q").dead, 4u);
}

TEST(DeadJobsTest, TheirBytesAreBounded) {
  QueuePolicy policy;
  policy.dead_bytes_max = 10'000;
  Scene s(policy);
  for (int i = 0; i < 5; ++i) s.Kill(std::string(3000, 'x'));
  EXPECT_EQ(s.Ask(Request::LIST, "q").jobs_size(), 2);
  s.Kill(std::string(10'000, 'x'));  // larger than all that is kept
  EXPECT_EQ(s.Ask(Request::LIST, "q").jobs_size(), 0);
}

TEST(DeadJobsTest, NoneAreKeptWhereThePolicySaysSo) {
  QueuePolicy policy;
  policy.dead_jobs_max = 0;
  Scene s(policy);
  s.Kill("payload");
  EXPECT_EQ(s.Ask(Request::LIST, "q").jobs_size(), 0);
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_EQ(s.h.counter("dead_dropped"), 0u);
}

TEST(DeadJobsTest, ALowerBoundHoldsAtOnce) {
  Scene s;
  for (int i = 0; i < 3; ++i) s.Kill("payload");
  Policies policies;
  policies.defaults = s.h.queue("q").policy;
  policies.defaults.dead_jobs_max = 1;
  s.h.durable_at_once = false;  // a start with the policy of before is compared otherwise
  Effects effects;
  std::vector<Input> inputs = {policies};
  s.h.broker.Step(s.h.now, inputs, &effects);
  s.h.broker.CheckInvariants();
  EXPECT_EQ(s.h.broker.dead().count("q"), 1u);
}

TEST(DeadJobsTest, ARequeuedJobIsANewOne) {
  Scene s;
  wire::JobOptions options;
  options.set_key("k");
  options.set_max_attempts(4);
  s.Kill("payload", options);
  const wire::DeadReply reply = s.Ask(Request::REQUEUE, "", {1});
  ASSERT_EQ(reply.jobs_size(), 1);
  EXPECT_EQ(reply.kept(), 0u);
  EXPECT_EQ(reply.jobs(0).requeued_as().stream(), 2u);
  EXPECT_EQ(reply.jobs(0).requeued_as().number(), 1u);
  EXPECT_TRUE(s.h.HasLog("dead_requeued"));
  const wire::Delivery delivery = s.worker.TakeDelivery();
  EXPECT_EQ(delivery.run().block(), "payload");
  EXPECT_EQ(delivery.attempt(), 1u);
  EXPECT_EQ(delivery.options().key(), "k");
  EXPECT_EQ(delivery.options().max_attempts(), 4u);
  EXPECT_EQ(delivery.options().requeue_of(), "1-1");
  s.worker.Completed(delivery.token());
  s.h.ExpectNothingLeft();  // nobody is told
  EXPECT_EQ(s.h.ledger("q").accepted, 2u);
  EXPECT_EQ(s.h.ledger("q").dead, 1u);
  EXPECT_EQ(s.h.ledger("q").completed, 1u);
}

TEST(DeadJobsTest, ARequeuedJobMayDieAgain) {
  Scene s;
  s.Kill("payload");
  s.Ask(Request::REQUEUE, "q");
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInvalidArgument);
  const wire::DeadReply reply = s.Ask(Request::LIST, "q");
  ASSERT_EQ(reply.jobs_size(), 1);
  EXPECT_EQ(reply.jobs(0).id().stream(), 2u);
  EXPECT_EQ(reply.jobs(0).requeue_of(), "1-1");
  EXPECT_EQ(s.h.ledger("q").dead, 2u);
}

TEST(DeadJobsTest, OnlyTheBrokerSaysThatAJobIsRequeued) {
  Scene s;
  wire::JobOptions options;
  options.set_requeue_of("1-1");
  s.producer.Submit("q", 1, {"payload"}, options);
  s.producer.TakeUpdate();
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::REJECTED);
}

TEST(DeadJobsTest, ARequeueStopsWhereTheQueueIsFull) {
  QueuePolicy policy;
  policy.capacity_jobs = 2;
  Scene s(policy);
  for (int i = 0; i < 3; ++i) s.Kill("payload");
  s.worker.Goodbye();
  const wire::DeadReply reply = s.Ask(Request::REQUEUE, "q");
  EXPECT_EQ(reply.jobs_size(), 2);
  EXPECT_EQ(reply.kept(), 1u);
  EXPECT_EQ(reply.error().message(), "queue q takes no more jobs now; try again later");
}

TEST(DeadJobsTest, DroppedOnesAreForgottenAndCounted) {
  Scene s;
  s.Kill("one");
  s.Kill("two");
  EXPECT_EQ(s.Ask(Request::DROP, "", {2}).kept(), 1u);
  EXPECT_EQ(s.Ask(Request::DROP, "q").jobs_size(), 1);
  EXPECT_EQ(s.Ask(Request::LIST, "").jobs_size(), 0);
  EXPECT_TRUE(s.h.Rows(record::Record::kDead).empty());
  EXPECT_EQ(s.h.ledger("q").dead, 2u);
}

TEST(DeadJobsTest, WhatIsNotKeptIsSaid) {
  Scene s;
  s.Kill("payload");
  wire::AdminRequest request;
  request.mutable_dead()->set_action(Request::DROP);
  EXPECT_EQ(s.h.Ask(request).error().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  for (const uint64_t number : {1, 9}) {
    request.mutable_dead()->add_ids()->set_stream(1);
    request.mutable_dead()->mutable_ids()->rbegin()->set_number(number);
  }
  EXPECT_EQ(FromWire(s.h.Ask(request).error()),
            absl::NotFoundError("no dead job 1-9 is kept; nothing was done"));
  EXPECT_EQ(s.h.broker.dead().count(), 1u);
  request.mutable_dead()->clear_ids();
  request.mutable_dead()->set_queue("nowhere");
  EXPECT_EQ(s.h.Ask(request).error().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST(DeadJobsTest, TheyOutliveTheBroker) {
  QueuePolicy policy;
  policy.max_attempts = 2;
  Scene s(policy);
  s.Kill("one");
  s.producer.Submit("q", 2, {"two"});
  s.producer.TakeUpdate();
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kUnavailable);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kInternal);
  s.producer.TakeOutcome();
  s.producer.Ack("q", 3);
  s.producer.Goodbye();
  s.worker.Goodbye();
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  const wire::DeadReply reply = Scene::Ask(&h, Request::SHOW, "", {2});
  ASSERT_EQ(reply.jobs_size(), 1);
  EXPECT_EQ(reply.jobs(0).payload(), "two");
  ASSERT_EQ(reply.jobs(0).history_size(), 2);
  EXPECT_EQ(reply.jobs(0).history(0).status().code(),
            static_cast<int>(absl::StatusCode::kUnavailable));
  // Streams are gone, their numbers are not used again: ids stay those of these jobs.
  const wire::DeadReply requeued = Scene::Ask(&h, Request::REQUEUE, "q");
  ASSERT_EQ(requeued.jobs_size(), 2);
  EXPECT_EQ(requeued.jobs(0).id().number(), 1u);  // the longest dead first
  EXPECT_EQ(requeued.jobs(0).requeued_as().stream(), 2u);
  EXPECT_EQ(h.ledger("q").waiting(), 2u);
  EXPECT_EQ(h.ledger("q").dead, 2u);
  EXPECT_EQ(h.ledger("q").accepted, 4u);
}

TEST(DeadJobsTest, TheHistoryOutlivesTheBrokerBeforeTheJobIsDead) {
  QueuePolicy policy;
  policy.max_attempts = 2;
  Scene s(policy);
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kUnavailable);
  s.worker.TakeDelivery();
  ASSERT_EQ(s.h.Rows(record::Record::kAttempts).size(), 1u);
  BrokerHarness h(s.h.NextConfig(), s.h.rows, s.h.now);
  h.Run(seconds(11));  // its worker does not come back
  const wire::DeadReply reply = Scene::Ask(&h, Request::SHOW, "", {1});
  ASSERT_EQ(reply.jobs_size(), 1);
  ASSERT_EQ(reply.jobs(0).history_size(), 2);
  EXPECT_EQ(reply.jobs(0).history(0).status().message(), "it failed");
  EXPECT_EQ(reply.jobs(0).history(1).status().message(), "its worker was lost: its lease ended");
  EXPECT_TRUE(h.Rows(record::Record::kAttempts).empty());
}

TEST(DeadJobsTest, AnAdminIsToldWhatIsDurable) {
  Scene s;
  s.Kill("payload");
  s.h.durable_at_once = false;
  wire::Envelope message;
  message.mutable_admin_request()->mutable_dead()->set_action(Request::DROP);
  message.mutable_admin_request()->mutable_dead()->set_queue("q");
  s.h.Door("admin", message);
  s.h.ExpectNothingLeft();
  s.h.Step({Durable{s.h.broker.last_commit()}});
  EXPECT_EQ(s.h.Take("admin", wire::Envelope::kAdminReply).admin_reply().dead().jobs_size(), 1);
}

}  // namespace
}  // namespace whippletree::core
