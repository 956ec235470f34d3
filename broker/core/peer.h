// The peers that the broker knows: producers and workers, each with at most one session.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "broker/core/effects.h"
#include "broker/core/job_group.h"
#include "broker/core/owed_jobs.h"
#include "broker/core/queue.h"
#include "common/interval_set.h"
#include "common/resend_queue.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

// What a claiming producer was to this start of the broker: nobody, in a session before, or in one
// that is forgotten by now.
enum class Claimant { kNew, kKnown, kForgotten };

// A producer that was forgotten, named or with durable jobs.
struct ExpiredName {
  MonoTime until = kNever;  // when even that is forgotten
  bool durable = false;
};

struct ProducerState {
  bool named = false;
  std::map<std::string, uint64_t> streams;            // queue → number
  std::map<std::string, uint64_t> follow_on_streams;  // the same, of follow-on jobs
  std::map<uint64_t, JobGroup> groups;
  IntervalSet ended_groups;           // numbers whose end the producer knows
  std::set<uint64_t> updated_groups;  // of which something is to be told
  std::set<uint64_t> told_groups;     // whose end was told, and is not acknowledged
  MonoTime groups_told_at = kNever;   // when all of these were told last, or the first of them
  // Queues with an incomplete batch that begins with a job of a group of it.
  std::set<std::string> lingering;
  bool durable = false;        // there is a row of it
  std::set<std::string> gone;  // queues whose streams were forgotten before it came back
  uint64_t outcome_bytes = 0;  // not acknowledged, of all streams
  bool stopped = false;        // these are too many: its jobs wait (unread.cc)
  uint64_t outcome_bytes_in_flight = 0;
  std::set<uint64_t> unsent;  // streams with outcomes to send
  // Outcomes that only the store has: how many rows, and the streams that some are to be read of.
  uint64_t stored_outcomes = 0;
  std::set<uint64_t> stored_streams;
  uint64_t stored_turn = 0;            // the stream that was read last
  uint64_t loading_outcome_bytes = 0;  // asked back

  // It has said hello, and no more.
  bool is_blank() const {
    return streams.empty() && follow_on_streams.empty() && groups.empty() && gone.empty() &&
           ended_groups.empty() && !durable;
  }
};

// What a worker allows for one queue, and has of it.
struct WorkerQueue {
  Queue* queue = nullptr;
  uint64_t jobs_limit = 0;  // cumulative in the session
  uint64_t delivered = 0;   // the same
  uint32_t held_max = 0;
  uint64_t service_time_ns = 0;
  // Starts: a batch counts as one.
  uint64_t leased = 0;
  uint64_t held = 0;  // of leased: not started
  // It is one of Queue::ready, of Queue::ready_to_hold.
  bool is_ready = false;
  bool is_ready_to_hold = false;
  bool never_held = false;  // what came next of it must not wait in a worker
};

// What a worker has beyond the jobs that run, in nanoseconds of slot time.
struct WorkerLoad {
  bool quick = false;     // nothing that it has takes longer than most_ns, and that is known
  uint64_t ahead_ns = 0;  // on average
  uint64_t most_ns = 0;   // that it wants to have of the queue that it wants most of
};

// Reports of a worker that are not acknowledged.
struct HeldReports {
  MonoTime first = kNever;  // when it came
  MonoTime last = kNever;
  uint64_t bytes = 0;  // of results
};

// Whether a worker is given nothing because it does not answer for what it has.
enum class Stuck {
  kNo,
  kDeliveries,  // until it has all deliveries
  kJobs,        // until it says what became of a job
};

struct WorkerState {
  uint32_t slots = 0;
  Duration end_grace{0};  // what it needs to end a job at its timeout
  std::vector<WorkerQueue> queues;
  absl::flat_hash_map<const Queue*, size_t> queue_at;  // in `queues`
  std::set<std::string> refused;                       // queues that it wants to serve and cannot
  size_t turn = 0;                                     // queue to be served first
  std::set<uint64_t> leases;
  uint64_t apart = 0;   // the lease of a job that runs apart; 0: none
  uint64_t leased = 0;  // starts: a batch counts as one
  OwedJobs owed;        // take slots beyond these
  Stuck stuck = Stuck::kNo;
  WorkerLoad load;                   // as of the last UpdateReady
  bool is_stale = false;             // what it is ready for has changed since
  MonoTime free_at{};                // when a slot was free last, or no queue waited for one
  ResendQueue<uint64_t> deliveries;  // tokens
  uint64_t report_next = 1;          // ordinal
  HeldReports held_reports;
  uint64_t commit = 0;  // that the acknowledgement depends on
  bool draining = false;
  uint64_t completed = 0;
  uint64_t failed = 0;

  uint64_t taken() const { return leased + owed.starts(); }
  uint64_t free_slots() const { return slots > taken() ? slots - taken() : 0; }
  // nullptr: it does not serve the queue.
  WorkerQueue* Find(const Queue& queue) {
    const auto it = queue_at.find(&queue);
    return it == queue_at.end() ? nullptr : &queues[it->second];
  }
};

struct Peer {
  uint64_t number = 0;
  wire::Role role = wire::ROLE_UNSPECIFIED;
  std::string name;
  std::string software;
  uint64_t process = 0;
  uint64_t hello_attempt = 0;
  uint64_t session = 0;  // 0: lost
  uint64_t secret = 0;   // of the session
  std::string route;
  // The commit that the session's welcome depends on: nothing else overtakes it.
  uint64_t welcome_commit = 0;
  MonoTime last_heard;
  Duration silence_max{};  // then it is lost
  MonoTime lost_at = kNever;
  MonoTime timer = kNever;  // in Broker::peer_timers_

  // Frames that its socket did not take.
  std::deque<Send> outbox;
  uint64_t outbox_bytes = 0;
  MonoTime retry_at = kNever;

  uint64_t counted_bytes = 0;  // of the memory, by Broker::CountPeer
  std::unique_ptr<ProducerState> producer;
  std::unique_ptr<WorkerState> worker;

  bool connected() const { return session != 0; }
  // May be given what is not repeated at once.
  bool writable() const { return connected() && outbox.empty(); }
};

}  // namespace whippletree::core
