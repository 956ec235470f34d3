// Counters of named situations: what a run met; and of the checks that were made, by invariant. One
// that no seed of a whole run meets means that the simulator has stopped trying it, and fails the
// run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace whippletree::sim {

// What the checks are named by; I9 and I22 have none (docs/simulation.md).
inline constexpr uint32_t kInvariants = 22;
inline constexpr uint32_t kPauseCheck = 0;                 // of admins, who have no number
inline constexpr uint32_t kLoadCheck = kInvariants + 1;    // of stored payloads, the same
inline constexpr uint32_t kUnreadCheck = kInvariants + 2;  // of unread outcomes
inline constexpr uint32_t kApartCheck = kInvariants + 3;   // of jobs whose workers were lost
inline constexpr uint32_t kChecks = kInvariants + 4;

class Situations {
 public:
  void Count(std::string_view name, uint64_t n = 1) {
    if (n == 0) return;
    auto it = counts_.find(name);
    if (it == counts_.end()) it = counts_.emplace(std::string(name), 0).first;
    it->second += n;
  }
  uint64_t count(std::string_view name) const {
    auto it = counts_.find(name);
    return it == counts_.end() ? 0 : it->second;
  }
  void Add(const Situations& other) {
    for (const auto& [name, n] : other.counts_) Count(name, n);
    for (uint32_t i = 0; i < kChecks; ++i) checked_[i] += other.checked_[i];
  }
  const std::map<std::string, uint64_t, std::less<>>& all() const { return counts_; }

  // `n` cases were looked at in which this invariant could be broken.
  void Checked(uint32_t invariant, uint64_t n = 1) { checked_[invariant] += n; }
  uint64_t checked(uint32_t invariant) const { return checked_[invariant]; }

 private:
  std::map<std::string, uint64_t, std::less<>> counts_;
  uint64_t checked_[kChecks] = {};
};

// Every one of these is to be met by some seed of a whole run.
inline constexpr std::string_view kSituations[] = {
    // Counted by the broker.
    "early_reports", "early_runs", "frames_of_other_sessions", "full_runs", "wrong_receipts",
    "wrong_secrets", "jobs_handed_back", "jobs_held_behind_others", "jobs_not_handed_back",
    "jobs_overdue", "jobs_prefetched", "jobs_revoked", "leases_expired", "outcomes_sent_again",
    "deliveries_sent_again", "rejected_jobs", "repeated_hellos", "repeated_jobs",
    "repeated_reports", "stale_completions", "suspects", "unreachable_peers", "producers_resumed",
    "producers_stopped",
    // Seen at the edges.
    "ack_held", "broker_crash", "broker_pause", "cancel_confirmed", "connection_reset",
    "deadline_exceeded", "gate_released", "hoarder", "inputs_carried", "isolation", "job_dead",
    "lease_kept", "poison_death", "producer_death", "producer_left", "producer_left_at_end",
    "producer_pause", "producer_resumed", "revocation_crossed", "session_resumed", "socket_full",
    "start_mark", "stream_gone", "stream_lost", "stream_woken", "worker_death", "worker_drained",
    "worker_pause", "worker_stopped", "work_overlapped",
    // Of the policies.
    "batch", "batch_of_streams", "batches_halved", "breaker_closed", "breaker_half-open",
    "breaker_open", "concurrency_reached", "follow_on_delivered", "follow_on_settled", "group_end",
    "group_lost", "job_expired", "key_blocked", "key_concurrency_reached", "key_ordered_start",
    "key_rate_limited_start", "key_retried", "policies_reloaded", "queue_paused", "queue_resumed",
    "rate_limited_start", "scheduled_start",
    // Of producers that read no outcomes.
    "order_behind_stopped", "restored_stopped", "start_beside_stopped",
    // Of names, and of admins that look after single jobs.
    "dead_dropped_by_admin", "dead_listed", "dead_restored", "job_cancelled_by_admin",
    "name_repeated", "repeated_names", "requeued_delivered", "restored_names",
    // Of the store.
    "crash_with_loads", "crash_with_pending_commits", "crash_with_unclaimed_lease", "disk_low",
    "full_by_disk", "jobs_lost", "jobs_packed", "jobs_stored", "outcomes_loaded", "outcomes_stored",
    "row_damaged", "rows_loaded", "producer_forgotten", "report_on_full_disk",
    "report_on_restored_lease", "restored", "restored_backoff", "restored_group", "restored_lease",
    "restored_outcome", "restored_pause", "restored_sealed_batch", "restored_suspect",
    "start_apart", "store_failed", "store_stall"};

// Met by one seed in some hundreds.
inline constexpr std::string_view kRareSituations[] = {
    "order_behind_stopped", "restored_backoff", "restored_sealed_batch", "restored_suspect",
    "stale_completions",    "stream_gone",      "restored_stopped"};

// A run of so many seeds meets all situations but the rare ones; and those as well.
inline constexpr uint64_t kWholeRunSeeds = 500;
inline constexpr uint64_t kLongRunSeeds = 5000;

}  // namespace whippletree::sim
