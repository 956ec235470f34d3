#include "broker/store/store_meta.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string_view>

#include "broker/store/confirmed_file.h"

namespace whippletree {
namespace {

constexpr char kFormat[] = "format";
constexpr char kId[] = "id";
constexpr char kSecretKey[] = "secret-key";
constexpr char kEpoch[] = "epoch";
constexpr char kRocksdb[] = "rocksdb";
constexpr char kChain[] = "chain";

// Below the keys of all rows.
std::string MetaKey(const char* name) { return std::string(1, '\0') + name; }

absl::Status Damaged(const std::string& dir, const std::string& what) {
  return absl::DataLossError(
      absl::StrCat(dir, " is damaged: ", what, ": restore the directory from a backup"));
}

// Reads the value of a key. A missing one is damage.
absl::Status GetText(const std::string& dir, RocksDb* db, const char* name, std::string* text) {
  absl::StatusOr<std::string> value = db->Get(MetaKey(name));
  if (absl::IsNotFound(value.status())) {
    return Damaged(dir, absl::StrCat("its row ", name, " is missing"));
  }
  if (!value.ok()) return Explain(dir, value.status());
  *text = *std::move(value);
  return absl::OkStatus();
}

absl::Status GetNumber(const std::string& dir, RocksDb* db, const char* name, uint64_t* number) {
  std::string text;
  if (absl::Status status = GetText(dir, db, name, &text); !status.ok()) return status;
  if (absl::SimpleAtoi(text, number)) return absl::OkStatus();
  return Damaged(dir, absl::StrCat("its row ", name, " is not a number"));
}

absl::Status GetSecretKey(const std::string& dir, RocksDb* db, std::array<uint8_t, 16>* key) {
  std::string text;
  if (absl::Status status = GetText(dir, db, kSecretKey, &text); !status.ok()) return status;
  if (text.size() != key->size()) return Damaged(dir, "its secret key is not readable");
  std::copy(text.begin(), text.end(), key->begin());
  return absl::OkStatus();
}

absl::StatusOr<bool> IsEmpty(RocksDb* db) {
  bool empty = true;
  const absl::Status status = db->ForEach("", [&](std::string_view, std::string_view) {
    empty = false;
    return absl::CancelledError();
  });
  if (!status.ok() && !absl::IsCancelled(status)) return status;
  return empty;
}

absl::Status CheckVersions(const std::string& dir, const StoreMeta& meta) {
  if (meta.format > kStoreFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, " has format ", meta.format, ", and this program knows ", kStoreFormat,
                     ": use the version of Whippletree that wrote it, or a newer one"));
  }
  if (meta.rocksdb_version > RocksDb::VersionNumber()) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, " was written with RocksDB ", meta.rocksdb_version / 1000, ".",
                     meta.rocksdb_version % 1000, ", and this program has ", RocksDb::Version(),
                     ": use a program with that RocksDB, or a newer one"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Explain(const std::string& dir, const absl::Status& status) {
  if (absl::IsDataLoss(status)) return Damaged(dir, std::string(status.message()));
  return absl::Status(status.code(), absl::StrCat("the store in ", dir, ": ", status.message()));
}

absl::StatusOr<std::optional<StoreMeta>> ReadMeta(const std::string& dir, RocksDb* db) {
  StoreMeta meta;
  const absl::StatusOr<std::string> format = db->Get(MetaKey(kFormat));
  if (absl::IsNotFound(format.status())) {
    const absl::StatusOr<bool> empty = IsEmpty(db);
    if (!empty.ok()) return Explain(dir, empty.status());
    if (*empty && ConfirmedFile::ReadNumber(dir) == 0) return std::nullopt;
    if (*empty) {
      return Damaged(
          dir, absl::StrCat("it has no commit, but commits up to ", ConfirmedFile::ReadNumber(dir),
                            " were confirmed: its log is missing (to begin with an "
                            "empty store, delete ",
                            dir, "/CONFIRMED)"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat(dir,
                     " holds a database of something else, not a store of Whippletree: name "
                     "an empty directory, or one that does not exist yet"));
  }
  absl::Status status = GetNumber(dir, db, kFormat, &meta.format);
  // Before the others: their meaning may have changed.
  if (status.ok() && meta.format > kStoreFormat) status = CheckVersions(dir, meta);
  if (status.ok()) status = GetNumber(dir, db, kRocksdb, &meta.rocksdb_version);
  if (status.ok()) status = CheckVersions(dir, meta);
  if (status.ok()) status = GetText(dir, db, kId, &meta.store_id);
  if (status.ok()) status = GetSecretKey(dir, db, &meta.secret_key);
  if (status.ok()) status = GetNumber(dir, db, kEpoch, &meta.epoch);
  std::string chain;
  if (status.ok()) status = GetText(dir, db, kChain, &chain);
  if (!status.ok()) return status;
  const std::optional<ChainLink> link = DecodeLink(chain);
  if (!link) return Damaged(dir, "the chain of its commits is not readable");
  meta.chain = *link;
  if (const std::string error = ChainError(meta.chain, meta.epoch); !error.empty()) {
    return Damaged(dir, error);
  }
  const std::optional<uint64_t> confirmed = ConfirmedFile::Read(dir, meta.store_id);
  if (confirmed.value_or(0) > meta.chain.to.commit) {
    return Damaged(dir, absl::StrCat("its last commit is ", meta.chain.to.commit,
                                     ", but commits up to ", *confirmed,
                                     " were confirmed; the end of its log is missing (to go on "
                                     "without these, delete ",
                                     dir, "/CONFIRMED)"));
  }
  return meta;
}

absl::StatusOr<StoreLook> LookIntoStore(const RocksdbOptions& options) {
  StoreLook look;
  for (const RocksDb::Skip skip :
       {RocksDb::Skip::kNothing, RocksDb::Skip::kCutEnd, RocksDb::Skip::kAny}) {
    auto db = RocksDb::Open(options, RocksDb::Mode::kRead, skip, nullptr);
    if (!db.ok()) {
      // What the strictest reading says is the best description.
      if (look.damage.empty()) look.damage = std::string(db.status().message());
      if (absl::IsDataLoss(db.status()) && skip != RocksDb::Skip::kAny) continue;
      return Explain(options.dir, absl::Status(db.status().code(), look.damage));
    }
    look.db = *std::move(db);
    look.skipped = skip;
    absl::StatusOr<std::optional<StoreMeta>> meta = ReadMeta(options.dir, look.db.get());
    look.status = meta.status();
    if (meta.ok()) look.meta = *std::move(meta);
    if (skip == RocksDb::Skip::kAny && absl::IsDataLoss(look.status)) {
      look.status = Damaged(options.dir, look.damage);
    }
    break;
  }
  return look;
}

void WriteMeta(const StoreMeta& before, const StoreMeta& after, RocksDb::Batch* batch) {
  batch->Put(MetaKey(kFormat), absl::StrCat(after.format));
  batch->Put(MetaKey(kId), after.store_id);
  batch->Put(MetaKey(kSecretKey), std::string(after.secret_key.begin(), after.secret_key.end()));
  batch->Put(MetaKey(kEpoch), absl::StrCat(after.epoch));
  batch->Put(MetaKey(kRocksdb), absl::StrCat(after.rocksdb_version));
  LinkCommits(before.chain.to, after.chain.to, batch);
}

void LinkCommits(const ChainPosition& from, const ChainPosition& to, RocksDb::Batch* batch) {
  batch->Link(MetaKey(kChain), {from, to, {}, {}});
}

}  // namespace whippletree
