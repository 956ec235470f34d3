// Follow-on jobs: what a completed job asks for, accepted together with its outcome.
//
// One job may ask for more than a step has room for. Then it takes several, nothing else is applied
// before the job itself has ended, and all of their writes are one commit.
//
// A part of the broker, with its state; only the broker calls it, during a step.
#pragma once

#include <cstdint>

#include "broker/core/lease.h"
#include "broker/core/queue.h"
#include "broker/core/stream.h"
#include "common/interval_set.h"
#include "wire.pb.h"

namespace whippletree::core {

class Broker;

class FollowOns {
 public:
  explicit FollowOns(Broker* broker) : b_(*broker) {}

  // Accepts what the open jobs of the lease ask for in `item`. False: there is more, and it is to
  // be called again with the same in the next step.
  bool Accept(Lease& lease, wire::ReportItem& item);
  // Those of the jobs whose follow-on jobs were not taken, and why. None is under way any more.
  IntervalSet TakeRefused(wire::Status* error);

  // Some jobs are accepted, or about to be, of a job that has not ended.
  bool under_way() const { return under_way_; }

  // Of jobs of the queue that jobs of this producer ask for; 0: a producer that is gone.
  Stream& StreamOf(uint64_t producer, Queue& queue);

 private:
  absl::Status Error(const Queue& parent, const wire::FollowOn& follow_on);
  Stream& AcceptOne(const Slice& parent, wire::FollowOn& follow_on);

  Broker& b_;
  bool under_way_ = false;
  int checked_ = 0;     // of the item's follow-on jobs
  int accepted_ = 0;    // the same, once all are checked
  uint64_t bytes_ = 0;  // of those that are checked
  IntervalSet refused_;
  wire::Status error_;
};

}  // namespace whippletree::core
