// Dead jobs as an admin sees them: one that is kept is there until somebody drops or requeues it,
// and one that is requeued is run again ("dead"). Draws what the admin asks next.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/prng.h"
#include "record.pb.h"
#include "tests/sim/history.h"
#include "tests/sim/options.h"
#include "tests/sim/situations.h"
#include "wire.pb.h"

namespace whippletree::sim {

class DeadChecker {
 public:
  DeadChecker(const Options* options, History* history, Situations* situations)
      : options_(options), history_(history), situations_(situations) {}

  // What was asked and not answered may have been done or not.
  void OnBrokerUp();
  void OnRowDamaged(const record::Run& run);
  // Fills in what is asked next. False: an answer is still to come.
  bool NextRequest(Prng* prng, wire::DeadRequest* request);
  void OnAsked(uint64_t id, const wire::DeadRequest& request);
  void OnReply(const wire::AdminReply& reply);
  // A request is not answered yet.
  bool waits() const { return asked_ != 0; }
  // All jobs have ended.
  void CheckEnd() const;

  // Jobs that were requeued, by queue.
  const std::map<std::string, uint64_t>& requeued() const { return requeued_; }
  // Nothing was asked of which nobody knows whether it was done.
  bool is_exact() const { return is_exact_; }

 private:
  using Id = std::pair<uint64_t, uint64_t>;

  // Dead jobs that must be kept now.
  std::set<Id> Expected() const;

  const Options* const options_;
  History* const history_;
  Situations* const situations_;
  uint64_t asked_ = 0;  // number of the request; 0: none
  wire::DeadRequest request_;
  std::set<Id> expected_;  // in its answer
  std::set<Id> listed_;    // by the last list, and not touched since
  std::set<Id> gone_;      // dropped, requeued, or perhaps so
  // Requeued ones: how many starts of the broker until it may have ended unseen. Those in memory
  // end with theirs; each lease that is restored is charged, though it may never have been
  // delivered.
  std::map<std::string, uint32_t> to_be_run_;
  std::set<std::string> lost_;  // requeued ones whose row was damaged
  std::map<std::string, uint64_t> requeued_;
  bool is_exact_ = true;
};

}  // namespace whippletree::sim
