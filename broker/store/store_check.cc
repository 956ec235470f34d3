#include "broker/store/store_check.h"

#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "broker/store/confirmed_file.h"
#include "broker/store/data_directory.h"
#include "broker/store/keys.h"
#include "broker/store/row_checker.h"
#include "broker/store/store_meta.h"

namespace whippletree {
namespace {

using Report = std::function<void(const std::string& line)>;

constexpr uint64_t kProblemsMax = 20;

absl::Status CheckRows(const std::string& dir, RocksDb* db, const Report& report) {
  uint64_t problems = 0;
  RowChecker checker([&](const std::string& line) {
    if (++problems <= kProblemsMax) report("wrong: " + line);
  });
  const absl::Status status =
      db->ForEach(kFirstRowKey, [&](std::string_view key, std::string_view value) {
        checker.Add(key, value);
        return absl::OkStatus();
      });
  for (const auto& [kind, count] : checker.counts()) {
    report(absl::StrCat(KindName(kind), " rows: ", count));
  }
  report(absl::StrCat("jobs in runs: ", checker.jobs()));
  if (!status.ok()) return Explain(dir, status);
  if (problems == 0) return absl::OkStatus();
  if (problems > kProblemsMax) report(absl::StrCat("and ", problems - kProblemsMax, " more"));
  return absl::DataLossError(absl::StrCat(
      dir, ": ", problems, problems == 1 ? " row is" : " rows are",
      " wrong although their checksums are right: restore the directory from a backup"));
}

void ReportMeta(const std::string& dir, const StoreLook& look, const Report& report) {
  const StoreMeta& meta = *look.meta;
  report(absl::StrCat("store: ", meta.store_id));
  report(absl::StrCat("format: ", meta.format));
  report(absl::StrCat("epoch: ", meta.epoch));
  report(absl::StrCat("last commit: ", meta.chain.to.commit));
  if (look.skipped != RocksDb::Skip::kNothing) {
    report(absl::StrCat(
        "notice: the end of the log is not readable, as after a power loss: ", look.damage,
        ". A broker drops it. If power was not lost, the log is damaged, and "
        "commits that nothing vouches for may be missing."));
  }
  if (!ConfirmedFile::Read(dir, meta.store_id)) {
    report(
        "notice: the file CONFIRMED is missing or not readable, so nothing vouches for the end "
        "of the log; the next start writes it anew");
  }
}

}  // namespace

absl::Status CheckStore(const RocksdbOptions& options, const Report& report) {
  const std::string& dir = options.dir;
  const absl::StatusOr<DirectoryState> state = LookAtDirectory(dir);
  const absl::Status no_store = absl::InvalidArgumentError(
      absl::StrCat(dir, " has no store in it: expected the --data-dir of a broker"));
  if (absl::IsInvalidArgument(state.status())) return no_store;
  if (!state.ok()) return state.status();
  if (*state == DirectoryState::kNew) return no_store;
  // A file system that is mounted read-only has no broker.
  if (access((dir + "/LOCK").c_str(), W_OK) == 0) {
    if (const absl::Status unused = RocksDb::CheckUnused(options); !unused.ok()) {
      return absl::AlreadyExistsError(
          absl::StrCat("a broker uses ", dir, ": stop it first (", unused.message(), ")"));
    }
  }
  const absl::StatusOr<StoreLook> look = LookIntoStore(options);
  if (!look.ok()) return look.status();
  if (look->status.ok() && !look->meta) return no_store;
  if (look->meta) ReportMeta(dir, *look, report);
  // The rows may tell more than the first error.
  absl::Status status = look->status;
  const absl::Status tables = look->db->VerifyTables();
  if (!tables.ok()) status.Update(Explain(dir, tables));
  status.Update(CheckRows(dir, look->db.get(), report));
  return status;
}

}  // namespace whippletree
