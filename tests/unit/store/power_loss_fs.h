// A file system that can lose power: bytes that were not synced and names whose directory was not
// synced are gone then, all or in part. Files and names are really there, in one flat directory;
// beside it, in DIR.lost+found, lies what has to come back when a deletion is lost.
//
// It injects other faults too: a sync that fails, a full disk, a sync that waits. Files are only
// appended to (as RocksDB does). Thread-safe.
#pragma once

#include <rocksdb/file_system.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/prng.h"

namespace whippletree {

class PowerLossFs : public rocksdb::FileSystemWrapper {
 public:
  explicit PowerLossFs(const std::string& dir);
  ~PowerLossFs() override;

  // ---- Faults -------------------------------------------------------------------------------

  // Power fails at the n-th operation from now on that changes something, 1 being the next one:
  // this and all later ones have no effect.
  void FailPowerAt(uint64_t n);
  void FailPower();
  bool has_power() const;

  // Power is back, after a failure: gone is what was not synced. With a generator a random part of
  // it stays: bytes from the front of each file, of which the rest may be zeros instead of gone,
  // and the oldest changes of names. REQUIRES: no file is open.
  void RestorePower(Prng* some_stays);

  // The n-th sync of a file fails; the file's later ones succeed and do nothing, as with a kernel
  // that took the pages for clean.
  void FailSyncAt(uint64_t n);

  // The n-th append fails for lack of room, the others have some.
  void FailAppendAt(uint64_t n);

  // Called before the sync of a file whose name ends so starts its work.
  void OnSync(const std::string& ending, std::function<void()> hook);

  // ---- What happened ------------------------------------------------------------------------

  uint64_t log_syncs() const;
  uint64_t appends() const;
  uint64_t syncs() const;
  // Of logs that are there: bytes that were appended and not synced.
  uint64_t unsynced_log_bytes() const;

  // ---- rocksdb::FileSystem ------------------------------------------------------------------

  const char* Name() const override { return "PowerLossFs"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  friend class PowerLossFile;
  friend class PowerLossDirectory;

  struct File {
    uint64_t size = 0;
    uint64_t synced = 0;
    bool sync_failed = false;
  };
  // A change of names that is not synced yet.
  struct Change {
    std::string made;      // this name appeared …
    std::string was;       // … and was this one before; empty: a new file
    std::string replaced;  // where what had the name `made` lies now, or the deleted file
    std::string deleted;   // this name went
  };

  // False, with the error to return: power is gone.
  bool Operate(rocksdb::IOStatus* error);
  rocksdb::IOStatus Append(const std::string& path, uint64_t bytes);
  rocksdb::IOStatus BeginSync(const std::string& path);
  rocksdb::IOStatus Sync(const std::string& path);
  rocksdb::IOStatus SyncNames();
  void Undo(const Change& change);
  std::string PutAside(const std::string& path);

  const std::string aside_;
  mutable std::mutex mutex_;
  bool power_ = true;
  uint64_t operations_left_ = 0;  // 0: no end
  uint64_t fail_sync_at_ = 0;
  uint64_t fail_append_at_ = 0;
  std::string hook_ending_;
  std::function<void()> hook_;
  uint64_t log_syncs_ = 0;
  uint64_t syncs_ = 0;
  uint64_t appends_ = 0;
  uint64_t aside_count_ = 0;
  std::map<std::string, File> files_;
  std::vector<Change> changes_;
};

}  // namespace whippletree
