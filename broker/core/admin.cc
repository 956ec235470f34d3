// What admins ask for: the state of jobs, their end, and what becomes of dead ones.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/job_id.h"
#include "broker/core/limits.h"
#include "common/status.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kLinesMax = 10'000;
// One reply is not larger than a message may be, payloads aside.
constexpr uint32_t kListedMax = 1000;
// What a line is counted as beside its bytes: short ones are as much work as others.
constexpr uint64_t kLineBytes = 192;

void SetId(const DeadJobs::Id& id, wire::JobId* out) {
  out->set_stream(id.first);
  out->set_number(id.second);
}

void FillDead(const record::Dead& job, bool whole, wire::DeadJob* out) {
  SetId({job.stream(), job.number()}, out->mutable_id());
  out->set_queue(job.queue());
  out->set_order(job.order());
  out->set_died_at_ms(job.died_at_ms());
  out->set_attempts(job.attempts());
  *out->mutable_status() = job.status();
  out->set_worker(job.worker());
  out->set_producer(job.producer());
  out->set_key(job.options().key());
  out->set_requeue_of(job.options().requeue_of());
  out->set_payload_bytes(job.payload().size());
  if (!whole) return;
  out->set_payload(job.payload());
  *out->mutable_history() = job.history();
}

std::string KindText(wire::OutcomeRange::Kind kind) {
  switch (kind) {
    case wire::OutcomeRange::COMPLETED:
      return "completed";
    case wire::OutcomeRange::DEAD:
      return "dead";
    case wire::OutcomeRange::CANCELLED:
      return "cancelled";
    case wire::OutcomeRange::EXPIRED:
      return "expired";
    default:
      return "rejected";
  }
}

// Calls each(slice, charged, cancelled) for what is open of the lease until it returns false. True:
// it never did.
template <typename Each>
bool ForEachOpen(const Lease& lease, const Each& each) {
  bool go_on = true;
  for (const auto& part : lease.open.intervals()) {
    SplitBy(lease.charged, part, [&](IntervalSet::Interval piece, bool charged) {
      SplitBy(lease.cancelled, piece, [&](IntervalSet::Interval bit, bool cancelled) {
        lease.ForEach(bit, [&](const Slice& slice, uint64_t) {
          go_on = go_on && each(slice, charged, cancelled);
        });
      });
    });
    if (!go_on) return false;
  }
  return true;
}

wire::AdminReply Refused(const absl::Status& status) {
  wire::AdminReply reply;
  *reply.mutable_error() = ToWire(status);
  return reply;
}

}  // namespace

wire::AdminReply Broker::OnAdmin(const wire::AdminRequest& request, uint64_t* commit) {
  wire::AdminReply reply;
  switch (request.request_case()) {
    case wire::AdminRequest::kStatus:
      *reply.mutable_status() = request.status().queue().empty()
                                    ? Status(request.status().after(), kAdminReplyBytes)
                                    : StatusOfQueue(request.status().queue());
      break;
    case wire::AdminRequest::kPause:
      reply = OnPause(request.pause(), commit);
      break;
    case wire::AdminRequest::kDead:
    case wire::AdminRequest::kJobs:
      reply = request.has_dead() ? OnDead(request.dead()) : OnJobs(request.jobs());
      // What is told may be of a commit that is under way.
      *commit = effects_->writes.empty() ? commit_ : ThisCommit();
      break;
    case wire::AdminRequest::kDropQueue:
      reply = OnDropQueue(request.drop_queue());
      *commit = effects_->writes.empty() ? commit_ : ThisCommit();
      break;
    default:
      reply = Refused(absl::UnimplementedError("this broker does not know the request"));
  }
  return reply;
}

