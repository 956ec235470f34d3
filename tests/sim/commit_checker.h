// Checks at the broker's edge that nothing is said before the commit it depends on is durable
// (I3), that lease tokens rise (I8), that the store has no job both leased and returned (I7), that
// nothing is written for memory queues, and that a full disk takes no jobs and no leases. Knows
// only what goes into the broker and what comes out of it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/effects.h"
#include "tests/sim/options.h"
#include "tests/sim/situations.h"

namespace whippletree::sim {

class CommitChecker {
 public:
  // A start of the broker, whose store has commits up to `last_commit`.
  CommitChecker(const Options& options, uint64_t last_commit, Situations* situations)
      : options_(options),
        situations_(situations),
        durable_(last_commit),
        last_commit_(last_commit) {}

  // The store has this row.
  void OnRow(const record::Record& record) { OnWrite(durable_, record, true); }

  // Before and after a step.
  void OnInput(const core::Input& input);
  void OnEffects(const core::Effects& effects);
  // Every commit up to this one is in the store.
  void OnDurable(uint64_t commit) { durable_ = commit; }

 private:
  using Commits = std::map<uint64_t, uint64_t>;  // number of a job → commit

  struct StreamNotes {
    Commits accepted;
    Commits told;                           // outcomes
    std::map<uint64_t, uint64_t> runs;      // first → count
    std::map<uint64_t, uint64_t> returned;  // the same
    uint64_t checked_below = 0;  // of accepted: these are durable and need no second look
    std::set<uint64_t> tokens;   // of leases on its jobs with items without a commit
  };
  struct Item {
    uint64_t token;
    uint64_t commit = 0;
  };
  struct LeaseNotes {
    uint64_t commit;
    uint64_t stream;
    uint64_t first;
    uint64_t count;
  };

  bool IsDurable(const std::string& queue) const;
  // Follow-on jobs are those of leases, and may come.
  void CheckLowDisk(const std::vector<record::Record>& writes) const;
  // `restored`: not a write, but what there was before.
  void OnWrite(uint64_t commit, const record::Record& record, bool restored);
  void OnReturned(uint64_t commit, const record::Returned& row, bool erased);
  void OnLease(uint64_t commit, const record::Lease& lease, bool restored);
  bool IsReturned(const record::LeasePart& part) const;
  void OnRun(uint64_t commit, const record::Run& run, bool erased);
  // Jobs ended, or wait again.
  void OnEnded(uint64_t commit, uint64_t stream, uint64_t first, uint64_t count);
  void OnItem(uint64_t session, uint64_t ordinal, uint64_t token);
  void NoteItems(uint64_t commit, uint64_t token);
  void OnSend(const core::Send& send);
  void CheckItems(uint64_t session, uint64_t next);
  void CheckStream(uint64_t session, const std::string& queue, uint64_t next);
  StreamNotes* Find(uint64_t session, const std::string& queue);

  const Options& options_;
  Situations* const situations_;
  core::Disk disk_{};
  uint64_t durable_;
  uint64_t last_commit_;
  uint64_t last_token_ = 0;
  std::map<std::string, std::string> name_by_route_;  // of hellos
  std::map<uint64_t, std::string> name_by_session_;
  // Producer and queue (with a mark, if of follow-on jobs) → number.
  std::map<std::pair<std::string, std::string>, uint64_t> streams_;
  std::map<uint64_t, StreamNotes> notes_;
  std::multimap<uint64_t, LeaseNotes> leases_;    // by token; several in a batch
  using ItemKey = std::pair<uint64_t, uint64_t>;  // session and ordinal
  std::map<ItemKey, Item> items_;                 // of reports
  // Of these: those of this step that no write was seen about, by token; and those not known to be
  // durable.
  std::map<uint64_t, std::vector<ItemKey>> items_without_commit_;
  std::set<ItemKey> items_not_durable_;
};

}  // namespace whippletree::sim
