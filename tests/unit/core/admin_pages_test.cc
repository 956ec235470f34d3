// Replies to admins: what is long comes in several, and who does not read gets no more.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

constexpr char kUnread[] = "read the reply before this one first, and say its number in `received`";

std::string QueueName(int i) { return std::string(100, 'q') + std::to_string(10'000 + i); }

// The queues exist, with nothing in them.
void OpenQueues(ProducerPeer* producer, int n) {
  std::vector<ProducerPeer::Claim> claims;
  for (int i = 0; i < n; ++i) claims.push_back({QueueName(i)});
  EXPECT_EQ(producer->Join(claims).streams_size(), n);
}

wire::Envelope StatusRequest(uint64_t id, uint64_t received = 0) {
  wire::Envelope message;
  message.mutable_admin_request()->set_id(id);
  message.mutable_admin_request()->set_received(received);
  message.mutable_admin_request()->mutable_status();
  return message;
}

wire::AdminReply TakeReply(BrokerHarness* h, const std::string& route) {
  return h->Take(route, wire::Envelope::kAdminReply).admin_reply();
}

TEST(AdminPagesTest, AStatusHasEveryQueueAndWorkerOnce) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  OpenQueues(&producer, kStreamsPerProducerMax);
  for (const char* name : {"w1", "w2", "w3"}) {
    WorkerPeer worker(&h, name);
    worker.options.queues.clear();
    for (int i = 0; i < kQueuesPerWorkerMax; ++i) worker.options.queues.push_back(QueueName(i));
    worker.Join();
  }
  std::vector<std::string> queues;
  std::vector<std::string> workers;
  int pages = 0;
  wire::StatusCursor after;
  for (bool more = true; more; ++pages) {
    wire::AdminRequest request;
    *request.mutable_status()->mutable_after() = after;
    const wire::AdminReply reply = h.Ask(std::move(request));
    EXPECT_LT(reply.ByteSizeLong(), 2 * kAdminReplyBytes);
    for (const auto& queue : reply.status().queues()) queues.push_back(queue.name());
    for (const auto& worker : reply.status().workers()) workers.push_back(worker.name());
    EXPECT_EQ(reply.status().producers(), 1u);
    more = reply.status().has_next();
    after = reply.status().next();
  }
  EXPECT_GE(pages, 3);
  EXPECT_EQ(queues.size(), static_cast<size_t>(kStreamsPerProducerMax));
  EXPECT_TRUE(std::is_sorted(queues.begin(), queues.end()));
  EXPECT_EQ(std::set<std::string>(queues.begin(), queues.end()).size(), queues.size());
  EXPECT_EQ(workers, (std::vector<std::string>{"w1", "w2", "w3"}));
  // For this process it is one.
  EXPECT_EQ(h.broker.Status().queues_size(), kStreamsPerProducerMax);
  EXPECT_EQ(h.broker.Status().workers_size(), 3);
  EXPECT_FALSE(h.broker.Status().has_next());
}

wire::StatusReply AskOfQueue(BrokerHarness* h, const std::string& queue) {
  wire::AdminRequest request;
  request.mutable_status()->set_queue(queue);
  wire::AdminReply reply = h->Ask(std::move(request));
  EXPECT_EQ(reply.number(), 0u) << "it is not small";
  return reply.status();
}

TEST(AdminPagesTest, AQueueThatNobodyServesIsToldWithThoseThatAreServed) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  OpenQueues(&producer, 3000);
  EXPECT_EQ(AskOfQueue(&h, QueueName(1)).served_size(), 0);
  EXPECT_TRUE(AskOfQueue(&h, QueueName(1)).more_served());  // not all of 3,000 were looked at
  WorkerPeer worker(&h, "w", {.queues = {"mail", "q", "sh"}});
  worker.Join();
  const wire::StatusReply status = AskOfQueue(&h, "maill");
  EXPECT_EQ(status.queues_size(), 0);
  EXPECT_EQ(status.workers_size() + status.counters_size(), 0);
  ASSERT_EQ(status.served_size(), 2);  // by name before the 3,000
  EXPECT_EQ(status.served(0), "mail");
  EXPECT_EQ(status.served(1), "q");
  EXPECT_TRUE(status.more_served());
  const wire::StatusReply served = AskOfQueue(&h, "mail");
  ASSERT_EQ(served.queues_size(), 1);
  EXPECT_EQ(served.queues(0).workers(), 1u);
  EXPECT_EQ(served.served_size(), 0);
  WorkerPeer many(&h, "m");
  many.options.queues.clear();
  for (int i = 0; i < 100; ++i) many.options.queues.push_back(QueueName(i));
  many.Join();
  EXPECT_EQ(AskOfQueue(&h, QueueName(200)).served_size(), 6);  // kServedBytes
  EXPECT_TRUE(AskOfQueue(&h, QueueName(200)).more_served());
}

