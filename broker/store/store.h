// Where durable queues are kept. The core says what to write; a store writes it, and says when it
// is durable. What it keeps are rows (record.proto), ordered by their keys (keys.h).
//
// The life of a store: it is opened, Read() gives all rows, then commits follow. A store that
// failed once writes and confirms nothing any more: the broker stops and is started again, since
// after a failed write or fsync nobody knows what the disk has.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "record.pb.h"

namespace whippletree {

// What opening a store found.
struct Opened {
  // Random, made with the store: the same at each open, different from that of any other store.
  std::string store_id;
  // Raised at each open, durably, before the open returns.
  uint64_t epoch = 0;
  // The number of the last commit that is there; 0: none.
  uint64_t last_commit = 0;
  // Random, made with the store; nobody else is to know it.
  std::array<uint8_t, 16> secret_key{};
};

// Which row of a stream: that of a run, or of an outcome.
struct RowKey {
  record::Record::RowCase kind = record::Record::kRun;
  uint64_t stream = 0;
  uint64_t first = 0;
  friend bool operator==(const RowKey&, const RowKey&) = default;
};

// How a store reports. All are called one at a time, from threads of the store, or before the call
// that causes them returns; none may call the store. Until the store is destroyed any may come.
// Each of them must be set.
struct StoreCallbacks {
  // The commit, and all before it, are durable. Numbers rise; not every one is told.
  std::function<void(uint64_t commit)> durable;
  // The store cannot write, or the disk cannot be read. Told once; then nothing else is.
  std::function<void(absl::Status)> failed;
  // The answer to Load: the row; NOT_FOUND: there is no such row; DATA_LOSS: it is damaged. The
  // store goes on after either.
  std::function<void(const RowKey&, absl::StatusOr<record::Record>)> loaded;
};

// What the disk has left (see core/disk_gate.h).
enum class Space {
  kPlenty,
  kLow,   // what erased rows take is to be given back, now and as more rows are erased
  kFull,  // nothing is to be rewritten: that needs room for a while
};

class Store {
 public:
  virtual ~Store() = default;

  virtual const Opened& opened() const = 0;

  // Calls `each` with every row, in the order of the keys: by kind, in the order of the numbers in
  // record.proto, and by key within a kind. DATA_LOSS if a row is not what was written.
  // REQUIRES: Commit was not called yet.
  virtual absl::Status Read(const std::function<void(record::Record)>& each) = 0;

  // Writes all records as one: after a crash all of them are there, or none. Each replaces the row
  // of its key, or erases it if it says `erased`. Returns at once; callbacks.durable follows: after
  // a moment, in which more may be written together, or at once with Hurry.
  // REQUIRES: commit is one more than that of the call before, or than opened().last_commit.
  virtual void Commit(uint64_t commit, std::vector<record::Record> writes) = 0;

  // Somebody waits for what was committed. Returns at once.
  virtual void Hurry() {}

  // Reads one row back. Returns at once; callbacks.loaded follows.
  // REQUIRES: the commit that wrote the row is durable.
  virtual void Load(const RowKey& key) = 0;

  // Bytes of rows handed to Commit since the store was opened. A log takes about as many at once,
  // and tables as many again before the log is deleted. May be called from any thread.
  virtual uint64_t bytes_written() const = 0;

  // Returns at once.
  virtual void OnSpace(Space) {}

  // For the log: "memory", or "rocksdb 7.8.3 at DIR".
  virtual std::string Describe() const = 0;
};

}  // namespace whippletree
