#include "broker/config.h"

#include <utility>

#include "broker/config_value.h"

namespace whippletree {
namespace {

// No limit is `none` there, as 0.
uint64_t FromLimit(uint64_t limit) { return limit == kNoLimit ? 0 : limit; }
uint64_t ToLimit(uint64_t setting) { return setting == 0 ? kNoLimit : setting; }

// What was not said: the bounds are for queues in memory, those of the others is the disk's.
void LiftUnsaidLimits(const config::Queue& said, core::QueuePolicy* policy) {
  if (!policy->durable) return;
  if (!said.capacity().has_jobs()) policy->capacity_jobs = kNoLimit;
  if (!said.capacity().has_bytes()) policy->capacity_bytes = kNoLimit;
}

// The settings of a policy, each said.
config::Queue SettingsOf(const core::QueuePolicy& policy) {
  config::Queue out;
  out.mutable_capacity()->set_jobs(FromLimit(policy.capacity_jobs));
  out.mutable_capacity()->set_bytes(FromLimit(policy.capacity_bytes));
  out.mutable_batch()->set_max_jobs(policy.batch.max_jobs);
  out.mutable_batch()->set_max_bytes(policy.batch.max_bytes);
  out.mutable_batch()->set_linger(policy.batch.linger.count());
  out.mutable_rate()->set_count(policy.rate.count);
  out.mutable_rate()->set_period(policy.rate.period.count());
  out.mutable_rate()->set_of_batches(policy.rate.of_batches);
  out.set_burst(policy.rate.burst);
  out.set_concurrency(policy.concurrency);
  config::Keys& keys = *out.mutable_keys();
  keys.set_order(policy.keys.ordered);
  keys.set_concurrency(policy.keys.concurrency);
  keys.mutable_rate()->set_count(policy.keys.rate.count);
  keys.mutable_rate()->set_period(policy.keys.rate.period.count());
  keys.set_burst(policy.keys.rate.burst);
  out.set_lease(policy.lease_duration.count());
  out.set_timeout(policy.timeout.count());
  out.mutable_retry()->set_max_attempts(policy.max_attempts);
  out.mutable_retry()->mutable_backoff()->set_min(policy.backoff_min.count());
  out.mutable_retry()->mutable_backoff()->set_max(policy.backoff_max.count());
  config::Breaker& breaker = *out.mutable_breaker();
  breaker.set_failures(policy.breaker.failures);
  breaker.set_ratio(policy.breaker.ratio);
  breaker.set_window(policy.breaker.window.count());
  breaker.set_min_jobs(policy.breaker.min_jobs);
  breaker.set_open(policy.breaker.open.count());
  breaker.set_probes(policy.breaker.probes);
  out.set_durable(policy.durable);
  out.mutable_job_names()->set_window(policy.names_window.count());
  out.mutable_dead()->set_jobs(policy.dead_jobs_max);
  out.mutable_dead()->set_bytes(policy.dead_bytes_max);
  return out;
}

// Adds what differs between two messages of one type with every setting said.
void Compare(const std::string& queue, const std::string& prefix,
             const google::protobuf::Message& before, const google::protobuf::Message& after,
             std::vector<ConfigChange>* changes) {
  const google::protobuf::Descriptor& type = *before.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const SettingField& field = *type.field(i);
    if (IsGroup(field)) {
      Compare(queue, prefix + field.name() + ".",
              before.GetReflection()->GetMessage(before, &field),
              after.GetReflection()->GetMessage(after, &field), changes);
      continue;
    }
    std::string from = ValueText(before, field);
    std::string to = ValueText(after, field);
    if (from != to) {
      changes->push_back({queue, prefix + field.name(), std::move(from), std::move(to)});
    }
  }
}

}  // namespace

