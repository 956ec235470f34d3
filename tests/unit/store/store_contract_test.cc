// What every store does that keeps something.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/store/map_store.h"
#include "broker/store/memory_store.h"
#include "broker/store/rocksdb_store.h"
#include "common/prng.h"
#include "store_testing.h"

namespace whippletree {
namespace {

// A kind of store, and where it keeps its things.
class Place {
 public:
  virtual ~Place() = default;
  virtual std::unique_ptr<Store> Open(StoreCallbacks callbacks) = 0;
  // What a store that does nothing by itself needs in order to become durable.
  virtual void Sync(Store*) {}
};

class MapPlace : public Place {
 public:
  std::unique_ptr<Store> Open(StoreCallbacks callbacks) override {
    return std::make_unique<MapStore>(&disk_, std::move(callbacks));
  }
  void Sync(Store* store) override { static_cast<MapStore*>(store)->Sync(); }

 private:
  MapDisk disk_;
};

class RocksdbPlace : public Place {
 public:
  std::unique_ptr<Store> Open(StoreCallbacks callbacks) override {
    RocksdbOptions options;
    options.dir = dir_.path();
    auto store = OpenRocksdbStore(options, std::move(callbacks));
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

 private:
  TempDirectory dir_;
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Place>()> make;
};

class StoreContractTest : public testing::TestWithParam<Kind> {
 protected:
  StoreContractTest() : place_(GetParam().make()) { Open(); }

  void Open() {
    store_.reset();
    witness_ = std::make_unique<Witness>();
    store_ = place_->Open(witness_->Callbacks());
    last_ = store_->opened().last_commit;
  }

  void Commit(std::vector<record::Record> writes) { store_->Commit(++last_, std::move(writes)); }

  void AwaitDurable() {
    place_->Sync(store_.get());
    EXPECT_TRUE(witness_->AwaitDurable(last_));
  }

  void Reopen() {
    AwaitDurable();
    Open();
  }

