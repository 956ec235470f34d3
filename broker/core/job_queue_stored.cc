// The part of JobQueue about jobs whose payload only the store has.
#include <algorithm>
#include <limits>
#include <utility>

#include "broker/core/job_queue.h"
#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

// Records to look at for one plan, at least.
constexpr uint64_t kLooksMax = 1024;

bool IsStored(const Slice& slice) { return slice.stored(); }

bool HasStored(const std::vector<Slice>& batch) {
  return std::any_of(batch.begin(), batch.end(), IsStored);
}

}  // namespace

void JobQueue::CountStored(const Slice& slice, bool ready) {
  if (!slice.stored()) return;
  stored_jobs_ += slice.count();
  stored_bytes_ += slice.stored_bytes;
  if (ready) stored_ready_ += slice.count();
}

void JobQueue::UncountStored(const Slice& slice, bool ready) {
  if (!slice.stored()) return;
  stored_jobs_ -= slice.count();
  stored_bytes_ -= slice.stored_bytes;
  if (ready) stored_ready_ -= slice.count();
}

bool JobQueue::WaitsForStored() const {
  if (stored_ready_ == 0) return false;
  if (std::any_of(sealed_.begin(), sealed_.end(), HasStored)) return true;
  return !turns_.empty() && turns_.front()->second.jobs.front().stored();
}

std::deque<JobQueue::Cursor> JobQueue::Cursors(uint64_t lines_max, MonoTime now) {
  std::deque<Cursor> cursors;
  for (const Lines::iterator& line : turns_) {
    if (cursors.size() >= lines_max) break;
    const uint64_t allowed = keys_.Allowed(line->first, now);
    if (allowed > 0) {
      cursors.push_back({line, JobLine::Cursor(&line->second.jobs), allowed});
    }
  }
  return cursors;
}

bool JobQueue::IsLoaded(uint64_t jobs, uint64_t bytes, MonoTime now) {
  if (stored_ready_ == 0) return true;
  std::deque<Cursor> cursors = Cursors(jobs, now);
  while (!cursors.empty()) {
    Cursor cursor = cursors.front();
    cursors.pop_front();
    const Slice* slice = cursor.at.slice();
    const bool is_stopped =
        slice != nullptr && !stopped_.empty() && IsStopped(*slice) && !slice->loading;
    if (is_stopped && IsOrdered(cursor.line->first)) continue;
    if (!is_stopped) {
      if (slice != nullptr && slice->stored()) return false;
      const uint64_t here = slice != nullptr ? slice->count() : cursor.at.packed_jobs();
      const uint64_t n = std::min({here, jobs, cursor.allowed});
      if (n == jobs) return true;
      const uint64_t taken = slice == nullptr ? n == here ? cursor.at.packed_bytes() : 0
                                              : slice->bytes(0, static_cast<uint32_t>(n));
      if (taken >= bytes) return true;
      jobs -= n;
      bytes -= taken;
      cursor.allowed -= n;
    }
    cursor.at.Next();
    if (!cursor.at.at_end() && cursor.allowed > 0) cursors.push_back(cursor);
  }
  return true;
}

LoadsAsked JobQueue::AskForStored(const LoadPlan& plan, MonoTime now) {
  LoadsAsked asked;
  if (stored_ready_ == 0) return asked;
  AskForSealed(plan, &asked);
  // The line whose turn it is has its head loaded, whatever else there is.
  uint64_t ahead = 0;
  bool first = true;
  const uint64_t looks_max = std::max(kLooksMax, plan.lines_max);
  uint64_t looks = 0;
  std::deque<Cursor> cursors = Cursors(plan.lines_max, now);
  while (!cursors.empty() && ahead < plan.ahead_bytes && ++looks <= looks_max) {
    Cursor cursor = cursors.front();
    cursors.pop_front();
    JobLine& line = cursor.line->second.jobs;
    const Slice* slice = cursor.at.slice();
    if (slice != nullptr && !stopped_.empty() && IsStopped(*slice) && !slice->loading) {
      // It is not needed. Only what is first goes aside.
      if (IsOrdered(cursor.line->first)) continue;
      if (cursor.at.is_first()) {
        if (!PassStopped(cursor.line)) {
          EraseLine(cursor.line);
          continue;
        }
        cursor.at = JobLine::Cursor(&line);
      } else {
        cursor.at.Next();
      }
      if (!cursor.at.at_end()) cursors.push_front(cursor);
      continue;
    }
    const bool must = first || (ahead < plan.least_bytes && loading_.empty());
    if (!AskForSlice(&cursor.at, must, plan, &asked)) break;
    if (line.empty()) {  // all of it was cancelled
      EraseLine(cursor.line);
      continue;
    }
    if (cursor.at.at_end()) continue;
    first = false;
    slice = cursor.at.slice();
    // What its key keeps back does not help a batch.
    const uint64_t here = slice != nullptr ? slice->count() : cursor.at.packed_jobs();
    const uint64_t n = std::min(cursor.allowed, here);
    if (slice != nullptr) {
      const auto jobs = static_cast<uint32_t>(n);
      ahead += slice->bytes(0, jobs) + slice->Part(0, jobs).stored_bytes;
    } else if (n == here) {
      ahead += cursor.at.packed_bytes();
    }
    cursor.allowed -= n;
    cursor.at.Next();
    if (!cursor.at.at_end() && cursor.allowed > 0) cursors.push_back(cursor);
  }
  return asked;
}

