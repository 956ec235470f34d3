// A worker's right to run jobs, for as long as it is heard from.
//
// Indexes are those of the delivery: 0 is the first job of `slice`. Every open job is in one of
// two states: charged (it was started, or dispatched to a free slot, which means start) or held
// (it waits in the worker; if the worker dies it becomes a suspect).
#pragma once

#include <cstdint>
#include <map>

#include "broker/core/slice.h"
#include "common/check.h"
#include "common/interval_set.h"
#include "common/time.h"

namespace whippletree::core {

struct Lease {
  uint64_t token = 0;
  uint64_t worker = 0;  // number of the peer
  Slice slice;
  MonoTime granted;
  IntervalSet open;            // without outcome, not returned
  IntervalSet charged;         // of open
  IntervalSet cancelled;       // of open: its end was asked for
  IntervalSet revoked;         // of open: asked back, not answered
  MonoTime asked_at = kNever;  // when cancelled and revoked were sent last
  uint32_t sends = 0;          // of its delivery, that may have reached the worker
  bool delivered = false;      // the worker said that it has the delivery

  uint64_t held() const { return open.size() - charged.size(); }
  uint64_t number_of(uint64_t index) const { return slice.first + index; }
  // The job left the lease.
  void Close(uint64_t begin, uint64_t end) {
    open.Remove(begin, end);
    charged.Remove(begin, end);
    cancelled.Remove(begin, end);
    revoked.Remove(begin, end);
  }
};

// All leases by token.
class LeaseTable {
 public:
  // Tokens are above `first_number`, which is above all of any earlier start of the broker.
  explicit LeaseTable(uint64_t first_number) : last_token_(first_number) {}

  // A new lease on all of `slice`, its first `started` jobs charged.
  Lease* Grant(uint64_t worker, Slice slice, uint32_t started, MonoTime now) {
    Lease& lease = leases_[++last_token_];
    lease.token = last_token_;
    lease.worker = worker;
    lease.open.Add(0, slice.count());
    lease.charged.Add(0, started);
    lease.slice = std::move(slice);
    lease.granted = now;
    return &lease;
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
