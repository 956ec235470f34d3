// The store on a disk that loses power, fails, is full or is slow.
#include <gtest/gtest.h>
#include <rocksdb/env.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "broker/store/rocksdb_store.h"
#include "broker/store/store_check.h"
#include "common/prng.h"
#include "power_loss_fs.h"
#include "store_testing.h"
#include "tests/unit/sanitized.h"

namespace whippletree {
namespace {

// A store on such a disk, and a model of what it has to have.
class Machine {
 public:
  explicit Machine(uint64_t seed)
      : prng_(seed),
        fs_(std::make_shared<PowerLossFs>(dir_.path())),
        env_(rocksdb::NewCompositeEnv(fs_)) {
    states_[0] = {};
  }

  PowerLossFs& fs() { return *fs_; }
  Prng& prng() { return prng_; }
  Witness& witness() { return *witness_; }
  Store& store() { return *store_; }
  bool is_open() const { return store_ != nullptr; }
  uint64_t written() const { return states_.rbegin()->first; }

  absl::Status TryOpen() {
    witness_ = std::make_unique<Witness>();
    StoreCallbacks callbacks = witness_->Callbacks();
    callbacks.durable = [this, told = callbacks.durable](uint64_t commit) {
      // The thread that writes is the one that tells.
      EXPECT_EQ(fs_->unsynced_log_bytes(), 0u) << "commit " << commit << " told before its sync";
      told(commit);
    };
    auto store = OpenRocksdbStore(Options(), std::move(callbacks));
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    return absl::OkStatus();
  }

  // Every confirmed commit is there, in whole, and what else is there is the beginning of what was
  // written.
  void Compare() {
    const Opened& opened = store_->opened();
    EXPECT_GT(opened.epoch, epoch_);
    epoch_ = opened.epoch;
    ASSERT_GE(opened.last_commit, confirmed_);
    ASSERT_LE(opened.last_commit, written());
    EXPECT_EQ(ReadAll(store_.get()), states_[opened.last_commit]);
    confirmed_ = opened.last_commit;
    states_.erase(states_.begin(), states_.find(confirmed_));
    states_.erase(std::next(states_.begin()), states_.end());
  }

  void Open() {
    const absl::Status status = TryOpen();
    ASSERT_TRUE(status.ok()) << status;
    Compare();
  }

