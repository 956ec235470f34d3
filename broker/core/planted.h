// Faults to be switched on by name, so that tests can show that the simulator's checks find them.
// They exist only in the copy of the core that tests/sim builds for this; elsewhere nothing is left
// of them.
#pragma once

#include <string_view>

namespace whippletree::core {

#ifdef WHIPPLETREE_PLANTED_FAULTS
inline std::string_view planted_fault;  // the one that is on
inline bool Planted(std::string_view name) { return name == planted_fault; }
#else
constexpr bool Planted(std::string_view) { return false; }
#endif

}  // namespace whippletree::core
