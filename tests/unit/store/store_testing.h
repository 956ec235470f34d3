// What tests of stores share: rows, a witness of what a store tells, directories.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "broker/store/keys.h"
#include "broker/store/store.h"

namespace whippletree {

// By key, the serialized record.
using Rows = std::map<std::string, std::string>;

inline record::Record QueueRow(const std::string& name, uint64_t accepted = 1) {
  record::Record record;
  record.mutable_queue()->set_name(name);
  record.mutable_queue()->set_accepted(accepted);
  return record;
}

inline record::Record StreamRow(uint64_t number, const std::string& queue, uint64_t next) {
  record::Record record;
  record.mutable_stream()->set_number(number);
  record.mutable_stream()->set_queue(queue);
  record.mutable_stream()->set_next(next);
  return record;
}

inline RowKey RunKey(uint64_t stream, uint64_t first) {
  return {record::Record::kRun, stream, first};
}

// A run of jobs with the same payload.
inline record::Record RunRow(uint64_t stream, uint64_t first, int jobs = 1,
                             const std::string& payload = "payload") {
  record::Record record;
  record::Run* run = record.mutable_run();
  run->set_stream(stream);
  run->set_first(first);
  for (int i = 0; i < jobs; ++i) {
    run->mutable_jobs()->add_sizes(static_cast<uint32_t>(payload.size()));
    run->mutable_jobs()->mutable_block()->append(payload);
  }
  return record;
}

inline record::Record Erased(record::Record record) {
  record.set_erased(true);
  return record;
}

// What the rows are after the commit.
inline void Apply(const std::vector<record::Record>& writes, Rows* rows) {
  for (const record::Record& record : writes) {
    if (record.erased()) {
      rows->erase(KeyOf(record).value());
    } else {
      (*rows)[KeyOf(record).value()] = record.SerializeAsString();
    }
  }
}

inline Rows ReadAll(Store* store) {
  Rows rows;
  std::string last;
  const absl::Status status = store->Read([&](const record::Record& record) {
    const std::string key = KeyOf(record).value();
    EXPECT_LT(last, key);
    last = key;
    rows[key] = record.SerializeAsString();
  });
  EXPECT_TRUE(status.ok()) << status;
  return rows;
}

// Hears what a store tells. Thread-safe.
class Witness {
 public:
  StoreCallbacks Callbacks() {
    return {[this](uint64_t commit) {
              const std::lock_guard lock(mutex_);
              EXPECT_TRUE(failures_.empty()) << "confirmed after a failure";
              EXPECT_LT(durable_, commit);
              durable_ = commit;
              changed_.notify_all();
            },
            [this](absl::Status status) {
              const std::lock_guard lock(mutex_);
              EXPECT_FALSE(status.ok());
              failures_.push_back(std::move(status));
              EXPECT_EQ(failures_.size(), 1u) << "told twice";
              changed_.notify_all();
            },
            [this](const RowKey& key, absl::StatusOr<record::Record> record) {
              const std::lock_guard lock(mutex_);
              loaded_.emplace_back(key, std::move(record));
              changed_.notify_all();
            }};
  }

  // Waits until the commit is durable, or the store failed. True: durable.
  bool AwaitDurable(uint64_t commit) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return durable_ >= commit || !failures_.empty(); });
    return durable_ >= commit;
  }

  absl::Status AwaitFailure() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !failures_.empty(); });
    return failures_.front();
  }

  absl::StatusOr<record::Record> AwaitLoaded() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !loaded_.empty(); });
    auto record = std::move(loaded_.front().second);
    loaded_.erase(loaded_.begin());
    return record;
  }

  uint64_t durable() {
    const std::lock_guard lock(mutex_);
    return durable_;
  }
  size_t failures() {
    const std::lock_guard lock(mutex_);
    return failures_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t durable_ = 0;
  std::vector<absl::Status> failures_;
  std::vector<std::pair<RowKey, absl::StatusOr<record::Record>>> loaded_;
};

// An empty directory of the test's own, gone in the end.
class TempDirectory {
 public:
  TempDirectory() {
    path_ = testing::TempDir() + "/store-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace whippletree
