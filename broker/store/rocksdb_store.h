// A store on disk, in RocksDB.
//
// A thread of its own takes all commits that wait, writes them as one and syncs; meanwhile the next
// ones gather. So a slow disk makes the writes larger, not the queue longer. Another thread reads
// runs back. See store.h for what a store promises, confirmed_file.h for what damage it can tell
// from a write that was cut by a power loss, and what it cannot.
#pragma once

#include <absl/status/statusor.h>

#include <memory>

#include "broker/store/rocksdb_db.h"
#include "broker/store/store.h"

namespace whippletree {

// Opens the store in options.dir; makes one if there is none. Destroying it writes what was handed
// to Commit before. Errors, each saying what to do; nothing is changed in the directory then:
//   NOT_FOUND            the parent of the directory does not exist
//   INVALID_ARGUMENT     it is not a directory, or holds something else
//   PERMISSION_DENIED    it cannot be written to
//   ALREADY_EXISTS       another broker uses it
//   FAILED_PRECONDITION  it was written by a newer version
//   DATA_LOSS            it is damaged
//   RESOURCE_EXHAUSTED, INTERNAL  the disk is full, or does not work
absl::StatusOr<std::unique_ptr<Store>> OpenRocksdbStore(const RocksdbOptions& options,
                                                        StoreCallbacks callbacks);

}  // namespace whippletree
