// Flipped bytes and cut files: a damaged store is refused, in words, or everything is there.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/store/rocksdb_store.h"
#include "broker/store/store_check.h"
#include "common/prng.h"
#include "store_testing.h"
#include "tests/unit/sanitized.h"

namespace whippletree {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = 32768;  // of RocksDB's log
// Damage is tried at every so many places.
constexpr size_t kStride = kSanitized ? 5 : 1;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// All files, but for the empty one that is locked.
std::map<std::string, std::string> Files(const std::string& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir)) {
    files[entry.path().filename().string()] = ReadFile(entry.path());
  }
  files.erase("LOCK");
  return files;
}

RocksdbOptions In(const std::string& dir) {
  RocksdbOptions options;
  options.dir = dir;
  return options;
}

// A store with a table and a log of several blocks; copies of it are damaged.
class DamageTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    whole_ = new Whole;
    Prng prng(1);
    Rows rows;
    whole_->states.push_back(rows);
    for (const int commits : {20, 80}) {
      Witness witness;
      auto store = OpenRocksdbStore(In(whole_->dir.path()), witness.Callbacks());
      ASSERT_TRUE(store.ok()) << store.status();
      for (int i = 0; i < commits; ++i) {
        // Jobs by and by, as a producer submits them.
        const uint64_t number = whole_->states.size();
        std::vector<record::Record> writes = {
            QueueRow("q", number), StreamRow(1, "q", number + 1),
            RunRow(1, number, 1, std::string(prng.Between(1000, 1500), 'x'))};
        Apply(writes, &rows);
        (*store)->Commit(number, std::move(writes));
        whole_->states.push_back(rows);
        ASSERT_TRUE(witness.AwaitDurable(number));
      }
    }
  }
  static void TearDownTestSuite() { delete std::exchange(whole_, nullptr); }

  // Makes a copy without faults.
  void Copy() {
    dir_ = std::make_unique<TempDirectory>();
    fs::copy(whole_->dir.path(), dir_->path());
  }

  fs::path FileLike(const std::string& part) const {
    for (const auto& entry : fs::directory_iterator(dir_->path())) {
      if (entry.path().filename().string().find(part) != std::string::npos) return entry.path();
    }
    ADD_FAILURE() << "no file like " << part;
    return {};
  }

  std::string FileBytes(const std::string& part) {
    Copy();
    return ReadFile(FileLike(part));
  }

  void Flip(const std::string& part, size_t offset, char mask) {
    Copy();
    std::string bytes = ReadFile(FileLike(part));
    bytes[offset] = static_cast<char>(bytes[offset] ^ mask);
    WriteFile(FileLike(part), bytes);
  }

  void Cut(const std::string& part, size_t size) {
    Copy();
    fs::resize_file(FileLike(part), size);
  }

  void Forget() { fs::remove(dir_->path() + "/CONFIRMED"); }

  absl::Status Check() {
    report_.clear();
    return CheckStore(In(dir_->path()),
                      [this](const std::string& line) { report_ += line + "\n"; });
  }

  // Opens the copy. Either it is refused and stays as it was, and the check says so too, or it has
  // everything; `prefix` allows that the end is missing.
  void Judge(bool prefix = false) {
    const auto before = Files(dir_->path());
    const absl::Status checked = Check();
    EXPECT_EQ(Files(dir_->path()), before) << "the check changed something";
    Witness witness;
    auto store = OpenRocksdbStore(In(dir_->path()), witness.Callbacks());
    if (!store.ok()) {
      EXPECT_FALSE(checked.ok()) << store.status() << report_;
      EXPECT_EQ(Files(dir_->path()), before) << store.status();
      EXPECT_NE(store.status().message().find(dir_->path()), std::string::npos);
      ++refused_;
      return;
    }
    Rows rows;
    const absl::Status read = (*store)->Read([&](const record::Record& record) {
      rows[KeyOf(record).value()] = record.SerializeAsString();
    });
    if (!read.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(read)) << read;
      EXPECT_FALSE(checked.ok()) << read << report_;
      ++refused_;
      return;
    }
    const uint64_t last = (*store)->opened().last_commit;
    ASSERT_LE(last, LastCommit());
    if (last < LastCommit()) {
      EXPECT_TRUE(prefix) << last;
      EXPECT_NE(report_.find("notice"), std::string::npos) << report_;
    }
    EXPECT_EQ(rows, whole_->states[last]) << "last commit " << last;
  }

  // What the copy has in the end.
  uint64_t LastCommitThere() {
    Witness witness;
    const auto store = OpenRocksdbStore(In(dir_->path()), witness.Callbacks());
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? (*store)->opened().last_commit : 0;
  }

  static uint64_t LastCommit() { return whole_->states.size() - 1; }

  struct Whole {
    TempDirectory dir;
    std::vector<Rows> states;  // by commit
  };
  static inline Whole* whole_ = nullptr;
  std::unique_ptr<TempDirectory> dir_;
  std::string report_;
  int refused_ = 0;
};

