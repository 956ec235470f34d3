#include "broker/core/stream_rows.h"

#include <algorithm>

#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {

void StreamRows::Accept(const Slice& slice, uint64_t order, uint64_t commit, Writes* writes) {
  record::Run* row = writes->emplace_back().mutable_run();
  row->set_stream(stream_);
  row->set_first(slice.first);
  row->set_order(order);
  *row->mutable_options() = *slice.options;
  slice.data->CopyTo(slice.begin, slice.end, row->mutable_jobs());
  runs_[slice.first] = {slice.first + slice.count(), slice.count(), slice.bytes(), commit};
}

StoredRow StreamRows::RowOf(uint64_t number) const {
  auto run = runs_.upper_bound(number);
  WT_CHECK(run != runs_.begin());
  --run;
  WT_CHECK(number < run->second.end);
  return {run->first, run->second.end, run->second.bytes, run->second.commit};
}

std::optional<StoredRow> StreamRows::RowAt(uint64_t first) const {
  const auto run = runs_.find(first);
  if (run == runs_.end()) return std::nullopt;
  return StoredRow{first, run->second.end, run->second.bytes, run->second.commit};
}

void StreamRows::Restore(const record::Run& row) {
  const auto jobs = static_cast<uint64_t>(row.jobs().sizes_size());
  runs_[row.first()] = {row.first() + jobs, jobs, row.jobs().block().size(), 0};
}

void StreamRows::End(uint64_t begin, uint64_t end, Writes* writes) {
  ForgetReturned(begin, end, writes);
  while (begin < end) {
    auto run = runs_.upper_bound(begin);
    WT_CHECK(run != runs_.begin());
    --run;
    WT_CHECK(begin < run->second.end);
    const uint64_t jobs = std::min(end, run->second.end) - begin;
    WT_CHECK(run->second.open >= jobs);
    run->second.open -= jobs;
    if (run->second.open > 0) {
      if (Planted("erase_run_early")) {
        record::Record& gone = writes->emplace_back();
        gone.set_erased(true);
        gone.mutable_run()->set_stream(stream_);
        gone.mutable_run()->set_first(run->first);
      }
      record::Ended forgotten;
      record::Ended* row =
          Planted("lose_ended_row") ? &forgotten : writes->emplace_back().mutable_ended();
      row->set_stream(stream_);
      row->set_first(begin);
      row->set_count(jobs);
      ended_.insert(begin);
    } else {
      record::Record& gone = writes->emplace_back();
      gone.set_erased(true);
      gone.mutable_run()->set_stream(stream_);
      gone.mutable_run()->set_first(run->first);
      const auto from = ended_.lower_bound(run->first);
      const auto to = ended_.lower_bound(run->second.end);
      for (auto it = from; it != to; ++it) {
        record::Record& part = writes->emplace_back();
        part.set_erased(true);
        part.mutable_ended()->set_stream(stream_);
        part.mutable_ended()->set_first(*it);
      }
      ended_.erase(from, to);
      runs_.erase(run);
    }
    begin += jobs;
  }
}

void StreamRows::Lease(uint64_t begin, uint64_t end, Writes* writes) {
  if (!Planted("keep_returned")) ForgetReturned(begin, end, writes);
}

void StreamRows::Return(const Slice& slice, uint64_t batch, uint64_t not_before_ms,
                        Writes* writes) {
  record::Returned row;
  row.set_stream(stream_);
  row.set_first(slice.first);
  row.set_count(slice.count());
  row.set_attempts(slice.attempts);
  row.set_suspect(slice.suspect);
  row.set_halvings(slice.halvings);
  row.set_losses(slice.losses);
  row.set_batch(batch);
  row.set_not_before_ms(not_before_ms);
  *writes->emplace_back().mutable_returned() = row;
  returned_[slice.first] = std::move(row);
}

// What is left of the rows before and behind the jobs is written anew.
void StreamRows::ForgetReturned(uint64_t begin, uint64_t end, Writes* writes) {
  auto it = returned_.upper_bound(begin);
  if (it != returned_.begin()) --it;
  while (it != returned_.end() && it->first < end) {
    const record::Returned row = it->second;
    const uint64_t row_end = row.first() + row.count();
    if (row_end <= begin) {
      ++it;
      continue;
    }
    it = returned_.erase(it);
    const auto keep = [&](uint64_t from, uint64_t to) {
      if (from >= to) return;
      record::Returned part = row;
      part.set_first(from);
      part.set_count(to - from);
      *writes->emplace_back().mutable_returned() = part;
      returned_[from] = std::move(part);
    };
    if (row.first() >= begin) {
      record::Record& gone = writes->emplace_back();
      gone.set_erased(true);
      gone.mutable_returned()->set_stream(stream_);
      gone.mutable_returned()->set_first(row.first());
    }
    keep(row.first(), begin);
    keep(end, row_end);
    if (row_end > end) return;
  }
}

void StreamRows::Keep(const wire::OutcomeRange& outcome, Writes* writes) {
  record::Outcome* row = writes->emplace_back().mutable_outcome();
  row->set_stream(stream_);
  *row->mutable_outcome() = outcome;
  outcomes_.insert(outcome.first());
}

void StreamRows::Drop(uint64_t begin, uint64_t end, Writes* writes) {
  const auto from = outcomes_.lower_bound(begin);
  const auto to = outcomes_.lower_bound(end);
  for (auto it = from; it != to; ++it) {
    record::Record& gone = writes->emplace_back();
    gone.set_erased(true);
    gone.mutable_outcome()->set_stream(stream_);
    gone.mutable_outcome()->mutable_outcome()->set_first(*it);
  }
  outcomes_.erase(from, to);
}

}  // namespace whippletree::core
