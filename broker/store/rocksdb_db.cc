#include "broker/store/rocksdb_db.h"

#include <absl/strings/str_cat.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <string_view>
#include <utility>

namespace whippletree {
namespace {

constexpr uint64_t kWriteBufferMin = 64 << 10;
constexpr int kOpenFilesMax = 64;

rocksdb::Slice Slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

absl::Status ToStatus(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  // A file that is missing is damage, too.
  if (status.IsCorruption() || status.IsPathNotFound()) return absl::DataLossError(text);
  if (status.IsNotFound()) return absl::NotFoundError(text);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(text);
  return absl::InternalError(text);
}

class ChainOperator : public rocksdb::AssociativeMergeOperator {
 public:
  bool Merge(const rocksdb::Slice&, const rocksdb::Slice* existing, const rocksdb::Slice& value,
             std::string* joined, rocksdb::Logger*) const override {
    if (existing == nullptr) {
      *joined = value.ToString();
      return true;
    }
    const auto left = DecodeLink(existing->ToStringView());
    const auto right = DecodeLink(value.ToStringView());
    if (!left || !right) return false;  // becomes Corruption
    *joined = EncodeLink(Join(*left, *right));
    return true;
  }
  const char* Name() const override { return "whippletree.CommitChain"; }
};

class ErrorListener : public rocksdb::EventListener {
 public:
  explicit ErrorListener(std::function<void(absl::Status)> on_error)
      : on_error_(std::move(on_error)) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    // Nothing has changed by it, and it is tried again.
    if (reason == rocksdb::BackgroundErrorReason::kCompaction && error->IsNoSpace()) {
      *error = rocksdb::Status::OK();
      return;
    }
    on_error_(ToStatus(*error));
  }

 private:
  const std::function<void(absl::Status)> on_error_;
};

// RocksDB would keep a text of its own beside the data. What matters comes back as a status, except
// for the place of damage in the log.
class DamageNotes : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[500];
    std::vsnprintf(line, sizeof line, format, arguments);
    const std::string_view text = line;
    const size_t dropping = text.find(": dropping ");
    if (dropping == std::string_view::npos) return;
    // Before it stands where in RocksDB's source this was said.
    const size_t source_end = text.rfind("] ", dropping);
    const std::lock_guard lock(mutex_);
    if (first_.empty()) {
      first_ = text.substr(source_end == std::string_view::npos ? 0 : source_end + 2);
    }
  }
  // "DIR/000012.log: dropping 123 bytes; Corruption: …", or empty.
  std::string first() {
    const std::lock_guard lock(mutex_);
    return first_;
  }

 private:
  std::mutex mutex_;
  std::string first_;
};

rocksdb::Options MakeOptions(const RocksdbOptions& ours, RocksDb::Mode mode, RocksDb::Skip skip,
                             std::function<void(absl::Status)> on_error) {
  rocksdb::Options options;
  if (ours.env != nullptr) options.env = ours.env;
  options.create_if_missing = mode == RocksDb::Mode::kCreate;
  options.info_log = std::make_shared<DamageNotes>();
  options.merge_operator = std::make_shared<ChainOperator>();
  if (on_error) options.listeners.push_back(std::make_shared<ErrorListener>(std::move(on_error)));

  // Not the default recovery mode: that one drops everything after a damaged record without a word.
  using Recovery = rocksdb::WALRecoveryMode;
  options.wal_recovery_mode = skip == RocksDb::Skip::kNothing ? Recovery::kAbsoluteConsistency
                              : skip == RocksDb::Skip::kCutEnd
                                  ? Recovery::kTolerateCorruptedTailRecords
                                  : Recovery::kSkipAnyCorruptedRecords;
  options.recycle_log_file_num = 0;
  options.paranoid_checks = true;
  // After a failed sync the kernel may take its pages for clean: trying again proves nothing.
  options.max_bgerror_resume_count = 0;

  // Two write buffers, each a quarter; a quarter of cache; the last for what readers hold.
  options.write_buffer_size = WriteBufferBytes(ours.memory_bytes);
  options.max_write_buffer_number = 2;
  options.max_open_files = kOpenFilesMax;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(ours.memory_bytes / 4);
  table.cache_index_and_filter_blocks = true;
  // Debian 12's RocksDB knows no newer one.
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  // What a compaction has twice for a while is bounded, as data_disk.cc counts with it.
  options.target_file_size_base = options.write_buffer_size;
  options.max_bytes_for_level_base = 4 * options.write_buffer_size;
  options.max_compaction_bytes = 8 * options.write_buffer_size;
  options.level0_stop_writes_trigger = ours.level0_files_max;
  options.level0_slowdown_writes_trigger =
      std::min(options.level0_slowdown_writes_trigger, ours.level0_files_max - 1);
  options.manifest_preallocation_size =
      std::min(options.manifest_preallocation_size, options.write_buffer_size);
  options.max_manifest_file_size = 16 << 20;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

}  // namespace

