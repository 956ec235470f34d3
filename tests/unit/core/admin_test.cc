// What admins are told of single jobs, and how they end them.
#include <gtest/gtest.h>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

using Request = wire::JobsRequest;

struct Scene {
  Scene() : h(MakeConfig()), producer(&h, "p"), worker(&h, "w", {.slots = 1, .held_max = 1}) {
    producer.Join();
  }
  static Config MakeConfig() {
    Config config;
    config.default_policy.max_attempts = 3;
    config.default_policy.backoff_min = config.default_policy.backoff_max = seconds(100);
    return config;
  }
  wire::AdminReply Ask(Request::Action action, uint64_t number, uint64_t stream = 1) {
    wire::AdminRequest request;
    request.mutable_jobs()->set_action(action);
    request.mutable_jobs()->mutable_id()->set_stream(stream);
    request.mutable_jobs()->mutable_id()->set_number(number);
    return h.Ask(std::move(request));
  }
  wire::JobState Show(uint64_t number) {
    const wire::AdminReply reply = Ask(Request::SHOW, number);
    EXPECT_EQ(reply.error().code(), 0) << reply.error().message();
    EXPECT_EQ(reply.jobs().jobs_size(), 1);
    return reply.jobs().jobs_size() == 1 ? reply.jobs().jobs(0) : wire::JobState();
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

TEST(AdminTest, AJobIsShownInEachOfItsStates) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 4);
  wire::JobState job = s.Show(2);
  EXPECT_EQ(job.state(), "waiting");
  EXPECT_EQ(job.id().number(), 2u);
  EXPECT_EQ(job.count(), 1u);
  EXPECT_EQ(job.queue(), "q");
  EXPECT_EQ(job.producer(), "p");
  s.worker.Join();
  const uint64_t token = s.worker.TakeDeliveries()[0].token();
  job = s.Show(1);
  EXPECT_EQ(job.state(), "leased");
  EXPECT_EQ(job.worker(), "w");
  EXPECT_TRUE(job.started());
  EXPECT_EQ(job.attempts(), 1u);
  s.worker.Failed(token, absl::StatusCode::kUnavailable);
  s.h.sent.clear();
  job = s.Show(1);
  EXPECT_EQ(job.state(), "delayed");
  EXPECT_EQ(job.attempts(), 1u);
  ASSERT_EQ(job.history_size(), 1);
  EXPECT_EQ(job.history(0).worker(), "w");
  EXPECT_GT(job.until_ms(), 0u);
}

TEST(AdminTest, AScheduledJobSaysWhen) {
  Scene s;
  wire::JobOptions options;
  const auto until =
      static_cast<uint64_t>(ToMilliseconds((s.h.now.wall + seconds(60)).time_since_epoch()));
  options.set_not_before_ms(until);
  s.producer.SubmitAccepted("q", 1, 1, options);
  EXPECT_EQ(s.Show(1).state(), "scheduled");
  EXPECT_EQ(s.Show(1).until_ms(), until);
}

TEST(AdminTest, AJobThatHasEndedIsShownUntilItsProducerHasTheOutcome) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Completed(s.worker.TakeDelivery().token());
  s.producer.TakeOutcome();
  EXPECT_EQ(s.Show(1).state(), "completed");
  EXPECT_EQ(s.Show(1).worker(), "w");
  s.producer.Ack("q", 2);
  EXPECT_EQ(s.Show(1).state(), "ended");
  EXPECT_EQ(s.Ask(Request::SHOW, 2).error().code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_EQ(s.Ask(Request::SHOW, 1, 9).error().code(),
            static_cast<int>(absl::StatusCode::kNotFound));
}

TEST(AdminTest, ADeadJobIsShown) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  s.worker.Failed(s.worker.TakeDelivery().token(), absl::StatusCode::kNotFound);
  s.producer.TakeOutcome();
  const wire::JobState job = s.Show(1);
  EXPECT_EQ(job.state(), "dead");
  EXPECT_EQ(job.history_size(), 1);
  EXPECT_EQ(job.status().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST(AdminTest, AQueueIsListedWhatIsLeasedFirst) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 10);
  s.producer.Cancel("q", 5, 2);
  s.producer.TakeOutcome();
  s.worker.Join();
  s.worker.TakeDeliveries();
  wire::AdminRequest request;
  request.mutable_jobs()->set_action(Request::LIST);
  request.mutable_jobs()->set_queue("q");
  const wire::JobsReply reply = s.h.Ask(request).jobs();
  uint64_t jobs = 0;
  for (const wire::JobState& job : reply.jobs()) jobs += job.count();
  EXPECT_EQ(jobs, 8u);
  EXPECT_EQ(reply.jobs(0).state(), "leased");
  EXPECT_EQ(reply.jobs(reply.jobs_size() - 1).state(), "waiting");
  EXPECT_FALSE(reply.more());
  request.mutable_jobs()->set_limit(1);
  EXPECT_TRUE(s.h.Ask(request).jobs().more());
  request.mutable_jobs()->set_queue("nowhere");
  EXPECT_EQ(s.h.Ask(request).error().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST(AdminTest, AWaitingJobIsCancelledAtOnce) {
  Scene s;
  s.producer.SubmitAccepted("q", 1, 3);
  EXPECT_EQ(s.Ask(Request::CANCEL, 2).jobs().jobs(0).state(), "cancelled");
  const wire::OutcomeRange outcome = s.producer.TakeOutcome();
  EXPECT_EQ(outcome.kind(), wire::OutcomeRange::CANCELLED);
  EXPECT_EQ(outcome.first(), 2u);
  EXPECT_EQ(s.h.ledger("q").cancelled, 1u);
  const absl::Status again = FromWire(s.Ask(Request::CANCEL, 2).error());
  EXPECT_EQ(again, absl::FailedPreconditionError(
                       "job 1-2 has ended; only a job without an outcome is cancelled"));
}

TEST(AdminTest, ALeasedJobIsCancelledWhenItsWorkerHasAnswered) {
  Scene s;
  s.worker.Join();
  s.producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = s.worker.TakeDelivery().token();
  const wire::JobState job = s.Ask(Request::CANCEL, 1).jobs().jobs(0);
  EXPECT_EQ(job.state(), "leased");
  EXPECT_TRUE(job.cancelling());
  s.h.Take("w", wire::Envelope::kCancelJobs);
  s.worker.Failed(token, absl::StatusCode::kCancelled);
  EXPECT_EQ(s.producer.TakeOutcome().kind(), wire::OutcomeRange::CANCELLED);
}

TEST(AdminTest, AnUnknownRequestIsSaid) {
  Scene s;
  EXPECT_EQ(s.h.Ask({}).error().code(), static_cast<int>(absl::StatusCode::kUnimplemented));
}

}  // namespace
}  // namespace whippletree::core
