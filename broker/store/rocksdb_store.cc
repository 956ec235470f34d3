#include "broker/store/rocksdb_store.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "broker/store/confirmed_file.h"
#include "broker/store/data_directory.h"
#include "broker/store/data_disk.h"
#include "broker/store/keys.h"
#include "broker/store/space_keeper.h"
#include "broker/store/store_meta.h"
#include "common/check.h"
#include "common/crash_point.h"
#include "common/identity.h"

namespace whippletree {
namespace {

// What is written with one sync, if it is not one commit. RocksDB holds it twice meanwhile, and a
// write buffer gets larger by it.
constexpr uint64_t kWriteBytesMax = 8 << 20;
// What nobody waits for is written with what comes next, or after this: a sync costs more than all
// else of a small commit, and whatever comes meanwhile would have to wait for it.
constexpr auto kPatience = std::chrono::milliseconds(20);

class RocksdbStore : public Store {
 public:
  RocksdbStore(RocksdbOptions options, StoreCallbacks callbacks)
      : options_(std::move(options)), callbacks_(std::move(callbacks)) {}
  ~RocksdbStore() override;

  // Called once, first.
  absl::Status Open();

  const Opened& opened() const override { return opened_; }
  absl::Status Read(const std::function<void(record::Record)>& each) override;
  void Commit(uint64_t commit, std::vector<record::Record> writes) override;
  void Hurry() override;
  void Load(const RowKey& key) override;
  uint64_t bytes_written() const override { return bytes_written_; }
  void OnSpace(Space space) override { space_keeper_->Set(space); }
  std::string Describe() const override {
    return absl::StrCat("rocksdb ", RocksDb::Version(), " at ", options_.dir);
  }

 private:
  struct Queued {
    uint64_t commit;
    std::vector<record::Record> writes;
  };

  absl::Status BeginEpoch(const std::optional<StoreMeta>& found);

  // Of the writing thread.
  void WriteCommits();
  absl::Status WriteAll(std::deque<Queued> queued);
  absl::Status WriteBatch(uint64_t last, RocksDb::Batch* batch);

  // Of the reading thread.
  void ReadRows();
  void ReadRow(const RowKey& key);

  // From any thread.
  void Fail(absl::Status status);

  const RocksdbOptions options_;
  const StoreCallbacks callbacks_;
  Opened opened_;  // constant after Open
  std::atomic<uint64_t> bytes_written_ = 0;
  uint64_t last_ = 0;  // of the thread that commits

  std::mutex mutex_;
  std::condition_variable write_;
  std::condition_variable read_;
  bool stopping_ = false;      // guarded by mutex_
  bool hurry_ = false;         // guarded by mutex_
  bool idle_ = false;          // guarded by mutex_: the writing thread has nothing to write
  std::deque<Queued> queued_;  // guarded by mutex_
  std::deque<RowKey> loads_;   // guarded by mutex_

  // Held while a callback runs, so that nothing is confirmed once a failure was told.
  std::mutex telling_;
  bool tells_ = false;   // guarded by telling_: Open is done
  absl::Status failed_;  // guarded by telling_

