// The public libraries against a broker in the same process, over real sockets on ports that the
// system chooses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "broker/shell.h"
#include "producer/producer.h"
#include "worker/worker.h"

namespace whippletree {
namespace {

using ::testing::HasSubstr;

class BrokerThread {
 public:
  explicit BrokerThread(uint32_t port = 0, core::Config config = {}) {
    config.epoch = ++starts_;
    config.broker_start = starts_;
    auto shell = BrokerShell::Start({.port = port, .core = config});
    EXPECT_TRUE(shell.ok()) << shell.status();
    shell_ = *std::move(shell);
    thread_ = std::thread([this] { shell_->Run(); });
  }
  ~BrokerThread() {
    shell_->Stop();
    thread_.join();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(shell_->door_port()); }
  uint32_t port() const { return shell_->door_port(); }
  BrokerShell& shell() { return *shell_; }

 private:
  static inline uint32_t starts_ = 0;
  std::unique_ptr<BrokerShell> shell_;
  std::thread thread_;
};

class WorkerThread {
 public:
  WorkerThread(const BrokerThread& broker, const std::string& queue, Handler handler,
               uint32_t slots = 2)
      : worker_({.broker = broker.address(), .name = "w", .slots = slots}) {
    worker_.Handle(queue, std::move(handler));
    thread_ = std::thread([this] { status_ = worker_.Run(); });
  }
  ~WorkerThread() {
    if (thread_.joinable()) {
      EXPECT_TRUE(Join().ok());
    }
  }
  Worker& worker() { return worker_; }
  absl::Status Join() {
    worker_.Drain();
    thread_.join();
    return status_;
  }
  absl::Status Wait() {
    thread_.join();
    return status_;
  }

