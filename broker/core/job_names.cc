#include "broker/core/job_names.h"

#include <absl/container/flat_hash_set.h>

#include <string>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "broker/core/restoring.h"
#include "common/check.h"
#include "common/utf8.h"

namespace whippletree::core {
namespace {

// Does it, and counts what the names then take more, or less, of the memory.
template <typename Change>
void Counted(Queue& queue, std::initializer_list<uint64_t*> sums, Change&& change) {
  const uint64_t before = queue.names.bytes();
  change(queue.names);
  for (uint64_t* sum : sums) *sum += queue.names.bytes() - before;
}

}  // namespace

uint64_t JobNames::BytesOf(const Batch& batch) {
  uint64_t named = 0;
  for (uint32_t i = 0; i < batch.names.count(); ++i)
    named += batch.names.payload(i).empty() ? 0 : 1;
  return kRunOverheadBytes + batch.names.bytes(0, batch.names.count()) + batch.ends.size() +
         named * kJobNameOverheadBytes;
}

void JobNames::Keep(uint64_t stream, uint64_t first, WallTime accepted, RunData names) {
  const auto [it, is_new] = batches_.try_emplace({accepted, stream, first});
  WT_CHECK(is_new);
  Batch& batch = it->second;
  batch = {stream, first, accepted, std::move(names), {}};
  by_job_[{stream, first}] = &batch;
  bytes_ += BytesOf(batch);
  for (uint32_t i = 0; i < batch.names.count(); ++i) {
    const std::string_view name = batch.names.payload(i);
    if (name.empty()) continue;
    if (const auto before = jobs_.find(name); before != jobs_.end()) {
      if (before->second.batch->accepted > accepted) continue;
      jobs_.erase(before);  // its view is into the batch before
    }
    jobs_.emplace(name, Place{&batch, i});
  }
}

std::optional<JobNames::Job> JobNames::Find(std::string_view name, WallTime since) const {
  const auto it = jobs_.find(name);
  if (it == jobs_.end() || it->second.batch->accepted <= since) return std::nullopt;
  const auto& [batch, index] = it->second;
  const NameEnd end = batch->ends.empty() ? NameEnd::kNone : NameEnd{batch->ends[index]};
  return Job{batch->stream, batch->first + index, end};
}

bool JobNames::Has(std::string_view name, const Batch& batch, uint32_t index) const {
  const auto it = jobs_.find(name);
  return it != jobs_.end() && it->second.batch == &batch && it->second.index == index;
}

std::string JobNames::NameOf(uint64_t stream, uint64_t number) const {
  auto it = by_job_.upper_bound({stream, number});
  if (it == by_job_.begin() || (--it)->first.first != stream) return "";
  const Batch& batch = *it->second;
  if (number - batch.first >= batch.names.count()) return "";
  const auto index = static_cast<uint32_t>(number - batch.first);
  const std::string_view name = batch.names.payload(index);
  return !name.empty() && Has(name, batch, index) ? std::string(name) : "";
}

void JobNames::SetEnds(uint64_t stream, uint64_t begin, uint64_t end, const NameEnds& ends,
                       std::vector<const Batch*>* changed) {
  auto it = by_job_.upper_bound({stream, begin});
  if (it != by_job_.begin()) --it;
  for (; it != by_job_.end() && it->first < Id{stream, end}; ++it) {
    if (it->first.first != stream) continue;
    Batch& batch = *it->second;
    const uint64_t count = batch.names.count();
    bool is_changed = false;
    for (uint64_t i = begin > batch.first ? begin - batch.first : 0;
         i < count && batch.first + i < end; ++i) {
      const auto index = static_cast<uint32_t>(i);
      const std::string_view name = batch.names.payload(index);
      const NameEnd now = ends(batch.first + i);
      if (name.empty() || now == NameEnd::kNone) continue;
      if (batch.ends.empty()) {
        batch.ends.resize(count, static_cast<char>(NameEnd::kNone));
        bytes_ += count;
      }
      if (batch.ends[index] == static_cast<char>(NameEnd::kFree)) continue;
      batch.ends[index] = static_cast<char>(now);
      is_changed = true;
      if (now == NameEnd::kFree && Has(name, batch, index)) jobs_.erase(name);
    }
    if (is_changed) changed->push_back(&batch);
  }
}

const JobNames::Batch* JobNames::FindBatch(uint64_t stream, uint64_t first) const {
  const auto it = by_job_.find({stream, first});
  return it == by_job_.end() ? nullptr : it->second;
}

void JobNames::DropOldest() {
  const Batch& batch = batches_.begin()->second;
  for (uint32_t i = 0; i < batch.names.count(); ++i) {
    const auto it = jobs_.find(batch.names.payload(i));
    if (it != jobs_.end() && it->second.batch == &batch) jobs_.erase(it);
  }
  bytes_ -= BytesOf(batch);
  by_job_.erase({batch.stream, batch.first});
  batches_.erase(batches_.begin());
}

RunData NamesOf(const wire::Submit& submit, uint32_t begin, uint32_t end) {
  RunData names;
  uint64_t bytes = 0;
  for (uint32_t i = begin; i < end && submit.names_size() > 0; ++i) {
    names.Append(submit.names(static_cast<int>(i)));
    bytes += submit.names(static_cast<int>(i)).size();
  }
  return bytes > 0 ? std::move(names) : RunData();
}

// Of the jobs [begin, end) of a message, where the first is whose name is not to be taken; `error`
// says why.
uint32_t Broker::FreshNames(const Queue& queue, const wire::Submit& submit, uint32_t begin,
                            uint32_t end, absl::Status* error) const {
  if (queue.policy.names_window == Duration(0)) return end;
  const WallTime since = now_.wall - queue.policy.names_window;
  absl::flat_hash_set<std::string_view> seen;
  for (uint32_t i = begin; i < end; ++i) {
    const std::string& name = submit.names(static_cast<int>(i));
    if (name.empty()) continue;
    if (name.size() > kJobNameBytesMax || !IsUtf8(name)) {
      *error = absl::InvalidArgumentError("a job's name is UTF-8 text of at most 256 bytes");
      return i;
    }
    if (Planted("ignore_names")) continue;
    if (const auto job = queue.names.Find(name, since)) {
      const std::string has =
          "job " + JobIdText(job->stream, job->number) + " has the name \"" + name + "\" already";
      *error = absl::AlreadyExistsError(has);
      // It stands for this one no longer, so this is no success.
      if (job->end == NameEnd::kDead) {
        *error = absl::FailedPreconditionError(
            has +
            ", and is dead: requeue or drop it (whippletree-broker dead), or use another name");
      } else if (job->end == NameEnd::kExpired) {
        *error = absl::FailedPreconditionError(has + ", and expired after a failed attempt");
      }
      return i;
    }
    // The job before it in this message is accepted first, or there is no room for either.
    if (!seen.insert(name).second) return i;
  }
  return end;
}

// Jobs [first, …) of the stream were accepted under these names, of which some are not empty.
void Broker::KeepNames(Queue& queue, uint64_t stream, uint64_t first, RunData names) {
  // As a store has it.
  const auto accepted = ToMilliseconds(now_.wall.time_since_epoch());
  Counted(queue, {&used_bytes_, &name_bytes_}, [&](JobNames& all) {
    all.Keep(stream, first, FromMilliseconds(static_cast<uint64_t>(accepted)), std::move(names));
  });
  if (queue.policy.durable && !Planted("lose_name_row")) {
    changed_.names.emplace(queue.name, stream, first);
  }
  SetWallTimer(queue);
}

void Broker::EndNames(Queue& queue, uint64_t stream, uint64_t begin, uint64_t end,
                      const NameEnds& ends) {
  std::vector<const JobNames::Batch*> changed;
  Counted(queue, {&used_bytes_, &name_bytes_},
          [&](JobNames& all) { all.SetEnds(stream, begin, end, ends, &changed); });
  for (const JobNames::Batch* batch : changed) {
    Work();
    if (!queue.policy.durable || Planted("lose_name_row")) continue;
    // A row is written once a step, however many of its jobs end.
    const bool is_first = changed_.names.emplace(queue.name, batch->stream, batch->first).second;
    if (is_first) Work(batch->names.count() / 16);
  }
}

void Broker::ExpireNames(Queue& queue) {
  bool first = true;  // as in FireWallTimers
  while (queue.next_name_expiry() <= now_.wall && (std::exchange(first, false) || !IsExhausted())) {
    Work(queue.names.oldest()->names.count());
    DropOldestNames(queue);
  }
}

void Broker::DropOldestNames(Queue& queue) {
  const JobNames::Batch& oldest = *queue.names.oldest();
  if (queue.policy.durable) {
    record::Record* gone = Write();
    gone->set_erased(true);
    gone->mutable_job_names()->set_stream(oldest.stream);
    gone->mutable_job_names()->set_first(oldest.first);
  }
  Counted(queue, {&used_bytes_, &name_bytes_}, [](JobNames& all) { all.DropOldest(); });
}

absl::Status Broker::RestoreNames(const record::JobNames& row) {
  const auto queue = queues_.find(row.queue());
  if (queue == queues_.end()) {
    return Damaged("names of jobs of no queue: " + row.queue());
  }
  RunData names;
  for (const std::string& name : row.names()) names.Append(name);
  Counted(*queue->second, {&used_bytes_, &name_bytes_}, [&](JobNames& all) {
    all.Keep(row.stream(), row.first(), FromMilliseconds(row.accepted_ms()), std::move(names));
  });
  std::vector<const JobNames::Batch*> changed;
  Counted(*queue->second, {&used_bytes_, &name_bytes_}, [&](JobNames& all) {
    const auto end = [&](uint64_t number) { return NameEnd{row.ends()[number - row.first()]}; };
    all.SetEnds(row.stream(), row.first(), row.first() + row.ends().size(), end, &changed);
  });
  // Its number is not to be given to another stream as long as jobs are known by it.
  last_stream_ = std::max(last_stream_, row.stream());
  return absl::OkStatus();
}

}  // namespace whippletree::core
