// The store of a broker that keeps everything in its own memory: whatever is written is as durable
// as it will ever be, at once.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "broker/store/store.h"

namespace whippletree {

class MemoryStore : public Store {
 public:
  explicit MemoryStore(StoreCallbacks callbacks) : callbacks_(std::move(callbacks)) {
    opened_.epoch = 1;
  }

  const Opened& opened() const override { return opened_; }
  absl::Status Read(const std::function<void(record::Record)>&) override {
    return absl::OkStatus();
  }
  void Commit(uint64_t commit, std::vector<record::Record>) override { callbacks_.durable(commit); }
  void Load(const RowKey& key) override {
    callbacks_.loaded(key, absl::NotFoundError("a memory store keeps no rows"));
  }
  uint64_t bytes_written() const override { return 0; }
  std::string Describe() const override { return "memory"; }

 private:
  const StoreCallbacks callbacks_;
  Opened opened_;
};

}  // namespace whippletree
