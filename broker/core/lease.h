// A worker's right to run jobs, for as long as it is heard from.
//
// Indexes are those of the delivery: 0 is the first job of the first slice. Every open job is in
// one of two states: charged (it was started, or dispatched to a free slot, which means start) or
// held (it waits in the worker; if the worker dies it becomes a suspect).
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "broker/core/limits.h"
#include "broker/core/slice.h"
#include "common/check.h"
#include "common/interval_set.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

struct Queue;

// How a start ended, for the breaker.
enum class Verdict { kNone, kSucceeded, kFailed };

// Why jobs failed, and where.
struct Failure {
  const wire::Status& status;
  const std::string& worker;
  bool lost = false;  // with their worker
};

struct Lease {
  uint64_t token = 0;
  uint64_t worker = 0;  // number of the peer
  Queue* queue = nullptr;
  // Of one queue. Several only in a batch. Set by SetSlices.
  std::vector<Slice> slices;
  std::vector<uint32_t> ends;  // of several: for each slice, the index after its last job
  // One start of all its jobs together; else each job is a start.
  bool batch = false;
  uint64_t breaker_generation = 0;   // of its queue's breaker when it was granted
  Verdict verdict = Verdict::kNone;  // of a batch so far
  bool halved = false;               // part of a batch was, and is in it no more
  MonoTime granted;
  Duration timeout{0};         // as of then, of jobs that say none; 0: for ever
  Duration end_grace{0};       // what the worker needs to end one
  IntervalSet open;            // without outcome, not returned
  IntervalSet charged;         // of open
  IntervalSet cancelled;       // of open: its end was asked for
  IntervalSet revoked;         // of open: asked back, not answered
  IntervalSet awaited;         // held ones whose answer is due: see overdue.cc
  uint64_t marked_below = 0;   // of a batch whose jobs are started one after the other
  MonoTime asked_at = kNever;  // when cancelled and revoked were sent last
  uint32_t sends = 0;          // of its delivery, that may have reached the worker
  bool delivered = false;      // the worker said that it has the delivery

  // What it takes, about.
  uint64_t memory_bytes() const { return kLeaseOverheadBytes + slices.size() * kSliceBytes; }
  uint64_t held() const { return open.size() - charged.size(); }
  // Slots that it takes, or will take.
  uint64_t starts() const { return batch ? (open.empty() ? 0 : 1) : open.size(); }
  uint32_t count() const { return ends.empty() ? slices.front().count() : ends.back(); }

  // REQUIRES: not empty.
  void SetSlices(std::vector<Slice> all) {
    slices = std::move(all);
    ends.clear();
    if (slices.size() == 1) return;
    uint32_t end = 0;
    for (const Slice& slice : slices) ends.push_back(end += slice.count());
  }

  // Calls piece(slice, at) for what jobs `part` are of each slice, in order: a Slice of just these
  // jobs, and the index of the first.
  template <typename Piece>
  void ForEach(IntervalSet::Interval part, Piece&& piece) const {
    const size_t at =
        static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), part.begin) - ends.begin());
    uint64_t base = at == 0 ? 0 : ends[at - 1];
    for (size_t i = at; i < slices.size() && base < part.end; ++i) {
      const Slice& slice = slices[i];
      const uint64_t begin = std::max(base, part.begin);
      const uint64_t end = std::min(base + slice.count(), part.end);
      if (begin < end) {
        piece(slice.Part(static_cast<uint32_t>(begin - base), static_cast<uint32_t>(end - begin)),
              begin);
      }
      base += slice.count();
    }
  }
  // All that it holds is to be asked back.
  void RevokeHeld() {
    for (const auto& part : open.intervals()) revoked.Add(part.begin, part.end);
    for (const auto& part : charged.intervals()) revoked.Remove(part.begin, part.end);
  }
  // The job left the lease.
  void Close(uint64_t begin, uint64_t end) {
    open.Remove(begin, end);
    charged.Remove(begin, end);
    cancelled.Remove(begin, end);
    revoked.Remove(begin, end);
    awaited.Remove(begin, end);
  }
};

// All leases by token.
class LeaseTable {
 public:
  // Tokens are above `first_number`, which is above all of any earlier start of the broker.
  explicit LeaseTable(uint64_t first_number) : last_token_(first_number) {}

  // A new lease on all of `slices`. `charged`: they go to free slots.
  // REQUIRES: one slice, or several for a batch, all of one queue.
  Lease* Grant(uint64_t worker, Queue* queue, std::vector<Slice> slices, bool charged,
               MonoTime now) {
    Lease& lease = leases_[++last_token_];
    lease.token = last_token_;
    lease.worker = worker;
    lease.queue = queue;
    lease.SetSlices(std::move(slices));
    lease.open.Add(0, lease.count());
    if (charged) lease.charged = lease.open;
    lease.granted = now;
    return &lease;
  }
  // One of an earlier start of the broker. REQUIRES: its token is new and from before this start.
  Lease* Restore(Lease lease) {
    const auto [it, is_new] = leases_.emplace(lease.token, std::move(lease));
    WT_CHECK(is_new && it->first <= last_token_);
    return &it->second;
  }
  // nullptr: no such lease (any more).
  Lease* Find(uint64_t token) {
    auto it = leases_.find(token);
    return it == leases_.end() ? nullptr : &it->second;
  }
  void Erase(uint64_t token) { leases_.erase(token); }

  const std::map<uint64_t, Lease>& all() const { return leases_; }

 private:
  std::map<uint64_t, Lease> leases_;
  uint64_t last_token_;
};

}  // namespace whippletree::core