  void Commit() {
    std::vector<record::Record> writes;
    for (uint64_t n = prng_.Between(0, 4); n > 0; --n) {
      const size_t bytes = prng_.Chance(50) ? prng_.Between(0, 20'000) : prng_.Between(0, 200);
      writes.push_back(RunRow(prng_.Between(1, 3), prng_.Between(1, 30), 1,
                              std::string(bytes, static_cast<char>('a' + prng_.Below(26)))));
      if (prng_.Chance(400)) writes.back().set_erased(true);
    }
    Rows rows = states_.rbegin()->second;
    Apply(writes, &rows);
    const uint64_t commit = written() + 1;
    states_[commit] = std::move(rows);
    store_->Commit(commit, std::move(writes));
    if (prng_.Chance(700)) store_->Hurry();
  }

  // True: everything is confirmed. False: the store failed.
  bool Await() {
    store_->Hurry();
    return witness_->AwaitDurable(written());
  }

  // The end of the process.
  void Close() {
    store_.reset();
    confirmed_ = std::max(confirmed_, witness_->durable());
  }

  RocksdbOptions Options() const {
    RocksdbOptions options;
    options.dir = dir_.path();
    options.memory_bytes = 256 << 10;  // so that tables are written and merged, too
    options.env = env_.get();
    return options;
  }

 private:
  Prng prng_;
  TempDirectory dir_;
  std::shared_ptr<PowerLossFs> fs_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<Witness> witness_;
  std::unique_ptr<Store> store_;
  std::map<uint64_t, Rows> states_;  // by commit, from the last confirmed one on
  uint64_t confirmed_ = 0;
  uint64_t epoch_ = 0;
};

struct Tally {
  int failed_opens = 0;
  int unconfirmed = 0;  // lives whose last commits were not confirmed
};

// One life: opens, compares, commits, and loses power somewhere on the way or at the end.
void LiveOnce(Machine* machine, Tally* tally) {
  Prng& prng = machine->prng();
  if (prng.Chance(200)) {
    // While it opens, or shortly after.
    machine->fs().FailPowerAt(prng.Between(1, 25));
    const absl::Status status = machine->TryOpen();
    EXPECT_TRUE(status.ok() || !machine->fs().has_power()) << status;
    tally->failed_opens += !status.ok();
    if (status.ok()) {
      ASSERT_NO_FATAL_FAILURE(machine->Compare());
    }
  } else {
    ASSERT_NO_FATAL_FAILURE(machine->Open());
    machine->fs().FailPowerAt(prng.Between(1, 50));
  }
  if (machine->is_open()) {
    for (uint64_t n = prng.Between(1, 20); n > 0; --n) {
      machine->Commit();
      if (prng.Chance(300) && !machine->Await()) break;
    }
    if (prng.Chance(200)) machine->fs().FailPower();
    const bool all = machine->Await();
    EXPECT_TRUE(all || !machine->fs().has_power()) << "failed without a reason";
    tally->unconfirmed += !all;
    if (prng.Chance(500)) machine->fs().FailPower();
    machine->Close();
  }
  machine->fs().FailPower();
  machine->fs().RestorePower(prng.Chance(700) ? &prng : nullptr);
}

TEST(PowerLossTest, EveryConfirmedCommitSurvivesAThousandCrashes) {
  Tally tally;
  constexpr int kSeeds = kSanitized ? 1 : 10;
  for (uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Machine machine(seed);
    for (int crash = 0; crash < 100 && !HasFailure(); ++crash) {
      SCOPED_TRACE("crash " + std::to_string(crash));
      ASSERT_NO_FATAL_FAILURE(LiveOnce(&machine, &tally));
    }
    ASSERT_NO_FATAL_FAILURE(machine.Open());
    machine.Close();
    // All that may be wrong is that these runs have no streams.
    const absl::Status status = CheckStore(machine.Options(), [](const std::string&) {});
    EXPECT_NE(status.message().find("although their checksums are right"), std::string::npos)
        << status;
  }
  // That the crashes are worth something.
  EXPECT_GT(tally.failed_opens, 5 * kSeeds);
  EXPECT_GT(tally.unconfirmed, 20 * kSeeds);
}

// The n-th operation of a kind fails: told once, nothing is confirmed after, nothing confirmed
// lost.
void FailOnce(uint64_t seed, const std::function<void(PowerLossFs*)>& inject) {
  Machine machine(seed);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  for (int i = 0; i < 5; ++i) machine.Commit();
  ASSERT_TRUE(machine.Await());
  inject(&machine.fs());
  bool failed = false;
  for (int i = 0; i < 40; ++i) {
    machine.Commit();
    failed = !machine.Await();
  }
  EXPECT_TRUE(failed);
  EXPECT_EQ(machine.witness().failures(), 1u);
  machine.Close();
  machine.fs().FailPower();
  machine.fs().RestorePower(nullptr);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  machine.Commit();
  EXPECT_TRUE(machine.Await());
}

TEST(PowerLossTest, AFailedSyncStopsTheStore) {
  for (uint64_t n = 1; n <= 30; ++n) {
    SCOPED_TRACE("sync " + std::to_string(n));
    FailOnce(n, [n](PowerLossFs* fs) { fs->FailSyncAt(n); });
  }
}

TEST(PowerLossTest, AFullDiskStopsTheStore) {
  for (uint64_t n = 1; n <= 30; ++n) {
    SCOPED_TRACE("append " + std::to_string(n));
    FailOnce(n, [n](PowerLossFs* fs) { fs->FailAppendAt(n); });
  }
}

TEST(PowerLossTest, TheReasonOfAFullDiskIsTold) {
  Machine machine(1);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  machine.fs().FailAppendAt(1);
  machine.Commit();
  const absl::Status status = machine.witness().AwaitFailure();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_NE(status.message().find(machine.Options().dir), std::string::npos) << status;
}

// A door that syncs of the log wait at.
class Door {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void AwaitSomebody() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

TEST(SlowDiskTest, NothingIsConfirmedBeforeItsSyncReturned) {
  Machine machine(1);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  Door door;
  machine.fs().OnSync(".log", [&door] { door.Pass(); });
  machine.Commit();
  door.AwaitSomebody();
  EXPECT_EQ(machine.witness().durable(), 0u);
  door.Open();
  EXPECT_TRUE(machine.Await());
}

TEST(SlowDiskTest, CommitsThatGatherDuringASyncAreOneSync) {
  Machine machine(1);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  Door door;
  machine.fs().OnSync(".log", [&door] { door.Pass(); });
  const uint64_t before = machine.fs().log_syncs();
  machine.Commit();
  door.AwaitSomebody();
  // Few and small, so that no write buffer becomes full.
  for (int i = 0; i < 30; ++i) machine.store().Commit(2 + i, {QueueRow("a", i)});
  door.Open();
  EXPECT_TRUE(machine.witness().AwaitDurable(31));
  EXPECT_EQ(machine.fs().log_syncs(), before + 2);
}

TEST(SlowDiskTest, LoadsDoNotWaitForASync) {
  Machine machine(1);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  machine.store().Commit(1, {RunRow(1, 1)});
  ASSERT_TRUE(machine.witness().AwaitDurable(1));
  Door door;
  machine.fs().OnSync(".log", [&door] { door.Pass(); });
  machine.store().Commit(2, {RunRow(1, 2)});
  door.AwaitSomebody();
  machine.store().Load(RunKey(1, 1));
  EXPECT_TRUE(machine.witness().AwaitLoaded().ok());
  door.Open();
  EXPECT_TRUE(machine.witness().AwaitDurable(2));
}

std::vector<std::filesystem::path> FilledLogs(const std::string& dir) {
  std::vector<std::filesystem::path> logs;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) logs.push_back(entry.path());
  }
  std::sort(logs.begin(), logs.end());
  return logs;
}

// RocksDB alone takes the end of an older log for torn, too, and goes on with the next one.
TEST(SlowDiskTest, AHoleBetweenTwoLogsIsFoundByTheChainOfCommits) {
  Machine machine(1);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  Door door;
  machine.fs().OnSync(".sst", [&door] { door.Pass(); });
  // While the first write buffer is on its way to a table, there are two logs.
  const std::string dir = machine.Options().dir;
  for (int more = 5; more > 0; more -= FilledLogs(dir).size() >= 2) {
    machine.Commit();
    ASSERT_TRUE(machine.Await());
  }
  const TempDirectory copy;
  std::filesystem::copy(dir, copy.path());
  door.Open();
  machine.Close();

  RocksdbOptions options;
  options.dir = copy.path();
  const auto logs = FilledLogs(copy.path());
  ASSERT_EQ(logs.size(), 2u);
  const auto no_report = [](const std::string&) {};
  EXPECT_NE(CheckStore(options, no_report).message().find("checksums are right"),
            std::string::npos);
  std::filesystem::resize_file(logs[0], std::filesystem::file_size(logs[0]) - 1);
  Witness witness;
  for (const absl::Status& status :
       {CheckStore(options, no_report), OpenRocksdbStore(options, witness.Callbacks()).status()}) {
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_NE(status.message().find("what was between is missing"), std::string::npos) << status;
  }
}

TEST(SlowDiskTest, ClosingWritesWhatWaits) {
  Machine machine(1);
  ASSERT_NO_FATAL_FAILURE(machine.Open());
  for (int i = 0; i < 100; ++i) machine.Commit();
  machine.Close();
  EXPECT_EQ(machine.witness().durable(), 100u);
}

}  // namespace
}  // namespace whippletree
