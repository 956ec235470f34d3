// Queues come when somebody names them, and go: at an admin's word, or some time after nobody has
// anything to do with them. What they have counted stays in the sum of all that went.
#include <algorithm>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/check.h"
#include "common/codec.h"
#include "common/status.h"

namespace whippletree::core {

const QueuePolicy& Broker::PolicyOf(const std::string& queue) const {
  const auto it = policies_.queues.find(queue);
  return it == policies_.queues.end() ? policies_.defaults : it->second;
}

Queue* Broker::OpenQueue(const std::string& name, absl::Status* error) {
  if (auto it = queues_.find(name); it != queues_.end()) return it->second.get();
  if (std::string text = QueueNameError(name); !text.empty()) {
    *error = absl::InvalidArgumentError(text);
    return nullptr;
  }
  if (!policies_.unknown_queues && !policies_.queues.contains(name)) {
    *error = absl::NotFoundError("there is no queue \"" + name +
                                 "\" in the broker's configuration (unknown_queues: refuse)");
    return nullptr;
  }
  if (queues_.size() >= kQueuesMax || TablesFull()) {
    *error = absl::ResourceExhaustedError(
        "the broker has as many queues as it may have: drop some that nobody uses "
        "(whippletree-broker queue drop), or raise its --memory-limit");
    return nullptr;
  }
  return &AddQueue(name);
}

Queue& Broker::AddQueue(const std::string& name) {
  std::unique_ptr<Queue>& queue = queues_[name];
  queue = std::make_unique<Queue>();
  queue->name = name;
  if (free_queue_numbers_.empty()) {
    queue->number = queue_by_number_.size();
    queue_by_number_.push_back(queue.get());
  } else {  // so that they do not grow with all queues that ever were
    queue->number = free_queue_numbers_.back();
    free_queue_numbers_.pop_back();
    queue_by_number_[queue->number] = queue.get();
  }
  CountTable(kQueueOverheadBytes);
  Configure(*queue, PolicyOf(name));
  return *queue;
}

absl::Status Broker::DropError(const Queue& queue) const {
  const auto refuse = [&](const std::string& why) {
    return absl::FailedPreconditionError("queue " + queue.name + " " + why);
  };
  if (const uint64_t jobs = queue.open_jobs(); jobs > 0) {
    return refuse("has jobs without an outcome: " + std::to_string(jobs) +
                  "; let them end, or cancel them");
  }
  if (queue.outcome_jobs > 0) {
    return refuse("has outcomes that their producers have not fetched: " +
                  std::to_string(queue.outcome_jobs));
  }
  if (const uint64_t dead = dead_.count(queue.name); dead > 0) {
    return refuse("has dead jobs that are kept: " + std::to_string(dead) +
                  "; requeue or drop them first");
  }
  if (!queue.workers.empty()) {
    return refuse("is served by worker " + peers_.at(*queue.workers.begin())->name +
                  "; stop its workers first");
  }
  if (queue.streams > 0 || queue.jobs.loads() > 0) {
    return refuse("is used by a producer; it can go when that one is gone and forgotten");
  }
  return absl::OkStatus();
}

void Broker::DropQueue(Queue& queue) {
  WT_CHECK(DropError(queue).ok());
  const bool durable = queue.policy.durable;
  while (queue.names.oldest() != nullptr) DropOldestNames(queue);
  CountMemory(queue);
  WT_CHECK(queue.bytes == 0);
  used_bytes_ -= queue.record_bytes;
  ++dropped_.queues;
  dropped_.all += queue.ledger;
  if (durable) {
    dropped_.durable += queue.ledger;
    changed_.queues.erase(queue.name);
    changed_.queues.insert("");  // the row of these sums
    record::Record* gone = Write();
    gone->set_erased(true);
    gone->mutable_queue()->set_name(queue.name);
  }
  if (queue.timer != kNever) queue_timers_.erase({queue.timer, queue.number});
  if (queue.wall_timer != WallTime::max()) wall_timers_.erase({queue.wall_timer, queue.number});
  for (std::set<uint64_t>* numbers :
       {&woken_queues_, &load_queues_, &commit_queues_, &full_queues_}) {
    numbers->erase(queue.number);
  }
  orphan_streams_.erase(queue.number);
  held_back_.erase(&queue);
  Log(LogLevel::kInfo, "queue_dropped",
      {{"queue", queue.name}, {"accepted", queue.ledger.accepted}});
  queue_by_number_[queue.number] = nullptr;
  free_queue_numbers_.push_back(queue.number);
  CountTable(-static_cast<int64_t>(kQueueOverheadBytes));
  queues_.erase(queue.name);
}

bool Broker::IsUnused(Queue& queue) const {
  const bool used = policies_.queues.contains(queue.name) || queue.paused ||
                    queue.names.oldest() != nullptr || !DropError(queue).ok();
  if (used) {
    queue.unused_since = kNever;
  } else if (queue.unused_since == kNever) {
    queue.unused_since = now_.mono;
  }
  return !used && now_.mono >= queue.unused_since + kQueueRetention;
}

wire::AdminReply Broker::OnDropQueue(const wire::DropQueueRequest& request) {
  wire::AdminReply reply;
  const auto it = queues_.find(request.queue());
  const absl::Status error =
      it == queues_.end() ? absl::NotFoundError("the broker knows no queue " + request.queue())
                          : DropError(*it->second);
  if (!error.ok()) {
    *reply.mutable_error() = ToWire(error);
    return reply;
  }
  reply.mutable_drop_queue()->set_accepted(it->second->ledger.accepted);
  DropQueue(*it->second);
  return reply;
}

}  // namespace whippletree::core
