#include "tests/sim/policy_checker.h"

#include <algorithm>

#include "tests/sim/failure.h"

namespace whippletree::sim {

using State = core::CircuitBreaker::State;

void PolicyChecker::OnPolicies(const Policies& policies, MonoTime now) {
  const auto is_lower = [](uint32_t limit, uint32_t before) {
    return limit > 0 && (before == 0 || limit < before);
  };
  for (const auto& [name, policy] : policies) {
    const core::QueuePolicy before = std::exchange(policies_.at(name), policy);
    changed_at_[name] = now;
    if (is_lower(policy.concurrency, before.concurrency)) lowered_.insert(name);
    if (is_lower(policy.keys.concurrency, before.keys.concurrency)) keys_lowered_.insert(name);
    // A new rate is counted anew.
    if (policy.rate != before.rate) starts_.erase({name, ""});
    if (policy.keys != before.keys) {
      std::erase_if(starts_, [&queue = name](const auto& entry) {
        return entry.first.first == queue && !entry.first.second.empty();
      });
    }
    if (policy.breaker != before.breaker) breakers_.erase(name);
  }
}

void PolicyChecker::OnBrokerUp(const Policies& policies, uint64_t last_commit, MonoTime now) {
  OnPolicies(policies, now);
  // Deliveries that waited for a commit which is lost never left.
  for (auto& [key, starts] : starts_) {
    if (!policies_.at(key.first).durable) continue;
    std::erase_if(starts, [&](const Starts& each) { return each.commit > last_commit; });
  }
  breakers_.clear();
  accepted_.clear();
  ordered_.clear();
  up_since_ = now;
  std::erase_if(paused_, [this](const auto& queue) { return !policies_.at(queue).durable; });
}

void PolicyChecker::BeforeStep(const core::Broker& core, Instant now) const {
  for (const auto& [name, queue] : core.queues()) {
    const core::QueuePolicy& policy = policies_.at(name);
    const bool other_gates =
        policy.rate.count > 0 || policy.concurrency > 0 || policy.breaker.enabled();
    if (queue->paused || other_gates || queue->jobs.ready() == 0) continue;
    // The next ones may be read just now; that they are is checked elsewhere.
    if (queue->jobs.stored_ready() > 0) continue;
    // What expires goes first; a full step has left that to the one that begins now.
    if (queue->expires_now(now.wall)) continue;
    if (policy.keys.limits()) {
      if (queue->jobs.waits_for_stopped()) continue;  // in their order, perhaps
      CheckNoneIsForgotten(core, *queue, now.mono);
    } else if (policy.batches()) {
      // Whoever forgets to wake for the end of a batch's linger oversleeps it.
      situations_->Checked(14);
      const MonoTime due = queue->jobs.oldest() + policy.batch.linger;
      if (now.mono > due + milliseconds(1) && core.HasFreeSlot(*queue)) {
        Violation("I14", name + " has a batch that waits longer than its linger");
      }
    }
  }
}

// While no job is leased or backs off, or waits for a worker that runs no other of those apart, and
// no start was so late that a token could be missing, no key keeps anything back.
void PolicyChecker::CheckNoneIsForgotten(const core::Broker& core, const core::Queue& queue,
                                         MonoTime now) const {
  const core::QueuePolicy& policy = policies_.at(queue.name);
  const bool keeps_keys =
      queue.ledger.leased > 0 || queue.jobs.delayed() > 0 || queue.jobs.sealed() > 0;
  if (policy.batches() || keeps_keys) return;
  MonoTime due = queue.jobs.oldest();
  if (policy.keys.rate.count > 0) {
    const auto last = last_keyed_start_.find(queue.name);
    MonoTime since = up_since_;
    if (last != last_keyed_start_.end()) since = std::max(since, last->second);
    if (const auto it = changed_at_.find(queue.name); it != changed_at_.end()) {
      since = std::max(since, it->second);
    }
    const auto rate = static_cast<int64_t>(policy.keys.rate.count);
    due = std::max(due, since + policy.keys.rate.period / rate);
  }
  situations_->Checked(10);
  if (now > due + milliseconds(1) && core.HasFreeSlot(queue)) {
    Violation("I10", queue.name + " has jobs that no key keeps back and that do not start");
  }
}

void PolicyChecker::AfterStep(const core::Broker& core, Instant now) {
  commit_ = core.last_commit();
  QueueCounts granted(core.queues().size());  // starts of this step
  std::set<Key> keys;                         // that were granted something
  const auto& leases = core.leases().all();
  for (auto it = leases.upper_bound(last_token_); it != leases.end(); ++it) {
    const core::Lease& lease = it->second;
    last_token_ = it->first;
    const std::string& queue = lease.queue->name;
    const core::QueuePolicy& policy = policies_.at(queue);
    const uint64_t starts = lease.batch ? 1 : lease.count();
    granted[lease.queue->number] += starts;
    if (!paused_.empty()) situations_->Checked(kPauseCheck);
    if (paused_.contains(queue)) Violation("pause", queue + " is paused and starts a job");
    for (const core::Slice& slice : lease.slices) {
      if (lease.queue->jobs.has_stopped()) {
        situations_->Checked(kUnreadCheck);
        if (lease.queue->jobs.IsStopped(slice)) {
          Violation("unread", queue + " starts a job of a producer that is stopped");
        }
        situations_->Count("start_beside_stopped");
      }
      // What is tried again as it was sealed has kept its places, whatever the limit is now.
      if (policy.keys.limits() && !slice.is_sealed()) keys.emplace(queue, slice.options->key());
    }
    CheckApart(core, lease);
    CheckTimes(lease, now);
    CheckBatch(lease, policy);
    if (policy.rate.count > 0) {
      situations_->Count("rate_limited_start");
      CheckRate({queue, ""}, policy.rate, now.mono,
                policy.rate.of_batches ? starts : lease.count());
    }
    CheckKeys(queue, lease, policy.keys, now.mono);
  }
  CheckLive(core, granted);
  CheckLiveKeys(core, keys);
  CheckCapacity(core);
  CheckOthersGoOn(core, now);
}

// What may end its worker runs beside no other of this kind.
void PolicyChecker::CheckApart(const core::Broker& core, const core::Lease& lease) {
  const auto apart = [](const core::Lease& one) {
    return std::any_of(one.slices.begin(), one.slices.end(),
                       [](const core::Slice& slice) { return slice.apart(); });
  };
  if (!apart(lease)) return;
  situations_->Checked(kApartCheck);
  situations_->Count("start_apart");
  for (const auto& [token, other] : core.leases().all()) {
    if (token != lease.token && other.worker == lease.worker && apart(other)) {
      Violation("apart", "two jobs of " + lease.queue->name + " that lost workers run in one");
    }
  }
}

// Where nothing but slots keeps them, jobs that are not stopped do not wait while one is free.
void PolicyChecker::CheckOthersGoOn(const core::Broker& core, Instant now) const {
  if (core.has_more()) return;  // it is not through
  for (const auto& [name, queue] : core.queues()) {
    if (!queue->jobs.has_stopped()) continue;
    const core::QueuePolicy& policy = policies_.at(name);
    if (policy.keys.ordered && queue->jobs.waits_for_stopped()) {
      situations_->Count("order_behind_stopped");
    }
    const bool other_gates = policy.rate.count > 0 || policy.concurrency > 0 ||
                             policy.breaker.enabled() || policy.keys.limits() || policy.batches() ||
                             queue->paused || now.mono < queue->held_until;
    if (other_gates || queue->jobs.stored_ready() > 0) continue;
    situations_->Checked(kUnreadCheck);
    if (queue->jobs.may_start(false) && core.HasFreeSlot(*queue)) {
      Violation("unread", name + " has jobs that wait for a producer that is stopped");
    }
  }
}

// Follow-on jobs are accepted whatever the capacity; a step with such shows nothing.
void PolicyChecker::CheckCapacity(const core::Broker& core) {
  for (const auto& [name, queue] : core.queues()) {
    const Accepted now = {queue->ledger.accepted, queue->follow_ons, queue->jobs.aside()};
    const auto [it, is_new] = accepted_.try_emplace(name, now);
    const Accepted before = std::exchange(it->second, now);
    if (is_new || now.jobs == before.jobs || now.follow_ons > before.follow_ons) continue;
    if (now.aside < before.aside) continue;  // they are back, beyond what was accepted meanwhile
    situations_->Checked(15);
    const uint64_t most = policies_.at(name).capacity_jobs;
    if (queue->counted_jobs() > most) {
      Violation("I15", name + " has accepted jobs and has " +
                           std::to_string(queue->counted_jobs()) + ", at most " +
                           std::to_string(most) + " are allowed");
    }
  }
}

void PolicyChecker::CheckTimes(const core::Lease& lease, Instant now) const {
  const auto ms = static_cast<uint64_t>(ToMilliseconds(now.wall.time_since_epoch()));
  for (const core::Slice& slice : lease.slices) {
    if (slice.options->not_before_ms() > ms) Violation("I11", "a job was leased before its time");
    if (slice.options->not_before_ms() > 0) situations_->Count("scheduled_start");
    if (slice.options->not_before_ms() + slice.options->expires_at_ms() > 0) {
      situations_->Checked(11);
    }
    if (slice.options->expires_at_ms() > 0 && slice.options->expires_at_ms() <= ms) {
      Violation("I11", "a job was leased after it had expired");
    }
  }
}

void PolicyChecker::CheckBatch(const core::Lease& lease, const core::QueuePolicy& policy) const {
  if (lease.batch != policy.batches()) Violation("I14", "a batch from a queue that has none");
  if (!lease.batch) return;
  situations_->Checked(14);
  situations_->Count(lease.slices.size() > 1 ? "batch_of_streams" : "batch");
  if (lease.count() < 1 || lease.count() > policy.batch.max_jobs) {
    Violation("I14", "a batch of " + std::to_string(lease.count()) + " jobs, at most " +
                         std::to_string(policy.batch.max_jobs) + " are allowed");
  }
}

void PolicyChecker::CheckRate(const Key& key, const core::RatePolicy& rate, MonoTime now,
                              uint64_t starts) {
  situations_->Checked(13);
  auto& kept = starts_[key];
  kept.push_back({now, starts, commit_});
  if (kept.size() > kStartsKept) kept.pop_front();
  uint64_t sum = 0;
  for (auto it = kept.rbegin(); it != kept.rend(); ++it) {
    sum += it->count;
    const auto window = static_cast<uint64_t>((now - it->at).count());
    const uint64_t allowed =
        rate.burst + window * rate.count / static_cast<uint64_t>(rate.period.count());
    if (sum > allowed) {
      const std::string name = key.first + (key.second.empty() ? "" : " " + key.second);
      Violation("I13", name + " had " + std::to_string(sum) + " starts where its rate allows " +
                           std::to_string(allowed));
    }
  }
}

void PolicyChecker::CheckKeys(const std::string& queue, const core::Lease& lease,
                              const core::KeyPolicy& policy, MonoTime now) {
  std::map<std::string, uint64_t> starts;
  for (const core::Slice& slice : lease.slices) {
    const std::string& key = slice.options->key();
    if (key.empty()) continue;
    starts[key] += slice.count();
    if (policy.ordered) CheckOrder(queue, slice);
  }
  if (policy.rate.count == 0 || starts.empty()) return;
  last_keyed_start_[queue] = now;
  for (const auto& [key, n] : starts) {
    situations_->Count("key_rate_limited_start");
    CheckRate({queue, key}, policy.rate, now, n);
  }
}

// Whoever was leased before another of its key, and comes again, had no outcome when the other was
// leased. And the jobs of a stream come in its order, except those that waited for a time of the
// calendar: these join when it comes.
void PolicyChecker::CheckOrder(const std::string& queue, const core::Slice& slice) {
  const std::string& key = slice.options->key();
  situations_->Checked(10, slice.count());
  Ordered& order = ordered_[{queue, key}];
  for (uint32_t i = 0; i < slice.count(); ++i) {
    const JobId job{slice.stream, slice.first + i};
    const auto name = [&] {
      return queue + " " + key + ": job " + std::to_string(job.second) + " of stream " +
             std::to_string(job.first);
    };
    situations_->Count(job == order.last ? "key_retried" : "key_ordered_start");
    if (job == order.last) continue;
    if (order.before.contains(job)) {
      Violation("I10", name() + " is tried again after another was leased");
    }
    uint64_t& highest = order.leased[job.first];
    if (job.second < highest && slice.options->not_before_ms() == 0) {
      Violation("I10", name() + " is leased after job " + std::to_string(highest));
    }
    highest = std::max(highest, job.second);
    order.before.insert(order.last);
    order.last = job;
  }
}

void PolicyChecker::CheckLiveKeys(const core::Broker& core, const std::set<Key>& granted) const {
  const bool any = std::any_of(policies_.begin(), policies_.end(),
                               [](const auto& entry) { return entry.second.keys.limits(); });
  if (!any) return;
  std::map<Key, uint64_t> live;
  for (const auto& [token, lease] : core.leases().all()) {
    const std::string& queue = lease.queue->name;
    if (!policies_.at(queue).keys.limits()) continue;
    uint64_t begin = 0;
    for (const core::Slice& slice : lease.slices) {
      const uint64_t end = begin + slice.count();
      if (!slice.options->key().empty()) {
        live[{queue, slice.options->key()}] += lease.open.Count(begin, end);
      }
      begin = end;
    }
  }
  for (const auto& [name, queue] : core.queues()) {
    if (queue->jobs.ready() > 0 && !queue->jobs.may_start()) situations_->Count("key_blocked");
  }
  for (const auto& entry : live) {
    const auto& key = entry.first;  // no binding: clang 14 captures none
    const auto jobs = entry.second;
    const core::KeyPolicy& policy = policies_.at(key.first).keys;
    const auto what = [&] {
      return key.first + " " + key.second + " has " + std::to_string(jobs) + " leased jobs";
    };
    if (policy.ordered) situations_->Checked(10);
    if (policy.concurrency > 0) situations_->Checked(12);
    if (policy.ordered && jobs > 1) Violation("I10", what() + " though they are ordered");
    const bool may_exceed = keys_lowered_.contains(key.first) && !granted.contains(key);
    if (policy.concurrency > 0 && jobs > policy.concurrency && !may_exceed) {
      Violation("I12", what() + ", at most " + std::to_string(policy.concurrency) + " are allowed");
    }
    if (policy.concurrency > 0 && jobs == policy.concurrency) {
      situations_->Count("key_concurrency_reached");
    }
  }
}

void PolicyChecker::CheckLive(const core::Broker& core, const QueueCounts& granted) {
  QueueCounts live(granted.size());
  QueueCounts probes(granted.size());
  bool any = false;
  for (const auto& [name, policy] : policies_) {
    any = any || policy.concurrency > 0 || policy.breaker.enabled();
  }
  if (!any) return;
  for (const auto& [token, lease] : core.leases().all()) {
    const core::Queue& queue = *lease.queue;
    live[queue.number] += lease.batch ? 1 : lease.open.size();
    if (lease.breaker_generation == queue.breaker.generation()) probes[queue.number] += 1;
  }
  for (const auto& [name, queue] : core.queues()) {
    const core::QueuePolicy& policy = policies_.at(name);
    // What was leased before the limit was lowered goes on.
    const uint64_t leased = live[queue->number];
    const bool may_exceed = granted[queue->number] == 0 && lowered_.contains(name);
    if (policy.concurrency > 0) situations_->Checked(12);
    if (policy.concurrency > 0 && leased > policy.concurrency && !may_exceed) {
      Violation("I12", name + " has " + std::to_string(leased) + " live leases, at most " +
                           std::to_string(policy.concurrency) + " are allowed");
    }
    if (policy.concurrency > 0 && leased == policy.concurrency) {
      situations_->Count("concurrency_reached");
    }
    if (!policy.breaker.enabled()) continue;
    Breaker& before = breakers_[name];
    const State state = queue->breaker.state();
    const bool was_open = before.state == State::kOpen && state == State::kOpen &&
                          before.generation == queue->breaker.generation();
    situations_->Checked(18);
    if (was_open && granted[queue->number] > 0)
      Violation("I18", name + " starts jobs while it is open");
    if (state == State::kHalfOpen && probes[queue->number] > policy.breaker.probes) {
      Violation("I18", name + " has more probes than allowed");
    }
    if (before.state != state) situations_->Count("breaker_" + std::string(queue->breaker.name()));
    before = {state, queue->breaker.generation()};
  }
}

}  // namespace whippletree::sim
