#include "tests/sim/simulation.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/check.h"

namespace whippletree::sim {
namespace {

[[noreturn]] void ThrowCrash(const char* condition, const char* file, int line) {
  throw Failure(FailureKind::kCrash, "crash",
                std::string(file) + ":" + std::to_string(line) + ": " + condition);
}

}  // namespace

Simulation::Simulation(const Options& options, bool verbose)
    : world_(options, verbose), prng_(world_.prng.Fork()), broker_(&world_) {
  for (uint32_t i = 0; i < options.producers; ++i) {
    const bool named = i < options.named_producers;
    SpawnProducer((named ? "named" : "producer") + std::to_string(++producers_made_), named,
                  i >= options.producers - options.deaf_producers, options.load.jobs);
  }
  for (uint32_t i = 0; i < options.workers; ++i) SpawnWorker(false);
  for (uint32_t i = 0; i < options.hoarders; ++i) SpawnHoarder();
}

void Simulation::SpawnProducer(const std::string& name, bool named, bool deaf, uint32_t jobs) {
  producers_.push_back(std::make_unique<ProducerProcess>(&world_, name, named, deaf, jobs));
}

WorkerProcess& Simulation::SpawnWorker(bool all_queues) {
  std::vector<std::string> queues;
  for (const std::string& queue : world_.options.queues) {
    if (all_queues || prng_.Chance(600)) queues.push_back(queue);
  }
  if (queues.empty()) queues.push_back(world_.options.queues[0]);
  const auto slots = static_cast<uint32_t>(prng_.Between(1, world_.options.slots_max));
  workers_.push_back(std::make_unique<WorkerProcess>(&world_, std::move(queues), slots));
  if (healed_) workers_.back()->Hurry();
  return *workers_.back();
}

void Simulation::SpawnHoarder() {
  const Duration mean = world_.options.hoard_mean;
  SpawnWorker(true).Hoard(mean == Duration(0) ? kNever
                                              : world_.loop.now() + DrawDuration(&prng_, mean));
  world_.situations.Count("hoarder");
}

// Another process comes after `producer` has gone.
void Simulation::Replace(const ProducerProcess* producer, const std::string& name) {
  world_.loop.After(milliseconds(prng_.Between(1, 1500)), [this, producer, name] {
    if (producer->alive()) return Replace(producer, name);
    SpawnProducer(name, producer->named(), producer->deaf(), world_.options.load.jobs / 4);
    if (healed_) producers_.back()->Hurry();
  });
}

// Whoever died or left is replaced, by and by.
void Simulation::KeepWorkers() {
  if (ending_) return;
  const auto alive = std::count_if(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->alive() && !worker->draining() && !worker->hoards();
  });
  const bool served = std::any_of(workers_.begin(), workers_.end(), [this](const auto& worker) {
    return worker->alive() && !worker->draining() && !worker->hoards() &&
           worker->queues() == world_.options.queues.size();
  });
  if (alive < world_.options.workers || (healed_ && !served)) SpawnWorker(healed_);
  const uint64_t wait = healed_ ? 300 : prng_.Between(50, 1500);
  world_.loop.After(milliseconds(wait), [this] { KeepWorkers(); });
}

template <typename T>
T* Simulation::PickAlive(const std::vector<std::unique_ptr<T>>& processes) {
  std::vector<T*> alive;
  for (const auto& process : processes) {
    if (process->alive() && !process->paused()) alive.push_back(process.get());
  }
  return alive.empty() ? nullptr : alive[prng_.Below(alive.size())];
}

void Simulation::PauseFor(Process* process, Duration duration) {
  world_.Say(process->name(), "paused");
  process->Pause();
  world_.loop.After(duration, [process] { process->Resume(); });
}

void Simulation::Recur(Duration mean, std::string_view name, std::function<bool()> fault,
                       bool is_fault) {
  if (mean == Duration(0)) return;
  world_.loop.After(DrawDuration(&prng_, mean),
                    [this, mean, name, fault = std::move(fault), is_fault] {
                      if (healed_) return;
                      if (fault()) {
                        if (is_fault) ++faults_;
                        world_.Say(is_fault ? "fault" : "admin", std::string(name));
                        world_.situations.Count(name);
                      }
                      Recur(mean, name, fault, is_fault);
                    });
}

