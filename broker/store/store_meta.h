// The rows of a store about itself, and the refusal of a store that is not what it should be.
//
//   "\0format"   what this program can read, as text: "1"
//   "\0id"       the store's id
//   "\0epoch"    rises at each open, as text
//   "\0rocksdb"  RocksDB::VersionNumber() of the last open, as text
//   "\0chain"    the chain of commits (commit_chain.h); its end is the last commit
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "broker/store/commit_chain.h"
#include "broker/store/rocksdb_db.h"

namespace whippletree {

inline constexpr uint64_t kStoreFormat = 1;

struct StoreMeta {
  uint64_t format = 0;
  std::string store_id;
  std::array<uint8_t, 16> secret_key{};
  uint64_t epoch = 0;
  uint64_t rocksdb_version = 0;
  ChainLink chain;
};

// nullopt: the database is empty. INVALID_ARGUMENT: it is something else's. FAILED_PRECONDITION: a
// newer program wrote it. DATA_LOSS: commits are missing in the middle, or the end of what the file
// CONFIRMED vouches for.
absl::StatusOr<std::optional<StoreMeta>> ReadMeta(const std::string& dir, RocksDb* db);

// A database that was opened for a look.
struct StoreLook {
  std::unique_ptr<RocksDb> db;
  // nullopt: the database is empty.
  std::optional<StoreMeta> meta;
  // What had to be skipped so that it could be read. Nothing that was written follows it.
  RocksDb::Skip skipped = RocksDb::Skip::kNothing;
  std::string damage;  // for people, where something was skipped
  // As ReadMeta; with it `meta` is nullopt.
  absl::Status status;
};

// Opens the store in options.dir without changing it, and reads its meta rows. A write that was cut
// by a power loss leaves an end of the log that is gone, or has zeros in it; either is skipped. The
// same in the middle is damage: `status` is DATA_LOSS then. An error: not even a look is possible.
absl::StatusOr<StoreLook> LookIntoStore(const RocksdbOptions& options);

// Puts what `after` has and `before` has not into the batch, with a link between them.
void WriteMeta(const StoreMeta& before, const StoreMeta& after, RocksDb::Batch* batch);

// Adds the link of a write to the chain of commits.
void LinkCommits(const ChainPosition& from, const ChainPosition& to, RocksDb::Batch* batch);

// Of a status of the database: says whose it is and what to do.
absl::Status Explain(const std::string& dir, const absl::Status& status);

}  // namespace whippletree
