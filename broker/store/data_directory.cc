#include "broker/store/data_directory.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "broker/store/data_disk.h"

namespace whippletree {
namespace {

namespace fs = std::filesystem;

bool IsNumbered(std::string_view name, std::string_view extension) {
  if (name.size() <= extension.size() || !name.ends_with(extension)) return false;
  name.remove_suffix(extension.size());
  return std::all_of(name.begin(), name.end(), absl::ascii_isdigit);
}

// Logs and tables: what has data in it.
bool IsData(std::string_view name) { return IsNumbered(name, ".log") || IsNumbered(name, ".sst"); }

// What RocksDB makes before its main file is there, and what does not matter.
bool IsBeginning(std::string_view name) {
  return name == "LOCK" || name == "IDENTITY" || name == "lost+found" || name == kBallastName ||
         name.starts_with("MANIFEST-") || name.starts_with("OPTIONS-") ||
         IsNumbered(name, ".dbtmp");
}

absl::Status NoAccess(const char* verb, const std::string& dir, int error) {
  return absl::PermissionDeniedError(
      absl::StrCat("cannot ", verb, " ", dir, ": ", std::strerror(error),
                   ": let the broker's user own the directory, or name another one"));
}

}  // namespace

absl::Status ErrnoStatus(int error, const std::string& what) {
  const std::string text = absl::StrCat(what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(text);
  return absl::InternalError(text);
}

// fs::path calls what "/a/" names empty.
std::string ParentOf(const std::string& dir) {
  fs::path path(dir);
  if (!path.has_filename()) path = path.parent_path();
  const std::string parent = path.parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status SyncDirectory(const std::string& dir) {
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", dir));
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("cannot sync ", dir));
  return absl::OkStatus();
}

absl::StatusOr<DirectoryState> LookAtDirectory(const std::string& dir) {
  std::error_code error;
  const fs::file_status status = fs::status(dir, error);
  if (status.type() == fs::file_type::not_found) {
    return absl::NotFoundError(absl::StrCat(dir, " does not exist"));
  }
  if (error) return NoAccess("look at", dir, error.value());
  if (status.type() != fs::file_type::directory) {
    return absl::InvalidArgumentError(
        absl::StrCat(dir, " is not a directory: name a directory for the store"));
  }
  bool has_main_file = false;
  std::string data;
  std::string foreign;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name == "CURRENT") {
      has_main_file = true;
    } else if (name == "CONFIRMED" || IsData(name)) {
      data = name;
    } else if (!IsBeginning(name)) {
      foreign = name;
    }
  }
  if (error) return NoAccess("look at", dir, error.value());
  if (has_main_file) return DirectoryState::kStore;
  if (!foreign.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(dir, " is not a store of Whippletree and not empty (it has ", foreign,
                     "): name an empty directory, or one that does not exist yet"));
  }
  if (!data.empty()) {
    return absl::DataLossError(absl::StrCat(dir, " has data (", data,
                                            ") but its file CURRENT is missing: restore the whole "
                                            "directory from a backup"));
  }
  return DirectoryState::kNew;
}

absl::StatusOr<DirectoryState> PrepareDirectory(const std::string& dir) {
  const int made = mkdir(dir.c_str(), 0700) == 0 ? 0 : errno;
  if (made == 0) {
    if (absl::Status status = SyncDirectory(ParentOf(dir)); !status.ok()) return status;
  } else if (made == ENOENT) {
    return absl::NotFoundError(absl::StrCat(ParentOf(dir), ", where ", dir,
                                            " would be made, does not exist: make it first"));
  } else if (made != EEXIST && made != EROFS && made != EACCES) {
    return ErrnoStatus(made, absl::StrCat("cannot make the directory ", dir));
  }
  absl::StatusOr<DirectoryState> state = LookAtDirectory(dir);
  if (absl::IsNotFound(state.status())) return NoAccess("make", dir, made);
  if (state.ok() && access(dir.c_str(), W_OK | X_OK) != 0) return NoAccess("write to", dir, errno);
  return state;
}

}  // namespace whippletree
