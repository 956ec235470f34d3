// The directory of a store, before RocksDB sees it: made if need be, and never one that holds
// something else.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>

namespace whippletree {

enum class DirectoryState {
  kNew,    // nothing in it, or what is left of a store that was never finished
  kStore,  // a database is in it
};

// Looks at `dir` and changes nothing. NOT_FOUND: it does not exist. INVALID_ARGUMENT: it is not a
// directory, or holds something else. DATA_LOSS: it holds a store that lacks its main file.
absl::StatusOr<DirectoryState> LookAtDirectory(const std::string& dir);

// The same for a store that is to be written: makes `dir`, for nobody else to read, if its parent
// exists. PERMISSION_DENIED: it cannot be written to.
absl::StatusOr<DirectoryState> PrepareDirectory(const std::string& dir);

// The directory that `dir` is in.
std::string ParentOf(const std::string& dir);

// Makes the names in `dir` durable.
absl::Status SyncDirectory(const std::string& dir);

// "WHAT: text of the error number": RESOURCE_EXHAUSTED if the disk is full, else INTERNAL.
absl::Status ErrnoStatus(int error, const std::string& what);

}  // namespace whippletree