uint32_t JobQueue::AskForRow(const Slice& slice, bool must, const LoadPlan& plan,
                             LoadsAsked* asked) {
  const StoredRow row = plan.row_of(slice.stream, slice.first);
  WT_CHECK(row.first <= slice.first && slice.first < row.end);
  if (row.commit > plan.durable && !Planted("load_early")) {
    asked->waits_for_commit = true;
    return 0;
  }
  if (!must && asked->bytes + row.bytes > plan.room_bytes) return 0;
  const auto jobs = static_cast<uint32_t>(std::min<uint64_t>(slice.count(), row.end - slice.first));
  const auto [it, is_new] = loading_.try_emplace({slice.stream, row.first});
  it->second.key = slice.options->key();
  it->second.jobs += jobs;   // fewer, if some are cancelled; then it is looked for in vain
  if (!is_new) return jobs;  // for jobs that wait elsewhere
  it->second.end = row.end;
  it->second.bytes = row.bytes;
  loading_bytes_ += row.bytes;
  asked->bytes += row.bytes;
  if (!Planted("forget_load") || row.first % 8 != 1) {
    asked->loads.push_back({record::Record::kRun, slice.stream, row.first});
  }
  return jobs;
}

void JobQueue::DropCancelledHead(Slice* slice) {
  while (slice->count() > 0) {
    uint32_t clean = 0;
    const uint32_t skipped = SkipCancelled(*slice, &clean);
    if (skipped == 0) return;
    ready_ -= skipped;
    ready_bytes_ -= slice->bytes(0, skipped);
    UncountStored(*slice, true);
    *slice = slice->Part(skipped, slice->count() - skipped);
    CountStored(*slice, true);
  }
}

bool JobQueue::AskForSlice(JobLine::Cursor* at, bool must, const LoadPlan& plan,
                           LoadsAsked* asked) {
  for (Slice* slice; !at->at_end() && (slice = at->slice()) != nullptr;) {
    if (!slice->stored() || slice->loading) break;
    DropCancelledHead(slice);  // they may have no row any more
    if (slice->count() == 0) {
      at->Replace({}, counts());
      continue;
    }
    const uint32_t n = AskForRow(*slice, must, plan, asked);
    if (n == 0) return false;
    const Slice whole = *slice;
    UncountReady(whole);
    Slice row = whole.Part(0, n);
    row.loading = true;
    std::vector<Slice> parts;
    for (Slice& part : Cleaned(std::move(row))) parts.push_back(std::move(part));
    if (n < whole.count()) parts.push_back(whole.Part(n, whole.count() - n));
    for (const Slice& part : parts) CountReady(part);
    at->Replace(std::move(parts), counts());
  }
  return true;
}

// One batch after the other: the room is not asked, since they are to go as they are.
void JobQueue::AskForSealed(const LoadPlan& plan, LoadsAsked* asked) {
  const auto next = [this] { return std::find_if(sealed_.begin(), sealed_.end(), HasStored); };
  auto batch = next();
  for (; batch != sealed_.end() && HasCancelled(*batch); batch = next()) {
    SealCleaned(ExtractSealed(batch), true);  // cancelled jobs may have no row any more
  }
  if (batch == sealed_.end()) return;
  records_ -= batch->size();
  std::vector<Slice> parts;
  for (Slice& slice : *batch) {
    while (slice.stored() && !slice.loading) {
      const uint32_t n = AskForRow(slice, true, plan, asked);
      if (n == 0) break;
      Slice row = slice.Part(0, n);
      row.loading = true;
      const uint32_t rest = slice.count() - n;
      if (rest == 0) {
        slice = std::move(row);
        break;
      }
      parts.push_back(std::move(row));
      slice = slice.Part(n, rest);
    }
    parts.push_back(std::move(slice));
  }
  *batch = std::move(parts);
  records_ += batch->size();
}

