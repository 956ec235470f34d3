// Everything about one queue: its policy, its waiting jobs, its ledger, who serves it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "broker/core/circuit_breaker.h"
#include "broker/core/config.h"
#include "broker/core/expiries.h"
#include "broker/core/job_names.h"
#include "broker/core/job_queue.h"
#include "broker/core/token_bucket.h"

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
  // Of jobs that have ended.
  Ledger& operator+=(const Ledger& other) {
    accepted += other.accepted;
    completed += other.completed;
    dead += other.dead;
    cancelled += other.cancelled;
    expired += other.expired;
    return *this;
  }
};

// What queues had counted that are gone.
struct DroppedQueues {
  uint64_t queues = 0;  // since the start of the broker
  Ledger all;
  Ledger durable;  // of these: of durable queues, from the first start on
};

// What completed a batch.
enum class BatchReason { kSize, kBytes, kLinger, kDrain, kHalved };

struct Queue {
  uint64_t number = 0;
  std::string name;
  QueuePolicy policy;
  JobQueue jobs;
  Ledger ledger;
  uint64_t retries = 0;
  uint64_t follow_ons = 0;  // of accepted
  uint64_t last_batch = 0;  // number of a batch that is to be tried again, in the store
  JobNames names;
  bool durable_kept = false;  // policy.durable is not what the configuration says
  bool dead_dropped = false;  // some were, and that was logged

  // Gates.
  TokenBucket bucket;
  CircuitBreaker breaker;
  bool paused = false;
  MonoTime held_until{};      // a worker asked for it: RESOURCE_EXHAUSTED with a time
  uint64_t starts = 0;        // leased: jobs, a batch counts as one
  bool rate_waiting = false;  // since the last start
  uint64_t rate_pauses = 0;
  uint64_t batches_by[5] = {};  // dispatched, by BatchReason
  Expiries expiries;
  WallTime wall_timer = WallTime::max();  // in Broker::wall_timers_
  uint64_t bytes = 0;                     // payloads in memory
  uint64_t rows = 0;                      // of runs, in the store
  uint64_t record_bytes = 0;              // of records, rows, loads, as counted last
  uint64_t outcome_bytes = 0;             // not acknowledged
  uint64_t outcome_jobs = 0;
  uint64_t held = 0;                  // leased, waiting in workers
  MonoTime revoke_at{};               // when to look again for what may be taken back
  uint64_t streams = 0;               // of jobs for it
  MonoTime unused_since = kNever;     // nobody has anything to do with it
  std::set<uint64_t> workers;         // that serve it
  std::set<uint64_t> ready;           // of these: with a free slot for a job of this queue
  std::set<uint64_t> ready_to_hold;   // with room for one that waits there
  uint64_t share = 0;                 // of one worker in a pass of dispatch, …
  uint64_t share_pass = 0;            // … which was this one
  std::deque<uint64_t> full_streams;  // whose next job found no room, in order
  MonoTime timer = kNever;            // in Broker::queue_timers_
  bool serve_again = false;           // a gate may open by what happened in this step

  // For rates and the summary in the log.
  Ledger last_tick;
  Ledger last_summary;
  double accepted_per_second = 0;
  double ended_per_second = 0;

  // Of jobs without an outcome, in memory or stored.
  uint64_t payload_bytes() const { return bytes + jobs.stored_bytes(); }
  uint64_t open_jobs() const { return ledger.accepted - ledger.ended(); }
  // What its capacity is measured by: jobs of stopped producers leave room for those of others.
  uint64_t counted_jobs() const { return open_jobs() - jobs.aside_at_least(); }
  uint64_t counted_bytes() const { return payload_bytes() - jobs.aside_bytes(); }
  // Jobs that waited too long are still to be ended: none starts before.
  bool expires_now(WallTime now) const { return expiries.next() <= now; }
  // Each look at all of them is paid for by as many that were added.
  void PruneExpiries() {
    const uint64_t most = ledger.waiting() == 0 ? 0 : 2 * open_jobs() + 1000;
    if (expiries.records() > most) expiries.StartPruning();
  }
  // The oldest names count until then.
  WallTime next_name_expiry() const {
    const JobNames::Batch* oldest = names.oldest();
    return oldest == nullptr ? WallTime::max() : oldest->accepted + policy.names_window;
  }
  // Jobs may wait in workers: nothing but their number bounds their starts.
  bool may_hold() const {
    return !policy.batches() && policy.rate.count == 0 && policy.concurrency == 0 &&
           !policy.breaker.enabled();
  }
};

}  // namespace whippletree::core
