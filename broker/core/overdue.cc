// A worker is heard, but does not answer for jobs: these leave their lease, whatever else it does.
//
// Started ones (sent to a free slot, or marked) when their timeout and a grace have passed: that
// counts as DEADLINE_EXCEEDED, as if the worker had said so. Those that it merely held, and was
// asked to hand back or to cancel, after a grace: uncharged, but suspect. The worker is then stuck:
// it is given nothing more until it says what became of some job.
//
// The time begins when the delivery, the mark or the question is sent for the first time. Jobs
// without a timeout that were started stay for as long as their worker is heard.
#include "broker/core/overdue.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/status.h"

namespace whippletree::core {
namespace {

using Interval = IntervalSet::Interval;
using Kind = DueAnswers::Kind;

// How long a start of the jobs of `slice` may take; 0: for ever.
Duration TimeoutOf(const Lease& lease, const Slice& slice) {
  const uint32_t own = slice.options->timeout_ms();
  return own > 0 ? Duration(milliseconds(own)) : lease.timeout;
}

// That of the whole lease: of a batch the shortest.
Duration TimeoutOf(const Lease& lease) {
  Duration shortest{0};
  for (const Slice& slice : lease.slices) {
    const Duration timeout = TimeoutOf(lease, slice);
    if (timeout > Duration(0) && (shortest == Duration(0) || timeout < shortest)) {
      shortest = timeout;
    }
  }
  return shortest;
}

}  // namespace

// For so long a worker may be silent, or its frames be lost and come again.
Duration Overdue::Grace(const Lease& lease) const {
  return std::max<Duration>(kAnswerGrace, b_.peers_.at(lease.worker)->silence_max);
}

void Overdue::CountMemory() {
  b_.CountTable(static_cast<int64_t>(due_.bytes() - counted_bytes_));
  counted_bytes_ = due_.bytes();
}

void Overdue::ExpectEnd(const Lease& lease, const Interval& part, Duration timeout) {
  if (timeout == Duration(0)) return;
  due_.Expect({lease.token, part, Kind::kStarted},
              b_.now_.mono + timeout + lease.end_grace + Grace(lease));
  CountMemory();
}

void Overdue::OnDeliverySent(Lease& lease) {
  if (lease.sends++ > 0) return;
  const Duration timeout = TimeoutOf(lease);
  for (const Interval& part : lease.charged.intervals()) ExpectEnd(lease, part, timeout);
}

void Overdue::OnDeliveryNotSent(Lease& lease) {
  WT_CHECK(lease.sends > 0);
  if (--lease.sends > 0) return;
  due_.ForgetStarted(lease.token);
  CountMemory();
}

void Overdue::OnLeaseEnded(const Lease& lease) {
  due_.Forget(lease.token);
  CountMemory();
}

void Overdue::OnMarked(Lease& lease, const Interval& part) {
  const Duration timeout = TimeoutOf(lease);
  SplitBy(lease.charged, part, [&](Interval piece, bool charged) {
    if (!charged) ExpectEnd(lease, piece, timeout);
  });
  lease.awaited.Remove(part.begin, part.end);
}

// Who runs the jobs of a batch one after the other marks each start: each has its own time.
void Overdue::OnBatchStep(Lease& lease, const Interval& part) {
  if (part.end <= lease.marked_below) return;
  lease.marked_below = part.end;
  due_.ForgetStarted(lease.token);
  CountMemory();
  lease.ForEach({part.end - 1, part.end}, [&](const Slice& slice, uint64_t) {
    const Duration timeout = TimeoutOf(lease, slice);
    ExpectEnd(lease, {lease.open.front(), lease.open.end()}, timeout);
  });
}

// What is asked again gets no more time.
void Overdue::OnAskedBack(const Ranges& ranges) {
  for (const wire::JobRange& range : ranges) {
    Lease* lease = b_.leases_.Find(range.token());
    if (lease == nullptr) continue;
    const uint64_t begin = range.first();
    const uint64_t end = begin + range.count();
    IntervalSet asked;  // of those that were not started, for the first time
    for (const Interval& part : lease->open.Intersect(begin, end)) {
      asked.Add(part.begin, part.end);
    }
    for (const IntervalSet* other : {&lease->charged, &lease->awaited}) {
      for (const Interval& part : other->Intersect(begin, end)) asked.Remove(part.begin, part.end);
    }
    for (const Interval& part : asked.intervals()) {
      lease->awaited.Add(part.begin, part.end);
      due_.Expect({lease->token, part, Kind::kAskedBack}, b_.now_.mono + Grace(*lease));
    }
  }
  CountMemory();
}

void Overdue::TakeDue() {
  due_.GoOn(b_.config_.step_work_max);
  CountMemory();
  do {
    std::optional<DueAnswers::Due> due = due_.Take(b_.now_.mono);
    const bool has_lease = due && b_.leases_.Find(due->token) != nullptr;
    if (has_lease && due->kind == Kind::kStarted) CutToStep(&*due);
    CountMemory();
    if (!due) return;
    b_.Work();
    if (!has_lease) continue;  // it is being forgotten
    if (due->kind == Kind::kStarted && Planted("forget_overdue")) continue;
    if (due->kind == Kind::kAskedBack && Planted("forget_asked_back")) continue;
    b_.Work(Take(*due));
  } while (!b_.IsExhausted());
}

// As much as a step has room for; the rest is due as well.
void Overdue::CutToStep(DueAnswers::Due* due) {
  const Lease& lease = *b_.leases_.Find(due->token);
  if (lease.batch) due->part = {lease.open.front(), lease.open.end()};
  if (due->part.begin >= lease.open.end()) return;
  const uint64_t end =
      std::min(due->part.end, b_.StepEnd(lease, due->part.begin, !b_.Halves(lease)));
  if (end < due->part.end) {
    due_.Expect({due->token, {end, due->part.end}, due->kind}, b_.now_.mono);
  }
  due->part.end = end;
}

uint64_t Overdue::Take(const DueAnswers::Due& due) {
  Lease& lease = *b_.leases_.Find(due.token);
  const bool started = due.kind == Kind::kStarted;
  const std::vector<Interval> parts =
      (started ? lease.charged : lease.awaited).Intersect(due.part.begin, due.part.end);
  if (parts.empty()) return 0;
  Peer& peer = *b_.peers_.at(lease.worker);
  WorkerState& worker = *peer.worker;
  uint64_t jobs = 0;
  wire::Envelope message;  // should it still have them, it is to stop
  message.mutable_cancel_jobs()->set_session(peer.session);
  for (const Interval& part : parts) {
    jobs += part.end - part.begin;
    wire::JobRange* range = message.mutable_cancel_jobs()->add_ranges();
    range->set_token(lease.token);
    range->set_first(static_cast<uint32_t>(part.begin));
    range->set_count(static_cast<uint32_t>(part.end - part.begin));
    if (started && lease.delivered) worker.owed.Add(lease.token, part, lease.batch);
  }
  b_.CountPeer(peer);
  const std::string_view event = started ? "jobs_overdue" : "jobs_not_handed_back";
  b_.Count(event, jobs);
  b_.Log(LogLevel::kWarning, event,
         {{"queue", lease.queue->name},
          {"worker", peer.name},
          {"jobs", jobs},
          {"token", lease.token},
          {"first", parts.front().begin},
          {"end", parts.back().end}});
  if (started) worker.failed += jobs;
  TakeJobs(lease, due);
  // As the answer to a report: it learns that they are gone only when that stays so.
  const uint64_t commit = lease.queue->policy.durable ? b_.ThisCommit() : 0;
  worker.commit = std::max(worker.commit, commit);
  b_.SendTo(peer, std::move(message), commit);
  const Stuck until = lease.delivered ? Stuck::kJobs : Stuck::kDeliveries;
  b_.EraseIfDone(lease);
  if (peer.connected()) MarkStuck(peer, until);
  return jobs;
}

void Overdue::TakeJobs(Lease& lease, const DueAnswers::Due& due) {
  const bool started = due.kind == Kind::kStarted;
  const std::string& name = b_.peers_.at(lease.worker)->name;
  const wire::Status status =
      WireStatus(absl::StatusCode::kDeadlineExceeded,
                 "its worker neither ended it in " +
                     std::to_string(ToMilliseconds(TimeoutOf(lease))) + " ms nor said why");
  if (started && lease.batch) {
    b_.HalveBatch(lease, due.part, {status, name});
    return;
  }
  const bool suspect = lease.sends > 0;
  const std::vector<Interval> parts =
      (started ? lease.charged : lease.awaited).Intersect(due.part.begin, due.part.end);
  for (const Interval& part : parts) {
    if (started || Planted("charge_asked_back")) {
      b_.FailJobs(lease, part, {status, name});
      continue;
    }
    SplitBy(IntervalSet(lease.cancelled), part,
            [&](Interval piece, bool cancelled) { b_.GiveBack(lease, piece, cancelled, suspect); });
  }
}

void Overdue::MarkStuck(Peer& peer, Stuck until) {
  WorkerState& worker = *peer.worker;
  const Stuck before = worker.stuck;
  if (before != Stuck::kJobs) worker.stuck = until;
  if (before != Stuck::kNo) return;
  b_.Log(LogLevel::kWarning, "worker_stuck",
         {{"worker", peer.name}, {"leased", worker.leased}, {"owed", worker.owed.starts()}});
  b_.UpdateReady(peer);
  // It will hardly run what it holds.
  for (uint64_t token : worker.leases) {
    Lease& lease = *b_.leases_.Find(token);
    if (lease.held() == 0) continue;
    lease.RevokeHeld();
    b_.Ask(lease);
  }
}

void Overdue::OnAnswer(Peer& peer, const wire::ReportItem& item) {
  if (item.kind() == wire::ReportItem::STARTED) return;
  OwedJobs& owed = peer.worker->owed;
  if (!owed.empty()) {
    owed.Remove(item.token(), {item.first(), uint64_t{item.first()} + item.count()});
    b_.CountPeer(peer);
  }
  Free(peer);
}

void Overdue::OnDeliveriesTold(Peer& peer) {
  if (peer.worker->stuck == Stuck::kDeliveries && peer.worker->deliveries.empty()) Free(peer);
}

void Overdue::Free(Peer& peer) {
  if (std::exchange(peer.worker->stuck, Stuck::kNo) == Stuck::kNo) return;
  b_.Log(LogLevel::kInfo, "worker_goes_on",
         {{"worker", peer.name}, {"owed", peer.worker->owed.starts()}});
  peer.worker->is_stale = true;
  b_.woken_workers_.insert(peer.number);
}

void Overdue::OnWelcome(WorkerState& worker, const wire::Hello& hello,
                        const google::protobuf::RepeatedField<uint64_t>& kept) {
  worker.end_grace = milliseconds(std::min(hello.end_grace_ms(), kEndGraceMsMax));
  worker.stuck = Stuck::kNo;
  // The others it was told to end.
  worker.owed.RemoveIf(
      [&kept](uint64_t token) { return std::find(kept.begin(), kept.end(), token) == kept.end(); });
}

void Overdue::Check() const {
  if (Planted("forget_overdue") || Planted("forget_asked_back")) return;
  due_.Check([this](uint64_t token) { return b_.leases_.all().contains(token); });
  for (const auto& [token, lease] : b_.leases_.all()) {
    for (const Interval& part : lease.awaited.intervals()) {
      WT_CHECK(lease.charged.Count(part.begin, part.end) == 0);
      WT_CHECK(due_.Covers({token, part, Kind::kAskedBack}));
    }
    if (lease.sends == 0 || lease.marked_below > 0 || TimeoutOf(lease) == Duration(0)) continue;
    for (const Interval& part : lease.charged.intervals()) {
      WT_CHECK(due_.Covers({token, part, Kind::kStarted}));
    }
  }
}

}  // namespace whippletree::core