void Simulation::StartFaults() {
  const FaultOptions& f = world_.options.faults;
  Recur(f.worker_kill, "worker_kill", [this] {
    WorkerProcess* worker = PickAlive(workers_);
    if (worker != nullptr) worker->Kill();
    return worker != nullptr;
  });
  Recur(f.worker_pause, "worker_pause", [this] {
    WorkerProcess* worker = PickAlive(workers_);
    if (worker != nullptr) PauseFor(worker, milliseconds(prng_.Between(10, 6000)));
    return worker != nullptr;
  });
  Recur(f.worker_drain, "worker_drain", [this] {
    WorkerProcess* worker = PickAlive(workers_);
    if (worker != nullptr) worker->Drain();
    return worker != nullptr;
  });
  Recur(f.worker_stop, "worker_stop", [this] {
    WorkerProcess* worker = PickAlive(workers_);
    if (worker != nullptr) worker->Stop();
    return worker != nullptr;
  });
  Recur(f.producer_pause, "producer_pause", [this] {
    ProducerProcess* producer = PickAlive(producers_);
    if (producer != nullptr) PauseFor(producer, milliseconds(prng_.Between(10, 5000)));
    return producer != nullptr;
  });
  Recur(f.producer_kill, "producer_death", [this] {
    ProducerProcess* producer = PickAlive(producers_);
    if (producer == nullptr || producer->leaving()) return false;
    if (prng_.Chance(300)) {
      producer->Leave();
    } else {
      producer->Kill();
    }
    producer_died_ = true;
    const std::string name =
        producer->named() ? producer->name() : "producer" + std::to_string(++producers_made_);
    Replace(producer, name);
    return true;
  });
  Recur(f.broker_pause, "broker_pause", [this] {
    if (!broker_.up() || broker_.paused()) return false;
    broker_.Pause();
    const auto most = static_cast<uint64_t>(ToMilliseconds(kPauseMax));
    world_.loop.After(milliseconds(prng_.Between(100, most)), [this] { broker_.Resume(); });
    return true;
  });
  Recur(f.broker_crash, "broker_crash", [this] {
    if (!broker_.up()) return false;
    broker_.Crash();
    BrokerIsDown();
    return true;
  });
  broker_.OnStopped([this] {
    ++faults_;
    world_.situations.Count("store_failed");
    BrokerIsDown();
  });
  Recur(f.store_stall, "store_stall", [this] {
    if (!broker_.up()) return false;
    broker_.StallStore(milliseconds(prng_.Between(200, 5000)));
    return true;
  });
  Recur(f.disk_low, "disk_low", [this] {
    broker_.SetDisk(prng_.Chance(500) ? core::DiskState::kLow : core::DiskState::kFull);
    world_.loop.After(milliseconds(prng_.Between(100, 5000)),
                      [this] { broker_.SetDisk(core::DiskState::kOk); });
    return true;
  });
  Recur(f.reset_door, "reset_door", [this] {
    world_.network.ResetOne(true);
    return true;
  });
  Recur(f.reset_data, "reset_data", [this] {
    world_.network.ResetOne(false);
    return true;
  });
  const auto isolate = [this](Duration duration, bool producer) {
    Process* process = PickAlive(workers_);
    if (producer || process == nullptr) process = PickAlive(producers_);
    if (process == nullptr) return false;
    const uint64_t direction = prng_.Below(4);  // 0: from, 1: to, else both
    world_.network.Isolate(process->number(), direction != 0, direction != 1, duration);
    return true;
  };
  Recur(f.isolate, "isolate", [this, isolate] {
    return isolate(milliseconds(prng_.Between(100, 6000)), prng_.Chance(400));
  });
  Recur(f.long_isolate, "long_isolate", [isolate] { return isolate(seconds(90), true); });
}

void Simulation::BrokerIsDown() {
  crashed_ = true;
  world_.loop.After(milliseconds(prng_.Between(10, 4000)), [this] { broker_.Start(); });
}