struct DeadScene {
  explicit DeadScene(std::vector<std::string> payloads)
      : producer(&h, "p"), worker(&h, "w", {.slots = 1000}) {
    producer.Join();
    worker.Join();
    const size_t count = payloads.size();
    producer.Submit("q", 1, payloads);
    producer.TakeUpdate();
    while (h.HasFrameFor("w")) {
      for (const wire::Delivery& delivery : worker.TakeDeliveries()) {
        const auto jobs = static_cast<uint32_t>(delivery.run().sizes_size());
        worker.Failed(delivery.token(), absl::StatusCode::kInvalidArgument, 0, jobs);
      }
    }
    h.sent.clear();
    EXPECT_EQ(h.broker.dead().count(), count);
  }
  wire::AdminReply Ask(const wire::DeadRequest& request) {
    wire::AdminRequest admin;
    *admin.mutable_dead() = request;
    return h.Ask(std::move(admin));
  }
  // The numbers of the jobs that are told in all.
  std::vector<uint64_t> AskAll(wire::DeadRequest request, int* pages) {
    std::vector<uint64_t> told;
    *pages = 0;
    for (bool more = true; more; ++*pages) {
      const wire::AdminReply reply = Ask(request);
      EXPECT_LT(reply.ByteSizeLong(), kAdminReplyBytes + 200'000);
      for (const wire::DeadJob& job : reply.dead().jobs()) {
        told.push_back(job.id().number());
        if (!request.ids().empty()) request.mutable_ids()->erase(request.ids().begin());
        request.set_after(job.order());
      }
      more = reply.dead().more();
    }
    return told;
  }
  BrokerHarness h;
  ProducerPeer producer;
  WorkerPeer worker;
};

// What is short on the wire is work all the same.
TEST(AdminPagesTest, ShortLinesAreSeveralRepliesToo) {
  BrokerHarness h(BrokerHarness::InOneStep());
  ProducerPeer producer(&h, "p");
  std::vector<ProducerPeer::Claim> claims;
  for (int i = 0; i < 3000; ++i) claims.push_back({"q" + std::to_string(i)});
  producer.Join(claims);
  wire::AdminRequest status;
  status.mutable_status();
  const wire::AdminReply first = h.Ask(std::move(status));
  EXPECT_LE(first.status().queues_size(), 1100);
  EXPECT_TRUE(first.status().has_next());
  std::vector<Input> inputs;
  for (uint64_t i = 1; i <= 3000; ++i) {
    wire::JobOptions options;
    options.set_timeout_ms(static_cast<uint32_t>(i));  // a record of its own
    inputs.push_back(
        h.Signed(Channel::kSubmit, "", producer.SubmitMessage("q", i, {"x"}, options)));
  }
  h.Step(std::move(inputs));
  wire::AdminRequest list;
  list.mutable_jobs()->set_action(wire::JobsRequest::LIST);
  list.mutable_jobs()->set_queue("q");
  list.mutable_jobs()->set_limit(10'000);
  const wire::AdminReply jobs = h.Ask(std::move(list));
  EXPECT_LE(jobs.jobs().jobs_size(), 1500);
  EXPECT_TRUE(jobs.jobs().more());
  h.sent.clear();
}

TEST(AdminPagesTest, DeadJobsAreShownAFewAtATime) {
  DeadScene s(std::vector<std::string>(10, std::string(100'000, 'x')));
  wire::DeadRequest request;
  request.set_action(wire::DeadRequest::SHOW);
  std::vector<uint64_t> numbers;
  for (uint64_t number = 1; number <= 10; ++number) {
    request.add_ids()->set_stream(1);
    request.mutable_ids()->rbegin()->set_number(number);
    numbers.push_back(number);
  }
  int pages = 0;
  EXPECT_EQ(s.AskAll(request, &pages), numbers);
  EXPECT_EQ(pages, 5);
}

TEST(AdminPagesTest, ALargeDeadJobIsShownAlone) {
  DeadScene s({std::string(1 << 20, 'x'), std::string(1 << 20, 'y')});
  wire::DeadRequest request;
  request.set_action(wire::DeadRequest::SHOW);
  for (uint64_t number = 1; number <= 2; ++number) {
    request.add_ids()->set_stream(1);
    request.mutable_ids()->rbegin()->set_number(number);
  }
  const wire::AdminReply reply = s.Ask(request);
  ASSERT_EQ(reply.dead().jobs_size(), 1);
  EXPECT_EQ(reply.dead().jobs(0).payload().size(), size_t{1} << 20);
  EXPECT_TRUE(reply.dead().more());
}

TEST(AdminPagesTest, OneJobThatIsNamedOftenIsShownOnce) {
  DeadScene s({std::string(1 << 20, 'x')});
  wire::DeadRequest request;
  request.set_action(wire::DeadRequest::SHOW);
  for (int i = 0; i < 1000; ++i) {
    request.add_ids()->set_stream(1);
    request.mutable_ids()->rbegin()->set_number(1);
  }
  const wire::AdminReply reply = s.Ask(request);
  EXPECT_EQ(reply.dead().jobs_size(), 1);
  EXPECT_FALSE(reply.dead().more());
}

TEST(AdminPagesTest, AListOfDeadJobsAndADropGoOnWhereTheyEnded) {
  DeadScene s(std::vector<std::string>(900, "x"));
  // So many of the same status: 400 bytes each.
  wire::DeadRequest request;
  int pages = 0;
  std::vector<uint64_t> told = s.AskAll(request, &pages);
  EXPECT_EQ(told.size(), 900u);
  EXPECT_EQ(std::set<uint64_t>(told.begin(), told.end()).size(), 900u);
  request.set_action(wire::DeadRequest::DROP);
  request.set_queue("q");
  told = s.AskAll(request, &pages);
  EXPECT_EQ(told.size(), 900u);
  EXPECT_EQ(s.h.broker.dead().count(), 0u);
}

TEST(AdminPagesTest, AListOfJobsGoesOnWhereItEnded) {
  BrokerHarness h(BrokerHarness::InOneStep());
  ProducerPeer producer(&h, "p");
  producer.Join();
  constexpr int kLines = 2000;
  std::vector<Input> inputs;
  for (int i = 0; i < kLines; ++i) {
    wire::JobOptions options;
    options.set_key(std::to_string(i) + std::string(200, 'k'));
    inputs.push_back(
        h.Signed(Channel::kSubmit, "",
                 producer.SubmitMessage("q", static_cast<uint64_t>(i) + 1, {"x"}, options)));
  }
  h.Step(std::move(inputs));
  producer.TakeUpdate();
  std::set<uint64_t> told;
  int pages = 0;
  for (bool more = true; more; ++pages) {
    wire::AdminRequest request;
    request.mutable_jobs()->set_action(wire::JobsRequest::LIST);
    request.mutable_jobs()->set_queue("q");
    request.mutable_jobs()->set_limit(10'000);
    request.mutable_jobs()->set_after(told.size());
    const wire::AdminReply reply = h.Ask(std::move(request));
    EXPECT_LT(reply.ByteSizeLong(), kAdminReplyBytes + 20'000);
    for (const wire::JobState& job : reply.jobs().jobs()) told.insert(job.id().number());
    more = reply.jobs().more();
  }
  EXPECT_EQ(told.size(), static_cast<size_t>(kLines));
  EXPECT_GT(pages, 1);
  wire::AdminRequest request;
  request.mutable_jobs()->set_action(wire::JobsRequest::LIST);
  request.mutable_jobs()->set_queue("q");
  request.mutable_jobs()->set_after(UINT32_MAX);
  EXPECT_EQ(h.Ask(std::move(request)).error().code(),
            static_cast<int>(absl::StatusCode::kOutOfRange));
}

struct UnreadScene {
  UnreadScene() : producer(&h, "p") { OpenQueues(&producer, 100); }
  BrokerHarness h;
  ProducerPeer producer;
};

TEST(AdminPagesTest, WhoDoesNotReadGetsNoSecondReply) {
  UnreadScene s;
  const uint64_t used = s.h.broker.used_bytes();
  s.h.Door("admin", StatusRequest(1));
  const wire::AdminReply first = TakeReply(&s.h, "admin");
  EXPECT_NE(first.number(), 0u);
  EXPECT_GT(s.h.broker.used_bytes(), used + first.ByteSizeLong());
  s.h.Door("admin", StatusRequest(2));
  const wire::AdminReply refused = TakeReply(&s.h, "admin");
  EXPECT_EQ(refused.id(), 2u);
  EXPECT_EQ(refused.error().message(), kUnread);
  EXPECT_EQ(refused.error().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  // That was said; a guess does not help.
  for (uint64_t guess : {uint64_t{0}, uint64_t{1}, first.number() + 1}) {
    s.h.Door("admin", StatusRequest(3, guess));
  }
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.counter("unanswered_requests"), 4u);
  // Others are answered.
  s.h.Door("other", StatusRequest(4));
  const wire::AdminReply other = TakeReply(&s.h, "other");
  EXPECT_GT(other.status().queues_size(), 0);
  EXPECT_NE(other.number(), first.number());
  s.h.Door("other", StatusRequest(5, other.number()));
  TakeReply(&s.h, "other");
  // So is who has read.
  s.h.Door("admin", StatusRequest(6, first.number()));
  EXPECT_GT(TakeReply(&s.h, "admin").status().queues_size(), 0);
}

TEST(AdminPagesTest, WhoHasReadMaySaySoAndGo) {
  UnreadScene s;
  const uint64_t used = s.h.broker.used_bytes();
  s.h.Door("admin", StatusRequest(1));
  wire::Envelope message;
  message.mutable_admin_request()->set_received(TakeReply(&s.h, "admin").number());
  s.h.Door("admin", message);
  s.h.ExpectNothingLeft();
  EXPECT_EQ(s.h.broker.used_bytes(), used);
}

TEST(AdminPagesTest, SmallRepliesMayWait) {
  UnreadScene s;
  for (int i = 0; i < 3; ++i) {
    wire::Envelope message;
    message.mutable_admin_request()->mutable_pause()->set_queue(QueueName(1));
    message.mutable_admin_request()->mutable_pause()->set_paused(true);
    s.h.Door("admin", message);
    EXPECT_EQ(TakeReply(&s.h, "admin").number(), 0u);
  }
}

TEST(AdminPagesTest, AnUnreadReplyIsForgottenInTime) {
  UnreadScene s;
  const uint64_t used = s.h.broker.used_bytes();
  s.h.Door("admin", StatusRequest(1));
  TakeReply(&s.h, "admin");
  s.producer.Goodbye();
  s.h.Run(UnreadReplies::kKept);
  s.h.Door("other", StatusRequest(1));
  wire::Envelope message;
  message.mutable_admin_request()->set_received(TakeReply(&s.h, "other").number());
  s.h.Door("other", message);
  EXPECT_LT(s.h.broker.used_bytes(), used);
}

TEST(AdminPagesTest, UnreadRepliesOfManyConnectionsAreBounded) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  OpenQueues(&producer, kStreamsPerProducerMax);
  uint64_t bytes = 0;
  int answered = 0;
  wire::AdminReply last;
  for (int i = 0; i < 400; ++i) {
    const std::string route = "route " + std::to_string(i);
    h.Door(route, StatusRequest(1));
    const wire::AdminReply reply = TakeReply(&h, route);
    bytes += reply.ByteSizeLong();
    if (reply.error().code() != 0) {
      EXPECT_EQ(reply.error().message(),
                "too many replies of the broker wait to be read; try again later");
      continue;
    }
    ++answered;
    last = reply;
  }
  EXPECT_GT(answered, 180);
  EXPECT_LT(answered, 220);
  EXPECT_LT(bytes, UnreadReplies::kBytesMax + 2 * kAdminReplyBytes);
  // One that is read makes room for one.
  h.Door("route " + std::to_string(answered - 1), StatusRequest(2, last.number()));
  EXPECT_TRUE(TakeReply(&h, "route " + std::to_string(answered - 1)).has_status());
}

}  // namespace
}  // namespace whippletree::core