wire::AdminReply Broker::OnDead(const wire::DeadRequest& request) {
  if (!request.queue().empty() && !queues_.contains(request.queue())) {
    return Refused(absl::NotFoundError("the broker knows no queue " + request.queue()));
  }
  if (static_cast<uint32_t>(request.ids_size()) > kDeadPerReply) {
    return Refused(absl::InvalidArgumentError("at most 1000 dead jobs at a time"));
  }
  const bool is_list = request.action() == wire::DeadRequest::LIST;
  if (request.ids().empty() && request.queue().empty() && !is_list) {
    return Refused(absl::InvalidArgumentError("say which dead jobs: by id, or all of a queue"));
  }
  if (!request.ids().empty() && (!request.queue().empty() || is_list)) {
    return Refused(absl::InvalidArgumentError("say the ids of dead jobs, or a queue, not both"));
  }
  std::vector<DeadJobs::Id> ids;
  std::set<DeadJobs::Id> named;
  for (const wire::JobId& id : request.ids()) {
    if (!named.emplace(id.stream(), id.number()).second) continue;  // said twice, done once
    ids.emplace_back(id.stream(), id.number());
    if (dead_.Find(ids.back()) != nullptr) continue;
    return Refused(absl::NotFoundError("no dead job " + JobIdText(id.stream(), id.number()) +
                                       " is kept; nothing was done"));
  }
  wire::AdminReply out;
  wire::DeadReply* reply = out.mutable_dead();
  if (ids.empty()) {
    const uint32_t most =
        std::min(kDeadPerReply, request.limit() > 0 ? request.limit() : kListedMax);
    // A command works on what was there when it began: what dies meanwhile, perhaps for the second
    // time, is not for it.
    const uint64_t through = request.through() > 0 ? request.through() : dead_.last_order();
    reply->set_through(through);
    const record::Dead* job = dead_.After(request.queue(), request.after());
    for (; job != nullptr && job->order() <= through && ids.size() < most;
         job = dead_.After(request.queue(), job->order())) {
      ids.emplace_back(job->stream(), job->number());
    }
    reply->set_more(job != nullptr && job->order() <= through);
  }
  uint64_t bytes = 0;
  for (const DeadJobs::Id& id : ids) {
    const record::Dead& job = *dead_.Find(id);
    wire::DeadJob* told = reply->add_jobs();
    FillDead(job, request.action() == wire::DeadRequest::SHOW, told);
    bytes += told->ByteSizeLong();
    if (bytes > kAdminReplyBytes && reply->jobs_size() > 1) {
      reply->mutable_jobs()->RemoveLast();
      reply->set_more(true);
      break;
    }
    if (request.action() == wire::DeadRequest::REQUEUE) {
      if (!HasRoom(*queues_.at(job.queue()), job.payload().size())) {
        *reply->mutable_error() =
            WireStatus(absl::StatusCode::kResourceExhausted,
                       "queue " + job.queue() + " takes no more jobs now; try again later");
        reply->set_more(false);
        reply->mutable_jobs()->RemoveLast();
        break;
      }
    }
    if (request.action() == wire::DeadRequest::REQUEUE) {
      SetId(RequeueDead(id), told->mutable_requeued_as());
    } else if (request.action() == wire::DeadRequest::DROP) {
      TakeDead(id);
    }
  }
  reply->set_kept(request.queue().empty() ? dead_.count() : dead_.count(request.queue()));
  return out;
}

