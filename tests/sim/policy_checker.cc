#include "tests/sim/policy_checker.h"

#include "tests/sim/failure.h"

namespace whippletree::sim {

using State = core::CircuitBreaker::State;

// Whoever forgets to wake for the end of a batch's linger oversleeps it.
void PolicyChecker::BeforeStep(const core::Broker& core, Instant now) const {
  for (const auto& [name, queue] : core.queues()) {
    const core::QueuePolicy& policy = options_->broker.queues.at(name);
    const bool other_gates =
        policy.rate.count > 0 || policy.concurrency > 0 || policy.breaker.enabled();
    if (!policy.batches() || other_gates || queue->jobs.ready() == 0) continue;
    const MonoTime due = queue->jobs.oldest() + policy.batch.linger;
    if (now.mono > due + milliseconds(1) && core.HasFreeSlot(*queue)) {
      Violation("I14", name + " has a batch that waits longer than its linger");
    }
  }
}

void PolicyChecker::AfterStep(const core::Broker& core, Instant now) {
  std::map<std::string, uint64_t> granted;  // starts of this step, by queue
  const auto& leases = core.leases().all();
  for (auto it = leases.upper_bound(last_token_); it != leases.end(); ++it) {
    const core::Lease& lease = it->second;
    last_token_ = it->first;
    const std::string& queue = lease.queue->name;
    const core::QueuePolicy& policy = options_->broker.queues.at(queue);
    const uint64_t starts = lease.batch ? 1 : lease.count();
    granted[queue] += starts;
    CheckTimes(lease, now);
    CheckBatch(lease, policy);
    if (policy.rate.count > 0) {
      CheckRate(queue, policy.rate, now.mono, policy.rate.of_batches ? starts : lease.count());
    }
  }
  CheckLive(core, granted);
}

void PolicyChecker::CheckTimes(const core::Lease& lease, Instant now) const {
  const auto ms = static_cast<uint64_t>(ToMilliseconds(now.wall.time_since_epoch()));
  for (const core::Slice& slice : lease.slices) {
    if (slice.options->not_before_ms() > ms) Violation("I11", "a job was leased before its time");
    if (slice.options->not_before_ms() > 0) situations_->Count("scheduled_start");
    if (slice.options->expires_at_ms() > 0 && slice.options->expires_at_ms() <= ms) {
      Violation("I11", "a job was leased after it had expired");
    }
  }
}

void PolicyChecker::CheckBatch(const core::Lease& lease, const core::QueuePolicy& policy) const {
  if (lease.batch != policy.batches()) Violation("I14", "a batch from a queue that has none");
  if (!lease.batch) return;
  situations_->Count(lease.slices.size() > 1 ? "batch_of_streams" : "batch");
  if (lease.count() < 1 || lease.count() > policy.batch.max_jobs) {
    Violation("I14", "a batch of " + std::to_string(lease.count()) + " jobs, at most " +
                         std::to_string(policy.batch.max_jobs) + " are allowed");
  }
}

void PolicyChecker::CheckRate(const std::string& queue, const core::RatePolicy& rate, MonoTime now,
                              uint64_t starts) {
  auto& kept = starts_[queue];
  kept.emplace_back(now, starts);
  if (kept.size() > kStartsKept) kept.pop_front();
  uint64_t sum = 0;
  for (auto it = kept.rbegin(); it != kept.rend(); ++it) {
    sum += it->second;
    const auto window = static_cast<uint64_t>((now - it->first).count());
    const uint64_t allowed =
        rate.burst + window * rate.count / static_cast<uint64_t>(rate.period.count());
    if (sum > allowed) {
      Violation("I13", queue + " had " + std::to_string(sum) + " starts where its rate allows " +
                           std::to_string(allowed));
    }
  }
  situations_->Count("rate_limited_start");
}

void PolicyChecker::CheckLive(const core::Broker& core,
                              const std::map<std::string, uint64_t>& granted) {
  std::map<std::string, uint64_t> live;
  std::map<std::string, uint64_t> probes;
  bool any = false;
  for (const auto& [name, policy] : options_->broker.queues) {
    any = any || policy.concurrency > 0 || policy.breaker.enabled();
  }
  if (!any) return;
  for (const auto& [token, lease] : core.leases().all()) {
    const core::Queue& queue = *lease.queue;
    live[queue.name] += lease.batch ? 1 : lease.open.size();
    if (lease.breaker_generation == queue.breaker.generation()) probes[queue.name] += 1;
  }
  for (const auto& [name, queue] : core.queues()) {
    const core::QueuePolicy& policy = options_->broker.queues.at(name);
    if (policy.concurrency > 0 && live[name] > policy.concurrency) {
      Violation("I12", name + " has " + std::to_string(live[name]) + " live leases, at most " +
                           std::to_string(policy.concurrency) + " are allowed");
    }
    if (policy.concurrency > 0 && live[name] == policy.concurrency) {
      situations_->Count("concurrency_reached");
    }
    if (!policy.breaker.enabled()) continue;
    Breaker& before = breakers_[name];
    const State state = queue->breaker.state();
    const bool was_open = before.state == State::kOpen && state == State::kOpen &&
                          before.generation == queue->breaker.generation();
    const auto it = granted.find(name);
    if (was_open && it != granted.end()) Violation("I18", name + " starts jobs while it is open");
    if (state == State::kHalfOpen && probes[name] > policy.breaker.probes) {
      Violation("I18", name + " has more probes than allowed");
    }
    if (before.state != state) situations_->Count("breaker_" + std::string(queue->breaker.name()));
    before = {state, queue->breaker.generation()};
  }
}

}  // namespace whippletree::sim
