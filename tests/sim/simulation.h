// One run of the simulator: a broker, producers and workers, a while of load and faults, then rest
// until everything has ended.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/broker_process.h"
#include "tests/sim/failure.h"
#include "tests/sim/producer_process.h"
#include "tests/sim/situations.h"
#include "tests/sim/worker_process.h"
#include "tests/sim/world.h"

namespace whippletree::sim {

struct Result {
  bool ok = true;
  FailureKind kind{};
  std::string check;
  std::string what;
  Situations situations;
  uint64_t trace_hash = 0;
  uint64_t jobs = 0;
  uint64_t faults = 0;
  uint64_t events = 0;
  Duration simulated{};
};

// The same seed gives the same result, to the byte.
Result RunSeed(uint64_t seed, bool verbose = false);
Result RunOptions(const Options& options, bool verbose = false);

class Simulation {
 public:
  Simulation(const Options& options, bool verbose);

  // Throws Failure.
  void Run();
  World& world() { return world_; }
  uint64_t faults() const { return faults_; }
  void CollectCounters() { broker_.CollectCounters(); }

 private:
  static constexpr Duration kSettleMax = std::chrono::hours(1);
  static constexpr Duration kDrainMax = std::chrono::minutes(10);
  static constexpr Duration kPauseMax = seconds(8);  // of the broker
  // Events of one run; more is a loop.
  static constexpr uint64_t kEventsMax = 1'000'000;

  void StartFaults();
  void StartAdmin();
  void TendJobs();
  void BrokerIsDown();
  // Does `fault` again and again, until all is healed. True: it was done, and counts as `name`.
  void Recur(Duration mean, std::string_view name, std::function<bool()> fault,
             bool is_fault = true);
  WorkerProcess& SpawnWorker(bool all_queues);
  void SpawnHoarder();
  void SpawnProducer(const std::string& name, bool named, bool deaf, uint32_t jobs);
  void Replace(const ProducerProcess* producer, const std::string& name);
  void KeepWorkers();
  void Heal();
  void ResumeQueues();
  bool Settled() const;
  void RunUntil(MonoTime end);
  void CheckEnd();
  std::string Describe() const;

  template <typename T>
  T* PickAlive(const std::vector<std::unique_ptr<T>>& processes);
  void PauseFor(Process* process, Duration duration);

  World world_;
  Prng prng_;
  BrokerProcess broker_;
  std::vector<std::unique_ptr<WorkerProcess>> workers_;
  std::vector<std::unique_ptr<ProducerProcess>> producers_;
  uint32_t producers_made_ = 0;
  bool healed_ = false;
  bool ending_ = false;
  bool crashed_ = false;
  bool producer_died_ = false;
  uint64_t faults_ = 0;
};

}  // namespace whippletree::sim
