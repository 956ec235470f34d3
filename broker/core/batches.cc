// Batches: which jobs make one, and what becomes of those that fail as a whole.
//
// A batch whose worker died, whose attempt timed out, or that got one non-retryable status for
// several jobs is halved, so that a guilty job is found and its neighbours complete. A halved try
// charges nobody, and each job is in at most log2 of the largest batch of them. Of a batch with
// more records than a step has room for, one part after the other is halved.
#include <algorithm>
#include <bit>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {

uint64_t Broker::BatchJobsMax(const Queue& queue) const {
  const RatePolicy& rate = queue.policy.rate;
  const bool cut = rate.count > 0 && !rate.of_batches;
  const uint64_t max_jobs = Planted("large_batches") ? uint64_t{queue.policy.batch.max_jobs} + 1
                                                     : queue.policy.batch.max_jobs;
  return cut ? std::min<uint64_t>(max_jobs, queue.bucket.burst()) : max_jobs;
}

// The jobs in line are the last ones of a closed group: to wait for others is in vain. (By number:
// jobs of no group among them only make the batch go early.)
bool Broker::NoneWillJoin(const Queue& queue) {
  const Slice& front = queue.jobs.front();
  const Stream& stream = *streams_.at(front.stream);
  const uint64_t number = front.options->group();
  if (number == 0 || stream.producer == 0) return false;
  ProducerState& producer = *peers_.at(stream.producer)->producer;
  const auto group = producer.groups.find(number);
  const bool none = group != producer.groups.end() && group->second.all_arrived() &&
                    group->second.open <= queue.jobs.ready();
  if (!none) producer.lingering.insert(queue.name);  // to be looked at when members end elsewhere
  return none;
}

std::vector<Slice> Broker::NextBatch(Queue& queue, bool apart, BatchReason* reason) {
  const RatePolicy& rate = queue.policy.rate;
  const bool by_jobs = rate.count > 0 && !rate.of_batches && !Planted("ignore_rate");
  const uint64_t tokens = by_jobs ? queue.bucket.Available(now_.mono) : kJobsPerRunMax;
  if (queue.jobs.sealed() > 0) {
    *reason = BatchReason::kHalved;
    // It is not known how many these are; a full bucket lets any pass.
    const bool is_full = !by_jobs || tokens >= queue.bucket.burst();
    std::vector<Slice> sealed =
        queue.jobs.TakeSealed(is_full ? kJobsPerRunMax : tokens, apart, now_.mono);
    if (!sealed.empty() || !queue.policy.batches()) return sealed;
    if (!is_full && queue.jobs.sealed() > 0) {
      WaitForTokens(queue, queue.bucket.burst());
      return {};
    }
  }
  const uint64_t most = BatchJobsMax(queue);
  const uint64_t ready = queue.jobs.Startable(most, now_.mono);
  if (ready == 0) return {};
  // A delivery is one message: no larger than one with the largest payload.
  const uint64_t bytes_max =
      std::min<uint64_t>(queue.policy.batch.max_bytes, config_.payload_bytes_max);
  // Those that come next are read from the store: they are awaited, however long it takes.
  if (!queue.jobs.IsLoaded(most, bytes_max, now_.mono)) return {};
  const MonoTime flush_at = queue.jobs.oldest() + queue.policy.batch.linger;
  if (ready >= most) {
    *reason = BatchReason::kSize;
  } else if (queue.jobs.ready_bytes() >= bytes_max) {
    *reason = BatchReason::kBytes;
  } else if (now_.mono >= flush_at) {
    *reason = BatchReason::kLinger;
  } else if (NoneWillJoin(queue)) {
    *reason = BatchReason::kDrain;
  } else {
    if (!Planted("forget_linger")) SetTimer(queue, flush_at);
    return {};
  }
  const uint64_t wanted = std::min(ready, most);
  if (tokens < wanted) {
    WaitForTokens(queue, wanted);
    return {};
  }
  std::vector<Slice> batch;
  uint64_t jobs = 0;
  uint64_t bytes = 0;
  while (jobs < wanted && bytes < bytes_max && batch.size() < kBatchRecordsMax) {
    std::optional<Slice> slice = queue.jobs.Take({.jobs = static_cast<uint32_t>(wanted - jobs),
                                                  .bytes = bytes_max - bytes,
                                                  .exactly = jobs > 0},
                                                 false, queue.policy.max_attempts, now_.mono);
    if (!slice) break;
    jobs += slice->count();
    bytes += slice->bytes();
    batch.push_back(*std::move(slice));
  }
  return batch;
}

