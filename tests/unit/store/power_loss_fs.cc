#include "power_loss_fs.h"

#include <filesystem>
#include <utility>

#include "common/check.h"

namespace whippletree {

namespace fs = std::filesystem;
using rocksdb::IOStatus;

namespace {

bool IsLog(const std::string& path) { return path.ends_with(".log"); }

}  // namespace

class PowerLossFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  PowerLossFile(PowerLossFs* fs, std::string path, std::unique_ptr<rocksdb::FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)), fs_(fs), path_(std::move(path)) {}

  IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                  rocksdb::IODebugContext* debug) override {
    const IOStatus status = fs_->Append(path_, data.size());
    return status.ok() ? target()->Append(data, options, debug) : status;
  }
  IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                  const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return IOStatus::OK();
  }
  IOStatus Sync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return fs_->BeginSync(path_);
  }
  IOStatus Fsync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return fs_->BeginSync(path_);
  }
  IOStatus RangeSync(uint64_t, uint64_t, const rocksdb::IOOptions&,
                     rocksdb::IODebugContext*) override {
    return IOStatus::OK();
  }
  IOStatus Allocate(uint64_t, uint64_t, const rocksdb::IOOptions&,
                    rocksdb::IODebugContext*) override {
    return IOStatus::OK();
  }
  void PrepareWrite(size_t, size_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {}

 private:
  PowerLossFs* const fs_;
  const std::string path_;
};

class PowerLossDirectory : public rocksdb::FSDirectory {
 public:
  explicit PowerLossDirectory(PowerLossFs* fs) : fs_(fs) {}
  IOStatus Fsync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return fs_->SyncNames();
  }

 private:
  PowerLossFs* const fs_;
};

PowerLossFs::PowerLossFs(const std::string& dir)
    : FileSystemWrapper(rocksdb::FileSystem::Default()), aside_(dir + ".lost+found") {
  fs::create_directories(aside_);
}

PowerLossFs::~PowerLossFs() {
  std::error_code ignored;
  fs::remove_all(aside_, ignored);
}

// ---- Faults ---------------------------------------------------------------------------------

void PowerLossFs::FailPowerAt(uint64_t n) {
  const std::lock_guard lock(mutex_);
  operations_left_ = n;
}

void PowerLossFs::FailPower() {
  const std::lock_guard lock(mutex_);
  power_ = false;
}

bool PowerLossFs::has_power() const {
  const std::lock_guard lock(mutex_);
  return power_;
}

void PowerLossFs::FailSyncAt(uint64_t n) {
  const std::lock_guard lock(mutex_);
  fail_sync_at_ = syncs_ + n;
}

void PowerLossFs::FailAppendAt(uint64_t n) {
  const std::lock_guard lock(mutex_);
  fail_append_at_ = appends_ + n;
}

void PowerLossFs::OnSync(const std::string& ending, std::function<void()> hook) {
  const std::lock_guard lock(mutex_);
  hook_ending_ = ending;
  hook_ = std::move(hook);
}

void PowerLossFs::RestorePower(Prng* some_stays) {
  const std::lock_guard lock(mutex_);
  const size_t stay = some_stays != nullptr ? some_stays->Between(0, changes_.size()) : 0;
  for (size_t i = changes_.size(); i-- > stay;) Undo(changes_[i]);
  changes_.clear();
  for (auto file = files_.begin(); file != files_.end();) {
    auto& [path, state] = *file;
    if (!fs::exists(path)) {
      file = files_.erase(file);
      continue;
    }
    const uint64_t whole = state.size;
    state.size = state.synced;
    if (some_stays != nullptr) state.size = some_stays->Between(state.synced, whole);
    if (state.size < whole) fs::resize_file(path, state.size);
    if (some_stays != nullptr && IsLog(path) && some_stays->Chance(250)) {
      // The length of the file was written, the bytes were not: they are zeros.
      fs::resize_file(path, state.size = whole);
    }
    state.synced = state.size;
    ++file;
  }
  power_ = true;
  operations_left_ = fail_sync_at_ = fail_append_at_ = 0;
}

void PowerLossFs::Undo(const Change& change) {
  if (!change.deleted.empty()) {
    fs::rename(change.replaced, change.deleted);
    return;
  }
  if (change.was.empty()) {
    fs::remove(change.made);
    files_.erase(change.made);
  } else {
    fs::rename(change.made, change.was);
    auto node = files_.extract(change.made);
    if (!node.empty()) {
      node.key() = change.was;
      files_.insert(std::move(node));
    }
  }
  if (!change.replaced.empty()) fs::rename(change.replaced, change.made);
}

