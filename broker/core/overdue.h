// What becomes of jobs whose worker is heard, but does not answer for them: see overdue.cc.
//
// A part of the broker, with its state; only the broker calls it, during a step.
#pragma once

#include <cstdint>

#include "broker/core/due_answers.h"
#include "broker/core/lease.h"
#include "broker/core/peer.h"
#include "common/interval_set.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

class Broker;

class Overdue {
 public:
  using Ranges = google::protobuf::RepeatedPtrField<wire::JobRange>;

  explicit Overdue(Broker* broker) : b_(*broker) {}

  // The broker was stopped for so long.
  void OnPause(Duration gap) { due_.OnPause(gap); }
  // When TakeDue has something to do; kNever: there is nothing.
  MonoTime next() const { return due_.next(); }
  // Takes jobs from leases whose answer is due. Some may be left, due at once.
  void TakeDue();

  // The lease's delivery leaves once more; did not leave after all.
  void OnDeliverySent(Lease& lease);
  void OnDeliveryNotSent(Lease& lease);
  // A message that asks for these jobs leaves.
  void OnAskedBack(const Ranges& ranges);
  // Jobs of the lease are marked as started, which are not charged yet; of a batch, where all are.
  void OnMarked(Lease& lease, const IntervalSet::Interval& part);
  void OnBatchStep(Lease& lease, const IntervalSet::Interval& part);
  void OnLeaseEnded(const Lease& lease);
  // The worker reported this, of a lease that it may have no more.
  void OnAnswer(Peer& peer, const wire::ReportItem& item);
  // The worker said which deliveries it has.
  void OnDeliveriesTold(Peer& peer);
  // A new session of the worker goes on with `kept`.
  static void OnWelcome(WorkerState& worker, const wire::Hello& hello,
                        const google::protobuf::RepeatedField<uint64_t>& kept);

  // Of the memory.
  uint64_t bytes() const { return due_.bytes(); }
  // Each job whose answer is due some time is expected; CHECKs. For tests.
  void Check() const;

 private:
  Duration Grace(const Lease& lease) const;
  // To be called when due_ has changed.
  void CountMemory();
  void ExpectEnd(const Lease& lease, const IntervalSet::Interval& part, Duration timeout);
  void CutToStep(DueAnswers::Due* due);
  // Returns how many jobs these were.
  uint64_t Take(const DueAnswers::Due& due);
  void TakeJobs(Lease& lease, const DueAnswers::Due& due);
  void MarkStuck(Peer& peer, Stuck until);
  void Free(Peer& peer);

  Broker& b_;
  DueAnswers due_;
  uint64_t counted_bytes_ = 0;
};

}  // namespace whippletree::core
