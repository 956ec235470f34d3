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

// Counted in write buffers. Two are log and table at once; a compaction takes all of level 0 (up to
// level0_files_max, each a buffer or what one commit adds to it) and level 1, which is four.
constexpr uint64_t kReserveBuffers = 40;
constexpr uint64_t kReserveMin = 256 << 20;
constexpr int kLevel0FilesMaxOfSmallDisk = 6;  // buffers are small there, beside a commit

std::string BallastPath(const std::string& dir) { return absl::StrCat(dir, "/", kBallastName); }

}  // namespace

absl::StatusOr<DiskSpace> LookAtDisk(const std::string& dir) {
  struct statvfs disk {};
  int error = statvfs(dir.c_str(), &disk) == 0 ? 0 : errno;
  if (error == ENOENT) error = statvfs(ParentOf(dir).c_str(), &disk) == 0 ? 0 : errno;
  if (error != 0) return ErrnoStatus(error, absl::StrCat("cannot look at the disk of ", dir));
  return DiskSpace{uint64_t{disk.f_bavail} * disk.f_frsize,
                   uint64_t{disk.f_blocks} * disk.f_frsize};
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

StoreSizes SizesFor(uint64_t memory_limit_bytes, uint64_t disk_bytes) {
  const bool small = disk_bytes / 32 < memory_limit_bytes / 16;
  StoreSizes sizes;
  sizes.memory_bytes = small ? disk_bytes / 32 : memory_limit_bytes / 16;
  sizes.level0_files_max = small ? kLevel0FilesMaxOfSmallDisk : RocksdbOptions().level0_files_max;
  sizes.reserve_bytes = std::max(kReserveBuffers * WriteBufferBytes(sizes.memory_bytes),
                                 std::min(kReserveMin, disk_bytes / 8));
  return sizes;
}

}  // namespace whippletree
