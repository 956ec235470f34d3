// DIR/CONFIRMED: the last commit that a store confirmed, written beside it right after each sync.
//
// A log whose end has rotted looks like one whose last write was cut by a power loss, and RocksDB
// drops the rest of it. This file tells the two apart: commits up to its number were durable. It is
// synced at open and close only, so after a power loss its number may be too low, and what was
// confirmed shortly before cannot be vouched for; after a kill it is exact. It never is too high.
// One line of fixed length: the number, and a checksum of it and of the store's id.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace whippletree {

class ConfirmedFile {
 public:
  // What the file of `dir` says. nullopt: it is not there, not readable as such or of another
  // store.
  static std::optional<uint64_t> Read(const std::string& dir, const std::string& store_id);

  // The number in the file, of whatever store it is; 0: there is none.
  static uint64_t ReadNumber(const std::string& dir);

  ConfirmedFile() = default;
  ConfirmedFile(const ConfirmedFile&) = delete;
  ConfirmedFile& operator=(const ConfirmedFile&) = delete;
  // Syncs the file, so that it is exact after an orderly end.
  ~ConfirmedFile();

  // Makes the file with `commit` in it, durably. REQUIRES: called once, first.
  absl::Status Open(const std::string& dir, const std::string& store_id, uint64_t commit);

  // REQUIRES: commit is durable in the store. FAILED_PRECONDITION: somebody has deleted the file.
  absl::Status Write(uint64_t commit);

 private:
  int fd_ = -1;
  std::string path_;
  std::string store_id_;
};

}  // namespace whippletree
