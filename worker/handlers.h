// Handlers that need no program: to try things out, for demos and for tests.
#pragma once

#include <span>
#include <string_view>

#include "worker/handler_call.h"

namespace whippletree {

struct NamedHandler {
  std::string_view name;
  std::string_view description;  // one line
  QueueHandlers handlers;
};

// In the order of their names; live as long as the process. Thread-safe.
std::span<const NamedHandler> BuiltInHandlers();

// Nullptr: there is no such handler. Thread-safe.
const NamedHandler* FindHandler(std::string_view name);

}  // namespace whippletree
