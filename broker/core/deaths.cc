// What is kept of failed attempts, and of jobs that are dead.
#include <algorithm>
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

uint64_t Milliseconds(WallTime time) {
  return static_cast<uint64_t>(ToMilliseconds(time.time_since_epoch()));
}

wire::Attempt FailedAttempt(const wire::Status& status, const std::string& worker, WallTime at) {
  wire::Attempt attempt;
  attempt.set_worker(worker);
  attempt.set_at_ms(Milliseconds(at));
  attempt.mutable_status()->set_code(status.code());
  attempt.mutable_status()->set_exit_code(status.exit_code());
  attempt.mutable_status()->set_signal(status.signal());
  attempt.mutable_status()->set_message(CutMiddle(status.message(), kAttemptMessageBytesMax));
  return attempt;
}

}  // namespace

// The jobs of `slice` are to be tried again.
void Broker::NoteAttempt(const Slice& slice, const wire::Status& status,
                         const std::string& worker) {
  // Many that fail must not take the memory of those that wait.
  if (attempts_.bytes() > config_.budget_bytes() / 16) {
    Count("attempts_not_kept", slice.count());
    return;
  }
  const uint64_t before = attempts_.bytes();
  const Stream& stream = *streams_.at(slice.stream);
  attempts_.Add(slice.stream, slice.first, slice.first + slice.count(),
                FailedAttempt(status, worker, now_.wall),
                stream.rows != nullptr ? &effects_->writes : nullptr);
  used_bytes_ += attempts_.bytes() - before;
}

void Broker::ForgetAttempts(const Stream& stream, uint64_t begin, uint64_t end) {
  if (attempts_.empty()) return;
  const uint64_t before = attempts_.bytes();
  attempts_.Remove(stream.number, begin, end, stream.rows != nullptr ? &effects_->writes : nullptr);
  used_bytes_ += attempts_.bytes() - before;
}

// The jobs of `slice` are dead; they are still open.
void Broker::KeepDead(Queue& queue, const Slice& slice, uint32_t attempts,
                      const wire::Status& status, const std::string& worker) {
  if (queue.policy.dead_jobs_max == 0) return;
  WT_CHECK(!slice.stored());  // what is leased is in memory
  const Stream& stream = *streams_.at(slice.stream);
  for (uint32_t i = 0; i < slice.count(); ++i) {
    record::Dead job;
    job.set_stream(slice.stream);
    job.set_number(slice.first + i);
    job.set_queue(queue.name);
    job.set_died_at_ms(Milliseconds(now_.wall));
    job.set_attempts(attempts);
    *job.mutable_status() = status;
    job.set_worker(worker);
    if (stream.producer != 0) job.set_producer(peers_.at(stream.producer)->name);
    *job.mutable_options() = *slice.options;
    job.set_payload(std::string(slice.data->payload(slice.begin + i)));
    if (const auto* before = attempts_.Find(slice.stream, slice.first + i)) {
      *job.mutable_history() = *before;
      if (job.history_size() >= kAttemptsKept) {
        job.mutable_history()->DeleteSubrange(0, job.history_size() - kAttemptsKept + 1);
      }
    }
    *job.add_history() = FailedAttempt(status, worker, now_.wall);
    const uint64_t bytes = dead_.bytes();
    const record::Dead& kept = dead_.Add(std::move(job));
    used_bytes_ += dead_.bytes() - bytes;
    if (queue.policy.durable && !Planted("lose_dead_row")) *Write()->mutable_dead() = kept;
  }
  BoundDead(queue);
}

