// Which directories are taken for a store, and what is said of the others.
#include "broker/store/data_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "broker/store/confirmed_file.h"
#include "broker/store/rocksdb_store.h"
#include "broker/store/store_check.h"
#include "broker/store/store_meta.h"
#include "store_testing.h"

namespace whippletree {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class DataDirectoryTest : public testing::Test {
 protected:
  RocksdbOptions Options() const {
    RocksdbOptions options;
    options.dir = dir_;
    return options;
  }
  absl::StatusOr<std::unique_ptr<Store>> Open() {
    return OpenRocksdbStore(Options(), witness_.Callbacks());
  }
  absl::Status Check() {
    return CheckStore(Options(), [](const std::string&) {});
  }
  // The error, whose text is this one.
  void ExpectRefusal(absl::StatusCode code, const std::string& text) {
    const absl::Status status = Open().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_THAT(std::string(status.message()), HasSubstr(dir_));
  }

  TempDirectory temp_;
  Witness witness_;
  std::string dir_ = temp_.path() + "/data";
};

TEST_F(DataDirectoryTest, IsMadeForItsOwnerAlone) {
  for (const char* end : {"", "/"}) {
    dir_ = temp_.path() + "/data" + end;
    fs::remove_all(dir_);
    ASSERT_TRUE(Open().ok());
    struct stat status {};
    ASSERT_EQ(stat(dir_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700u);
  }
}

TEST_F(DataDirectoryTest, AnEmptyOneIsTaken) {
  fs::create_directory(dir_);
  fs::create_directory(dir_ + "/lost+found");
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirectoryTest, WithoutAParentIsRefused) {
  dir_ = temp_.path() + "/a/b";
  ExpectRefusal(absl::StatusCode::kNotFound, "make it first");
}

TEST_F(DataDirectoryTest, AFileIsRefused) {
  std::ofstream(dir_) << "text";
  ExpectRefusal(absl::StatusCode::kInvalidArgument, "is not a directory");
}

TEST_F(DataDirectoryTest, SomebodyElsesFilesAreRefused) {
  fs::create_directory(dir_);
  std::ofstream(dir_ + "/letter.txt") << "text";
  ExpectRefusal(absl::StatusCode::kInvalidArgument, "it has letter.txt");
  EXPECT_FALSE(fs::exists(dir_ + "/CURRENT"));
}

TEST_F(DataDirectoryTest, SomebodyElsesDatabaseIsRefused) {
  fs::create_directory(dir_);
  {
    const auto db =
        RocksDb::Open(Options(), RocksDb::Mode::kCreate, RocksDb::Skip::kCutEnd, nullptr);
    ASSERT_TRUE(db.ok()) << db.status();
    RocksDb::Batch batch;
    batch.Put("key", "value");
    ASSERT_TRUE((*db)->Write(&batch).ok());
  }
  ExpectRefusal(absl::StatusCode::kInvalidArgument, "a database of something else");
  EXPECT_TRUE(absl::IsInvalidArgument(Check()));
}

TEST_F(DataDirectoryTest, ADatabaseThatWasNeverFilledIsANewStore) {
  fs::create_directory(dir_);
  ASSERT_TRUE(
      RocksDb::Open(Options(), RocksDb::Mode::kCreate, RocksDb::Skip::kCutEnd, nullptr).ok());
  const auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->opened().epoch, 1u);
}

// Whatever the clock says, from which the least epoch is.
TEST_F(DataDirectoryTest, TheEpochRisesAtEachOpen) {
  uint64_t last = 0;
  for (const uint64_t least : {100, 7, 101, 500}) {
    RocksdbOptions options = Options();
    options.epoch_min = least;
    const auto store = OpenRocksdbStore(options, witness_.Callbacks());
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_GE((*store)->opened().epoch, least);
    EXPECT_GT((*store)->opened().epoch, last);
    last = (*store)->opened().epoch;
  }
}

TEST_F(DataDirectoryTest, OneThatCannotBeWrittenToIsRefused) {
  fs::create_directory(dir_);
  fs::permissions(dir_, fs::perms::owner_read | fs::perms::owner_exec);
  if (access(dir_.c_str(), W_OK) == 0) GTEST_SKIP() << "root may write everywhere";
  ExpectRefusal(absl::StatusCode::kPermissionDenied, "let the broker's user own");
}

TEST_F(DataDirectoryTest, IsUsedByOneBrokerAtATime) {
  const auto store = Open();
  ASSERT_TRUE(store.ok());
  ExpectRefusal(absl::StatusCode::kAlreadyExists, "another broker uses");
  const absl::Status checked = Check();
  EXPECT_TRUE(absl::IsAlreadyExists(checked)) << checked;
  (*store)->Commit(1, {QueueRow("a")});
  EXPECT_TRUE(witness_.AwaitDurable(1));
}

// Writes a row of the store about itself.
void Overwrite(const RocksdbOptions& options, const std::string& name, const std::string& value) {
  const auto db = RocksDb::Open(options, RocksDb::Mode::kWrite, RocksDb::Skip::kCutEnd, nullptr);
  ASSERT_TRUE(db.ok()) << db.status();
  RocksDb::Batch batch;
  batch.Put(std::string(1, '\0') + name, value);
  ASSERT_TRUE((*db)->Write(&batch).ok());
}

TEST_F(DataDirectoryTest, ANewerFormatIsRefused) {
  ASSERT_TRUE(Open().ok());
  Overwrite(Options(), "format", "2");
  ExpectRefusal(absl::StatusCode::kFailedPrecondition, "has format 2, and this program knows 1");
  EXPECT_TRUE(absl::IsFailedPrecondition(Check()));
}

TEST_F(DataDirectoryTest, ANewerRocksdbIsRefused) {
  ASSERT_TRUE(Open().ok());
  Overwrite(Options(), "rocksdb", "99007");
  ExpectRefusal(absl::StatusCode::kFailedPrecondition, "was written with RocksDB 99.7");
}

TEST_F(DataDirectoryTest, CommitsThatWereConfirmedMustBeThere) {
  std::string id;
  {
    const auto store = Open();
    ASSERT_TRUE(store.ok());
    id = (*store)->opened().store_id;
  }
  { ASSERT_TRUE(ConfirmedFile().Open(dir_, id, 7).ok()); }
  EXPECT_EQ(ConfirmedFile::Read(dir_, id), 7u);
  EXPECT_EQ(ConfirmedFile::Read(dir_, "another"), std::nullopt);
  ExpectRefusal(absl::StatusCode::kDataLoss, "commits up to 7 were confirmed");
  fs::remove(dir_ + "/CONFIRMED");
  EXPECT_TRUE(Open().ok());
}

// RocksDB takes a young store, of which only the log was deleted, for an empty one.
TEST_F(DataDirectoryTest, AStoreWithoutItsLogIsNotBegunAnew) {
  {
    const auto store = Open();
    ASSERT_TRUE(store.ok());
    (*store)->Commit(1, {QueueRow("q")});
    (*store)->Hurry();
    witness_.AwaitDurable(1);
  }
  for (const auto& entry : fs::directory_iterator(dir_)) {
    if (entry.path().extension() == ".log") fs::remove(entry.path());
  }
  ExpectRefusal(absl::StatusCode::kDataLoss, "commits up to 1 were confirmed: its log is missing");
  EXPECT_TRUE(absl::IsDataLoss(Check()));
  fs::remove(dir_ + "/CONFIRMED");
  const auto store = Open();
  ASSERT_TRUE(store.ok());
  EXPECT_EQ((*store)->opened().last_commit, 0u);
}

TEST_F(DataDirectoryTest, OneThatIsDeletedMeanwhileStopsTheStore) {
  const auto store = Open();
  ASSERT_TRUE(store.ok());
  (*store)->Commit(1, {QueueRow("q")});
  (*store)->Hurry();
  EXPECT_TRUE(witness_.AwaitDurable(1));
  fs::remove_all(dir_);
  (*store)->Commit(2, {QueueRow("q")});
  (*store)->Hurry();
  const absl::Status failure = witness_.AwaitFailure();
  EXPECT_TRUE(absl::IsFailedPrecondition(failure));
  EXPECT_THAT(std::string(failure.message()),
              HasSubstr(dir_ + "/CONFIRMED was deleted while the broker ran"));
}

TEST_F(DataDirectoryTest, AStoreSaysWhereItIs) {
  const auto store = Open();
  ASSERT_TRUE(store.ok());
  EXPECT_EQ((*store)->Describe(), "rocksdb " + RocksDb::Version() + " at " + dir_);
}

TEST_F(DataDirectoryTest, AnEmptyOrMissingDirectoryHasNoStoreToCheck) {
  EXPECT_TRUE(absl::IsNotFound(Check()));
  fs::create_directory(dir_);
  EXPECT_TRUE(absl::IsInvalidArgument(Check()));
  EXPECT_TRUE(fs::is_empty(dir_));
}

}  // namespace
}  // namespace whippletree
