// The store of a broker that keeps everything in its own memory: whatever is written is as durable
// as it will ever be, at once.
#pragma once

#include <utility>

#include "broker/store/store.h"

namespace whippletree {

class MemoryStore : public Store {
 public:
  explicit MemoryStore(DurableCallback durable) : durable_(std::move(durable)) {}

  void Commit(uint64_t commit, std::vector<record::Record>) override { durable_(commit); }
  void Load(const core::Load&) override {}
  std::string Describe() const override { return "memory"; }

 private:
  DurableCallback durable_;
};

}  // namespace whippletree