template <typename Each>
void JobQueue::EndLoad(uint64_t stream, uint64_t first, Each&& each) {
  const auto node = loading_.extract({stream, first});
  if (node.empty()) return;
  const Awaited& awaited = node.mapped();
  loading_bytes_ -= awaited.bytes;
  uint64_t left = awaited.jobs;
  const auto look = [&](Slice& slice, Place place) {
    const bool waits = slice.loading && slice.stream == stream && slice.first >= first &&
                       slice.first < awaited.end;
    if (!waits) return;
    left -= slice.count();
    slice.loading = false;
    each(slice, place);
  };
  if (const auto line = lines_.find(awaited.key); line != lines_.end()) {
    line->second.jobs.ForEachRecord([&](Slice& slice) {
      look(slice, Place::kLine);
      return left > 0;
    });
  }
  for (auto batch = sealed_.begin(); left > 0 && batch != sealed_.end(); ++batch) {
    for (Slice& slice : *batch) look(slice, Place::kSealed);
  }
  auto stopped = stopped_sealed_.begin();
  for (; left > 0 && stopped != stopped_sealed_.end(); ++stopped) {
    for (Slice& slice : *stopped) look(slice, Place::kStoppedSealed);
  }
}

uint64_t JobQueue::Fill(uint64_t stream, uint64_t first, const std::shared_ptr<RunData>& row) {
  uint64_t filled = 0;
  EndLoad(stream, first, [&](Slice& slice, Place place) {
    UncountStored(slice, place != Place::kStoppedSealed);
    const uint32_t jobs = slice.count();
    slice.stored_bytes = 0;
    slice.begin = static_cast<uint32_t>(slice.first - first);
    if (Planted("load_wrong_part") && slice.begin + jobs < row->count()) ++slice.begin;
    slice.end = slice.begin + jobs;
    slice.data = row;
    slice.OwnSmallPart();
    filled += slice.bytes();
    if (place == Place::kLine) ready_bytes_ += slice.bytes();
  });
  return filled;
}

IntervalSet JobQueue::FailLoad(uint64_t stream, uint64_t first) {
  IntervalSet lost;
  EndLoad(stream, first,
          [&](const Slice& slice, Place) { lost.Add(slice.first, slice.first + slice.count()); });
  return lost;
}

void JobQueue::CheckStored() const {
  uint64_t jobs = 0;
  uint64_t bytes = 0;
  uint64_t ready = 0;
  uint64_t loading = 0;
  const auto count = [&](const Slice& slice, bool is_ready) {
    WT_CHECK(!slice.loading || slice.stored());
    if (!slice.stored()) return;
    jobs += slice.count();
    bytes += slice.stored_bytes;
    if (is_ready) ready += slice.count();
  };
  uint64_t in_lines = 0;
  uint64_t packed = 0;
  for (const auto& [key, line] : lines_) {
    WT_CHECK(!line.jobs.empty());
    uint64_t jobs_of_line = 0;
    line.jobs.ForEach([&](const Slice& slice) {
      count(slice, true);
      jobs_of_line += slice.count();
      return true;
    });
    WT_CHECK(jobs_of_line == line.jobs.JobsUpTo(std::numeric_limits<uint64_t>::max()));
    in_lines += jobs_of_line;
    packed += line.jobs.packed();
  }
  uint64_t aside_jobs = 0;
  uint64_t aside_bytes = 0;
  for (const auto& [stream, lines] : aside_) {
    WT_CHECK(!lines.empty() && stopped_.contains(stream));
    for (const auto& [key, aside] : lines) {
      WT_CHECK(!aside.line.empty());
      aside.line.ForEach([&](const Slice& slice) {
        count(slice, false);
        WT_CHECK(IsStopped(slice) && !slice.loading);
        aside_jobs += slice.count();
        aside_bytes += slice.bytes() + slice.stored_bytes;
        return true;
      });
      packed += aside.line.packed();
    }
  }
  WT_CHECK(aside_jobs == aside_jobs_ && aside_bytes == aside_bytes_);
  const auto apart = std::count_if(sealed_.begin(), sealed_.end(), IsApart);
  WT_CHECK(static_cast<uint64_t>(apart) == sealed_apart_);
  for (const std::vector<Slice>& batch : sealed_) {
    WT_CHECK(!HasStopped(batch));
    for (const Slice& slice : batch) count(slice, true);
  }
  for (const std::vector<Slice>& batch : stopped_sealed_) {
    WT_CHECK(HasStopped(batch));
    for (const Slice& slice : batch) count(slice, false);
  }
  for (const auto& [at, slice] : backing_off_) {
    count(slice, false);
    WT_CHECK(!slice.loading);
  }
  for (const auto& [at, slice] : by_wall_time_) {
    count(slice, false);
    WT_CHECK(!slice.loading);
  }
  for (const auto& [row, awaited] : loading_) loading += awaited.bytes;
  WT_CHECK(packed == packed_ && in_lines == ready_);
  WT_CHECK(jobs == stored_jobs_ && bytes == stored_bytes_);
  WT_CHECK(ready == stored_ready_ && loading == loading_bytes_);
}

}  // namespace whippletree::core
