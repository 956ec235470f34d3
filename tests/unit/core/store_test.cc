// The core with a slow store, driven as the shell does it: commits go to the store, and their
// durability comes back as an input.
#include "broker/store/store.h"

#include <gtest/gtest.h>

#include <deque>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

// Takes `latency` for each commit, one after the other, and many at a time when they queue up.
class SlowStore : public Store {
 public:
  SlowStore(Duration latency, std::function<void(uint64_t)> durable)
      : latency_(latency), durable_(std::move(durable)) {}

  const Opened& opened() const override { return opened_; }
  absl::Status Read(const std::function<void(record::Record)>&) override {
    return absl::OkStatus();
  }
  uint64_t bytes_written() const override { return 0; }

  void Commit(uint64_t commit, std::vector<record::Record> writes) override {
    EXPECT_EQ(commit, last_commit_ + 1);
    EXPECT_FALSE(writes.empty());
    last_commit_ = commit;
    if (syncing_ == 0) Begin();
  }
  void Load(const RowKey&) override { ADD_FAILURE() << "nothing is to be loaded"; }
  std::string Describe() const override { return "slow"; }

  void SetTime(MonoTime now) {
    now_ = now;
    if (syncing_ == 0 || now < done_at_) return;
    durable_(syncing_);
    synced_ = std::exchange(syncing_, 0);
    ++syncs_;
    if (last_commit_ > synced_) Begin();
  }
  int syncs() const { return syncs_; }

 private:
  void Begin() {  // all that was written so far
    syncing_ = last_commit_;
    done_at_ = now_ + latency_;
  }

  const Duration latency_;
  const std::function<void(uint64_t)> durable_;
  const Opened opened_{};
  MonoTime now_{};
  MonoTime done_at_{};
  uint64_t last_commit_ = 0;
  uint64_t syncing_ = 0;
  uint64_t synced_ = 0;
  int syncs_ = 0;
};

// The shell without sockets: each millisecond a step, and what it says reaches the peers at once.
class ShellLike {
 public:
  explicit ShellLike(Config config, Duration latency)
      : broker(std::move(config)),
        store(latency, [this](uint64_t commit) { inputs_.push_back(Durable{commit}); }) {}

  void Send(Channel channel, const std::string& route, wire::Envelope message) {
    inputs_.push_back(BrokerHarness::Frame(channel, route, std::move(message)));
  }
  void Step() {
    now.mono += milliseconds(1);
    now.wall += milliseconds(1);
    store.SetTime(now.mono);
    Effects effects;
    std::vector<Input> inputs = std::exchange(inputs_, {});
    broker.Step(now, inputs, &effects);
    broker.CheckInvariants();
    if (effects.commit != 0) store.Commit(effects.commit, std::move(effects.writes));
    for (core::Send& send : effects.sends) received.push_back({now.mono, std::move(send.message)});
  }
  // When the first message of `kind` arrived that says something about `queue`.
  template <typename Says>
  MonoTime WhenFirst(Says&& says) const {
    for (const auto& [at, message] : received) {
      if (says(message)) return at;
    }
    return kNever;
  }

  Instant now{MonoTime(seconds(1000)), WallTime(seconds(1000))};
  Broker broker;
  SlowStore store;
  std::deque<std::pair<MonoTime, wire::Envelope>> received;

 private:
  std::vector<Input> inputs_;
};

wire::Envelope Hello(wire::Role role, const std::string& name) {
  wire::Envelope message;
  wire::Hello* hello = message.mutable_hello();
  hello->set_role(role);
  hello->set_name(name);
  hello->set_process(1);
  hello->set_attempt(1);
  if (role == wire::WORKER) {
    hello->set_slots(100);
    for (const char* queue : {"durable", "memory"}) {
      wire::Credit* credit = hello->add_credits();
      credit->set_queue(queue);
      credit->set_jobs_limit(100);
    }
  }
  return message;
}

wire::Envelope OneJob(const wire::Welcome& welcome, const std::string& queue, uint64_t number) {
  wire::Envelope message;
  message.mutable_submit()->set_session(welcome.session());
  message.set_secret(welcome.secret());
  message.mutable_submit()->set_queue(queue);
  message.mutable_submit()->set_first(number);
  AppendToRun("payload", message.mutable_submit()->mutable_run());
  return message;
}

TEST(StoreTest, SendsWaitForTheirCommitsAndMemoryQueuesDoNot) {
  Config config;
  config.queues["durable"].durable = true;
  ShellLike shell(config, milliseconds(20));
  shell.Send(Channel::kDoor, "p", Hello(wire::PRODUCER, "p"));
  shell.Send(Channel::kDoor, "w", Hello(wire::WORKER, "w"));
  shell.Step();
  const wire::Welcome welcome = shell.received[0].second.welcome();
  const MonoTime begin = shell.now.mono;
  // A durable and a memory job each millisecond.
  for (uint64_t number = 1; number <= 50; ++number) {
    shell.Send(Channel::kSubmit, "", OneJob(welcome, "durable", number));
    shell.Send(Channel::kSubmit, "", OneJob(welcome, "memory", number));
    shell.Step();
  }
  for (int i = 0; i < 50; ++i) shell.Step();

  for (uint64_t number = 1; number <= 50; ++number) {
    const MonoTime submitted = begin + milliseconds(number);
    const auto accepted = [&](const std::string& queue) {
      return shell.WhenFirst([&](const wire::Envelope& message) {
        for (const wire::StreamUpdate& update : message.stream_updates().streams()) {
          if (update.queue() == queue && update.next() > number) return true;
        }
        return false;
      });
    };
    const auto delivered = [&](const std::string& queue) {
      return shell.WhenFirst([&](const wire::Envelope& message) {
        for (const wire::Delivery& delivery : message.deliveries().deliveries()) {
          if (delivery.queue() == queue && delivery.first() == number) return true;
        }
        return false;
      });
    };
    EXPECT_EQ(accepted("memory"), submitted);
    EXPECT_EQ(delivered("memory"), submitted);
    EXPECT_GE(accepted("durable"), submitted + milliseconds(20));
    EXPECT_LE(accepted("durable"), submitted + milliseconds(42));
    EXPECT_GE(delivered("durable"), submitted + milliseconds(20));
    EXPECT_LE(delivered("durable"), submitted + milliseconds(42));
  }
  // Commits are gathered while the store is busy.
  EXPECT_LE(shell.store.syncs(), 5);
}

}  // namespace
}  // namespace whippletree::core
