// Which rows of durable queues have changed in a step: they are written once, at its end.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>

namespace whippletree::core {

struct ChangedRows {
  std::set<std::string> queues;
  std::set<uint64_t> streams;
  std::set<uint64_t> leases;
  std::set<uint64_t> producers;                                 // numbers of peers
  std::set<std::pair<uint64_t, uint64_t>> groups;               // peer and group
  std::set<std::tuple<std::string, uint64_t, uint64_t>> names;  // queue, stream and first job
};

}  // namespace whippletree::core