wire::AdminReply Broker::OnJobs(const wire::JobsRequest& request) {
  wire::AdminReply out;
  wire::JobsReply* reply = out.mutable_jobs();
  if (request.action() == wire::JobsRequest::LIST) {
    const auto queue = queues_.find(request.queue());
    if (queue == queues_.end()) {
      return Refused(absl::NotFoundError("the broker knows no queue " + request.queue()));
    }
    const uint32_t limit = request.limit() > 0 ? std::min(request.limit(), kLinesMax) : kListedMax;
    if (request.after() > kLinesMax) {
      return Refused(
          absl::OutOfRangeError("a list has at most " + std::to_string(kLinesMax) + " lines"));
    }
    ListJobs(*queue->second, request.after(), limit, reply);
    return out;
  }
  const uint64_t number = request.id().number();
  const auto found = streams_.find(request.id().stream());
  Stream* stream = found == streams_.end() ? nullptr : found->second.get();
  const record::Dead* dead = dead_.Find({request.id().stream(), number});
  if (dead == nullptr && (stream == nullptr || number == 0 || number >= stream->next)) {
    return Refused(absl::NotFoundError("the broker knows no job " +
                                       JobIdText(request.id().stream(), number) +
                                       "; a job that has ended is forgotten with its outcome"));
  }
  const bool is_open = stream != nullptr && stream->open.Contains(number);
  if (request.action() == wire::JobsRequest::CANCEL) {
    if (!is_open) {
      return Refused(
          absl::FailedPreconditionError("job " + JobIdText(request.id().stream(), number) +
                                        " has ended" + (dead != nullptr ? ": it is dead" : "") +
                                        "; only a job without an outcome is cancelled"));
    }
    CancelJobs(*stream, IntervalSet(number, number + 1));
  }
  *reply->add_jobs() = StateOf(request.id(), stream, dead);
  return out;
}

// One that is dead, or of a stream, or both.
wire::JobState Broker::StateOf(const wire::JobId& id, const Stream* stream,
                               const record::Dead* dead) {
  wire::JobState state;
  if (stream != nullptr && stream->open.Contains(id.number())) {
    const auto has = [&](const Slice& slice) {
      return slice.stream == id.stream() && id.number() >= slice.first &&
             id.number() - slice.first < slice.count();
    };
    bool is_leased = false;
    stream->leases.ForEachWith(IntervalSet(id.number(), id.number() + 1), [&](uint64_t token) {
      const Lease& lease = leases_.all().at(token);
      ForEachOpen(lease, [&](const Slice& slice, bool charged, bool cancelled) {
        if (!has(slice)) return true;
        state = LeasedState(lease, slice, charged, cancelled);
        is_leased = true;
        return false;
      });
    });
    uint64_t looks = kRecordsLookedAt;
    bool is_waiting = false;
    const auto show = [&](const Slice& slice, const JobQueue::Until& until) {
      is_waiting = has(slice);
      if (is_waiting) state = WaitingState(slice, until);
      return !is_waiting && --looks > 0;
    };
    if (!is_leased) stream->queue->jobs.ForEach(show);
    Work((kRecordsLookedAt - looks) / 64);
    if (!is_leased && !is_waiting) {
      state.set_queue(stream->queue->name);
      state.set_state("waiting");
      state.set_far(true);
      if (stream->producer != 0) state.set_producer(peers_.at(stream->producer)->name);
    }
    if (const auto* attempts = attempts_.Find(id.stream(), id.number())) {
      *state.mutable_history() = *attempts;
    }
  } else if (dead != nullptr) {
    state.set_queue(dead->queue());
    state.set_state("dead");
    state.set_attempts(dead->attempts());
    state.set_worker(dead->worker());
    state.set_producer(dead->producer());
    state.set_key(dead->options().key());
    state.set_requeue_of(dead->options().requeue_of());
    state.set_payload_bytes(dead->payload().size());
    *state.mutable_history() = dead->history();
    *state.mutable_status() = dead->status();
  } else {
    state.set_queue(stream->queue->name);
    state.set_state("ended");
    if (stream->producer != 0) state.set_producer(peers_.at(stream->producer)->name);
    uint64_t looks = 0;
    for (const auto& item : stream->outcomes.items()) {
      if (++looks > kRecordsLookedAt) break;
      const wire::OutcomeRange& outcome = item.value;
      if (id.number() < outcome.first() || id.number() - outcome.first() >= outcome.count())
        continue;
      state.set_state(KindText(outcome.kind()));
      state.set_attempts(outcome.attempts());
      state.set_worker(outcome.worker());
      *state.mutable_status() = outcome.status();
      break;
    }
    Work(looks / 64);
  }
  *state.mutable_id() = id;
  state.set_count(1);
  return state;
}

