// Outcomes of follow-on jobs: streams whose numbers are the broker's, one for each queue. Takes
// each outcome once, whatever the connection does. A broker that has forgotten the producer begins
// another stream, with jobs from 1. Part of ProducerSession: no I/O, no clock. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/interval_set.h"
#include "producer/settled.h"
#include "wire.pb.h"

namespace whippletree {

class FollowOnStreams {
 public:
  // A session begins: ordinals count from 1. With another start of the broker its numbers begin
  // anew too, except in streams that the welcome says the broker had before.
  void OnWelcome(bool broker_restarted, const wire::Welcome& welcome);

  // REQUIRES: outcomes.follow_on(). Adds to `settled` what was not reported before.
  // Takes the ranges.
  void OnOutcomes(wire::Outcomes& outcomes, std::vector<SettledJobs>* settled);

  // One claim for each queue of which an outcome came.
  void AddClaims(wire::Hello* hello) const;

  // One acknowledgement for each queue of which outcomes came since the last call.
  void TakeAcks(wire::OutcomeAck* ack);

 private:
  struct Stream {
    uint64_t number = 0;        // the broker's
    IntervalSet settled;        // numbers whose outcome was reported
    uint64_t outcome_next = 1;  // ordinal
    bool ack_due = false;
    // Lowest number whose outcome is still wanted.
    uint64_t wanted() const { return settled.FirstMissing(1); }
  };

  std::map<std::string, Stream> streams_;  // by queue
};

}  // namespace whippletree