  ChainPosition written_;  // of the writing thread
  ConfirmedFile confirmed_;
  std::thread writer_;
  std::thread reader_;
  std::unique_ptr<RocksDb> db_;                // its threads call Fail
  std::unique_ptr<SpaceKeeper> space_keeper_;  // goes first
};

RocksdbStore::~RocksdbStore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  write_.notify_all();
  read_.notify_all();
  if (writer_.joinable()) writer_.join();
  if (reader_.joinable()) reader_.join();
}

// ---- Opening --------------------------------------------------------------------------------

absl::Status RocksdbStore::Open() {
  const absl::StatusOr<DirectoryState> state = PrepareDirectory(options_.dir);
  if (!state.ok()) return state.status();
  if (const absl::Status unused = RocksDb::CheckUnused(options_); !unused.ok()) {
    return absl::AlreadyExistsError(absl::StrCat("another broker uses ", options_.dir,
                                                 ": stop that one, or name another directory (",
                                                 unused.message(), ")"));
  }
  // Opening for writing already replays the log into tables and deletes it. A store that has to be
  // refused must stay as it is.
  StoreLook look;
  if (*state == DirectoryState::kStore) {
    absl::StatusOr<StoreLook> there = LookIntoStore(options_);
    if (!there.ok()) return there.status();
    if (!there->status.ok()) return there->status;
    look = *std::move(there);
    look.db.reset();
  }
  // What opening writes must fit.
  DropBallast(options_.dir);
  auto db = RocksDb::Open(options_, look.meta ? RocksDb::Mode::kWrite : RocksDb::Mode::kCreate,
                          std::max(look.skipped, RocksDb::Skip::kCutEnd),
                          [this](absl::Status status) { Fail(std::move(status)); });
  if (!db.ok()) return Explain(options_.dir, db.status());
  db_ = *std::move(db);
  const absl::StatusOr<std::optional<StoreMeta>> found = ReadMeta(options_.dir, db_.get());
  if (!found.ok()) return found.status();
  if (look.meta && (!*found || (*found)->chain != look.meta->chain)) {
    return absl::DataLossError(
        absl::StrCat(options_.dir, " changed while it was opened: use no other program on it"));
  }
  if (absl::Status status = BeginEpoch(*found); !status.ok()) {
    return Explain(options_.dir, status);
  }
  const std::lock_guard lock(telling_);
  if (!failed_.ok()) return failed_;
  tells_ = true;
  writer_ = std::thread([this] { WriteCommits(); });
  reader_ = std::thread([this] { ReadRows(); });
  space_keeper_ = std::make_unique<SpaceKeeper>(
      SpaceKeeper::Calls{[this](std::atomic<bool>* cancelled) { db_->Compact(cancelled); },
                         [this](bool allowed) { db_->AllowCompactions(allowed); },
                         [this]() -> uint64_t { return bytes_written_; }});
  return absl::OkStatus();
}

absl::Status RocksdbStore::BeginEpoch(const std::optional<StoreMeta>& found) {
  const StoreMeta before = found.value_or(StoreMeta{});
  StoreMeta after = before;
  after.format = kStoreFormat;
  after.rocksdb_version = RocksDb::VersionNumber();
  if (!found) {
    after.store_id = absl::StrFormat("%016x%016x", RandomNumber(), RandomNumber());
    after.secret_key = RandomKey();
  }
  after.epoch = std::max(after.epoch + 1, options_.epoch_min);
  after.chain.to.epoch = after.epoch;
  RocksDb::Batch batch;
  WriteMeta(before, after, &batch);
  if (absl::Status status = db_->Write(&batch); !status.ok()) return status;
  written_ = after.chain.to;
  last_ = written_.commit;
  opened_ = {after.store_id, after.epoch, last_, after.secret_key};
  return confirmed_.Open(options_.dir, after.store_id, last_);
}

absl::Status RocksdbStore::Read(const std::function<void(record::Record)>& each) {
  WT_CHECK(last_ == opened_.last_commit);
  const absl::Status status =
      db_->ForEach(kFirstRowKey, [&](std::string_view key, std::string_view value) {
        record::Record record;
        if (!record.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
            KeyOf(record).value_or("") != key) {
          return absl::DataLossError(absl::StrCat(KeyText(key), " is not readable"));
        }
        each(std::move(record));
        return absl::OkStatus();
      });
  return status.ok() ? status : Explain(options_.dir, status);
}

// ---- Writing --------------------------------------------------------------------------------

void RocksdbStore::Commit(uint64_t commit, std::vector<record::Record> writes) {
  WT_CHECK(commit == last_ + 1);
  last_ = commit;
  uint64_t bytes = 0;
  for (const record::Record& record : writes) bytes += record.ByteSizeLong();
  bytes_written_ += bytes;
  const std::lock_guard lock(mutex_);
  queued_.push_back({commit, std::move(writes)});
  if (std::exchange(idle_, false)) write_.notify_one();
}

void RocksdbStore::Hurry() {
  const std::lock_guard lock(mutex_);
  if (queued_.empty() || std::exchange(hurry_, true)) return;
  write_.notify_one();
}

void RocksdbStore::WriteCommits() {
  std::unique_lock lock(mutex_);
  while (true) {
    idle_ = queued_.empty();
    write_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
    write_.wait_for(lock, kPatience, [this] { return stopping_ || hurry_; });
    if (queued_.empty()) return;
    hurry_ = false;
    std::deque<Queued> queued = std::exchange(queued_, {});
    lock.unlock();
    if (absl::Status status = WriteAll(std::move(queued)); !status.ok()) Fail(std::move(status));
    lock.lock();
  }
}

absl::Status RocksdbStore::WriteAll(std::deque<Queued> queued) {
  RocksDb::Batch batch;
  const uint64_t bytes_max = std::min(kWriteBytesMax, WriteBufferBytes(options_.memory_bytes) / 2);
  for (; !queued.empty(); queued.pop_front()) {
    for (const record::Record& record : queued.front().writes) {
      const absl::StatusOr<std::string> key = KeyOf(record);
      if (!key.ok()) return key.status();
      if (record.erased()) {
        batch.Erase(*key);
      } else {
        batch.Put(*key, record.SerializeAsString());
      }
    }
    queued.front().writes.clear();
    if (queued.size() > 1 && batch.bytes() < bytes_max) continue;
    if (absl::Status status = WriteBatch(queued.front().commit, &batch); !status.ok()) {
      return status;
    }
    batch.Clear();
  }
  return absl::OkStatus();
}

absl::Status RocksdbStore::WriteBatch(uint64_t last, RocksDb::Batch* batch) {
  {
    const std::lock_guard lock(telling_);
    if (!failed_.ok()) return failed_;
  }
  const ChainPosition to{opened_.epoch, last};
  LinkCommits(written_, to, batch);
  written_ = to;
  CrashPoint("commit.before");
  if (absl::Status status = db_->Write(batch); !status.ok()) return status;
  CrashPoint("commit.written");
  // Before anybody is told: whoever was told is then vouched for.
  if (absl::Status status = confirmed_.Write(last); !status.ok()) return status;
  const std::lock_guard lock(telling_);
  if (failed_.ok()) callbacks_.durable(last);
  return failed_;
}

void RocksdbStore::Fail(absl::Status status) {
  const std::lock_guard lock(telling_);
  if (!failed_.ok()) return;
  failed_ = Explain(options_.dir, status);
  if (tells_) callbacks_.failed(failed_);
}

// ---- Reading back ---------------------------------------------------------------------------

void RocksdbStore::Load(const RowKey& key) {
  {
    const std::lock_guard lock(mutex_);
    loads_.push_back(key);
  }
  read_.notify_one();
}

void RocksdbStore::ReadRows() {
  std::unique_lock lock(mutex_);
  while (true) {
    read_.wait(lock, [this] { return stopping_ || !loads_.empty(); });
    if (stopping_) return;
    const RowKey key = loads_.front();
    loads_.pop_front();
    lock.unlock();
    ReadRow(key);
    lock.lock();
  }
}

void RocksdbStore::ReadRow(const RowKey& key) {
  absl::StatusOr<record::Record> record = record::Record();
  const absl::StatusOr<std::string> value = db_->Get(KeyOf(key));
  if (absl::IsNotFound(value.status())) {
    record = absl::NotFoundError(absl::StrCat(KeyText(KeyOf(key)), " is not in the store"));
  } else if (absl::IsDataLoss(value.status())) {
    record = absl::DataLossError(
        absl::StrCat(KeyText(KeyOf(key)), " is damaged: ", value.status().message()));
  } else if (!value.ok()) {
    return Fail(value.status());
  } else if (!record->ParseFromString(*value) || record->row_case() != key.kind) {
    record = absl::DataLossError(absl::StrCat(KeyText(KeyOf(key)), " is not readable"));
  }
  const std::lock_guard lock(telling_);
  if (failed_.ok()) callbacks_.loaded(key, std::move(record));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenRocksdbStore(const RocksdbOptions& options,
                                                        StoreCallbacks callbacks) {
  auto store = std::make_unique<RocksdbStore>(options, std::move(callbacks));
  const absl::Status status = store->Open();
  if (absl::IsDataLoss(status)) {
    return absl::DataLossError(absl::StrCat(status.message(), "; `whippletree-broker store check ",
                                            options.dir, "` says more"));
  }
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(status.message(),
                     ": make room on its file system and start again; what was confirmed is kept"));
  }
  if (!status.ok()) return status;
  return store;
}

}  // namespace whippletree