  std::unique_ptr<Place> place_;
  std::unique_ptr<Witness> witness_;
  std::unique_ptr<Store> store_;
  uint64_t last_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Stores, StoreContractTest,
                         testing::Values(Kind{"Map", [] { return std::make_unique<MapPlace>(); }},
                                         Kind{"Rocksdb",
                                              [] { return std::make_unique<RocksdbPlace>(); }}),
                         [](const auto& kind) { return kind.param.name; });

TEST_P(StoreContractTest, ANewStoreIsEmpty) {
  EXPECT_EQ(store_->opened().epoch, 1u);
  EXPECT_EQ(store_->opened().last_commit, 0u);
  EXPECT_NE(store_->opened().store_id, "");
  EXPECT_TRUE(ReadAll(store_.get()).empty());
}

TEST_P(StoreContractTest, RowsArePutReplacedAndErased) {
  Commit({QueueRow("a", 1), QueueRow("b", 1), QueueRow("c", 1)});
  Commit({QueueRow("a", 2), Erased(QueueRow("b"))});
  Commit({Erased(QueueRow("never there"))});
  Reopen();
  Rows expected;
  Apply({QueueRow("a", 2), QueueRow("c", 1)}, &expected);
  EXPECT_EQ(ReadAll(store_.get()), expected);
}

TEST_P(StoreContractTest, TheLastRecordOfAKeyInACommitCounts) {
  Commit({QueueRow("a", 1), Erased(QueueRow("a")), QueueRow("a", 3), QueueRow("b", 1),
          Erased(QueueRow("b"))});
  Reopen();
  Rows expected;
  Apply({QueueRow("a", 3)}, &expected);
  EXPECT_EQ(ReadAll(store_.get()), expected);
}

TEST_P(StoreContractTest, RowsAreReadByKindThenKey) {
  Commit({RunRow(2, 1), RunRow(1, 256), StreamRow(2, "q", 9), RunRow(1, 2), QueueRow("b"),
          QueueRow("a"), StreamRow(1, "q", 999)});
  Reopen();
  std::vector<std::string> order;
  EXPECT_TRUE(store_
                  ->Read([&](const record::Record& record) {
                    order.push_back(KeyText(KeyOf(record).value()));
                  })
                  .ok());
  EXPECT_EQ(order, (std::vector<std::string>{"queue \"a\"", "queue \"b\"", "stream 1", "stream 2",
                                             "run 1-2", "run 1-256", "run 2-1"}));
}

TEST_P(StoreContractTest, ManyRandomCommitsAddUp) {
  Prng prng(1);
  Rows expected;
  for (int i = 0; i < 300; ++i) {
    std::vector<record::Record> writes;
    for (uint64_t n = prng.Between(0, 5); n > 0; --n) {
      writes.push_back(RunRow(prng.Between(1, 3), prng.Between(1, 40), 2,
                              std::string(prng.Between(0, 300), 'x')));
      if (prng.Chance(400)) writes.back().set_erased(true);
    }
    Apply(writes, &expected);
    Commit(std::move(writes));
    if (prng.Chance(50)) Reopen();
  }
  Reopen();
  EXPECT_EQ(ReadAll(store_.get()), expected);
  EXPECT_EQ(store_->opened().last_commit, 300u);
}

TEST_P(StoreContractTest, ReopeningGoesOnWithNumbersAndRaisesTheEpoch) {
  const std::string id = store_->opened().store_id;
  for (uint64_t epoch = 1; epoch <= 4; ++epoch) {
    EXPECT_EQ(store_->opened().epoch, epoch);
    EXPECT_EQ(store_->opened().store_id, id);
    EXPECT_EQ(store_->opened().last_commit, 2 * (epoch - 1));
    Commit({QueueRow("a", epoch)});
    Commit({});
    Reopen();
  }
}

TEST_P(StoreContractTest, OpeningAloneRaisesTheEpoch) {
  Open();
  Open();
  EXPECT_EQ(store_->opened().epoch, 3u);
  EXPECT_EQ(store_->opened().last_commit, 0u);
}

TEST_P(StoreContractTest, LoadGivesBackARun) {
  Commit({RunRow(1, 5, 3, "abc"), RunRow(1, 8, 1, "d")});
  AwaitDurable();
  store_->Load(RunKey(1, 5));
  const auto loaded = witness_->AwaitLoaded();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->SerializeAsString(), RunRow(1, 5, 3, "abc").SerializeAsString());
}

TEST_P(StoreContractTest, LoadGivesBackAnOutcomeBesideTheRunOfItsJobs) {
  record::Record outcome;
  outcome.mutable_outcome()->set_stream(1);
  outcome.mutable_outcome()->mutable_outcome()->set_first(5);
  outcome.mutable_outcome()->mutable_outcome()->set_count(2);
  Commit({RunRow(1, 5, 3, "abc"), outcome});
  AwaitDurable();
  store_->Load({record::Record::kOutcome, 1, 5});
  const auto loaded = witness_->AwaitLoaded();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->SerializeAsString(), outcome.SerializeAsString());
}

TEST_P(StoreContractTest, ManyLoadsAreEachAnsweredOnce) {
  std::vector<record::Record> rows;
  for (uint64_t first = 1; first <= 500; first += 5) {
    rows.push_back(RunRow(1, first, 5, "row " + std::to_string(first)));
  }
  Commit(rows);
  AwaitDurable();
  for (const record::Record& row : rows) store_->Load(RunKey(1, row.run().first()));
  std::map<uint64_t, std::string> got;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto loaded = witness_->AwaitLoaded();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(got.emplace(loaded->run().first(), loaded->SerializeAsString()).second);
  }
  for (const record::Record& row : rows) {
    EXPECT_EQ(got[row.run().first()], row.SerializeAsString());
  }
}