// Each queue that is paused is resumed some time; at the end of faults, at once.
void Simulation::StartAdmin() {
  const std::vector<std::string>& queues = world_.options.queues;
  Recur(
      world_.options.pause_queue, "pause_queue",
      [this, &queues] {
        const std::string& queue = queues[prng_.Below(queues.size())];
        broker_.PauseQueue(queue, true);
        world_.loop.After(milliseconds(prng_.Between(1, 3000)),
                          [this, &queue] { broker_.PauseQueue(queue, false); });
        return true;
      },
      false);
  Recur(
      world_.options.reload, "policies_reloaded",
      [this] {
        auto policies = broker_.policies();
        for (auto& [name, policy] : policies) {
          if (!prng_.Chance(500)) continue;
          const uint64_t capacity_jobs = policy.capacity_jobs;
          const Duration timeout = policy.timeout;
          policy = DrawOtherLimits(&prng_, policy);
          if (world_.options.hoarders > 0) policy.timeout = timeout;
          // Credit is never taken back: a producer that has more than there is room for sends all
          // of it at each word, and old words that come again make that a storm.
          if (world_.options.network.hostile) policy.capacity_jobs = capacity_jobs;
        }
        broker_.Reload(std::move(policies));
        return true;
      },
      false);
}

void Simulation::TendJobs() {
  Recur(
      world_.options.forge, "forged",
      [this] {
        broker_.Forge();
        return true;
      },
      false);
  Recur(
      world_.options.dead_jobs, "dead_jobs_tended",
      [this] {
        broker_.TendDeadJobs();
        return true;
      },
      false);
  Recur(
      world_.options.cancel_job, "cancel_asked_by_admin",
      [this] {
        broker_.CancelJob();
        return true;
      },
      false);
}

void Simulation::ResumeQueues() {
  if (!broker_.up()) return;
  for (const auto& [name, queue] : broker_.core().queues()) {
    if (queue->paused) broker_.PauseQueue(name, false);
  }
}

void Simulation::Heal() {
  world_.Say("fault", "healed");
  healed_ = true;
  world_.network.Heal();
  broker_.Heal();
  for (const auto& producer : producers_) {
    if (producer->alive()) producer->Hurry();
  }
  for (const auto& worker : workers_) worker->Hurry();
  if (world_.options.hoarders > 0) SpawnHoarder();  // the one before may be dead
}

bool Simulation::Settled() const {
  if (!broker_.up() || broker_.dead().waits()) return false;
  // What a producer that died did not acknowledge is dropped when the broker forgets it.
  const bool awaits_outcomes = !producer_died_ || world_.options.await_forgotten;
  for (const auto& producer : producers_) {
    if (producer->alive() && !producer->finished()) return false;
  }
  for (const auto& [name, queue] : broker_.core().queues()) {
    if (queue->open_jobs() > 0 || (queue->outcome_jobs > 0 && awaits_outcomes)) return false;
  }
  return true;
}

void Simulation::RunUntil(MonoTime end) {
  while (world_.loop.RunOne(end)) {
    if (world_.loop.events_run() > kEventsMax) {
      throw Failure(FailureKind::kLiveness, "I1", "the run does not end: " + Describe());
    }
  }
}

void Simulation::Run() {
  StartFaults();
  StartAdmin();
  TendJobs();
  KeepWorkers();
  MonoTime end = world_.loop.now() + world_.options.active;
  if (world_.options.faults.long_isolate > Duration(0)) end += seconds(100);
  RunUntil(end);
  Heal();
  const MonoTime settle_end = world_.loop.now() + kSettleMax;
  while (!Settled()) {
    if (world_.loop.now() >= settle_end) {
      throw Failure(FailureKind::kLiveness, "I1", "jobs do not end: " + Describe());
    }
    ResumeQueues();
    RunUntil(world_.loop.now() + milliseconds(500));
  }
  ending_ = true;
  for (const auto& worker : workers_) {
    if (worker->alive() && worker->hoards()) worker->Kill();
    worker->Drain();
  }
  const MonoTime drain_end = world_.loop.now() + kDrainMax;
  const auto alive = [this] {
    return std::any_of(workers_.begin(), workers_.end(),
                       [](const auto& worker) { return worker->alive(); });
  };
  while (alive()) {
    if (world_.loop.now() >= drain_end) {
      throw Failure(FailureKind::kLiveness, "I1", "workers do not leave: " + Describe());
    }
    RunUntil(world_.loop.now() + milliseconds(500));
  }
  RunUntil(world_.loop.now() + seconds(3));
  // A broker that slept when the faults ended learns late of workers that are dead.
  const MonoTime leases_end = world_.loop.now() + kPauseMax;
  while (!broker_.core().leases().all().empty() && world_.loop.now() < leases_end) {
    RunUntil(world_.loop.now() + milliseconds(500));
  }
  CheckEnd();
}

