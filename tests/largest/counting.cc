#include "tests/largest/counting.h"

namespace {

uint64_t blocks_run = 0;

}  // namespace

// The compiler calls this where a block begins. This file is not marked itself.
extern "C" void __sanitizer_cov_trace_pc() { ++blocks_run; }

namespace whippletree::core {

uint64_t BlocksRun() { return blocks_run; }

}  // namespace whippletree::core
