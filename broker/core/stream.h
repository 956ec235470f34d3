// A producer's jobs for one queue, in the order of their numbers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "broker/core/leased_slices.h"
#include "broker/core/stored_outcomes.h"
#include "broker/core/stream_rows.h"
#include "common/interval_set.h"
#include "common/resend_queue.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

struct Queue;

// Consecutive jobs of a stream that belong to one group.
struct GroupRange {
  uint64_t end;
  uint64_t group;
};

struct Stream {
  uint64_t number = 0;
  Queue* queue = nullptr;
  // Its jobs were asked for by jobs of the producer, not submitted; the broker numbers them.
  bool follow_on = false;
  uint64_t producer = 0;  // number of the peer; 0: it is gone for good, outcomes are not kept

  // The whole duplicate state: everything below is accepted (or rejected).
  uint64_t next = 1;
  IntervalSet open;                       // accepted, without outcome
  IntervalSet discarded;                  // of open: nobody wants to know their outcome
  std::map<uint64_t, GroupRange> groups;  // of open, by first number: jobs that are members
  LeasedSlices leases;
  // Unacknowledged outcomes.
  ResendQueue<wire::OutcomeRange> outcomes;
  StreamStoredOutcomes stored_outcomes;
  uint64_t unacknowledged_jobs = 0;
  // The producer has named it in this session, so it knows what to do with outcomes.
  bool claimed = false;

  // Options of the run before, shared by runs that have the same.
  std::shared_ptr<const wire::JobOptions> options;
  // Payload bytes accepted (or rejected) since the session began: what byte credit counts from.
  uint64_t session_bytes = 0;
  // The last commit that something of this stream depends on.
  uint64_t commit = 0;
  std::unique_ptr<StreamRows> rows;  // of durable queues only
  // Its producer was told that an earlier start of the broker had accepted jobs that are lost.
  bool lost = false;

  // Of a named producer, which starts anew and is told. The hash of its input up to a job.
  uint64_t hashed = 0;
  uint64_t input_hash = 0;
  // Jobs by how they ended.
  uint64_t dead = 0;
  uint64_t cancelled = 0;
  uint64_t expired = 0;

  // It was opened, and no more: nothing was ever accepted of it.
  bool is_unused() const { return next == 1 && !follow_on && !lost && outcomes.empty(); }

  // Jobs [begin, end) are of the group. REQUIRES: no later job is a member of any.
  void AddMembers(uint64_t group, uint64_t begin, uint64_t end) {
    if (!groups.empty()) {
      auto& [first, last] = *groups.rbegin();
      if (last.group == group && last.end == begin) {
        last.end = end;
        return;
      }
    }
    groups.emplace(begin, GroupRange{end, group});
  }
  // The group of job `job`; 0: none.
  uint64_t GroupAt(uint64_t job) const {
    auto it = groups.upper_bound(job);
    if (it == groups.begin()) return 0;
    --it;
    return job < it->second.end ? it->second.group : 0;
  }
  // Jobs from `job` to before this one are of the same group, or of none.
  uint64_t GroupEndOf(uint64_t job) const {
    auto it = groups.upper_bound(job);
    const uint64_t later = it == groups.end() ? UINT64_MAX : it->first;
    if (it == groups.begin()) return later;
    --it;
    return job < it->second.end ? it->second.end : later;
  }

  // What the producer was told last in this session.
  struct Told {
    bool open = false;  // that it may go on
    uint64_t next = 1;
    uint64_t session_bytes = 0;
  };
  Told told;
  MonoTime update_at = kNever;  // until then an update may be held back

  bool touched = false;          // an update is due at the end of the step
  bool full = false;             // `next` was dropped for lack of room …
  uint64_t full_bytes = 0;       // … for a payload of this size
  bool full_for_name = false;    // … or for its name, or the word that its name was there before
  bool full_for_unread = false;  // `full`, until the producer reads outcomes
  bool gap_due = false;          // tell the producer that `next` is missing …
  bool gap_told = false;         // … once
};

}  // namespace whippletree::core