uint64_t WriteBufferBytes(uint64_t memory_bytes) {
  return std::max(memory_bytes / 4, kWriteBufferMin);
}

RocksDb::Batch::Batch() : batch_(std::make_unique<rocksdb::WriteBatch>()) {}
RocksDb::Batch::~Batch() = default;

// Of these only memory can fail.
void RocksDb::Batch::Put(std::string_view key, std::string_view value) {
  batch_->Put(Slice(key), Slice(value)).PermitUncheckedError();
}
void RocksDb::Batch::Erase(std::string_view key) {
  batch_->Delete(Slice(key)).PermitUncheckedError();
}
void RocksDb::Batch::Link(std::string_view key, const ChainLink& link) {
  batch_->Merge(Slice(key), EncodeLink(link)).PermitUncheckedError();
}
size_t RocksDb::Batch::bytes() const { return batch_->GetDataSize(); }
void RocksDb::Batch::Clear() { batch_->Clear(); }

RocksDb::RocksDb(std::unique_ptr<rocksdb::DB> db) : db_(std::move(db)) {}
RocksDb::~RocksDb() = default;

absl::StatusOr<std::unique_ptr<RocksDb>> RocksDb::Open(const RocksdbOptions& options, Mode mode,
                                                       Skip skip,
                                                       std::function<void(absl::Status)> on_error) {
  const rocksdb::Options theirs = MakeOptions(options, mode, skip, std::move(on_error));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = mode == Mode::kRead
                                     ? rocksdb::DB::OpenForReadOnly(theirs, options.dir, &db)
                                     : rocksdb::DB::Open(theirs, options.dir, &db);
  if (!status.ok()) {
    const std::string note = static_cast<DamageNotes&>(*theirs.info_log).first();
    const absl::Status error = ToStatus(status);
    return note.empty() ? error : absl::Status(error.code(), note);
  }
  return std::unique_ptr<RocksDb>(new RocksDb(std::unique_ptr<rocksdb::DB>(db)));
}

absl::Status RocksDb::CheckUnused(const RocksdbOptions& options) {
  rocksdb::Env* env = options.env != nullptr ? options.env : rocksdb::Env::Default();
  rocksdb::FileLock* lock = nullptr;
  const rocksdb::Status status = env->LockFile(options.dir + "/LOCK", &lock);
  if (!status.ok()) return absl::AlreadyExistsError(status.ToString());
  return ToStatus(env->UnlockFile(lock));
}

absl::Status RocksDb::Write(Batch* batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  return ToStatus(db_->Write(options, batch->batch_.get()));
}

absl::StatusOr<std::string> RocksDb::Get(std::string_view key) {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), Slice(key), &value);
  if (!status.ok()) return ToStatus(status);
  return value;
}

absl::Status RocksDb::ForEach(
    std::string_view from,
    const std::function<absl::Status(std::string_view key, std::string_view value)>& each) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> row(db_->NewIterator(options));
  for (row->Seek(Slice(from)); row->Valid(); row->Next()) {
    const absl::Status status = each(row->key().ToStringView(), row->value().ToStringView());
    if (!status.ok()) return status;
  }
  return ToStatus(row->status());
}

// What goes wrong in these and matters is told to `on_error`.
void RocksDb::Compact(std::atomic<bool>* cancelled) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = cancelled;
  db_->CompactRange(options, nullptr, nullptr).PermitUncheckedError();
}

void RocksDb::AllowCompactions(bool allowed) {
  db_->SetOptions({{"disable_auto_compactions", allowed ? "false" : "true"}})
      .PermitUncheckedError();
}

absl::Status RocksDb::VerifyTables() { return ToStatus(db_->VerifyChecksum()); }

std::string RocksDb::Version() { return rocksdb::GetRocksVersionAsString(); }

uint64_t RocksDb::VersionNumber() { return ROCKSDB_MAJOR * 1000 + ROCKSDB_MINOR; }

}  // namespace whippletree
