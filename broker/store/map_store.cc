#include "broker/store/map_store.h"

#include <utility>

#include "broker/store/keys.h"
#include "common/check.h"

namespace whippletree {

MapStore::MapStore(MapDisk* disk, StoreCallbacks callbacks)
    : disk_(disk), callbacks_(std::move(callbacks)) {
  opened_ = {disk_->store_id, ++disk_->epoch, disk_->last_commit, disk_->secret_key};
  last_ = opened_.last_commit;
}

absl::Status MapStore::Read(const std::function<void(record::Record)>& each) {
  WT_CHECK(last_ == opened_.last_commit);
  for (const auto& [key, value] : disk_->rows) {
    record::Record record;
    WT_CHECK(record.ParseFromString(value));
    each(std::move(record));
  }
  return absl::OkStatus();
}

void MapStore::Commit(uint64_t commit, std::vector<record::Record> writes) {
  WT_CHECK(commit == last_ + 1);
  last_ = commit;
  if (over_) return;
  Pending pending{commit, {}};
  for (const record::Record& record : writes) {
    absl::StatusOr<std::string> key = KeyOf(record);
    if (!key.ok()) return Fail(key.status());
    std::string value = record.erased() ? "" : record.SerializeAsString();
    bytes_written_ += key->size() + value.size();
    pending.puts.emplace_back(*std::move(key), std::move(value));
  }
  pending_.push_back(std::move(pending));
}

void MapStore::Load(const RowKey& key) {
  if (over_) return;
  const auto row = disk_->rows.find(KeyOf(key));
  if (row == disk_->rows.end()) {
    callbacks_.loaded(key, absl::NotFoundError(KeyText(KeyOf(key)) + " is not in the store"));
    return;
  }
  record::Record record;
  if (!record.ParseFromString(row->second)) {
    callbacks_.loaded(key, absl::DataLossError(KeyText(KeyOf(key)) + " is not readable"));
    return;
  }
  callbacks_.loaded(key, std::move(record));
}

void MapStore::Sync(size_t count) {
  if (over_ || count == 0) return;
  Write(count);
  callbacks_.durable(disk_->last_commit);
}

void MapStore::Crash(size_t kept) {
  Write(kept);
  pending_.clear();
  over_ = true;
}

void MapStore::Fail(absl::Status status) {
  if (over_) return;
  over_ = true;
  callbacks_.failed(std::move(status));
}

void MapStore::Write(size_t count) {
  WT_CHECK(count <= pending_.size());
  for (; count > 0; --count) {
    for (auto& [key, value] : pending_.front().puts) {
      if (value.empty()) {
        disk_->rows.erase(key);
      } else {
        disk_->rows[key] = std::move(value);
      }
    }
    disk_->last_commit = pending_.front().commit;
    pending_.pop_front();
  }
}

}  // namespace whippletree
