#include "broker/store/data_disk.h"

#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "broker/store/data_directory.h"
#include "broker/store/rocksdb_db.h"

namespace whippletree {
namespace {

// In write buffers: two as log and as table, half of the rest for a compaction (each of its files is
// about as large as one), and half for results.
constexpr uint64_t kReserveBuffers = 24;
constexpr uint64_t kReserveMin = 256 << 20;

std::string BallastPath(const std::string& dir) { return absl::StrCat(dir, "/", kBallastName); }

}  // namespace

absl::StatusOr<DiskSpace> LookAtDisk(const std::string& dir) {
  struct statvfs disk{};
  int error = statvfs(dir.c_str(), &disk) == 0 ? 0 : errno;
  if (error == ENOENT) error = statvfs(ParentOf(dir).c_str(), &disk) == 0 ? 0 : errno;
  if (error != 0) return ErrnoStatus(error, absl::StrCat("cannot look at the disk of ", dir));
  return DiskSpace{uint64_t{disk.f_bavail} * disk.f_frsize, uint64_t{disk.f_blocks} * disk.f_frsize};
}

absl::Status MakeBallast(const std::string& dir, uint64_t bytes) {
  const std::string path = BallastPath(dir);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot make ", path));
  // Not posix_fallocate: where this does not work it would write every block, for minutes.
  const int error = fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  close(fd);
  if (error == 0) return absl::OkStatus();
  DropBallast(dir);
  return ErrnoStatus(error, absl::StrCat("cannot make ", path));
}

void DropBallast(const std::string& dir) { unlink(BallastPath(dir).c_str()); }

uint64_t StoreMemoryFor(uint64_t memory_limit_bytes, uint64_t disk_bytes) {
  return std::min(memory_limit_bytes / 16, disk_bytes / 32);
}

uint64_t ReserveFor(uint64_t store_memory_bytes, uint64_t disk_bytes) {
  return std::max(kReserveBuffers * WriteBufferBytes(store_memory_bytes),
                  std::min(kReserveMin, disk_bytes / 8));
}

}  // namespace whippletree