void Simulation::CheckEnd() {
  const core::Broker& core = broker_.core();
  core.CheckInvariants();
  if (!core.leases().all().empty()) Violation("I16", "leases are left");
  if (producer_died_ || world_.situations.count("stream_gone") > 0 ||
      world_.situations.count("producer_forgotten") > 0) {
    return;
  }
  // Of jobs in memory nothing is known once the broker crashed.
  const History& history = world_.history;
  const auto is_known = [&](const Job& job) { return !crashed_ || history.IsDurable(job); };
  std::map<std::string, uint64_t> accepted;
  std::map<std::string, uint64_t> perhaps;
  for (const auto& [uid, job] : world_.history.jobs()) {
    if (!is_known(job)) continue;
    if (job.parent != 0) {  // accepted if its parent's completion was
      if (job.ended) ++accepted[job.queue];
      continue;
    }
    world_.situations.Checked(1);
    if (!job.discard && !job.ended) {
      throw Failure(FailureKind::kLiveness, "I1", "job " + std::to_string(uid) + " has no outcome");
    }
    if (job.rejectable || job.repeated) continue;
    // After a reconnect nobody is told that a job without an outcome was a repeated one.
    const bool is_sure = job.name.empty() || !job.discard || !job.starts.empty();
    ++(is_sure ? accepted : perhaps)[job.queue];
  }
  broker_.dead().CheckEnd();
  for (const auto& [queue, jobs] : broker_.dead().requeued()) accepted[queue] += jobs;
  std::set<uint64_t> followed;
  for (const auto& [uid, job] : world_.history.jobs()) {
    if (job.parent != 0 && (job.ended || !is_known(job))) followed.insert(job.parent);
  }
  for (const auto& [uid, job] : world_.history.jobs()) {
    const bool completed = job.outcome == wire::OutcomeRange::COMPLETED;
    if (is_known(job) && history.undelivered() == 0 && job.spec.follows && completed &&
        !followed.contains(uid)) {
      Violation("I1", "the job that follows job " + std::to_string(uid) + " is lost");
    }
  }
  // Jobs of durable queues that follow such in memory are not known either.
  const auto& policies = world_.options.broker.queues;
  const bool is_exact = (!crashed_ || broker_.dead().is_exact()) && history.undelivered() == 0 &&
                        (!crashed_ || world_.options.load.follow_on == 0 ||
                         std::all_of(policies.begin(), policies.end(),
                                     [](const auto& entry) { return entry.second.durable; }));
  for (const auto& [name, queue] : core.queues()) {
    if (crashed_ && !queue->policy.durable) continue;
    world_.situations.Checked(16);
    if (queue->ledger.accepted < accepted[name] ||
        (is_exact && queue->ledger.accepted > accepted[name] + perhaps[name])) {
      Violation("I16", name + " accepted " + std::to_string(queue->ledger.accepted) +
                           " jobs, but " + std::to_string(accepted[name]) + " were submitted");
    }
  }
}

std::string Simulation::Describe() const {
  std::string text;
  for (const auto& producer : producers_) {
    if (producer->alive() && !producer->finished()) text += producer->Describe() + "\n";
  }
  if (broker_.up()) text += broker_.core().Status().ShortDebugString();
  return text;
}

Result RunOptions(const Options& options, bool verbose) {
  check_failed_handler = ThrowCrash;
  Result result;
  Simulation simulation(options, verbose);
  try {
    simulation.Run();
  } catch (const Failure& failure) {
    result.ok = false;
    result.kind = failure.kind;
    result.check = failure.check;
    result.what = failure.what();
  }
  simulation.CollectCounters();
  result.situations = simulation.world().situations;
  result.trace_hash = simulation.world().network.trace_hash();
  result.jobs = simulation.world().history.jobs().size();
  result.faults = simulation.faults();
  result.events = simulation.world().loop.events_run();
  result.simulated = simulation.world().loop.now() - MonoTime(seconds(1000));
  return result;
}

Result RunSeed(uint64_t seed, bool verbose) { return RunOptions(DrawOptions(seed), verbose); }

}  // namespace whippletree::sim