TEST_P(StoreContractTest, LoadOfARunThatIsNotThereIsNotFound) {
  Commit({RunRow(1, 5), RunRow(1, 6)});
  Commit({Erased(RunRow(1, 5))});
  AwaitDurable();
  for (const RowKey key : {RunKey(1, 5), RunKey(1, 7)}) {
    store_->Load(key);
    EXPECT_TRUE(absl::IsNotFound(witness_->AwaitLoaded().status()));
  }
  EXPECT_EQ(witness_->failures(), 0u);
}

TEST_P(StoreContractTest, WrittenBytesAreCounted) {
  EXPECT_EQ(store_->bytes_written(), 0u);
  Commit({RunRow(1, 1, 10, std::string(100, 'x'))});
  const uint64_t once = store_->bytes_written();
  EXPECT_GT(once, 1000u);
  EXPECT_LT(once, 1200u);
  Commit({RunRow(1, 11, 10, std::string(100, 'x'))});
  EXPECT_EQ(store_->bytes_written(), 2 * once);
  AwaitDurable();
}

TEST_P(StoreContractTest, ARowThatCannotBeKeptIsAFailure) {
  Commit({QueueRow("a")});
  AwaitDurable();
  Commit({QueueRow(std::string("a\0b", 3))});
  Commit({QueueRow("c")});
  EXPECT_TRUE(absl::IsInvalidArgument(witness_->AwaitFailure()));
  store_.reset();
  EXPECT_EQ(witness_->durable(), 1u);
  Open();
  EXPECT_EQ(store_->opened().last_commit, 1u);
}

TEST(MemoryStoreTest, EverythingIsDurableAtOnceAndNothingIsKept) {
  Witness witness;
  MemoryStore store(witness.Callbacks());
  EXPECT_EQ(store.opened().last_commit, 0u);
  EXPECT_TRUE(ReadAll(&store).empty());
  store.Commit(1, {QueueRow("a")});
  EXPECT_EQ(witness.durable(), 1u);
  store.Load(RunKey(1, 1));
  EXPECT_TRUE(absl::IsNotFound(witness.AwaitLoaded().status()));
}

TEST(MapStoreTest, ACrashLosesWhatIsNotDurable) {
  MapDisk disk;
  for (size_t kept = 0; kept <= 2; ++kept) {
    disk = {};
    Witness witness;
    MapStore store(&disk, witness.Callbacks());
    for (uint64_t i = 1; i <= 4; ++i) store.Commit(i, {QueueRow("a", i)});
    store.Sync(2);
    EXPECT_EQ(witness.durable(), 2u);
    store.Crash(kept);
    EXPECT_EQ(witness.durable(), 2u);

    Witness next;
    MapStore reopened(&disk, next.Callbacks());
    EXPECT_EQ(reopened.opened().last_commit, 2 + kept);
    Rows expected;
    Apply({QueueRow("a", 2 + kept)}, &expected);
    EXPECT_EQ(ReadAll(&reopened), expected);
  }
}

TEST(MapStoreTest, ARowThatIsDamagedIsDataLossAndTheStoreGoesOn) {
  MapDisk disk;
  Witness witness;
  MapStore store(&disk, witness.Callbacks());
  store.Commit(1, {RunRow(1, 5), RunRow(1, 6)});
  store.Sync();
  disk.rows[KeyOf(RunKey(1, 5))] = "\xff\xff";
  store.Load(RunKey(1, 5));
  EXPECT_TRUE(absl::IsDataLoss(witness.AwaitLoaded().status()));
  store.Load(RunKey(1, 6));
  EXPECT_TRUE(witness.AwaitLoaded().ok());
}

TEST(MapStoreTest, NothingIsConfirmedAfterAFailure) {
  MapDisk disk;
  Witness witness;
  MapStore store(&disk, witness.Callbacks());
  store.Commit(1, {QueueRow("a")});
  store.Fail(absl::ResourceExhaustedError("no space"));
  store.Commit(2, {QueueRow("b")});
  store.Sync();
  store.Fail(absl::InternalError("again"));
  EXPECT_EQ(witness.failures(), 1u);
  EXPECT_EQ(witness.durable(), 0u);
}

}  // namespace
}  // namespace whippletree
