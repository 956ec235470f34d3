// Leases that ended unheard, as the broker's log has it: what was known of them, and what may
// overlap since.
#include <utility>
#include <variant>

#include "tests/sim/history.h"

namespace whippletree::sim {

void History::OnLog(const LogEvent& event, MonoTime at) {
  const auto text = [&event](size_t i) { return std::get<std::string>(event.fields[i].second); };
  const auto number = [&event](size_t i) { return std::get<uint64_t>(event.fields[i].second); };
  const bool held = event.event == "jobs_not_handed_back";
  if (event.event == "leases_expired") OnLeasesExpired(text(0), at);
  if (held || event.event == "jobs_overdue") {
    OnJobsTaken(text(1), number(3), {number(4), number(5)}, held);
  }
}

void History::OnLeasesExpired(const std::string& worker, MonoTime at) {
  expired_[worker] = at;
  for (const auto& [uid, token] : std::exchange(delivered_[worker], {})) {
    Job& job = jobs_.at(uid);
    const auto sent = job.deliveries.find(token);
    if (sent != job.deliveries.end() && !sent->second.free_slot) job.held_by_lost_worker = true;
  }
}

void History::OnJobsTaken(const std::string& worker, uint64_t token, IntervalSet::Interval jobs,
                          bool held) {
  for (const auto& [uid, its_token] : delivered_[worker]) {
    if (its_token != token) continue;
    Job& job = jobs_.at(uid);
    const auto sent = job.deliveries.find(token);
    if (sent == job.deliveries.end()) continue;
    if (sent->second.index < jobs.begin || sent->second.index >= jobs.end) continue;
    sent->second.taken = true;
    job.held_by_lost_worker = job.held_by_lost_worker || held;
  }
}

bool History::HasExpired(const Job& job, const std::string& worker, uint64_t token) const {
  const Job::Sent& sent = job.deliveries.at(token);
  auto it = expired_.find(worker);
  return sent.taken || (it != expired_.end() && it->second >= sent.at);
}

}  // namespace whippletree::sim
