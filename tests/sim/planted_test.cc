// The checkers are checked: each fault that is planted in the core, or in the disk beneath it, is
// found, by the check of the invariant that it breaks. (A tripped CHECK of the core, or another
// check, does not count.)
#include "broker/core/planted.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/sim/simulation.h"

namespace whippletree::sim {
namespace {

constexpr uint64_t kSeedsMax = 2000;

struct PlantedFault {
  const char* name;
  const char* check;
};

std::ostream& operator<<(std::ostream& out, const PlantedFault& fault) { return out << fault.name; }

class PlantedFaults : public testing::TestWithParam<PlantedFault> {
 protected:
  ~PlantedFaults() override { core::planted_fault = ""; }
};

TEST_P(PlantedFaults, IsFoundByItsCheck) {
  core::planted_fault = GetParam().name;
  std::string others;
  for (uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
    const Result result = RunSeed(seed);
    if (!result.ok && result.check == GetParam().check) {
      RecordProperty("seed", std::to_string(seed));
      std::printf("seed %d: %.150s\n", static_cast<int>(seed), result.what.c_str());
      return;
    }
    if (!result.ok && others.size() < 300) others += result.what.substr(0, 100) + "\n";
  }
  FAIL() << "not found by " << GetParam().check << "; but: " << others;
}

INSTANTIATE_TEST_SUITE_P(
    Core, PlantedFaults,
    testing::Values(PlantedFault{"forget_expiry", "I1"}, PlantedFault{"forget_backoff", "I1"},
                    PlantedFault{"lose_outcomes", "I1"}, PlantedFault{"send_before_commit", "I3"},
                    PlantedFault{"confirm_before_commit", "I3"}, PlantedFault{"accept_twice", "I4"},
                    PlantedFault{"corrupt_result", "I5"}, PlantedFault{"skip_charge", "I6"},
                    PlantedFault{"move_at_revoke", "I7"}, PlantedFault{"forget_epoch", "I8"},
                    PlantedFault{"ignore_capacity", "I15"}, PlantedFault{"count_stale", "I16"},
                    PlantedFault{"charge_held", "I19"}, PlantedFault{"start_early", "I11"},
                    PlantedFault{"forget_expires_at", "I11"},
                    PlantedFault{"ignore_concurrency", "I12"}, PlantedFault{"ignore_rate", "I13"},
                    PlantedFault{"large_batches", "I14"}, PlantedFault{"forget_linger", "I14"},
                    PlantedFault{"end_group_early", "I17"}, PlantedFault{"ignore_breaker", "I18"},
                    PlantedFault{"never_halve", "I20"}, PlantedFault{"ignore_key_order", "I10"},
                    PlantedFault{"ignore_key_concurrency", "I12"},
                    PlantedFault{"ignore_key_rate", "I13"}, PlantedFault{"lose_follow_ons", "I1"},
                    PlantedFault{"ignore_pause", "pause"}, PlantedFault{"keep_policies", "I12"},
                    PlantedFault{"drop_outcome_early", "I1"}, PlantedFault{"forget_end", "I2"},
                    PlantedFault{"release_early", "I3"}, PlantedFault{"forget_next", "I4"},
                    PlantedFault{"forget_attempts", "I6"}, PlantedFault{"forget_charges", "I6"},
                    PlantedFault{"keep_returned", "I7"}, PlantedFault{"lose_lease_row", "I8"},
                    PlantedFault{"lose_group_row", "I17"}, PlantedFault{"keep_group_row", "I21"},
                    PlantedFault{"lose_ended_row", "I21"}, PlantedFault{"erase_run_early", "I21"},
                    PlantedFault{"forget_pause", "pause"}, PlantedFault{"restore_backup", "I21"},
                    PlantedFault{"ignore_disk", "disk"}, PlantedFault{"ignore_names", "I4"},
                    PlantedFault{"lose_name_row", "I4"}, PlantedFault{"lose_dead_row", "dead"},
                    PlantedFault{"lose_requeued", "dead"}, PlantedFault{"load_wrong_part", "I4"},
                    PlantedFault{"load_early", "I5"}, PlantedFault{"forget_load", "load"},
                    PlantedFault{"forget_resume", "I1"}, PlantedFault{"lose_stored_outcome", "I1"},
                    PlantedFault{"stop_all", "unread"}, PlantedFault{"take_stopped", "unread"},
                    PlantedFault{"trust_receipts", "I21"}, PlantedFault{"trust_sessions", "I5"},
                    PlantedFault{"forget_overdue", "I1"}, PlantedFault{"forget_asked_back", "I1"},
                    PlantedFault{"charge_asked_back", "I19"},
                    PlantedFault{"run_together", "apart"}),
    [](const auto& fault) { return std::string(fault.param.name); });

TEST(PlantedFaultTest, NothingIsFoundWhenNoneIsOn) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Result result = RunSeed(seed);
    EXPECT_TRUE(result.ok) << "seed " << seed << ": " << result.what;
  }
}

}  // namespace
}  // namespace whippletree::sim
