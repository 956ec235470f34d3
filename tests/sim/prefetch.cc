// whippletree-prefetch: how long jobs of very different length take with the prefetch that the
// broker and its workers find by themselves, and with fixed ones. In virtual time: the real core
// and sessions, workers whose jobs only take time, a network with one delay.
//
// whippletree-prefetch [ORDERS]
// Exit codes: 0 all jobs were done; 1 they were not.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"
#include "common/codec.h"
#include "common/prng.h"
#include "common/run.h"
#include "producer/session.h"
#include "tests/sim/event_loop.h"
#include "worker/session.h"

namespace whippletree::sim {
namespace {

constexpr Duration kDelay = microseconds(50);  // of each frame, one way
constexpr Duration kTurnaround = 2 * kDelay;
constexpr int64_t kFactors[] = {1, 1, 1, 10};  // of the time that each worker takes for a job
constexpr uint32_t kFixed[] = {1, 10, 100, 1000};
constexpr uint64_t kOrders = 60;  // where the slow worker meets long jobs is chance
constexpr uint32_t kRunJobs = 500;
// As the executor's: who finishes quick jobs one after the other says so this often.
constexpr Duration kQuick = microseconds(50);
constexpr Duration kQuickInterval = milliseconds(1);

// What the jobs take, in an order that the seed decides.
std::vector<Duration> Jobs(uint64_t seed) {
  std::vector<Duration> jobs;
  jobs.insert(jobs.end(), 100'000, microseconds(1));
  jobs.insert(jobs.end(), 5'000, milliseconds(1));
  jobs.insert(jobs.end(), 40, seconds(1));
  Prng prng(seed);
  for (size_t i = jobs.size() - 1; i > 0; --i) std::swap(jobs[i], jobs[prng.Below(i + 1)]);
  return jobs;
}

// When the last job ends if each worker always has up to `prefetch` of them, given in order; the
// next one that is given for one that ended arrives `turnaround` later. With prefetch 1 and no
// turnaround: the ideal list schedule.
Duration FixedMakespan(const std::vector<Duration>& jobs, uint32_t prefetch, Duration turnaround) {
  struct Event {
    Duration at;
    uint64_t order;
    size_t worker;
    bool ends;  // else a job arrives
    Duration job;
    bool operator>(const Event& other) const {
      return std::pair(at, order) > std::pair(other.at, other.order);
    }
  };
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  std::vector<std::deque<Duration>> waiting(std::size(kFactors));
  std::vector<bool> busy(std::size(kFactors));
  uint64_t order = 0;
  size_t next = 0;
  Duration last{};
  for (uint32_t i = 0; i < prefetch; ++i) {
    for (size_t w = 0; w < std::size(kFactors); ++w) {
      if (next < jobs.size()) events.push({Duration(0), ++order, w, false, jobs[next++]});
    }
  }
  while (!events.empty()) {
    const Event event = events.top();
    events.pop();
    if (event.ends) {
      last = event.at;
      busy[event.worker] = false;
      if (next < jobs.size()) {
        events.push({event.at + turnaround, ++order, event.worker, false, jobs[next++]});
      }
    } else {
      waiting[event.worker].push_back(event.job);
    }
    if (waiting[event.worker].empty() || busy[event.worker]) continue;
    busy[event.worker] = true;
    const Duration time = waiting[event.worker].front() * kFactors[event.worker];
    waiting[event.worker].pop_front();
    events.push({event.at + time, ++order, event.worker, true, {}});
  }
  return last;
}

// The real thing. Producer and workers are peers at the routes of their names.
class Adaptive {
 public:
  explicit Adaptive(const std::vector<Duration>& jobs) : jobs_(jobs), broker_(Config()) {
    ProducerSession::Config config;
    config.name = "producer";
    producer_ = std::make_unique<ProducerSession>(config);
    for (size_t i = 0; i < std::size(kFactors); ++i) {
      workers_.push_back(std::make_unique<Worker>(i));
      TurnWorker(*workers_.back());
    }
    WakeBroker(loop_.now());
    loop_.After(milliseconds(10), [this] {
      RunData run;
      for (uint64_t i = 0; i < jobs_.size(); ++i) {
        run.Append(std::string(reinterpret_cast<const char*>(&i), sizeof(i)));
        if (run.count() < kRunJobs && i + 1 < jobs_.size()) continue;
        producer_->Submit("q", {}, std::exchange(run, {}));
      }
      begin_ = loop_.now();
      TurnProducer();
    });
  }

  // Duration(0): not all jobs ended.
  Duration Makespan() {
    const MonoTime end = loop_.now() + seconds(1000);
    while (settled_ < jobs_.size() && loop_.RunOne(end)) {
    }
    return settled_ < jobs_.size() ? Duration(0) : last_end_ - begin_;
  }
  uint64_t starts() const { return starts_; }

 private:
  struct Waiting {
    uint64_t token;
    uint32_t index;
    uint64_t job;
    bool told;  // the broker counts it as started
  };
  struct Worker {
    explicit Worker(size_t i)
        : name("worker" + std::to_string(i)),
          factor(kFactors[i]),
          session(SessionConfig(name, i)) {}
    const std::string name;
    const int64_t factor;
    WorkerSession session;
    std::deque<Waiting> waiting;
    bool busy = false;
    struct Finished {
      Waiting job;
      Duration time;
    };
    std::vector<Finished> finished;
    std::vector<Waiting> started;
    MonoTime wake_at = kNever;
  };

  static WorkerSession::Config SessionConfig(const std::string& name, uint64_t number) {
    WorkerSession::Config config;
    config.name = name;
    config.queues = {"q"};
    config.process = config.seed = number + 1;
    return config;
  }
  static core::Config Config() {
    core::Config config;
    config.submit_port = config.complete_port = 1;
    return config;
  }

  // A frame, encoded and decoded again as on its way.
  template <typename Then>
  void Carry(wire::Envelope& message, Receiver receiver, Then then) {
    std::string frame;
    Encode(&message, &frame);
    loop_.After(kDelay, [frame = std::move(frame), receiver, then] {
      wire::Envelope arrived;
      if (Decode(frame, receiver, &arrived).ok()) then(arrived);
    });
  }
  void ToBroker(core::Channel channel, const std::string& name,
                std::vector<wire::Envelope>& messages) {
    const std::string route = channel == core::Channel::kDoor ? name : "";
    for (wire::Envelope& message : messages) {
      Carry(message, core::ReceiverOf(channel), [this, channel, route](wire::Envelope& arrived) {
        inputs_.emplace_back(core::FrameIn{channel, route, std::move(arrived)});
        WakeBroker(loop_.now());
      });
    }
    messages.clear();
  }
  // Calls `turn` at `at` unless that is planned for earlier; `planned` says for when.
  template <typename Turn>
  void WakeAt(MonoTime* planned, MonoTime at, Turn turn) {
    if (at >= *planned) return;
    *planned = at;
    loop_.At(at, [planned, at, turn] {
      if (*planned != at) return;
      *planned = kNever;
      turn();
    });
  }
  void WakeBroker(MonoTime at) {
    WakeAt(&broker_wake_at_, at, [this] { TurnBroker(); });
  }
  void TurnBroker() {
    core::Effects effects;
    broker_.Step(loop_.instant(), inputs_, &effects);
    inputs_.clear();
    for (core::Send& send : effects.sends) {
      Carry(send.message, Receiver::kPeer,
            [this, route = send.route](wire::Envelope& arrived) { Arrive(route, arrived); });
    }
    WakeBroker(broker_.NextDeadline());
  }
  void Arrive(const std::string& route, wire::Envelope& message) {
    if (route == "producer") {
      producer_->OnDoor(loop_.instant(), message, &producer_out_);
      TurnProducer();
      return;
    }
    for (const auto& worker : workers_) {
      if (worker->name != route) continue;
      worker->session.OnDoor(loop_.instant(), message, &worker_out_);
      TurnWorker(*worker);
    }
  }

  void TurnProducer() {
    ProducerOutput& out = producer_out_;
    producer_->Poll(loop_.instant(), &out);
    for (const ProducerOutput::Settled& each : out.settled) settled_ += each.range.count();
    if (out.ack) *out.door.emplace_back().mutable_outcome_ack() = *std::move(out.ack);
    ToBroker(core::Channel::kDoor, "producer", out.door);
    ToBroker(core::Channel::kSubmit, "", out.submit);
    out.Clear();
    if (settled_ == jobs_.size()) return;
    WakeAt(&producer_wake_at_, producer_->NextDeadline(), [this] { TurnProducer(); });
  }

  void TurnWorker(Worker& worker) {
    WorkerOutput& out = worker_out_;
    const auto gone = [&](const wire::JobRange& range) {
      std::erase_if(worker.waiting, [&](const Waiting& job) {
        if (job.token != range.token() || job.index < range.first() ||
            job.index >= range.first() + range.count()) {
          return false;
        }
        worker.session.OnRecalled(job.token, job.index);
        return true;
      });
    };
    for (const wire::JobRange& range : out.recall) gone(range);
    for (wire::Delivery& delivery : out.run) {
      const uint32_t started = delivery.started();
      RunData run(delivery.mutable_run());
      for (uint32_t i = 0; i < run.count(); ++i) {
        const uint32_t index =
            delivery.indexes_size() > 0 ? delivery.indexes(static_cast<int>(i)) : i;
        uint64_t job = 0;
        run.payload(i).copy(reinterpret_cast<char*>(&job), sizeof(job));
        worker.waiting.push_back({delivery.token(), index, job, i < started});
      }
    }
    out.run.clear();
    out.recall.clear();
    Start(worker);
    for (const Waiting& job : std::exchange(worker.started, {})) {
      worker.session.OnStarted(job.token, job.index);
    }
    for (const Worker::Finished& each : std::exchange(worker.finished, {})) {
      worker.session.OnFinished(each.job.token, each.job.index, std::string("done"), each.time);
    }
    worker.session.Poll(loop_.instant(), &out);
    ToBroker(core::Channel::kDoor, worker.name, out.door);
    ToBroker(core::Channel::kComplete, "", out.complete);
    out.Clear();
    WakeWorkerAt(worker, worker.session.NextDeadline());
  }
  void WakeWorkerAt(Worker& worker, MonoTime at) {
    WakeAt(&worker.wake_at, at, [this, &worker] { TurnWorker(worker); });
  }

  void Start(Worker& worker) {
    if (worker.busy || worker.waiting.empty()) return;
    worker.busy = true;
    ++starts_;
    const Waiting job = worker.waiting.front();
    worker.waiting.pop_front();
    const Duration time = jobs_[job.job] * worker.factor;
    if (!job.told) {
      worker.started.push_back(job);
      if (time >= kQuick) WakeWorkerAt(worker, loop_.now());
    }
    loop_.After(time, [this, &worker, job, time] {
      worker.busy = false;
      worker.finished.push_back({job, time});
      last_end_ = loop_.now();
      const bool quick = time < kQuick && !worker.waiting.empty();
      WakeWorkerAt(worker, loop_.now() + (quick ? kQuickInterval : Duration(0)));
      Start(worker);
    });
  }

  const std::vector<Duration>& jobs_;
  EventLoop loop_;
  core::Broker broker_;
  std::vector<core::Input> inputs_;
  MonoTime broker_wake_at_ = kNever;
  MonoTime producer_wake_at_ = kNever;
  std::unique_ptr<ProducerSession> producer_;
  std::vector<std::unique_ptr<Worker>> workers_;
  ProducerOutput producer_out_;
  WorkerOutput worker_out_;
  uint64_t settled_ = 0;
  uint64_t starts_ = 0;
  MonoTime begin_{};
  MonoTime last_end_{};
};

double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

int Main(uint64_t orders) {
  std::printf(
      "seconds until the last of 100,000 jobs of 1 us, 5,000 of 1 ms and 40 of 1 s has ended;\n"
      "four workers, one ten times slower; %.0f us from a report to the next delivery\n\n"
      "order    ideal",
      Seconds(kTurnaround) * 1e6);
  for (const uint32_t prefetch : kFixed) std::printf("  fixed %4u", prefetch);
  std::printf("  adaptive\n");
  bool all = true;
  std::vector<double> sums(std::size(kFixed) + 2);
  const auto print = [&](const char* name, const std::vector<double>& row) {
    std::printf("%5s %8.2f", name, row.front());
    for (size_t i = 0; i < std::size(kFixed); ++i) std::printf("  %10.2f", row[1 + i]);
    std::printf("  %8.2f\n", row.back());
    std::fflush(stdout);
  };
  for (uint64_t seed = 1; seed <= orders; ++seed) {
    const std::vector<Duration> jobs = Jobs(seed);
    std::vector<double> row = {Seconds(FixedMakespan(jobs, 1, Duration(0)))};
    for (const uint32_t prefetch : kFixed) {
      row.push_back(Seconds(FixedMakespan(jobs, prefetch, kTurnaround)));
    }
    Adaptive adaptive(jobs);
    row.push_back(Seconds(adaptive.Makespan()));
    all = all && row.back() > 0 && adaptive.starts() == jobs.size();
    print(std::to_string(seed).c_str(), row);
    for (size_t i = 0; i < row.size(); ++i) sums[i] += row[i] / static_cast<double>(orders);
  }
  print("mean", sums);
  const double best = *std::min_element(sums.begin() + 1, sums.end() - 1);
  std::printf("\nadaptive / the best fixed, by their means: %.3f; / ideal: %.3f\n",
              sums.back() / best, sums.back() / sums.front());
  if (!all) std::printf("not every job was done once\n");
  return all ? 0 : 1;
}

}  // namespace
}  // namespace whippletree::sim

int main(int argc, char** argv) {
  return whippletree::sim::Main(argc > 1 ? std::strtoull(argv[1], nullptr, 10)
                                         : whippletree::sim::kOrders);
}
