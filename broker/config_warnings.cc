// The part of broker/config.h that sees which settings defeat each other.
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>

#include "broker/config.h"

namespace whippletree {
namespace {

using core::QueuePolicy;

// Looks at the policy of one queue, or of the defaults.
class Looker {
 public:
  // `inherited`: what the queue has from the defaults. Settings that are so in both say nothing of
  // the queue. Null: these are the defaults, of which a queue may use what they do not use
  // themselves.
  Looker(std::string queue, const QueuePolicy& policy, const QueuePolicy* inherited,
         std::vector<ConfigWarning>* warnings)
      : queue_(std::move(queue)), p_(policy), inherited_(inherited), warnings_(warnings) {}

  void Look() const {
    Batches();
    BatchesOfKeys();
    if (!p_.batches() && inherited_ != nullptr) WithoutBatches();
    Keys();
    Breaker();
  }

 private:
  void Warn(std::string warning) const { warnings_->push_back({queue_, std::move(warning)}); }

  // Whether the queue says `setting` itself.
  template <typename T>
  bool Says(const T& setting) const {
    return inherited_ == nullptr || setting(p_) != setting(*inherited_);
  }

  void Batches() const {
    if (!p_.batches()) return;
    if (p_.rate.count > 0 && !p_.rate.of_batches && p_.rate.burst < p_.batch.max_jobs) {
      Warn(absl::StrCat("batches have at most ", Jobs(p_.rate.burst),
                        ": the rate counts jobs and its burst is ", p_.rate.burst,
                        "; raise burst or count batches"));
    }
    if (p_.capacity_jobs < p_.batch.max_jobs) {
      Warn(absl::StrCat("a batch never has batch.max_jobs jobs: the queue takes ", p_.capacity_jobs,
                        "; raise capacity.jobs or lower batch.max_jobs"));
    }
    if (p_.max_attempts == 1) {
      Warn(
          "a batch that fails takes all its jobs with it: with retry.max_attempts 1 it is not "
          "halved to find the one at fault; allow 2 attempts");
    }
  }

  void BatchesOfKeys() const {
    if (!p_.batches()) return;
    uint64_t most = std::numeric_limits<uint64_t>::max();
    const char* by = "";
    const auto limit = [&](bool is_set, uint64_t jobs, const char* setting) {
      if (!is_set || jobs >= most) return;
      most = jobs;
      by = setting;
    };
    limit(p_.keys.ordered, 1, "order");
    limit(p_.keys.concurrency > 0, p_.keys.concurrency, "concurrency");
    limit(p_.keys.rate.count > 0, p_.keys.rate.burst, "burst");
    if (most >= p_.batch.max_jobs) return;
    Warn(absl::StrCat("a batch has at most ", Jobs(most), " of each key, because of keys.", by,
                      ": those of few keys never fill one; lower batch.max_jobs, or do without "
                      "keys.",
                      by));
  }

  void WithoutBatches() const {
    if (p_.batch.linger > Duration(0) && Says([](const auto& p) { return p.batch.linger; })) {
      Warn("batch.linger has no effect: with batch.max_jobs 1 there are no batches");
    }
    if (p_.rate.count > 0 && p_.rate.of_batches && Says([](const auto& p) { return p.rate; })) {
      Warn(
          "the rate counts batches, but there are none, so each job counts as one: raise "
          "batch.max_jobs or count jobs");
    }
  }

  void Keys() const {
    const bool says_concurrency = Says([](const auto& p) { return p.keys.concurrency; });
    if (p_.keys.ordered && p_.keys.concurrency > 1 && says_concurrency) {
      Warn("keys.concurrency has no effect: with keys.order jobs of a key run one at a time");
    }
    // A call of a handler is one job.
    if (p_.batches()) return;
    if (!p_.keys.ordered && p_.concurrency > 0 && p_.keys.concurrency >= p_.concurrency &&
        says_concurrency) {
      Warn(absl::StrCat("keys.concurrency has no effect: concurrency lets ", Jobs(p_.concurrency),
                        " of all keys together run; make it less than that"));
    }
    if (p_.rate.count > 0 && p_.keys.rate.count > 0 && p_.keys.rate.burst >= p_.rate.burst &&
        PerSecond(p_.keys.rate) >= PerSecond(p_.rate) &&
        Says([](const auto& p) { return p.keys.rate; })) {
      Warn(
          "keys.rate has no effect: the rate of all keys together is no higher; make it less than "
          "that");
    }
  }

  void Breaker() const {
    if (p_.breaker.ratio == 0 || p_.rate.count == 0) return;
    const double window = std::chrono::duration<double>(p_.breaker.window).count();
    const double starts = PerSecond(p_.rate) * window + static_cast<double>(p_.rate.burst);
    if (starts >= p_.breaker.min_jobs) return;
    Warn(absl::StrCat("breaker.ratio never opens: the rate lets at most ",
                      static_cast<uint64_t>(starts),
                      " starts into breaker.window, and "
                      "breaker.min_jobs is ",
                      p_.breaker.min_jobs, "; make the window longer or min_jobs smaller"));
  }

  static std::string Jobs(uint64_t n) { return absl::StrCat(n, n == 1 ? " job" : " jobs"); }

  static double PerSecond(const core::RatePolicy& rate) {
    return static_cast<double>(rate.count) / std::chrono::duration<double>(rate.period).count();
  }

  const std::string queue_;
  const QueuePolicy& p_;
  const QueuePolicy* const inherited_;
  std::vector<ConfigWarning>* const warnings_;
};

}  // namespace

std::vector<ConfigWarning> ConfigWarnings(const core::Policies& policies) {
  std::vector<ConfigWarning> warnings;
  // Where unknown queues are refused, nobody has the defaults as they are.
  if (policies.unknown_queues) Looker("*", policies.defaults, nullptr, &warnings).Look();
  const std::vector<ConfigWarning> of_defaults = warnings;
  for (const auto& [name, policy] : policies.queues) {
    std::vector<ConfigWarning> own;
    Looker(name, policy, &policies.defaults, &own).Look();
    for (ConfigWarning& warning : own) {
      const bool inherited =
          std::any_of(of_defaults.begin(), of_defaults.end(),
                      [&](const auto& w) { return w.warning == warning.warning; });
      if (!inherited) warnings.push_back(std::move(warning));
    }
  }
  return warnings;
}

}  // namespace whippletree
