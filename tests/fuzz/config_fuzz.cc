// Text of a configuration file → policies, and back: what is taken can be written, and says the
// same again.
#include "broker/config.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

void Fuzz(std::string_view input) {
  const auto config = ParseConfig(input, "broker.yaml");
  if (!config.ok()) return;
  const core::Policies policies = PoliciesOf(*config, {}, {});
  ConfigWarnings(policies);
  const auto again = ParseConfig(ConfigText(ConfigOf(policies)), "broker.yaml");
  Require(again.ok());
  Require(ConfigChanges(policies, PoliciesOf(*again, {}, {})).empty());
}

const RegisterTarget kTarget("config", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