bool Broker::MayHalve(const Slice& slice, const QueuePolicy& policy) const {
  const auto halvings_max = static_cast<uint32_t>(
      std::bit_width(static_cast<uint64_t>(std::max(policy.batch.max_jobs, 1u)) - 1));
  return slice.halvings < halvings_max && MaxAttempts(slice, policy.max_attempts) > 1 &&
         !Planted("never_halve");
}

void Broker::HalveBatch(Lease& lease, const IntervalSet::Interval& part, const Failure& failure) {
  Queue& queue = *lease.queue;
  const bool counts = IsRetryable(failure.status.code());
  const bool alone = lease.open.size() == 1 && !lease.halved;  // it is the guilty one
  lease.halved = true;
  std::vector<Slice> guilty_or_not;
  for (const auto& open : lease.open.Intersect(part.begin, part.end)) {
    lease.ForEach(open, [&](const Slice& slice, uint64_t at) {
      const IntervalSet::Interval piece{at, at + slice.count()};
      if (alone || !MayHalve(slice, queue.policy)) {
        FailJobs(lease, piece, failure);
        return;
      }
      SplitBy(lease.cancelled, piece, [&](IntervalSet::Interval bit, bool cancelled) {
        if (cancelled) {
          GiveBack(lease, bit, true, false);
          return;
        }
        Slice half = slice.Part(static_cast<uint32_t>(bit.begin - at),
                                static_cast<uint32_t>(bit.end - bit.begin));
        ++half.halvings;
        if (failure.lost) half.losses = std::min(half.losses + 1, kLossesApart);
        CloseJobs(lease, half, bit.begin, counts ? Verdict::kFailed : Verdict::kSucceeded);
        WatchExpiry(queue, half);
        guilty_or_not.push_back(std::move(half));
      });
    });
  }
  uint64_t jobs = 0;
  for (const Slice& slice : guilty_or_not) jobs += slice.count();
  if (jobs == 0) return;
  Count("batches_halved");
  Count("jobs_halved", jobs);
  Log(LogLevel::kInfo, "batch_halved",
      {{"queue", queue.name},
       {"jobs", jobs},
       {"status", CodeName(failure.status.code())},
       {"error", failure.status.message()}});
  const uint64_t first_half = (jobs + 1) / 2;
  std::vector<Slice> halves[2];
  for (std::vector<Slice>& half : halves) half.reserve(guilty_or_not.size() / 2 + 1);
  uint64_t at = 0;
  for (Slice& slice : guilty_or_not) {
    const uint64_t left = at < first_half ? std::min<uint64_t>(slice.count(), first_half - at) : 0;
    at += slice.count();
    const auto cut = static_cast<uint32_t>(left);
    if (cut == slice.count()) {
      halves[0].push_back(std::move(slice));
      continue;
    }
    if (cut > 0) {
      halves[0].push_back(slice.Part(0, cut));
      slice = slice.Part(cut, slice.count() - cut);
    }
    halves[1].push_back(std::move(slice));
  }
  for (std::vector<Slice>& half : halves) {
    if (half.empty()) continue;
    ++queue.last_batch;
    for (const Slice& slice : half) NoteReturned(slice, queue.last_batch, Duration(0));
    queue.jobs.Seal(std::move(half));
  }
  CountMemory(queue);
  Wake(queue);
}

}  // namespace whippletree::core