wire::JobState Broker::StateOf(const Slice& slice, std::string state) const {
  wire::JobState out;
  const Stream& stream = *streams_.at(slice.stream);
  SetId({slice.stream, slice.first}, out.mutable_id());
  out.set_count(slice.count());
  out.set_queue(stream.queue->name);
  out.set_state(std::move(state));
  out.set_attempts(slice.attempts);
  if (stream.producer != 0) out.set_producer(peers_.at(stream.producer)->name);
  out.set_key(slice.options->key());
  out.set_requeue_of(slice.options->requeue_of());
  out.set_suspect(slice.suspect);
  out.set_payload_bytes(slice.stored() ? slice.stored_bytes : slice.bytes());
  return out;
}

wire::JobState Broker::LeasedState(const Lease& lease, const Slice& slice, bool charged,
                                   bool cancelled) const {
  wire::JobState state = StateOf(slice, "leased");
  state.set_attempts(slice.attempts + (charged ? 1 : 0));
  state.set_started(charged);
  state.set_cancelling(cancelled);
  state.set_worker(peers_.at(lease.worker)->name);
  return state;
}

wire::JobState Broker::WaitingState(const Slice& slice, const JobQueue::Until& until) const {
  wire::JobState state = StateOf(slice, "waiting");
  WallTime at{};
  if (until.mono != kNever) {
    state.set_state("delayed");
    at = now_.wall + (until.mono - now_.mono);
  } else if (until.wall != WallTime::max()) {
    state.set_state("scheduled");
    at = until.wall;
  }
  state.set_until_ms(static_cast<uint64_t>(ToMilliseconds(at.time_since_epoch())));
  return state;
}

// Leased jobs come first. Jobs may move meanwhile, so of several replies one may leave out what
// another one told.
void Broker::ListJobs(const Queue& queue, uint64_t after, uint32_t limit, wire::JobsReply* reply) {
  uint64_t bytes = 0;
  uint64_t looks = kRecordsLookedAt;
  const auto may_look = [&] {
    if (looks % 64 == 0) Work();
    if (looks == 0) reply->set_cut(true);
    return looks > 0 && looks-- > 0;
  };
  // False: no more. Lines that were told before are not worth a state.
  const auto add = [&](const auto& state_of) {
    if (after > 0) {
      --after;
      return true;
    }
    wire::JobState state = state_of();
    bytes += state.ByteSizeLong() + kLineBytes;
    const bool is_long = bytes > kAdminReplyBytes && reply->jobs_size() > 0;
    if (static_cast<uint32_t>(reply->jobs_size()) == limit || is_long) {
      reply->set_more(true);
      return false;
    }
    *reply->add_jobs() = std::move(state);
    return true;
  };
  uint64_t leased = queue.ledger.leased;  // in leases that are still to come
  for (auto it = leases_.all().begin(); leased > 0; ++it) {
    if (!may_look()) return;
    const Lease& lease = it->second;
    if (lease.queue != &queue) continue;
    leased -= lease.open.size();
    const bool go_on = ForEachOpen(lease, [&](const Slice& slice, bool charged, bool cancelled) {
      return add([&] { return LeasedState(lease, slice, charged, cancelled); });
    });
    if (!go_on) return;
  }
  queue.jobs.ForEach([&](const Slice& slice, const JobQueue::Until& until) {
    if (!may_look()) return false;
    const auto stream = streams_.find(slice.stream);
    if (stream == streams_.end()) return true;  // all were cancelled
    // Cancelled ones may still lie there.
    for (const auto& part :
         stream->second->open.Intersect(slice.first, slice.first + slice.count())) {
      const auto from = static_cast<uint32_t>(part.begin - slice.first);
      const auto count = static_cast<uint32_t>(part.end - part.begin);
      if (!add([&] { return WaitingState(slice.Part(from, count), until); })) return false;
    }
    return true;
  });
}

}  // namespace whippletree::core
