// Why nothing comes of jobs: when the broker is asked, and what is said.
#include "producer/queue_watch.h"

#include <gtest/gtest.h>

#include "tests/unit/producer/session_harness.h"

namespace whippletree {
namespace {

class QueueWatchTest : public ProducerSessionTest {
 protected:
  using Lines = std::vector<std::string>;

  // Questions about "q" that were asked; everything else is left.
  int TakeQuestions() {
    int questions = 0;
    for (const wire::Envelope& message : out.door) {
      if (!message.has_admin_request()) continue;
      ++questions;
      last_id = message.admin_request().id();
      received = message.admin_request().received();
      EXPECT_EQ(message.admin_request().status().queue(), "q");
    }
    std::erase_if(out.door, [](const wire::Envelope& m) { return m.has_admin_request(); });
    return questions;
  }
  // The broker answers the last question; returns what is said then.
  Lines Answer(const wire::StatusReply& status, uint64_t number = 0) {
    out.log.clear();
    wire::Envelope message;
    message.mutable_admin_reply()->set_id(last_id);
    message.mutable_admin_reply()->set_number(number);
    *message.mutable_admin_reply()->mutable_status() = status;
    OnDoor(message);
    return std::exchange(out.log, {});
  }
  static wire::StatusReply Status(const std::string& gate, uint32_t workers = 1) {
    wire::StatusReply status;
    wire::QueueStatus* queue = status.add_queues();
    queue->set_name("q");
    queue->set_gate(gate);
    queue->set_workers(workers);
    queue->set_paused(gate == "paused");
    return status;
  }
  static wire::StatusReply NoWorker(const std::vector<std::string>& served, bool more = false) {
    wire::StatusReply status = Status("no worker", 0);
    for (const std::string& queue : served) status.add_served(queue);
    status.set_more_served(more);
    return status;
  }

  uint64_t last_id = 0;
  uint64_t received = 0;
};

TEST_F(QueueWatchTest, TwoSecondsOfNothingAreAskedAbout) {
  session.Watch("q");
  Join();
  Run(seconds(10));
  EXPECT_EQ(TakeQuestions(), 0);  // nobody waits for anything
  Submit(1);
  Poll();
  OnUpdate(Update(2));
  Run(milliseconds(1999));
  EXPECT_EQ(TakeQuestions(), 0);
  Run(milliseconds(1));
  EXPECT_EQ(TakeQuestions(), 1);
  EXPECT_EQ(Answer(NoWorker({"mail", "sh"})),
            (Lines{"no worker serves queue q; queues with workers: mail, sh"}));
  EXPECT_EQ(session.note(), "no worker serves the queue");
}

TEST_F(QueueWatchTest, WhatIsSaidIsSaidAgainWhenItChanges) {
  session.Watch("q");
  Join();
  Submit(2);
  Poll();
  OnUpdate(Update(3));
  Run(seconds(2));
  EXPECT_EQ(TakeQuestions(), 1);
  EXPECT_EQ(Answer(NoWorker({}), 77), (Lines{"no worker serves queue q, nor any other queue"}));
  Run(seconds(2));
  EXPECT_EQ(TakeQuestions(), 1);
  EXPECT_EQ(received, 77u);  // the broker is told that its reply was read
  EXPECT_EQ(Answer(NoWorker({})), Lines());
  Run(seconds(10));
  EXPECT_GT(TakeQuestions(), 0);
  EXPECT_EQ(received, 0u);
  EXPECT_EQ(Answer(NoWorker({"a"}, true)),
            (Lines{"no worker serves queue q; queues with workers: a, …"}));
  Run(seconds(10));
  EXPECT_GT(TakeQuestions(), 0);
  EXPECT_EQ(Answer(Status("paused")),
            (Lines{"queue q is paused (whippletree-broker resume q lets it go on)"}));
  EXPECT_EQ(session.note(), "paused");
  // An outcome is a reason to look again soon, since what was said may not be so any more.
  OnOutcomes(1, {Range(Outcome::COMPLETED, 1, 1)});
  Run(seconds(2));
  EXPECT_EQ(TakeQuestions(), 1);
  EXPECT_EQ(Answer(Status("")), (Lines{"queue q goes on"}));
  EXPECT_EQ(session.note(), "");
}

TEST_F(QueueWatchTest, RetriesAreToldOnce) {
  session.Watch("q");
  Join();
  Submit(1);
  Poll();
  OnUpdate(Update(2));
  const auto answer = [&](const std::string& gate) {
    Run(seconds(10));
    EXPECT_GT(TakeQuestions(), 0);
    return Answer(Status(gate));
  };
  EXPECT_EQ(answer("backing off"), (Lines{"queue q: failed jobs wait to be tried again"}));
  EXPECT_EQ(session.note(), "retrying");
  EXPECT_EQ(answer(""), Lines());
  EXPECT_EQ(session.note(), "");
  EXPECT_EQ(answer("backing off"), Lines());
}

TEST_F(QueueWatchTest, JobsThatRunOrWaitForTheirTurnAreNoNews) {
  session.Watch("q");
  Join();
  Submit(1);
  Poll();
  OnUpdate(Update(2));
  for (const char* gate : {"", "rate", "concurrency", "key", "batch incomplete", "not before"}) {
    Run(seconds(10));
    EXPECT_GT(TakeQuestions(), 0);
    EXPECT_EQ(Answer(Status(gate)), Lines()) << gate;
  }
}

TEST_F(QueueWatchTest, OutcomesNeedNoQuestion) {
  session.Watch("q");
  Join();
  Submit(10);
  Poll();
  OnUpdate(Update(11));
  for (uint64_t job = 1; job <= 9; ++job) {
    Run(milliseconds(1900));
    OnOutcomes(job, {Range(Outcome::COMPLETED, job, 1)});
  }
  EXPECT_EQ(TakeQuestions(), 0);
  OnOutcomes(10, {Range(Outcome::COMPLETED, 10, 1)});
  Run(seconds(60));
  EXPECT_EQ(TakeQuestions(), 0);
}

TEST_F(QueueWatchTest, ItAsksLessAndLessOften) {
  session.Watch("q");
  Join();
  Submit(1);
  Poll();
  OnUpdate(Update(2));
  int questions = 0;
  for (int second = 0; second < 600; ++second) {
    Run(seconds(1));
    if (TakeQuestions() == 0) continue;
    ++questions;
    Answer(Status(""));
    wire::Envelope heard;
    heard.mutable_heartbeat()->set_session(SessionNumber());
    OnDoor(heard);
  }
  EXPECT_GE(questions, 60);
  EXPECT_LE(questions, 63);
}

TEST_F(QueueWatchTest, WhoeverDoesNotWatchDoesNotAsk) {
  Join();
  Submit(1);
  Poll();
  Run(seconds(60));
  EXPECT_EQ(TakeQuestions(), 0);
}

}  // namespace
}  // namespace whippletree