std::string PowerLossFs::PutAside(const std::string& path) {
  const std::string aside = aside_ + "/" + std::to_string(++aside_count_);
  fs::rename(path, aside);
  return aside;
}

// ---- What happened --------------------------------------------------------------------------

uint64_t PowerLossFs::log_syncs() const {
  const std::lock_guard lock(mutex_);
  return log_syncs_;
}

uint64_t PowerLossFs::syncs() const {
  const std::lock_guard lock(mutex_);
  return syncs_;
}

uint64_t PowerLossFs::appends() const {
  const std::lock_guard lock(mutex_);
  return appends_;
}

uint64_t PowerLossFs::unsynced_log_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& [path, file] : files_) {
    if (IsLog(path)) bytes += file.size - file.synced;
  }
  return bytes;
}

// ---- Operations -----------------------------------------------------------------------------

bool PowerLossFs::Operate(IOStatus* error) {
  if (operations_left_ > 0 && --operations_left_ == 0) power_ = false;
  if (!power_) *error = IOStatus::IOError("no power");
  return power_;
}

IOStatus PowerLossFs::Append(const std::string& path, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  IOStatus error;
  if (!Operate(&error)) return error;
  if (++appends_ == fail_append_at_) return IOStatus::NoSpace("No space left on device");
  files_[path].size += bytes;
  return IOStatus::OK();
}

IOStatus PowerLossFs::BeginSync(const std::string& path) {
  std::function<void()> hook;
  {
    const std::lock_guard lock(mutex_);
    if (path.ends_with(hook_ending_)) hook = hook_;
  }
  if (hook) hook();
  return Sync(path);
}

IOStatus PowerLossFs::Sync(const std::string& path) {
  const std::lock_guard lock(mutex_);
  IOStatus error;
  if (!Operate(&error)) return error;
  if (IsLog(path)) ++log_syncs_;
  File& file = files_[path];
  if (++syncs_ == fail_sync_at_) {
    file.sync_failed = true;
    return IOStatus::IOError("Input/output error");
  }
  if (!file.sync_failed) file.synced = file.size;
  return IOStatus::OK();
}

IOStatus PowerLossFs::SyncNames() {
  const std::lock_guard lock(mutex_);
  IOStatus error;
  if (!Operate(&error)) return error;
  for (const Change& change : changes_) {
    if (!change.replaced.empty()) fs::remove(change.replaced);
  }
  changes_.clear();
  return IOStatus::OK();
}

IOStatus PowerLossFs::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      rocksdb::IODebugContext* debug) {
  {
    const std::lock_guard lock(mutex_);
    IOStatus error;
    if (!Operate(&error)) return error;
    Change change;
    change.made = path;
    if (fs::exists(path)) change.replaced = PutAside(path);
    changes_.push_back(change);
    files_[path] = {};
  }
  std::unique_ptr<rocksdb::FSWritableFile> real;
  const IOStatus status = target()->NewWritableFile(path, options, &real, debug);
  if (status.ok()) *file = std::make_unique<PowerLossFile>(this, path, std::move(real));
  return status;
}

IOStatus PowerLossFs::NewDirectory(const std::string&, const rocksdb::IOOptions&,
                                   std::unique_ptr<rocksdb::FSDirectory>* directory,
                                   rocksdb::IODebugContext*) {
  *directory = std::make_unique<PowerLossDirectory>(this);
  return IOStatus::OK();
}

IOStatus PowerLossFs::DeleteFile(const std::string& path, const rocksdb::IOOptions&,
                                 rocksdb::IODebugContext*) {
  const std::lock_guard lock(mutex_);
  IOStatus error;
  if (!Operate(&error)) return error;
  if (!fs::exists(path)) return IOStatus::PathNotFound(path);
  Change change;
  change.deleted = path;
  change.replaced = PutAside(path);
  changes_.push_back(change);
  return IOStatus::OK();
}

IOStatus PowerLossFs::RenameFile(const std::string& from, const std::string& to,
                                 const rocksdb::IOOptions&, rocksdb::IODebugContext*) {
  const std::lock_guard lock(mutex_);
  IOStatus error;
  if (!Operate(&error)) return error;
  Change change;
  change.made = to;
  change.was = from;
  if (fs::exists(to)) change.replaced = PutAside(to);
  fs::rename(from, to);
  auto node = files_.extract(from);
  files_.erase(to);
  if (!node.empty()) {
    node.key() = to;
    files_.insert(std::move(node));
  }
  changes_.push_back(change);
  return IOStatus::OK();
}

}  // namespace whippletree
