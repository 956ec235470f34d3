#include "tests/sim/history.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "common/run.h"
#include "common/status.h"
#include "tests/sim/failure.h"

namespace whippletree::sim {
namespace {

using wire::OutcomeRange;

std::string Name(const Job& job) {
  return "job " + std::to_string(job.spec.uid) + " (" + job.producer + " " + job.queue + " " +
         std::to_string(job.number) + ", stream " + std::to_string(job.stream) + ")";
}

}  // namespace

Place PlaceOf(const wire::Delivery& delivery, uint32_t position) {
  uint64_t at = position;
  for (const wire::DeliveryPart& part : delivery.parts()) {
    if (at < part.count()) {
      return {part.stream(), part.first() + at, part.attempt(), part.options().requeue_of()};
    }
    at -= part.count();
  }
  if (delivery.indexes_size() > 0) at = delivery.indexes(static_cast<int>(position));
  return {delivery.stream(), delivery.first() + at, delivery.attempt(),
          delivery.options().requeue_of()};
}

const Job& History::AddFollowOn(uint64_t parent) {
  const Job& before = jobs_.at(parent);
  JobSpec spec;
  spec.payload_bytes = 16;
  spec.result_bytes = 8;
  spec.service = microseconds(100);
  Job& job = AddJob(spec);
  job.parent = parent;
  job.producer = before.producer;
  job.queue = options_->queues[parent % options_->queues.size()];
  job.options.set_group(before.options.group());
  job.options.set_key(before.options.key());
  job.discard = before.discard;
  job.excused = before.excused;
  job.max_attempts = options_->broker.queues.at(job.queue).max_attempts;
  job.batch_max = options_->broker.queues.at(job.queue).batch.max_jobs;
  return job;
}

Job& History::AddJob(JobSpec spec) {
  spec.uid = jobs_.size() + 1;
  Job& job = jobs_[spec.uid];
  job.spec = spec;
  return job;
}

void History::OnBrokerUp(uint32_t epoch) {
  epoch_ = epoch;
  tokens_.clear();
  const auto is_lost = [this](uint64_t uid) { return !IsDurable(jobs_.at(uid)); };
  std::erase_if(follow_ons_, [&](const auto& entry) { return is_lost(entry.second); });
  std::erase_if(followed_by_, [&](const auto& entry) { return is_lost(entry.second); });
  for (auto& [uid, job] : jobs_) {
    if (IsDurable(job)) {
      if (!job.ended) ++job.restarts;
      continue;
    }
    job.excused = true;
    job.stream = job.number_delivered = 0;
    // Handlers of the broker before may still run.
    std::erase_if(job.starts, [](const Start& start) { return start.end != kNever; });
    for (Start& start : job.starts) start.token = 0;
    job.deliveries.clear();
    job.held_by_lost_worker = false;
  }
}

bool History::IsDurable(const Job& job) const {
  return options_->broker.queues.at(job.queue).durable &&
         (job.parent == 0 || IsDurable(jobs_.at(job.parent)));
}

void History::OnProducerForgotten(const std::string& producer) {
  for (auto& [uid, job] : jobs_) job.excused = job.excused || job.producer == producer;
}

void History::OnRowDamaged(const record::Run& run) {
  wire::Run copy = run.jobs();
  const RunData jobs(&copy);
  for (uint32_t i = 0; i < jobs.count(); ++i) {
    const auto job = jobs_.find(UidOf(jobs.payload(i)));
    if (job != jobs_.end()) job->second.row_damaged = true;
  }
}

void History::OnStreamUpdate(const std::string& producer, const wire::StreamUpdate& update,
                             bool welcome) {
  const auto queue = options_->broker.queues.find(update.queue());
  if (queue == options_->broker.queues.end() || !queue->second.durable) return;
  if (update.follow_on() || left_.contains(producer)) return;
  uint64_t& told = next_told_[{producer, update.queue()}];
  situations_->Checked(4);
  const bool gone = update.state() == wire::StreamUpdate::GONE;
  if (gone && update.status().message().find("has accepted fewer jobs") == std::string::npos) {
    told = 0;  // it was idle for too long
    return;
  }
  if (gone || (welcome && update.next() < told)) {
    Violation("I4", producer + " " + update.queue() + " was told that the jobs below " +
                        std::to_string(told) + " are accepted, and now " +
                        std::to_string(update.next()));
  }
  told = std::max(told, update.next());
}

void History::OnDeliverySent(const wire::Delivery& delivery, const std::string& worker,
                             MonoTime at) {
  if (delivery.token() == 0) return;
  situations_->Checked(8);
  if (delivery.token() >> 32 != epoch_) Violation("I8", "a token of another epoch");
  const Place front = PlaceOf(delivery, 0);
  const bool whole = delivery.indexes_size() == 0;
  const auto [known, is_new] =
      tokens_.try_emplace(delivery.token(), std::pair(front.stream, front.number));
  if (whole && known->second != std::pair(front.stream, front.number)) {
    Violation("I8", "token " + std::to_string(delivery.token()) + " names two leases");
  }
  auto& delivered = delivered_[worker];
  wire::Run copy = delivery.run();
  const RunData run(&copy);
  for (uint32_t i = 0; i < run.count(); ++i) {
    auto it = jobs_.find(UidOf(run.payload(i)));
    if (it == jobs_.end()) Violation("I5", "a delivery of a job that nobody submitted");
    Job& job = it->second;
    const auto [stream, number, attempt, requeue_of] = PlaceOf(delivery, i);
    if (!requeue_of.empty()) {  // a job of its own, of which nobody awaits the outcome
      requeues_.insert(requeue_of);
      requeue_leases_.emplace(delivery.token(), job.spec.uid);
      situations_->Count("requeued_delivered");
      continue;
    }
    situations_->Checked(4);
    situations_->Checked(2);
    if (job.stream != 0 && (job.stream != stream || job.number_delivered != number)) {
      Violation("I4", Name(job) + " was accepted twice, as number " +
                          std::to_string(job.number_delivered) + " and " + std::to_string(number));
    }
    job.stream = stream;
    job.number_delivered = number;
    by_id_[{stream, number}] = job.spec.uid;
    if (job.seen == MonoTime{}) {
      job.seen = at;
      job.seen_epoch = epoch_;
    }
    if (job.parent == 0 && number != job.number) {
      Violation("I4", Name(job) + " is number " + std::to_string(number));
    }
    if (job.parent != 0) {
      follow_ons_[{stream, number, epoch_}] = job.spec.uid;
      const auto followed = followed_by_.try_emplace(job.parent, job.spec.uid).first;
      // One that was lost with its broker and submitted again may be followed again.
      if (followed->second != job.spec.uid && !jobs_.at(job.parent).excused) {
        Violation("I4", Name(jobs_.at(job.parent)) + " is followed twice");
      }
      situations_->Count("follow_on_delivered");
    }
    if (job.ended && !job.excused && !job.deliveries.contains(delivery.token())) {
      Violation("I2", Name(job) + " is delivered to " + worker + " after its outcome");
    }
    const auto [sent, is_first] =
        job.deliveries.try_emplace(delivery.token(), Job::Sent{worker, false, at});
    if (is_first) delivered.emplace_back(job.spec.uid, delivery.token());
    sent->second.free_slot = sent->second.free_slot || i < delivery.started();
    sent->second.index = whole ? i : delivery.indexes(static_cast<int>(i));
  }
}

Job* History::Find(uint64_t stream, uint64_t number) {
  const auto it = by_id_.find({stream, number});
  if (it == by_id_.end()) return nullptr;
  Job& job = jobs_.at(it->second);
  return IsOfThisLife(job, job.seen_epoch) ? &job : nullptr;
}

Job* History::PickOpen(Prng* prng) {
  std::vector<Job*> open;
  for (auto& [uid, job] : jobs_) {
    const bool known = job.stream != 0 && IsOfThisLife(job, job.seen_epoch);
    if (known && !job.ended && !job.excused) open.push_back(&job);
  }
  return open.empty() ? nullptr : open[prng->Below(open.size())];
}

// It completed, so its name was never free again. No other one with its name did so that was
// accepted so near that it was surely within the window.
void History::CheckName(const Job& job) const {
  if (job.name.empty()) return;
  // The broker counts it in milliseconds.
  const Duration window = options_->broker.queues.at(job.queue).names_window - milliseconds(1);
  for (const auto& [uid, other] : jobs_) {
    if (other.name != job.name || other.queue != job.queue || uid == job.spec.uid) continue;
    if (other.seen == MonoTime{} || job.seen == MonoTime{}) continue;
    if (!other.ended || other.outcome != OutcomeRange::COMPLETED) continue;
    // Names in memory end with the broker.
    if (!IsDurable(job) && other.seen_epoch != job.seen_epoch) continue;
    situations_->Checked(4);
    if (job.seen - other.submitted < window && other.seen - job.submitted < window) {
      Violation("I4", Name(job) + " and " + Name(other) + " were both accepted under the name " +
                          job.name);
    }
  }
}

void History::OnStart(const std::string& worker, const wire::Delivery& delivery,
                      std::string_view payload, MonoTime at) {
  auto it = jobs_.find(UidOf(payload));
  if (it == jobs_.end()) Violation("I5", "a start of a job that nobody submitted");
  Job& job = it->second;
  situations_->Checked(5);
  if (payload != PayloadOf(job.spec)) Violation("I5", Name(job) + " came with another payload");
  if (requeue_leases_.contains({delivery.token(), job.spec.uid})) return;
  const bool this_life = IsOfThisLife(job, delivery.token() >> 32);
  situations_->Checked(2);
  situations_->Checked(7);
  if (job.cancel_asked) situations_->Checked(11);
  if (this_life && job.ended && !job.excused && !HasExpired(job, worker, delivery.token())) {
    const bool cancelled = job.outcome == OutcomeRange::CANCELLED;
    Violation(cancelled ? "I11" : "I2", Name(job) + " starts on " + worker + " after its outcome");
  }
  for (const Start& start : job.starts) {
    if (start.token == delivery.token()) {
      Violation("I7", Name(job) + " starts twice on one lease");
    }
    if (start.end != kNever || start.token == 0 || !this_life) continue;
    // A lease that ended unheard: its worker may find out late.
    if (HasExpired(job, worker, delivery.token())) continue;
    if (job.deliveries.at(start.token).taken) situations_->Count("work_overlapped");
    if (!HasExpired(job, start.worker, start.token)) {
      Violation("I7", Name(job) + " starts on " + worker + " while it runs on " + start.worker +
                          ", whose lease did not end");
    }
  }
  job.starts.push_back({worker, this_life ? delivery.token() : 0, at, kNever});
  running_[worker][delivery.token()].insert(job.spec.uid);
  if (!this_life) return;
  uint64_t starts = 0;
  for (const Start& start : job.starts) starts += start.token != 0 ? 1 : 0;
  uint64_t allowed = job.max_attempts + (job.max_attempts > 1 && job.held_by_lost_worker ? 1 : 0);
  // The halving of its batches.
  if (job.max_attempts > 1) allowed += static_cast<uint64_t>(std::bit_width(job.batch_max - 1));
  situations_->Checked(6);
  if (starts > allowed) {
    Violation("I6", Name(job) + " was started " + std::to_string(starts) + " times, at most " +
                        std::to_string(allowed) + " are allowed");
  }
}

void History::OnEnd(const std::string& worker, uint64_t uid, uint64_t token, MonoTime at) {
  running_[worker][token].erase(uid);
  for (Start& start : jobs_.at(uid).starts) {
    if (start.worker == worker && (start.token == token || start.token == 0) &&
        start.end == kNever) {
      start.end = at;
    }
  }
}

void History::OnWorkerGone(const std::string& worker, MonoTime at) {
  for (const auto& [token, uids] : std::exchange(running_[worker], {})) {
    for (uint64_t uid : uids) {
      for (Start& start : jobs_.at(uid).starts) {
        if (start.worker == worker && start.end == kNever) start.end = at;
      }
    }
  }
}

void History::OnSettled(uint64_t process, const std::string& producer, const std::string& queue,
                        const OutcomeRange& range) {
  const std::vector<uint64_t>& stream = StreamJobs(producer, queue);
  if (range.first() + range.count() - 1 > stream.size()) {
    Violation("I5", "an outcome of a job that nobody submitted: " + producer + " " + queue + " " +
                        std::to_string(range.first()));
  }
  for (uint64_t i = 0; i < range.count(); ++i) {
    SettleJob(process, jobs_.at(stream[range.first() + i - 1]), range, i);
  }
}

void History::OnFollowOnsSettled(uint64_t process, uint32_t epoch, uint64_t stream,
                                 const OutcomeRange& range) {
  for (uint64_t i = 0; i < range.count(); ++i) {
    const uint64_t number = range.first() + i;
    // The last one that this start of the broker has delivered, or one before it.
    auto it = follow_ons_.upper_bound({stream, number, epoch});
    const auto is_it = [&] {
      const auto& [its_stream, its_number, its_epoch] = it->first;
      return its_stream == stream && its_number == number &&
             (its_epoch == epoch || IsDurable(jobs_.at(it->second)));
    };
    if (it == follow_ons_.begin() || (--it, !is_it())) {  // it never left its broker
      ++undelivered_by_group_[range.group()];
      ++undelivered_;
      continue;
    }
    situations_->Count("follow_on_settled");
    SettleJob(process, jobs_.at(it->second), range, i);
  }
}

void History::OnGroupEnd(const std::string& producer, const wire::GroupEnd& end) {
  situations_->Count(end.lost() ? "group_lost" : "group_end");
  if (end.lost()) {
    for (const auto& [uid, job] : jobs_) {
      if (job.producer != producer || job.options.group() != end.group()) continue;
      if (job.ended && !job.excused && IsDurable(job)) {
        Violation("I17", "the group of " + Name(job) + " is lost");
      }
    }
    return;
  }
  uint64_t members = 0;
  bool excused = false;
  for (const auto& [uid, job] : jobs_) {
    if (job.producer != producer || job.options.group() != end.group()) continue;
    if (job.parent != 0 && !job.ended) continue;  // perhaps its parent's completion was stale
    if (job.excused) excused = true;
    if (!job.ended && !job.excused) {
      Violation("I17", Name(job) + " has no outcome though its group has ended");
    }
    ++members;
  }
  const uint64_t told =
      end.completed() + end.dead() + end.cancelled() + end.expired() + end.rejected();
  const uint64_t most = members + undelivered_by_group_[end.group()];
  situations_->Checked(17);
  if (!excused && (told < members || told > most)) {
    Violation("I17", "a group of " + std::to_string(members) + " members ended with " +
                         std::to_string(told));
  }
}

void History::SettleJob(uint64_t process, Job& job, const OutcomeRange& range, uint64_t i) {
  ++settled_;
  situations_->Checked(1);
  situations_->Checked(2);
  if (!job.reported_to.insert(process).second) {
    Violation("I2", Name(job) + " has its outcome reported twice");
  }
  if (job.ended && job.outcome != range.kind() && !job.excused) {
    Violation("I2", Name(job) + " has its outcome changed");
  }
  job.ended = true;
  job.outcome = range.kind();
  const auto has_code = [&range](absl::StatusCode code) {
    return range.status().code() == static_cast<int>(code);
  };
  const bool other_failed = has_code(absl::StatusCode::kFailedPrecondition) &&
                            range.status().message().find(" has the name ") != std::string::npos;
  if (range.kind() == OutcomeRange::REJECTED &&
      (has_code(absl::StatusCode::kAlreadyExists) || other_failed)) {
    job.repeated = true;
    situations_->Count("name_repeated");
  }
  if (range.kind() == OutcomeRange::UNSPECIFIED && !job.excused) {
    Violation("I1", Name(job) + " is lost: " + range.status().message());
  }
  if (job.discard && range.kind() == OutcomeRange::COMPLETED) {
    Violation("I2", Name(job) + " has an outcome that nobody wanted");
  }
  if (range.kind() == OutcomeRange::COMPLETED) {
    size_t offset = 0;
    for (uint64_t k = 0; k < i; ++k) offset += range.results().sizes(static_cast<int>(k));
    const std::string_view result = std::string_view(range.results().block())
                                        .substr(offset, range.results().sizes(static_cast<int>(i)));
    situations_->Checked(5);
    if (result != ResultOf(job.spec, PayloadOf(job.spec))) {
      Violation("I5", Name(job) + " has another's result");
    }
  }
  if (range.kind() == OutcomeRange::COMPLETED) CheckName(job);
  CheckOutcome(job, range);
  if (!job.excused) CheckCharges(job, range);
}

void History::CheckOutcome(const Job& job, const OutcomeRange& range) const {
  switch (range.kind()) {
    case OutcomeRange::COMPLETED:
      if (job.starts.empty() && !job.excused) Violation("I5", Name(job) + " completed unstarted");
      if (job.spec.fatal || job.spec.result_bytes > 20'000) {
        Violation("I5", Name(job) + " completed though it must fail");
      }
      break;
    case OutcomeRange::DEAD:
      situations_->Count("job_dead");
      if (job.spec.poison) situations_->Count("poison_death");
      if (range.status().code() == static_cast<int>(absl::StatusCode::kDeadlineExceeded)) {
        situations_->Count("deadline_exceeded");
      }
      if (job.batch_max > 1) situations_->Checked(20);
      if (!job.spec.fatal && job.max_attempts > 1 && job.batch_max > 1 &&
          range.status().code() == static_cast<int>(absl::StatusCode::kInvalidArgument)) {
        Violation("I20", Name(job) + " died of a neighbour's fault");
      }
      if (range.status().code() == static_cast<int>(absl::StatusCode::kDataLoss)) {
        if (!job.row_damaged) Violation("I5", Name(job) + " is lost though its row is well");
        break;
      }
      if (IsRetryable(range.status().code()) && range.attempts() < job.max_attempts) {
        Violation("I1", Name(job) + " died after " + std::to_string(range.attempts()) +
                            " of its attempts: " + range.status().message());
      }
      break;
    case OutcomeRange::CANCELLED:
      situations_->Count("cancel_confirmed");
      if (!job.cancel_asked) Violation("I5", Name(job) + " was cancelled by nobody");
      break;
    case OutcomeRange::EXPIRED:
      situations_->Count("job_expired");
      if (job.options.expires_at_ms() == 0) Violation("I11", Name(job) + " expired by itself");
      break;
    case OutcomeRange::REJECTED:
      if (job.repeated) {
        const bool is_known = std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
          const Job& other = entry.second;
          return &other != &job && other.name == job.name && other.queue == job.queue;
        });
        if (job.name.empty() || !is_known) {
          Violation("I4", Name(job) + " was rejected for a name that no other has");
        }
      } else if (!job.rejectable && !job.excused) {
        Violation("I1", Name(job) + " was rejected: " + range.status().message());
      }
      // What was in memory only is forgotten with its broker, and another job may have the name by
      // now.
      if (std::any_of(job.starts.begin(), job.starts.end(),
                      [&](const Start& start) { return IsOfThisLife(job, start.token >> 32); })) {
        Violation("I5", Name(job) + " was rejected though it was started");
      }
      break;
    case OutcomeRange::UNSPECIFIED:
      break;
    default:
      Violation("I5", Name(job) + " has an outcome of no kind");
  }
}

// Attempts are what was started, or sent to a free slot, which counts as a start.
void History::CheckCharges(const Job& job, const OutcomeRange& range) const {
  uint64_t chargeable = 0;
  for (const auto& delivery : job.deliveries) {
    const bool started = std::any_of(job.starts.begin(), job.starts.end(), [&](const Start& start) {
      return start.token == delivery.first;
    });
    chargeable += delivery.second.free_slot || started ? 1 : 0;
  }
  chargeable += job.restarts;  // leases of which nobody knows whether they were delivered
  situations_->Checked(6);
  situations_->Checked(19);
  if (range.attempts() > chargeable) {
    Violation("I19", Name(job) + " was charged " + std::to_string(range.attempts()) +
                         " attempts, but only " + std::to_string(chargeable) +
                         " times started or sent to a free slot");
  }
  if (range.attempts() > job.max_attempts) {
    Violation("I6", Name(job) + " was charged more attempts than it has");
  }
}

}  // namespace whippletree::sim
