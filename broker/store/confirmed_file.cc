#include "broker/store/confirmed_file.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>

#include "broker/store/data_directory.h"
#include "common/check.h"

namespace whippletree {
namespace {

constexpr char kName[] = "/CONFIRMED";

// FNV-1a (Fowler, Noll, Vo).
uint64_t Hash(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return hash;
}

std::string Line(uint64_t commit, const std::string& store_id) {
  const std::string number = absl::StrFormat("%020u", commit);
  return absl::StrFormat("%s %016x\n", number, Hash(number + store_id));
}

std::string ReadText(const std::string& dir) {
  std::ifstream file(dir + kName, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

std::optional<uint64_t> ConfirmedFile::Read(const std::string& dir, const std::string& store_id) {
  const std::string text = ReadText(dir);
  const uint64_t commit = std::strtoull(text.c_str(), nullptr, 10);
  if (text != Line(commit, store_id)) return std::nullopt;
  return commit;
}

uint64_t ConfirmedFile::ReadNumber(const std::string& dir) {
  const std::string text = ReadText(dir);
  const uint64_t commit = std::strtoull(text.c_str(), nullptr, 10);
  const bool is_line = text.size() == Line(commit, "").size() &&
                       text.substr(0, 21) == Line(commit, "").substr(0, 21);
  return is_line ? commit : 0;
}

ConfirmedFile::~ConfirmedFile() {
  if (fd_ < 0) return;
  fdatasync(fd_);
  close(fd_);
}

absl::Status ConfirmedFile::Open(const std::string& dir, const std::string& store_id,
                                 uint64_t commit) {
  WT_CHECK(fd_ < 0);
  path_ = dir + kName;
  store_id_ = store_id;
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd_ < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", path_));
  if (absl::Status status = Write(commit); !status.ok()) return status;
  if (fsync(fd_) != 0) return ErrnoStatus(errno, absl::StrCat("cannot sync ", path_));
  return SyncDirectory(dir);
}

absl::Status ConfirmedFile::Write(uint64_t commit) {
  struct stat file;
  if (fstat(fd_, &file) == 0 && file.st_nlink == 0) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " was deleted while the broker ran"));
  }
  const std::string line = Line(commit, store_id_);
  const ssize_t written = pwrite(fd_, line.data(), line.size(), 0);
  if (written == static_cast<ssize_t>(line.size())) return absl::OkStatus();
  return ErrnoStatus(written < 0 ? errno : ENOSPC, absl::StrCat("cannot write ", path_));
}

}  // namespace whippletree
