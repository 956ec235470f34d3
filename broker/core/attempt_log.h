// What became of the last attempts of jobs that are to be tried again: who had them, when they
// failed, and how. Jobs that failed together share an entry. Knows its rows in the store.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "record.pb.h"

namespace whippletree::core {

class AttemptLog {
 public:
  using Writes = std::vector<record::Record>;
  using Attempts = google::protobuf::RepeatedPtrField<wire::Attempt>;

  // Jobs [begin, end) of a stream failed. `writes`: for the store; nullptr: they are not in it.
  void Add(uint64_t stream, uint64_t begin, uint64_t end, const wire::Attempt& attempt,
           Writes* writes);
  // Of one job, the oldest first; nullptr: there is none.
  const Attempts* Find(uint64_t stream, uint64_t number) const;
  // Jobs [begin, end) have ended.
  void Remove(uint64_t stream, uint64_t begin, uint64_t end, Writes* writes);
  // The store has this row.
  void Restore(const record::Attempts& row);

  bool empty() const { return entries_.empty(); }
  // What all of this takes of the memory.
  uint64_t bytes() const { return bytes_; }

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // stream and first job
  struct Entry {
    uint64_t end;
    Attempts attempts;
  };
  using Entries = std::map<Key, Entry>;

  // No entry has jobs on either side of `at` any more.
  void SplitAt(uint64_t stream, uint64_t at, Writes* writes);
  void Put(const Key& key, const Entry& entry, Writes* writes) const;
  static uint64_t BytesOf(const Entry& entry);

  Entries entries_;
  uint64_t bytes_ = 0;
};

}  // namespace whippletree::core
