// The two kinds of rounds, the same for every system: as many jobs as it takes for some seconds,
// and one job at a time. What was measured is printed as one line of JSON.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/drivers/flags.h"
#include "tests/bench/drivers/ledger.h"

namespace whippletree::bench {

// A system as its producer sees it.
class System {
 public:
  virtual ~System() = default;

  // Hands jobs over; may wait until the system takes them. `first` is the number of the first.
  virtual void Submit(uint64_t first, std::span<const std::string_view> payloads) = 0;
  // Waits at most half a second for results and books all that are there. Called by one thread, not
  // the one that submits.
  virtual void Receive(Ledger* ledger) = 0;
  // One job, and its result.
  virtual void RoundTrip(uint64_t number, std::string_view payload, Ledger* ledger);
  // Results come by themselves, by a thread that books them: Receive is not called.
  virtual bool calls_back() const { return false; }
};

struct RoundOptions {
  std::string mode = "throughput";  // or "latency": one job at a time
  double seconds = 5;               // how long jobs are submitted
  uint64_t window = 100'000;        // jobs without a result, at most
  uint64_t batch = 500;             // jobs handed over at a time
  size_t payload_bytes = 100;

  // --mode --seconds --window --batch --payload
  static RoundOptions From(Flags* flags);
};

// By a server or worker, when it can be given work: prints "ready".
void Ready();

// Submits for `options.seconds`, waits for the last result, prints {"jobs", "seconds"}; seconds are
// those from before the first submit to the last result.
void RunThroughput(const RoundOptions& options, System* system, Ledger* ledger);
// Prints {"jobs", "p50", "p99", "p999"}: all jobs, and microseconds of those after the first few
// hundred.
void RunLatency(const RoundOptions& options, System* system, Ledger* ledger);
// One of them, as the options say.
void RunRound(const RoundOptions& options, System* system, Ledger* ledger);

// Payloads of consecutive jobs, in one piece that is used again.
class Batch {
 public:
  // Payloads of jobs first … first + n - 1.
  std::span<const std::string_view> Make(const Payloads& payloads, uint64_t first, uint64_t n);

 private:
  std::vector<char> bytes_;
  std::vector<std::string_view> views_;
};

}  // namespace whippletree::bench
