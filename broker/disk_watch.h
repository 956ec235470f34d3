// Measures the disk of the data directory for the core, which decides (core/disk_gate.h).
//
// What is free is what the file system says, and the ballast, less what was handed to the store and
// is not yet in files. The ballast is a file that only keeps blocks: when others fill the disk it
// is given up, so that the commits under way and what leased jobs return have these blocks.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "broker/core/effects.h"
#include "common/log_event.h"
#include "common/time.h"

namespace whippletree {

// What is asked of the file system (see store/data_disk.h). Each must be set.
struct DiskCalls {
  // Bytes that this process can still write.
  std::function<absl::StatusOr<uint64_t>()> free_bytes;
  std::function<absl::Status(uint64_t bytes)> make_ballast;
  std::function<void()> drop_ballast;
};

// Not thread-safe.
class DiskWatch {
 public:
  struct Options {
    uint64_t reserve_bytes = 0;
    DiskCalls calls;
  };

  // REQUIRES: there is no ballast; options.reserve_bytes > 0.
  explicit DiskWatch(Options options) : options_(std::move(options)) {}

  // `bytes_written` in all were handed to the store, with this commit.
  void OnCommit(uint64_t commit, uint64_t bytes_written);
  // Every commit up to this one is in files.
  void OnDurable(uint64_t commit);

  // Looks at the disk if it is time to, and takes care of the ballast. Returns what the core must
  // know, if something has changed; adds to `logs`. To be called before each step.
  std::optional<core::Disk> Poll(MonoTime now, std::vector<LogEvent>* logs);
  MonoTime next_look() const { return next_look_; }

  bool has_ballast() const { return ballast_bytes_ > 0; }

 private:
  struct Commit {
    uint64_t number;
    uint64_t bytes_written;
  };

  void Look(MonoTime now, std::vector<LogEvent>* logs);
  void MakeBallast(MonoTime now, std::vector<LogEvent>* logs);
  void Measure();
  uint64_t free_bytes() const;

  const Options options_;
  std::deque<Commit> under_way_;
  uint64_t written_ = 0;
  uint64_t in_files_ = 0;           // of written_
  uint64_t measured_ = 0;           // by the file system …
  uint64_t in_files_measured_ = 0;  // … when this much was in files
  uint64_t ballast_bytes_ = 0;
  MonoTime next_look_{};
  MonoTime next_ballast_{};
  bool ballast_failed_ = false;
  std::optional<uint64_t> told_;
};

}  // namespace whippletree