 private:
  Worker worker_;
  absl::Status status_;
  std::thread thread_;
};

std::unique_ptr<Producer> Connect(const BrokerThread& broker, ProducerOptions options = {}) {
  options.broker = broker.address();
  auto producer = Producer::Connect(std::move(options));
  EXPECT_TRUE(producer.ok()) << producer.status();
  return *std::move(producer);
}

absl::StatusOr<std::string> Upper(JobContext&, std::string_view payload) {
  std::string out(payload);
  for (char& c : out) c = static_cast<char>(std::toupper(c));
  return out;
}

TEST(LibraryTest, OneJobComesBack) {
  BrokerThread broker;
  WorkerThread worker(broker, "q", Upper);
  auto producer = Connect(broker);
  auto future = producer->Submit("q", "hello");
  ASSERT_TRUE(future.ok());
  const Outcome outcome = future->get();
  EXPECT_EQ(outcome.kind, OutcomeKind::kCompleted);
  EXPECT_EQ(outcome.result, "HELLO");
  EXPECT_EQ(outcome.attempts, 1u);
  EXPECT_EQ(outcome.number, 1u);
  EXPECT_THAT(outcome.worker, HasSubstr("w-"));
  EXPECT_TRUE(worker.Join().ok());
}

TEST(LibraryTest, ManyJobsOneCallbackEach) {
  BrokerThread broker;
  WorkerThread first(broker, "q", Upper);
  WorkerThread second(broker, "q", Upper);
  auto producer = Connect(broker);
  constexpr int kJobs = 20'000;
  std::vector<std::atomic<int>> seen(kJobs + 1);
  std::vector<std::string> payloads;
  for (int i = 1; i <= kJobs; ++i) payloads.push_back("job-" + std::to_string(i));
  const std::vector<std::string_view> views(payloads.begin(), payloads.end());
  const auto number = producer->SubmitMany("q", views, {}, [&](Outcome outcome) {
    if (outcome.result == "JOB-" + std::to_string(outcome.number)) ++seen[outcome.number];
  });
  ASSERT_TRUE(number.ok());
  EXPECT_EQ(*number, 1u);
  EXPECT_TRUE(producer->WaitAccepted().ok());
  EXPECT_TRUE(producer->WaitOutcomes().ok());
  for (int i = 1; i <= kJobs; ++i) ASSERT_EQ(seen[i], 1) << i;
}

TEST(LibraryTest, SeveralThreadsSubmit) {
  BrokerThread broker;
  WorkerThread worker(broker, "q", Upper);
  auto producer = Connect(broker);
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string payload = "t" + std::to_string(t) + "-" + std::to_string(i);
        auto future = producer->Submit("q", payload);
        if (future.ok() && future->get().result ==
                               *Upper(*std::make_unique<JobContext>(JobContext::Job{}), payload)) {
          ++right;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 800);
}

TEST(LibraryTest, StatusCodesDecide) {
  core::Config config;
  config.default_policy.backoff_min = config.default_policy.backoff_max = milliseconds(1);
  config.default_policy.max_attempts = 3;
  BrokerThread broker(0, config);
  WorkerThread worker(
      broker, "q",
      [](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
        if (payload == "bad") return absl::InvalidArgumentError("no such thing");
        if (payload == "throws") throw std::runtime_error("oops");
        if (payload == "third" && context.attempt() == 3) return "at last";
        return absl::UnavailableError("try again");
      });
  auto producer = Connect(broker);
  auto bad = producer->Submit("q", "bad");
  auto never = producer->Submit("q", "never");
  auto third = producer->Submit("q", "third");
  auto throws = producer->Submit("q", "throws", {.max_attempts = 1});
  const Outcome dead = bad->get();
  EXPECT_EQ(dead.kind, OutcomeKind::kDead);
  EXPECT_EQ(dead.attempts, 1u);
  EXPECT_TRUE(absl::IsInvalidArgument(dead.status));
  const Outcome gave_up = never->get();
  EXPECT_EQ(gave_up.kind, OutcomeKind::kDead);
  EXPECT_EQ(gave_up.attempts, 3u);
  EXPECT_TRUE(absl::IsUnavailable(gave_up.status));
  EXPECT_EQ(third->get().result, "at last");
  EXPECT_THAT(std::string(throws->get().status.message()), HasSubstr("oops"));
}

TEST(LibraryTest, TimeoutEndsTheHandler) {
  BrokerThread broker;
  WorkerThread worker(broker, "q",
                      [](JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
                        const absl::Status status = context.SleepFor(seconds(60));
                        if (!status.ok()) return status;
                        return "slept";
                      });
  auto producer = Connect(broker);
  auto future = producer->Submit("q", "x", {.timeout = milliseconds(50), .max_attempts = 1});
  const Outcome outcome = future->get();
  EXPECT_EQ(outcome.kind, OutcomeKind::kDead);
  EXPECT_TRUE(absl::IsDeadlineExceeded(outcome.status)) << outcome.status;
}

TEST(LibraryTest, CancelReachesARunningHandlerAndAWaitingJob) {
  BrokerThread broker;
  std::promise<void> started;
  WorkerThread worker(
      broker, "q",
      [&](JobContext& context, std::string_view payload) -> absl::StatusOr<std::string> {
        if (payload == "runs") started.set_value();
        const absl::Status status = context.SleepFor(seconds(60));
        if (!status.ok()) return status;
        return "slept";
      },
      1);
  auto producer = Connect(broker);
  auto runs = producer->Submit("q", "runs");
  auto waits = producer->Submit("q", "waits");
  started.get_future().wait();
  producer->Cancel("q", 1, 2);
  EXPECT_EQ(runs->get().kind, OutcomeKind::kCancelled);
  EXPECT_EQ(waits->get().kind, OutcomeKind::kCancelled);
}

TEST(LibraryTest, WithoutBlockingBackPressureIsAnError) {
  core::Config config;
  config.default_policy.capacity_jobs = 10;
  BrokerThread broker(0, config);
  auto producer = Connect(broker, {.pending_jobs_max = 5, .block = false});
  int submitted = 0;
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    status = producer->Submit("q", "x").status();
    if (status.ok()) ++submitted;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  WorkerThread worker(broker, "q", Upper);
  EXPECT_TRUE(producer->WaitOutcomes().ok());
  EXPECT_EQ(producer->counts().settled, static_cast<uint64_t>(submitted));
}

TEST(LibraryTest, ABlockedProducerGoesOn) {
  core::Config config;
  config.default_policy.capacity_jobs = 10;
  BrokerThread broker(0, config);
  auto producer = Connect(broker, {.pending_jobs_max = 5});
  std::atomic<int> submitted{0};
  std::thread pours([&] {
    for (int i = 0; i < 200; ++i) {
      if (producer->Submit("q", "x").ok()) ++submitted;
    }
  });
  while (!producer->counts().full) std::this_thread::yield();
  EXPECT_LT(submitted, 100);
  WorkerThread worker(broker, "q", Upper);
  pours.join();
  EXPECT_EQ(submitted, 200);
  EXPECT_TRUE(producer->WaitOutcomes().ok());
}

TEST(LibraryTest, MistakesAreToldAtOnce) {
  BrokerThread broker(0, {.payload_bytes_max = 100});
  auto producer = Connect(broker);
  EXPECT_TRUE(absl::IsInvalidArgument(producer->Submit("q", std::string(101, 'x')).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(producer->Submit("bad name", "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Producer::Connect({.broker = "host:port:x"}).status()));
  // Nobody listens at port 1.
  EXPECT_TRUE(absl::IsUnavailable(
      Producer::Connect({.broker = "127.0.0.1:1", .connect_timeout = milliseconds(100)}).status()));
  Worker worker({.broker = "127.0.0.1:1", .connect_timeout = milliseconds(100)});
  worker.Handle("q", Upper);
  EXPECT_TRUE(absl::IsUnavailable(worker.Run()));
}

TEST(LibraryTest, AHandlerCanStopItsWorkerAndTheJobGoesToAnother) {
  BrokerThread broker;
  WorkerThread broken(broker, "q",
                      [](JobContext& context, std::string_view) -> absl::StatusOr<std::string> {
                        context.FailWorker(absl::FailedPreconditionError("no GPU here"));
                        return absl::UnavailableError("no GPU here");
                      });
  auto producer = Connect(broker);
  auto future = producer->Submit("q", "x");
  EXPECT_EQ(broken.Wait(), absl::FailedPreconditionError("no GPU here"));
  WorkerThread good(broker, "q", Upper);
  EXPECT_EQ(future->get().result, "X");
}

// Three free ports in a row, and a broker on them.
std::unique_ptr<BrokerThread> StartOnFixedPorts() {
  for (int i = 0; i < 100; ++i) {
    const uint32_t free = BrokerThread().port();
    auto shell = BrokerShell::Start({.port = free});
    if (!shell.ok()) continue;  // one of the next two is taken
    shell->reset();
    return std::make_unique<BrokerThread>(free);
  }
  return nullptr;
}

TEST(LibraryTest, AfterARestartOfTheBrokerOutcomesAreUnknownAndWorkGoesOn) {
  std::unique_ptr<BrokerThread> broker = StartOnFixedPorts();
  ASSERT_NE(broker, nullptr);
  const uint32_t port = broker->port();
  auto producer = Connect(*broker);
  auto before = producer->Submit("q", "x");
  ASSERT_TRUE(producer->WaitAccepted().ok());
  broker.reset();
  broker = std::make_unique<BrokerThread>(port);
  WorkerThread worker(*broker, "q", Upper);
  const Outcome lost = before->get();
  EXPECT_EQ(lost.kind, OutcomeKind::kUnknown);
  EXPECT_TRUE(absl::IsUnavailable(lost.status)) << lost.status;
  EXPECT_THAT(std::string(lost.status.message()), HasSubstr("the broker restarted"));
  auto after = producer->Submit("q", "y");
  EXPECT_EQ(after->get().result, "Y");
}

TEST(LibraryTest, DrainFinishesWhatRunsAndTakesNothingNew) {
  BrokerThread broker;
  std::promise<void> started;
  std::promise<void> go;
  auto released = go.get_future().share();
  auto worker = std::make_unique<WorkerThread>(
      broker, "q",
      [&](JobContext&, std::string_view payload) -> absl::StatusOr<std::string> {
        if (payload == "first") started.set_value();
        released.wait();
        return "done";
      },
      1);
  auto producer = Connect(broker);
  auto first = producer->Submit("q", "first");
  started.get_future().wait();
  worker->worker().Drain();
  auto second = producer->Submit("q", "second");
  ASSERT_TRUE(producer->WaitAccepted().ok());
  go.set_value();
  EXPECT_EQ(first->get().result, "done");
  EXPECT_TRUE(worker->Wait().ok());
  WorkerThread next(broker, "q", Upper);
  EXPECT_EQ(second->get().result, "SECOND");
}

}  // namespace
}  // namespace whippletree
