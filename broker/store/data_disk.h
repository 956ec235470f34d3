// The file system that the directory of a store is on: what is free, what is to stay free, and the
// ballast, a file in the directory that keeps blocks for when others have filled it.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>

namespace whippletree {

inline constexpr char kBallastName[] = "BALLAST";

struct DiskSpace {
  uint64_t free_bytes = 0;  // for this process
  uint64_t total_bytes = 0;
};

// Of `dir`, or of its parent if it does not exist. Errors as ErrnoStatus.
absl::StatusOr<DiskSpace> LookAtDisk(const std::string& dir);

// Makes a file of `bytes`, all of them allocated. RESOURCE_EXHAUSTED: there is no room; INTERNAL:
// the file system cannot do this. There is no such file after an error.
absl::Status MakeBallast(const std::string& dir, uint64_t bytes);
// Deletes it, if it is there.
void DropBallast(const std::string& dir);

struct StoreSizes {
  uint64_t memory_bytes = 0;   // RocksdbOptions::memory_bytes
  int level0_files_max = 0;    // RocksdbOptions::level0_files_max
  uint64_t reserve_bytes = 0;  // what durable queues are to leave free
};

// Those of a broker with such memory on a disk of this size. The reserve has room for logs and
// tables that are being written, for what the largest compaction has twice for a while, and for
// what leased jobs return, as far as can be foreseen: it is 40 write buffers, or more.
StoreSizes SizesFor(uint64_t memory_limit_bytes, uint64_t disk_bytes);

}  // namespace whippletree
