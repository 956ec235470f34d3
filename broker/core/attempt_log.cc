#include "broker/core/attempt_log.h"

#include <algorithm>

#include "broker/core/limits.h"

namespace whippletree::core {

uint64_t AttemptLog::BytesOf(const Entry& entry) {
  uint64_t bytes = kRunOverheadBytes;
  for (const wire::Attempt& attempt : entry.attempts) {
    bytes += kAttemptOverheadBytes + attempt.worker().size() + attempt.status().message().size();
  }
  return bytes;
}

void AttemptLog::Put(const Key& key, const Entry& entry, Writes* writes) const {
  if (writes == nullptr) return;
  record::Attempts* row = writes->emplace_back().mutable_attempts();
  row->set_stream(key.first);
  row->set_first(key.second);
  row->set_count(entry.end - key.second);
  *row->mutable_attempts() = entry.attempts;
}

void AttemptLog::SplitAt(uint64_t stream, uint64_t at, Writes* writes) {
  auto it = entries_.lower_bound({stream, at});
  if (it == entries_.begin()) return;
  --it;
  if (it->first.first != stream || it->second.end <= at) return;
  Entry behind = it->second;
  it->second.end = at;
  bytes_ += BytesOf(behind);
  Put(it->first, it->second, writes);
  Put({stream, at}, behind, writes);
  entries_.emplace(Key{stream, at}, std::move(behind));
}

void AttemptLog::Add(uint64_t stream, uint64_t begin, uint64_t end, const wire::Attempt& attempt,
                     Writes* writes) {
  SplitAt(stream, begin, writes);
  SplitAt(stream, end, writes);
  for (uint64_t at = begin; at < end;) {
    auto it = entries_.lower_bound({stream, at});
    if (it == entries_.end() || it->first != Key{stream, at}) {
      const bool more = it != entries_.end() && it->first.first == stream;
      const uint64_t until = more ? std::min(end, it->first.second) : end;
      it = entries_.emplace(Key{stream, at}, Entry{until, {}}).first;
      bytes_ += BytesOf(it->second);
    }
    Entry& entry = it->second;
    bytes_ -= BytesOf(entry);
    if (entry.attempts.size() >= kAttemptsKept) {
      entry.attempts.DeleteSubrange(0, entry.attempts.size() - kAttemptsKept + 1);
    }
    *entry.attempts.Add() = attempt;
    bytes_ += BytesOf(entry);
    Put(it->first, entry, writes);
    at = entry.end;
  }
}

const AttemptLog::Attempts* AttemptLog::Find(uint64_t stream, uint64_t number) const {
  auto it = entries_.upper_bound({stream, number});
  if (it == entries_.begin()) return nullptr;
  --it;
  const bool has_it = it->first.first == stream && number < it->second.end;
  return has_it ? &it->second.attempts : nullptr;
}

void AttemptLog::Remove(uint64_t stream, uint64_t begin, uint64_t end, Writes* writes) {
  if (entries_.empty()) return;
  SplitAt(stream, begin, writes);
  SplitAt(stream, end, writes);
  auto it = entries_.lower_bound({stream, begin});
  while (it != entries_.end() && it->first < Key{stream, end}) {
    if (writes != nullptr) {
      record::Record& gone = writes->emplace_back();
      gone.set_erased(true);
      gone.mutable_attempts()->set_stream(stream);
      gone.mutable_attempts()->set_first(it->first.second);
    }
    bytes_ -= BytesOf(it->second);
    it = entries_.erase(it);
  }
}

void AttemptLog::Restore(const record::Attempts& row) {
  const Entry entry{row.first() + row.count(), row.attempts()};
  bytes_ += BytesOf(entry);
  entries_[{row.stream(), row.first()}] = entry;
}

}  // namespace whippletree::core