core::QueuePolicy WithSettings(core::QueuePolicy policy, const config::Queue& settings) {
  // What is said there replaces; the rest stays.
  config::Queue all = SettingsOf(policy);
  all.MergeFrom(settings);
  policy.capacity_jobs = ToLimit(all.capacity().jobs());
  policy.capacity_bytes = ToLimit(all.capacity().bytes());
  policy.batch.max_jobs = static_cast<uint32_t>(all.batch().max_jobs());
  policy.batch.max_bytes = all.batch().max_bytes();
  policy.batch.linger = Duration(all.batch().linger());
  policy.rate.count = all.rate().count();
  policy.rate.period = Duration(all.rate().period());
  policy.rate.of_batches = all.rate().of_batches();
  policy.rate.burst = all.burst();
  policy.concurrency = static_cast<uint32_t>(all.concurrency());
  core::KeyPolicy& keys = policy.keys;
  keys.ordered = all.keys().order();
  keys.concurrency = static_cast<uint32_t>(all.keys().concurrency());
  keys.rate.count = all.keys().rate().count();
  keys.rate.period = Duration(all.keys().rate().period());
  keys.rate.burst = all.keys().burst();
  policy.lease_duration = Duration(all.lease());
  policy.timeout = Duration(all.timeout());
  policy.max_attempts = static_cast<uint32_t>(all.retry().max_attempts());
  policy.backoff_min = Duration(all.retry().backoff().min());
  policy.backoff_max = Duration(all.retry().backoff().max());
  core::BreakerPolicy& breaker = policy.breaker;
  breaker.failures = static_cast<uint32_t>(all.breaker().failures());
  breaker.ratio = all.breaker().ratio();
  breaker.window = Duration(all.breaker().window());
  breaker.min_jobs = static_cast<uint32_t>(all.breaker().min_jobs());
  breaker.open = Duration(all.breaker().open());
  breaker.probes = static_cast<uint32_t>(all.breaker().probes());
  policy.durable = all.durable();
  policy.names_window = Duration(all.job_names().window());
  policy.dead_jobs_max = all.dead().jobs();
  policy.dead_bytes_max = all.dead().bytes();
  return policy;
}

core::Policies PoliciesOf(const config::Config& config, const core::QueuePolicy& built_in,
                          const config::Queue& overrides) {
  core::Policies policies;
  policies.defaults = WithSettings(WithSettings(built_in, config.defaults()), overrides);
  config::Queue said = config.defaults();
  said.MergeFrom(overrides);
  for (const auto& [name, settings] : config.queues()) {
    config::Queue said_of_it = said;
    said_of_it.MergeFrom(settings);
    policies.queues[name] = WithSettings(policies.defaults, settings);
    LiftUnsaidLimits(said_of_it, &policies.queues[name]);
  }
  LiftUnsaidLimits(said, &policies.defaults);
  policies.unknown_queues = config.unknown_queues() == config::ACCEPT;
  return policies;
}

config::Config ConfigOf(const core::Policies& policies) {
  config::Config config;
  for (const auto& [name, policy] : policies.queues) {
    (*config.mutable_queues())[name] = SettingsOf(policy);
  }
  *config.mutable_defaults() = SettingsOf(policies.defaults);
  config.set_unknown_queues(policies.unknown_queues ? config::ACCEPT : config::REFUSE);
  return config;
}

std::vector<ConfigChange> ConfigChanges(const core::Policies& before, const core::Policies& after) {
  std::vector<ConfigChange> changes;
  const auto compare = [&](const std::string& queue, const core::QueuePolicy& from,
                           const core::QueuePolicy& to) {
    Compare(queue, "", SettingsOf(from), SettingsOf(to), &changes);
  };
  const auto named = [](bool is) { return is ? "yes" : "no"; };
  compare("*", before.defaults, after.defaults);
  if (before.unknown_queues != after.unknown_queues) {
    const auto text = [](bool accept) { return accept ? "accept" : "refuse"; };
    changes.push_back(
        {"*", "unknown_queues", text(before.unknown_queues), text(after.unknown_queues)});
  }
  std::map<std::string, core::QueuePolicy> all = before.queues;
  all.insert(after.queues.begin(), after.queues.end());
  for (const auto& [name, policy] : all) {
    const auto from = before.queues.find(name);
    const auto to = after.queues.find(name);
    const bool was = from != before.queues.end();
    const bool is = to != after.queues.end();
    if (was != is) changes.push_back({name, "named", named(was), named(is)});
    compare(name, was ? from->second : before.defaults, is ? to->second : after.defaults);
  }
  return changes;
}

}  // namespace whippletree
