// A store in memory that loses what is not durable when it crashes: for tests and the simulator.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "broker/store/store.h"

namespace whippletree {

// What a MapStore leaves behind: the disk, so to speak. Values are serialized records.
struct MapDisk {
  std::string store_id = "map";
  uint64_t epoch = 0;
  uint64_t last_commit = 0;
  std::array<uint8_t, 16> secret_key{};
  std::map<std::string, std::string> rows;
};

// Commits become durable when it is told so, in order. Not thread-safe; callbacks are called before
// the call returns that causes them. Destroying it is a crash that keeps nothing.
class MapStore : public Store {
 public:
  // Opens `disk`, which must outlive the store and be opened by one store at a time.
  MapStore(MapDisk* disk, StoreCallbacks callbacks);

  const Opened& opened() const override { return opened_; }
  absl::Status Read(const std::function<void(record::Record)>& each) override;
  void Commit(uint64_t commit, std::vector<record::Record> writes) override;
  void Load(const RowKey& key) override;
  uint64_t bytes_written() const override { return bytes_written_; }
  std::string Describe() const override { return "map"; }

  // Commits that are not durable.
  size_t pending() const { return pending_.size(); }

  // Makes the oldest `count` of the pending commits durable, and says so.
  // REQUIRES: count <= pending().
  void Sync(size_t count);
  void Sync() { Sync(pending()); }

  // Power is lost: of the pending commits the oldest `kept` are on the disk although nobody was
  // told, the others are gone. The store can only be destroyed after this.
  // REQUIRES: kept <= pending().
  void Crash(size_t kept = 0);

  // From now on nothing becomes durable. Says so, once.
  void Fail(absl::Status status);

 private:
  struct Pending {
    uint64_t commit;
    // In order. An empty value erases: a record is never empty.
    std::vector<std::pair<std::string, std::string>> puts;
  };

  void Write(size_t count);

  MapDisk* const disk_;
  const StoreCallbacks callbacks_;
  Opened opened_;
  uint64_t last_ = 0;
  uint64_t bytes_written_ = 0;
  bool over_ = false;
  std::deque<Pending> pending_;
};

}  // namespace whippletree
