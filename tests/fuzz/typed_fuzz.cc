// Messages of all kinds and all else that comes to the broker's core: see broker_world.h.
#include "tests/fuzz/broker_world.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

void Fuzz(std::string_view input) { BrokerWorld(ByteSource(input)).Run(); }

const RegisterTarget kTarget("typed", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
