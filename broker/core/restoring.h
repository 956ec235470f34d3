// What was read of the store so far, until all of it is there. Payloads stay there.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "broker/core/broker.h"

namespace whippletree::core {

struct Broker::Restoring {
  struct Run {
    uint64_t order = 0;
    std::shared_ptr<const wire::JobOptions> options;
    uint64_t end = 0;
    uint64_t bytes = 0;  // of payload
  };
  struct StreamData {
    std::map<uint64_t, Run> runs;  // by first number
    IntervalSet ended;
    IntervalSet taken;  // returned ones, and those of leases
    std::vector<record::Returned> returned;
  };
  std::map<uint64_t, StreamData> streams;
  std::vector<record::Lease> leases;
};

}  // namespace whippletree::core
