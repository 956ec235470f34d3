#include "broker/core/dead_jobs.h"

#include <algorithm>

#include "broker/core/limits.h"
#include "common/check.h"

namespace whippletree::core {
namespace {

uint64_t BytesOf(const record::Dead& job) { return kDeadOverheadBytes + job.ByteSizeLong(); }

}  // namespace

const record::Dead& DeadJobs::Add(record::Dead job) {
  if (job.order() == 0) job.set_order(last_order_ + 1);
  last_order_ = std::max(last_order_, job.order());
  const Id id{job.stream(), job.number()};
  const uint64_t bytes = BytesOf(job);
  bytes_ += bytes;
  Line& line = queues_[job.queue()];
  line.bytes += bytes;
  line.by_order.emplace(job.order(), id);
  by_order_.emplace(job.order(), id);
  const auto [it, is_new] = jobs_.emplace(id, std::move(job));
  WT_CHECK(is_new);
  return it->second;
}

const record::Dead* DeadJobs::Find(const Id& id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

record::Dead DeadJobs::Take(const Id& id) {
  const auto it = jobs_.find(id);
  WT_CHECK(it != jobs_.end());
  record::Dead job = std::move(it->second);
  jobs_.erase(it);
  const uint64_t bytes = BytesOf(job);
  bytes_ -= bytes;
  by_order_.erase(job.order());
  const auto line = queues_.find(job.queue());
  line->second.bytes -= bytes;
  line->second.by_order.erase(job.order());
  if (line->second.by_order.empty()) queues_.erase(line);
  return job;
}

const record::Dead* DeadJobs::First(const std::map<uint64_t, Id>& line, uint64_t after) const {
  const auto it = line.upper_bound(after);
  return it == line.end() ? nullptr : Find(it->second);
}

const record::Dead* DeadJobs::Oldest() const { return First(by_order_, 0); }

const record::Dead* DeadJobs::Oldest(const std::string& queue) const { return After(queue, 0); }

const record::Dead* DeadJobs::After(const std::string& queue, uint64_t order) const {
  if (queue.empty()) return First(by_order_, order);
  const auto line = queues_.find(queue);
  return line == queues_.end() ? nullptr : First(line->second.by_order, order);
}

uint64_t DeadJobs::count(const std::string& queue) const {
  const auto line = queues_.find(queue);
  return line == queues_.end() ? 0 : line->second.by_order.size();
}

uint64_t DeadJobs::bytes(const std::string& queue) const {
  const auto line = queues_.find(queue);
  return line == queues_.end() ? 0 : line->second.bytes;
}

}  // namespace whippletree::core