TEST_F(DamageTest, AWholeStoreIsWhole) {
  Copy();
  const absl::Status status = Check();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_NE(report_.find("last commit: 100\n"), std::string::npos) << report_;
  EXPECT_NE(report_.find("run rows: 100\n"), std::string::npos) << report_;
  EXPECT_NE(report_.find("jobs in runs: 100\n"), std::string::npos) << report_;
  EXPECT_EQ(report_.find("wrong"), std::string::npos) << report_;
  EXPECT_EQ(report_.find("notice"), std::string::npos) << report_;
  Judge();
  EXPECT_EQ(refused_, 0);
}

TEST_F(DamageTest, AFlippedBitInTheLogIsRefused) {
  const size_t size = FileBytes(".log").size();
  ASSERT_GT(size, 3 * kBlockBytes);
  int tried = 0;
  for (size_t offset = 0; offset < size; offset += kStride * (offset + 2000 < size ? 4999 : 97)) {
    SCOPED_TRACE("offset " + std::to_string(offset));
    Flip(".log", offset, static_cast<char>(1 << offset % 8));
    Judge();
    ++tried;
  }
  EXPECT_EQ(refused_, tried);
}

TEST_F(DamageTest, TheCheckSaysWhichFileIsDamaged) {
  for (const std::string part : {".log", ".sst", "MANIFEST"}) {
    Flip(part, FileBytes(part).size() / 3, '\x10');
    const absl::Status status = Check();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_NE(status.message().find(FileLike(part).filename().string()), std::string::npos)
        << status;
    EXPECT_NE(status.message().find("restore the directory"), std::string::npos) << status;
  }
}

TEST_F(DamageTest, ACutLogIsRefused) {
  const size_t size = FileBytes(".log").size();
  int tried = 0;
  for (size_t cut = 1; cut <= size; cut += kStride * (cut < 2000 ? 97 : 9001)) {
    SCOPED_TRACE("cut by " + std::to_string(cut));
    Cut(".log", size - cut);
    Judge();
    ++tried;
  }
  EXPECT_EQ(refused_, tried);
}

// What a power loss leaves of a write where the length of a file is written before its bytes.
TEST_F(DamageTest, AnEndOfZerosIsDroppedLikeOneThatIsGone) {
  std::string log = FileBytes(".log");
  log.replace(log.size() - 100, 100, 100, '\0');
  WriteFile(FileLike(".log"), log);
  Judge();
  EXPECT_EQ(refused_, 1);  // that commit was confirmed, and the file CONFIRMED says so
  Forget();
  Judge(true);
  EXPECT_EQ(refused_, 1);
  EXPECT_EQ(LastCommitThere(), LastCommit() - 1);
}

// Nothing vouches for the end then, as right after a power loss: at worst the end is missing, never
// something in the middle.
TEST_F(DamageTest, WithoutItsVouchersADamagedLogLosesItsEndAtMost) {
  const size_t size = FileBytes(".log").size();
  for (size_t offset = 3; offset < size; offset += kStride * (offset + 2000 < size ? 7001 : 83)) {
    SCOPED_TRACE("offset " + std::to_string(offset));
    Flip(".log", offset, '\xff');
    Forget();
    Judge(true);
    Cut(".log", offset);
    Forget();
    Judge(true);
  }
  EXPECT_GT(refused_, 0);
}

TEST_F(DamageTest, AFlippedByteInATableIsFound) {
  const size_t size = FileBytes(".sst").size();
  for (size_t offset = 5; offset < size; offset += 1499) {
    SCOPED_TRACE("offset " + std::to_string(offset));
    Flip(".sst", offset, '\x10');
    Judge();
  }
  EXPECT_GT(refused_, 10);
}

TEST_F(DamageTest, ACutTableIsFound) {
  const size_t size = FileBytes(".sst").size();
  for (const size_t left : {size_t{0}, size / 2, size - 1}) {
    Cut(".sst", left);
    Judge();
  }
  EXPECT_EQ(refused_, 3);
}

TEST_F(DamageTest, ADamagedManifestLosesNothingSilently) {
  const size_t size = FileBytes("MANIFEST").size();
  for (size_t offset = 0; offset < size; offset += 13) {
    SCOPED_TRACE("offset " + std::to_string(offset));
    Flip("MANIFEST", offset, '\x21');
    Judge();
    Cut("MANIFEST", offset);
    Judge();
  }
  EXPECT_GT(refused_, 10);
}

TEST_F(DamageTest, AMissingFileIsFound) {
  for (const std::string part : {".log", ".sst", "MANIFEST", "CURRENT"}) {
    SCOPED_TRACE(part);
    Copy();
    fs::remove(FileLike(part));
    Judge();
  }
  EXPECT_EQ(refused_, 4);
}

TEST_F(DamageTest, DamagedVouchersAreNoDamage) {
  for (const char* text : {"", "100", "99999999999999999999 0000000000000000\n"}) {
    Copy();
    WriteFile(dir_->path() + "/CONFIRMED", text);
    EXPECT_TRUE(Check().ok());
    EXPECT_NE(report_.find("notice: the file CONFIRMED"), std::string::npos) << report_;
    Judge();
  }
  EXPECT_EQ(refused_, 0);
}

}  // namespace
}  // namespace whippletree
