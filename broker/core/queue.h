// Everything about one queue: its policy, its waiting jobs, its ledger, who serves it.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>

#include "broker/core/config.h"
#include "broker/core/job_queue.h"

namespace whippletree::core {

// accepted = waiting + leased + completed + dead + cancelled + expired.
struct Ledger {
  uint64_t accepted = 0;
  uint64_t leased = 0;
  uint64_t completed = 0;
  uint64_t dead = 0;
  uint64_t cancelled = 0;
  uint64_t expired = 0;

  uint64_t ended() const { return completed + dead + cancelled + expired; }
  uint64_t waiting() const { return accepted - leased - ended(); }
};

struct Queue {
  uint64_t number = 0;
  std::string name;
  QueuePolicy policy;
  JobQueue jobs;
  Ledger ledger;
  uint64_t retries = 0;
  uint64_t bytes = 0;          // payloads in memory
  uint64_t record_bytes = 0;   // of JobQueue's records, as counted last
  uint64_t outcome_bytes = 0;  // not acknowledged
  uint64_t outcome_jobs = 0;
  uint64_t held = 0;                  // leased, waiting in workers
  std::set<uint64_t> workers;         // that serve it
  std::set<uint64_t> ready;           // of these: with room for a job of this queue
  uint64_t share = 0;                 // of one worker in this pass of dispatch
  std::deque<uint64_t> full_streams;  // whose next job found no room, in order
  MonoTime timer = kNever;            // in Broker::queue_timers_

  // For rates and the summary in the log.
  Ledger last_tick;
  Ledger last_summary;
  double accepted_per_second = 0;
  double ended_per_second = 0;

  uint64_t open_jobs() const { return ledger.accepted - ledger.ended(); }
};

}  // namespace whippletree::core
