// RocksDB, as far as a store needs it. Its headers are included in rocksdb_db.cc and nowhere else.
//
// One column family has everything: the kinds of rows differ in their keys, are written in the same
// commits and live about equally long, so several would only be more files to sync.
// Compression is off: payloads are short-lived, and both Debians then read the same files.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "broker/store/commit_chain.h"

namespace rocksdb {  // NOLINT(readability-identifier-naming): RocksDB's
class DB;
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace whippletree {

// The size of a write buffer, of a log and about of a table, of a store with so much memory.
uint64_t WriteBufferBytes(uint64_t memory_bytes);

struct RocksdbOptions {
  std::string dir;
  // For write buffers and the cache of blocks, together; what waits to be written comes on top.
  uint64_t memory_bytes = 64 << 20;
  // Tables that wait for their first compaction, which takes all of them; beyond it writes wait.
  int level0_files_max = 24;
  // The least epoch that an open for writing gives.
  uint64_t epoch_min = 0;
  // Files and clocks; for tests. Must outlive the database. nullptr: the machine's.
  rocksdb::Env* env = nullptr;
};

// All functions may be called from any thread, and at the same time. Statuses: DATA_LOSS for
// damage, RESOURCE_EXHAUSTED for a full disk, ALREADY_EXISTS for a database in use, INTERNAL for
// the rest.
class RocksDb {
 public:
  enum class Mode {
    kWrite,
    kCreate,  // like kWrite; makes the database if there is none
    kRead,    // changes no file
  };

  // Which damage of the log is not DATA_LOSS but skipped, with all that cannot be read for it.
  enum class Skip {
    kNothing,
    kCutEnd,  // a file of the log ends in the middle of a record
    kAny,     // only with a look at the chain of commits: it shows whether anything follows
  };

  // What is written together.
  class Batch {
   public:
    Batch();
    ~Batch();
    void Put(std::string_view key, std::string_view value);
    void Erase(std::string_view key);
    // Joins a link to the one under this key, or puts it if there is none.
    void Link(std::string_view key, const ChainLink& link);
    size_t bytes() const;
    void Clear();

   private:
    friend class RocksDb;
    std::unique_ptr<rocksdb::WriteBatch> batch_;
  };

  // `on_error` is called, from any thread, when the database cannot write any more.
  static absl::StatusOr<std::unique_ptr<RocksDb>> Open(const RocksdbOptions& options, Mode mode,
                                                       Skip skip,
                                                       std::function<void(absl::Status)> on_error);
  ~RocksDb();

  // ALREADY_EXISTS: another process, or this one, has the database open for writing.
  static absl::Status CheckUnused(const RocksdbOptions& options);

  // Writes the batch as one and syncs. After an error nothing may be written any more.
  absl::Status Write(Batch* batch);

  // NOT_FOUND: there is no such key.
  absl::StatusOr<std::string> Get(std::string_view key);

  // Calls `each` with all keys from `from` on, in their order, until it returns an error. Checksums
  // are verified.
  absl::Status ForEach(
      std::string_view from,
      const std::function<absl::Status(std::string_view key, std::string_view value)>& each);

  // Takes erased rows out of all files, as far as it can before `cancelled` is set. Needs room for
  // some write buffers meanwhile.
  void Compact(std::atomic<bool>* cancelled);
  // Whether files are rewritten when RocksDB finds it useful; what is under way goes on.
  void AllowCompactions(bool allowed);

  // Reads all tables and verifies their checksums.
  absl::Status VerifyTables();

  // "7.8.3"
  static std::string Version();
  // Of the library, comparable: 7008 for 7.8.
  static uint64_t VersionNumber();

 private:
  explicit RocksDb(std::unique_ptr<rocksdb::DB> db);

  const std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace whippletree
