#include "broker/store/data_disk.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>

#include "broker/store/data_directory.h"
#include "broker/store/rocksdb_store.h"
#include "tests/unit/store/store_testing.h"

namespace whippletree {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = 1 << 20;

class DataDiskTest : public testing::Test {
 protected:
  std::string dir() const { return directory_.path() + "/data"; }
  std::string ballast() const { return dir() + "/" + std::string(kBallastName); }

  TempDirectory directory_;
};

TEST(ReserveTest, FitsSmallDisksAndLargeOnes) {
  const auto reserve = [](uint64_t memory_limit, uint64_t disk) {
    return SizesFor(memory_limit, disk).reserve_bytes;
  };
  EXPECT_EQ(reserve(1024 * kMiB, 1ull << 40), 640 * kMiB);
  EXPECT_EQ(reserve(64 * kMiB, 1ull << 40), 256 * kMiB);
  EXPECT_EQ(reserve(1024 * kMiB, 256 * kMiB), 80 * kMiB);
  EXPECT_EQ(reserve(1024 * kMiB, 64 * kMiB), 20 * kMiB);
  EXPECT_EQ(SizesFor(1024 * kMiB, 64 * kMiB).memory_bytes, 2 * kMiB);
  EXPECT_LT(SizesFor(1024 * kMiB, 64 * kMiB).level0_files_max,
            SizesFor(1024 * kMiB, 1ull << 40).level0_files_max);
}

TEST_F(DataDiskTest, ADirectoryThatIsStillToBeMadeIsOnTheDiskOfItsParent) {
  const absl::StatusOr<DiskSpace> parent = LookAtDisk(directory_.path());
  ASSERT_TRUE(parent.ok()) << parent.status();
  EXPECT_GT(parent->total_bytes, 0u);
  EXPECT_LE(parent->free_bytes, parent->total_bytes);
  const absl::StatusOr<DiskSpace> disk = LookAtDisk(dir());
  ASSERT_TRUE(disk.ok()) << disk.status();
  EXPECT_EQ(disk->total_bytes, parent->total_bytes);
  EXPECT_FALSE(LookAtDisk(dir() + "/deeper").ok());
}

TEST_F(DataDiskTest, ABallastHasAllItsBlocks) {
  fs::create_directory(dir());
  ASSERT_TRUE(MakeBallast(dir(), 3 * kMiB).ok());
  struct stat file {};
  ASSERT_EQ(stat(ballast().c_str(), &file), 0);
  EXPECT_GE(static_cast<uint64_t>(file.st_blocks) * 512, 3 * kMiB);
  DropBallast(dir());
  EXPECT_FALSE(fs::exists(ballast()));
  DropBallast(dir());
}

TEST_F(DataDiskTest, NothingIsLeftOfABallastThatDoesNotFit) {
  fs::create_directory(dir());
  EXPECT_FALSE(MakeBallast(dir(), 1ull << 60).ok());
  EXPECT_FALSE(fs::exists(ballast()));
}

TEST_F(DataDiskTest, AStoreIsOpenedWithoutItsBallast) {
  fs::create_directory(dir());
  ASSERT_TRUE(MakeBallast(dir(), kMiB).ok());
  RocksdbOptions options;
  options.dir = dir();
  StoreCallbacks callbacks;
  callbacks.durable = [](uint64_t) {};
  callbacks.failed = [](const absl::Status&) {};
  callbacks.loaded = [](const RowKey&, const absl::StatusOr<record::Record>&) {};
  const auto store = OpenRocksdbStore(options, callbacks);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_FALSE(fs::exists(ballast()));
}

uint64_t TableBytes(const std::string& dir) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(dir)) {
    std::error_code error;
    const uint64_t size = entry.is_regular_file() ? fs::file_size(entry.path(), error) : 0;
    if (!error && entry.path().extension() == ".sst") bytes += size;
  }
  return bytes;
}

// What RocksDB would leave in its files until more is written.
TEST_F(DataDiskTest, ACompactionGivesBackWhatErasedRowsTake) {
  fs::create_directory(dir());
  RocksdbOptions options;
  options.dir = dir();
  options.memory_bytes = 4 * kMiB;
  auto db = RocksDb::Open(options, RocksDb::Mode::kCreate, RocksDb::Skip::kNothing, nullptr);
  ASSERT_TRUE(db.ok()) << db.status();
  const std::string value(10'000, 'x');
  const auto key = [](int i) { return "k" + std::to_string(100'000 + i); };
  for (int i = 0; i < 1000; ++i) {
    RocksDb::Batch batch;
    batch.Put(key(i), value);
    ASSERT_TRUE((*db)->Write(&batch).ok());
  }
  for (int i = 0; i < 1000; ++i) {
    RocksDb::Batch batch;
    batch.Erase(key(i));
    ASSERT_TRUE((*db)->Write(&batch).ok());
  }
  ASSERT_GT(TableBytes(dir()), 3 * kMiB);
  std::atomic<bool> cancelled = true;
  (*db)->Compact(&cancelled);
  EXPECT_GT(TableBytes(dir()), 3 * kMiB);
  (*db)->AllowCompactions(false);
  cancelled = false;
  (*db)->Compact(&cancelled);
  EXPECT_LT(TableBytes(dir()), kMiB);
  (*db)->AllowCompactions(true);
  RocksDb::Batch batch;
  batch.Put("again", value);
  EXPECT_TRUE((*db)->Write(&batch).ok());
}

}  // namespace
}  // namespace whippletree