void Broker::BoundDead(Queue& queue) {
  const auto drop = [this](const record::Dead& job) {
    Count("dead_dropped");
    Queue& its_queue = *queues_.at(job.queue());
    if (!std::exchange(its_queue.dead_dropped, true)) {
      Log(LogLevel::kWarning, "dead_dropped",
          {{"queue", its_queue.name},
           {"kept", dead_.count(its_queue.name)},
           {"reason", std::string("more than are kept; the oldest go, and this is said once")}});
    }
    TakeDead({job.stream(), job.number()});
  };
  while (dead_.count(queue.name) > queue.policy.dead_jobs_max ||
         dead_.bytes(queue.name) > queue.policy.dead_bytes_max) {
    drop(*dead_.Oldest(queue.name));
  }
  // Nor those of all queues together.
  while (dead_.bytes() > config_.budget_bytes() / 8) drop(*dead_.Oldest());
}

record::Dead Broker::TakeDead(const DeadJobs::Id& id) {
  const uint64_t bytes = dead_.bytes();
  record::Dead job = dead_.Take(id);
  used_bytes_ += dead_.bytes() - bytes;
  Queue& queue = *queues_.at(job.queue());
  EndNames(queue, id.first, id.second, id.second + 1, [](uint64_t) { return NameEnd::kFree; });
  if (queue.policy.durable) {
    record::Record* gone = Write();
    gone->set_erased(true);
    gone->mutable_dead()->set_stream(job.stream());
    gone->mutable_dead()->set_number(job.number());
  }
  return job;
}

// It is a new job, of nobody: its outcome is only counted.
DeadJobs::Id Broker::RequeueDead(const DeadJobs::Id& id) {
  // The new one has its name, and stands for it.
  std::string name = queues_.at(dead_.Find(id)->queue())->names.NameOf(id.first, id.second);
  record::Dead job = TakeDead(id);
  Queue& queue = *queues_.at(job.queue());
  Stream& stream = follow_ons_.StreamOf(0, queue);
  wire::JobOptions options = std::move(*job.mutable_options());
  options.clear_group();
  options.clear_not_before_ms();
  options.clear_expires_at_ms();
  options.set_discard_outcome(true);
  options.set_requeue_of(JobIdText(id.first, id.second));
  stream.options = options_.Keep(std::move(options));
  Slice slice;
  slice.data = std::make_shared<RunData>();
  slice.data->Append(job.payload());
  slice.end = 1;
  slice.stream = stream.number;
  slice.first = stream.next;
  slice.options = stream.options;
  const DeadJobs::Id now{stream.number, stream.next};
  Count("dead_requeued");
  Log(LogLevel::kInfo, "dead_requeued",
      {{"queue", queue.name},
       {"job", slice.options->requeue_of()},
       {"as", JobIdText(now.first, now.second)}});
  if (!Planted("lose_requeued")) AddJobs(stream, std::move(slice));
  if (!name.empty()) {
    RunData names;
    names.Append(name);
    KeepNames(queue, now.first, now.second, std::move(names));
  }
  return now;
}

absl::Status Broker::RestoreAttempts(const record::Attempts& row) {
  const auto stream = streams_.find(row.stream());
  if (stream == streams_.end()) return Damaged("attempts of jobs of no stream");
  IntervalSet& attempted = restoring_->streams.at(row.stream()).attempted;
  const uint64_t end = row.first() + row.count();
  if (attempted.Count(row.first(), end) > 0) return Damaged("two rows of attempts of one job");
  attempted.Add(row.first(), end);
  const uint64_t before = attempts_.bytes();
  attempts_.Restore(row);
  used_bytes_ += attempts_.bytes() - before;
  return absl::OkStatus();
}

absl::Status Broker::RestoreDead(record::Dead& row) {
  if (!queues_.contains(row.queue())) return Damaged("a dead job of no queue: " + row.queue());
  if (row.order() == 0 || dead_.Find({row.stream(), row.number()}) != nullptr) {
    return Damaged("two rows of one dead job, or one without its place");
  }
  const uint64_t before = dead_.bytes();
  // Its id is not to be given to another job.
  last_stream_ = std::max(last_stream_, row.stream());
  dead_.Add(std::move(row));
  used_bytes_ += dead_.bytes() - before;
  return absl::OkStatus();
}

}  // namespace whippletree::core
