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
  return kRunOverheadBytes + batch.names.bytes(0, batch.names.count()) +
         named * kJobNameOverheadBytes;
}

void JobNames::Keep(uint64_t stream, uint64_t first, WallTime accepted, RunData names) {
  const auto [it, is_new] = batches_.try_emplace({accepted, stream, first});
  WT_CHECK(is_new);
  Batch& batch = it->second;
  batch = {stream, first, accepted, std::move(names)};
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
  return Job{it->second.batch->stream, it->second.batch->first + it->second.index};
}

void JobNames::DropOldest() {
  const Batch& batch = batches_.begin()->second;
  for (uint32_t i = 0; i < batch.names.count(); ++i) {
    const auto it = jobs_.find(batch.names.payload(i));
    if (it != jobs_.end() && it->second.batch == &batch) jobs_.erase(it);
  }
  bytes_ -= BytesOf(batch);
  batches_.erase(batches_.begin());
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
      *error = absl::AlreadyExistsError("job " + JobIdText(job->stream, job->number) +
                                        " has the name \"" + name + "\" already");
      return i;
    }
    // The job before it in this message is accepted first, or there is no room for either.
    if (!seen.insert(name).second) return i;
  }
  return end;
}

// Jobs [begin, end) of the message were accepted, the first of them as number `first`.
void Broker::KeepNames(Stream& stream, const wire::Submit& submit, uint64_t first, uint32_t begin,
                       uint32_t end) {
  Queue& queue = *stream.queue;
  if (queue.policy.names_window == Duration(0) || submit.names_size() == 0) return;
  // As a store has it.
  const auto accepted_ms = static_cast<uint64_t>(ToMilliseconds(now_.wall.time_since_epoch()));
  RunData names;
  uint64_t bytes = 0;
  for (uint32_t i = begin; i < end; ++i) {
    names.Append(submit.names(static_cast<int>(i)));
    bytes += submit.names(static_cast<int>(i)).size();
  }
  if (bytes == 0) return;
  if (stream.rows != nullptr && !Planted("lose_name_row")) {
    record::JobNames* row = Write()->mutable_job_names();
    row->set_stream(stream.number);
    row->set_first(first);
    row->set_queue(queue.name);
    row->set_accepted_ms(accepted_ms);
    for (uint32_t i = begin; i < end; ++i) row->add_names(submit.names(static_cast<int>(i)));
  }
  Counted(queue, {&used_bytes_, &name_bytes_}, [&](JobNames& all) {
    all.Keep(stream.number, first, FromMilliseconds(accepted_ms), std::move(names));
  });
  SetWallTimer(queue);
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
  // Its number is not to be given to another stream as long as jobs are known by it.
  last_stream_ = std::max(last_stream_, row.stream());
  return absl::OkStatus();
}

}  // namespace whippletree::core
