// Streams: what producers submit, and what they are told of its acceptance.
#include <algorithm>
#include <limits>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/codec.h"
#include "common/status.h"

namespace whippletree::core {

Stream& Broker::AddStream(uint64_t number, Queue& queue, uint64_t producer) {
  std::unique_ptr<Stream>& stream = streams_[number];
  stream = std::make_unique<Stream>();
  stream->number = number;
  stream->queue = &queue;
  stream->producer = producer;
  if (queue.policy.durable) stream->rows = std::make_unique<StreamRows>(number);
  CountTable(kStreamOverheadBytes);
  ++queue.streams;
  if (IsStopped(*stream)) queue.jobs.Stop(number);
  return *stream;
}

Stream* Broker::OpenStream(Peer& peer, const std::string& queue_name, absl::Status* error) {
  ProducerState& producer = *peer.producer;
  if (auto it = producer.streams.find(queue_name); it != producer.streams.end()) {
    return streams_.at(it->second).get();
  }
  if (producer.streams.size() >= size_t{kStreamsPerProducerMax}) {
    *error = absl::ResourceExhaustedError("a producer has at most " +
                                          std::to_string(kStreamsPerProducerMax) + " queues");
    return nullptr;
  }
  if (TablesFull()) {
    *error = absl::ResourceExhaustedError(
        "the broker has as many streams as it may have: use fewer queues or producers, or raise "
        "its "
        "--memory-limit");
    return nullptr;
  }
  Queue* queue = OpenQueue(queue_name, error);
  if (queue == nullptr) return nullptr;
  Stream& stream = AddStream(++last_stream_, *queue, peer.number);
  producer.streams.emplace(queue_name, stream.number);
  return &stream;
}

void Broker::MarkClaimed(Stream& stream) {
  if (stream.claimed) return;
  stream.claimed = true;
  stored_outcomes_.OnClaimed(stream);
  SendOutcomesOf(stream);
}

void Broker::ClaimStream(Peer& peer, const wire::StreamClaim& claim, Claimant claimant,
                         wire::StreamUpdate* update) {
  update->set_queue(claim.queue());
  const auto gone = [&](const std::string& why) {
    update->set_state(wire::StreamUpdate::GONE);
    *update->mutable_status() = WireStatus(absl::StatusCode::kFailedPrecondition, why);
  };
  const bool known = peer.producer->streams.contains(claim.queue());
  const bool expired = expired_names_.contains(peer.name);
  // A name that is not among the expired ones is one of which nothing was accepted.
  const bool forgotten = expired ? claimant != Claimant::kKnown
                                 : claimant == Claimant::kForgotten && !peer.producer->named;
  // A claim with a number means that jobs were sent. Whether they were accepted is forgotten too.
  const bool ended = claim.next() == 0 ? peer.producer->named && expired
                                       : forgotten || peer.producer->gone.contains(claim.queue());
  if (!known && ended) {
    // To be said again if this word is lost.
    if (forgotten) peer.producer->gone.insert(claim.queue());
    gone("the stream of producer " + peer.name + " for queue " + claim.queue() +
         " was idle for too long and is forgotten; begin again under another name");
    return;
  }
  absl::Status error;
  Stream* stream = OpenStream(peer, claim.queue(), &error);
  if (stream == nullptr) {
    // An earlier start of the broker may have accepted what was sent to it.
    const bool never_accepted = claim.next() == 0 || claimant == Claimant::kKnown;
    update->set_state(never_accepted ? wire::StreamUpdate::REFUSED : wire::StreamUpdate::GONE);
    *update->mutable_status() = ToWire(error);
    return;
  }
  MarkClaimed(*stream);
  if (!known && claimant == Claimant::kNew) {
    stream->next = std::max<uint64_t>(1, claim.next());
    stream->lost = claim.next() > 1;
  }
  if (claim.next() > stream->next) {
    gone("the broker has accepted fewer jobs of this stream than the producer was told");
    return;
  }
  // What a store has of an earlier start goes on.
  if (claim.next() > 1 && claimant == Claimant::kNew && (stream->lost || !stream->rows)) {
    // An earlier start of the broker accepted them, and they ended with it. Said again until the
    // producer comes back from a session of this start.
    FillUpdate(*stream, update);
    update->set_state(wire::StreamUpdate::LOST);
    *update->mutable_status() =
        WireStatus(absl::StatusCode::kUnavailable,
                   "outcome unknown: the broker restarted, and the queue was in memory (see "
                   "whippletree-broker serve --data-dir)");
    return;
  }
  if (claim.wanted() > 1) DropSettled(*stream, claim.wanted());
  FillUpdate(*stream, update);
  update->set_hashed(stream->hashed);
  update->set_input_hash(stream->input_hash);
  update->set_dead(stream->dead);
  update->set_cancelled(stream->cancelled);
  update->set_expired(stream->expired);
}

void Broker::OnOpenStream(Peer& peer, const wire::StreamClaim& claim) {
  wire::Envelope message;
  message.mutable_stream_updates()->set_session(peer.session);
  wire::StreamUpdate* update = message.mutable_stream_updates()->add_streams();
  // Only to be told the numbers: outcomes under way are left as they are.
  wire::StreamClaim open;
  open.set_queue(claim.queue());
  ClaimStream(peer, open, Claimant::kKnown, update);
  auto it = peer.producer->streams.find(claim.queue());
  SendTo(peer, std::move(message),
         it == peer.producer->streams.end() ? 0 : streams_.at(it->second)->commit);
}

uint64_t Broker::DiskRoom(const Queue& queue) const {
  const bool limited = queue.policy.durable && !Planted("ignore_disk");
  return limited ? disk_.room() : std::numeric_limits<uint64_t>::max();
}

bool Broker::HasRoom(const Queue& queue, uint64_t bytes) const {
  if (Planted("ignore_capacity")) return true;
  if (bytes >= DiskRoom(queue)) return false;
  if (queue.counted_jobs() >= queue.policy.capacity_jobs) return false;
  // A job larger than the whole capacity must not wait for ever.
  if (queue.counted_jobs() == 0) return used_bytes_ < config_.budget_bytes();
  return queue.counted_bytes() + bytes <= queue.policy.capacity_bytes &&
         used_bytes_ + kRecordRoomBytes + bytes <= config_.budget_bytes();
}

uint32_t Broker::RoomFor(const Queue& queue, const RunData& run, uint32_t begin,
                         uint32_t end) const {
  if (Planted("ignore_capacity")) return end - begin;
  const uint64_t open = queue.counted_jobs();
  if (open >= queue.policy.capacity_jobs) return 0;
  // The capacity may be the largest number there is.
  end = begin +
        static_cast<uint32_t>(std::min<uint64_t>(end - begin, queue.policy.capacity_jobs - open));
  // Jobs of no bytes take memory too.
  const uint64_t used = used_bytes_ + kRecordRoomBytes;
  uint64_t bytes = config_.budget_bytes() > used ? config_.budget_bytes() - used : 0;
  const uint64_t jobs_max = bytes / kJobOverheadBytes;
  end = begin + static_cast<uint32_t>(std::min<uint64_t>(end - begin, jobs_max));
  const uint64_t queue_bytes =
      queue.policy.capacity_bytes - std::min(queue.policy.capacity_bytes, queue.counted_bytes());
  const uint64_t disk_bytes = DiskRoom(queue);
  if (disk_bytes == 0) return 0;
  bytes = std::min({bytes, queue_bytes, disk_bytes});
  uint32_t n = begin == end ? 0 : run.Fitting(begin, end, bytes);
  if (n == 0 && HasRoom(queue, run.bytes(begin, begin + 1))) n = 1;
  return n;
}

absl::Status Broker::OptionsError(const wire::JobOptions& options) {
  if (options.key().size() > kKeyBytesMax) {
    return absl::InvalidArgumentError("a job's key has at most 256 bytes");
  }
  if (options.max_attempts() > kAttemptsMax) {
    return absl::InvalidArgumentError("a job has at most 1000 attempts");
  }
  if (!options.requeue_of().empty()) {
    return absl::InvalidArgumentError("requeue_of is only said by the broker");
  }
  return absl::OkStatus();
}

bool Broker::OnSubmit(Peer& peer, wire::Submit& submit, bool is_rest) {
  absl::Status error;
  Stream* stream = OpenStream(peer, submit.queue(), &error);
  if (stream == nullptr) {
    Count("rejected_frames");
    Log(LogLevel::kWarning, "queue_refused",
        {{"producer", peer.name}, {"error", std::string(error.message())}});
    wire::Envelope message;
    message.mutable_stream_updates()->set_session(peer.session);
    wire::StreamUpdate* update = message.mutable_stream_updates()->add_streams();
    update->set_queue(submit.queue());
    update->set_state(wire::StreamUpdate::REFUSED);
    *update->mutable_status() = ToWire(error);
    SendTo(peer, std::move(message));
    return true;
  }
  const uint64_t count = static_cast<uint64_t>(submit.run().sizes_size());
  MarkClaimed(*stream);
  Touch(*stream);
  if (Planted("accept_twice") && !is_rest && submit.first() < stream->next)
    submit.set_first(stream->next);
  if (submit.first() + count <= stream->next) {
    Count("repeated_jobs", count);
    return true;
  }
  if (submit.first() > stream->next) {
    Count("early_runs");
    stream->gap_due = !stream->gap_told;
    stream->gap_told = true;
    return true;
  }
  stream->gap_told = stream->gap_due = false;
  absl::Status options_error = OptionsError(submit.options());
  // What is too long is not kept.
  if (!options_error.ok()) submit.mutable_options()->clear_key();
  if (!options_error.ok()) submit.mutable_options()->clear_requeue_of();
  if (options_error.ok()) options_error = GroupError(*stream, submit.options().group());
  if (!stream->options || !SameOptions(*stream->options, submit.options())) {
    stream->options = options_.Keep(std::move(*submit.mutable_options()));
  }
  uint32_t begin = static_cast<uint32_t>(stream->next - submit.first());
  if (begin > 0 && !is_rest) Count("repeated_jobs", begin);
  const auto run = std::make_shared<RunData>(submit.mutable_run());
  uint32_t fitting = begin;  // the jobs from `begin` to before this one are not too large
  // False: whoever does not read its outcomes is not told more.
  const auto reject = [&](uint32_t jobs, const absl::Status& why) {
    if (IsStopped(*stream)) {
      MarkUnread(*stream);
      return false;
    }
    stream->session_bytes += run->bytes(begin, begin + jobs);
    Reject(*stream, stream->next, jobs, why);
    Work();
    begin += jobs;
    return true;
  };
  while (begin < run->count()) {
    if (IsExhausted()) {
      *submit.mutable_options() = *stream->options;
      submit.clear_run();
      run->MoveTo(submit.mutable_run());
      return false;
    }
    if (DiskRoom(*stream->queue) == 0) {  // not even for the outcome of one that is rejected
      MarkFull(*stream, run->payload(begin).size());
      return true;
    }
    if (!options_error.ok()) {
      reject(run->count() - begin, options_error);
      return true;
    }
    if (IsStopped(*stream) && !stream->options->discard_outcome()) {
      MarkUnread(*stream);
      return true;
    }
    if (fitting <= begin) {
      fitting = begin;
      while (fitting < run->count() && run->payload(fitting).size() <= config_.payload_bytes_max) {
        ++fitting;
      }
    }
    uint32_t end = fitting;
    if (end == begin) {
      const absl::Status too_large = absl::InvalidArgumentError(
          "payload of " + std::to_string(run->payload(begin).size()) + " bytes; at most " +
          std::to_string(config_.payload_bytes_max) + " are taken");
      if (!reject(1, too_large)) return true;
      continue;
    }
    if (submit.names_size() > 0) {
      if (!HasNameRoom()) {
        MarkFull(*stream, run->payload(begin).size(), true);
        return true;
      }
      end = static_cast<uint32_t>(std::min<uint64_t>(end, begin + config_.step_work_max));
      absl::Status name_error;
      end = FreshNames(*stream->queue, submit, begin, end, &name_error);
      Work(end - begin);
      if (end == begin) {
        if (!reject(1, name_error)) return true;
        continue;
      }
    }
    const uint32_t room = RoomFor(*stream->queue, *run, begin, end);
    if (room > 0) {
      const uint64_t first = stream->next;
      Accept(*stream, run, begin, begin + room);
      RunData names = NamesOf(submit, begin, begin + room);
      const bool is_named = stream->queue->policy.names_window > Duration(0) && names.count() > 0;
      if (is_named) KeepNames(*stream->queue, stream->number, first, std::move(names));
    }
    begin += room;
    if (begin < end) {  // that queue's producers wait, others go on
      MarkFull(*stream, run->payload(begin).size());
      return true;
    }
  }
  // Accepted or rejected to its end.
  if (submit.input_hash() != 0 && peer.producer->named) {
    stream->hashed = stream->next - 1;
    stream->input_hash = submit.input_hash();
    NoteStream(*stream);
  }
  return true;
}

void Broker::MarkFull(Stream& stream, uint64_t bytes, bool for_name) {
  Count("full_runs");
  stream.full_bytes = bytes;
  stream.full_for_name = for_name;
  if (stream.full && !stream.full_for_unread) return;
  stream.full = true;
  stream.full_for_unread = false;
  stream.queue->full_streams.push_back(stream.number);
  full_queues_.insert(stream.queue->number);
}

void Broker::Accept(Stream& stream, const std::shared_ptr<RunData>& run, uint32_t begin,
                    uint32_t end) {
  Slice slice;
  if (begin == 0 && end == run->count()) {
    slice.data = run;
    slice.end = end;
  } else {  // a part: the rest of the run's bytes must not stay with it
    slice.data = std::make_shared<RunData>();
    slice.data->Append(*run, begin, end);
    slice.end = end - begin;
  }
  slice.stream = stream.number;
  slice.first = stream.next;
  slice.options = stream.options;
  stream.session_bytes += slice.bytes();
  AddJobs(stream, std::move(slice));
}

void Broker::AddJobs(Stream& stream, Slice slice) {
  Queue& queue = *stream.queue;
  const uint64_t bytes = slice.bytes();
  const uint32_t count = slice.count();
  stream.next += count;
  NoteQueue(queue);
  NoteStream(stream);
  if (stream.rows) {
    stream.rows->Accept(slice, queue.ledger.accepted, ThisCommit(), &effects_->writes);
    ++queue.rows;
  }
  stream.open.Add(slice.first, stream.next);
  if (slice.options->discard_outcome()) stream.discarded.Add(slice.first, stream.next);
  if (slice.options->group() != 0)
    JoinGroup(stream, slice.options->group(), slice.first, stream.next);
  queue.ledger.accepted += count;
  PlacePayload(queue, &slice);
  if (queue.policy.durable) {
    const DiskState before = disk_.state();
    disk_.Take(bytes);
    OnDiskState(before);
  }
  Enqueue(stream, std::move(slice));
  CountMemory(queue);
}

void Broker::Reject(Stream& stream, uint64_t first, uint64_t count, const absl::Status& status) {
  const bool is_repeated = absl::IsAlreadyExists(status);
  Count(is_repeated ? "repeated_names" : "rejected_jobs", count);
  Log(is_repeated ? LogLevel::kInfo : LogLevel::kWarning,
      is_repeated ? "name_repeated" : "jobs_rejected",
      {{"queue", stream.queue->name}, {"jobs", count}, {"error", std::string(status.message())}});
  WT_CHECK(first == stream.next);
  stream.next += count;
  wire::OutcomeRange outcome;
  outcome.set_kind(wire::OutcomeRange::REJECTED);
  outcome.set_first(first);
  outcome.set_count(count);
  *outcome.mutable_status() = ToWire(status);
  const uint64_t number = stream.options->group();
  ProducerState& producer = *peers_.at(stream.producer)->producer;
  auto& groups = producer.groups;
  const bool room = groups.contains(number) || groups.size() < size_t{kGroupsPerProducerMax};
  const bool counts = number != 0 && room && !producer.ended_groups.Contains(number) &&
                      !OpenGroup(producer, number).ended;
  if (counts) {
    outcome.set_group(number);
    groups[number].Arrive(stream.queue->name, count);
    groups[number].rejected += count;
    groups[number].durable |= stream.rows != nullptr;
    CountGroup(groups[number]);
    NoteGroup(stream.producer, number);
  }
  NoteQueue(*stream.queue);
  NoteStream(stream);
  KeepOutcome(stream, std::move(outcome));
  if (counts) CheckGroup(stream.producer, number);
}

void Broker::Touch(Stream& stream) {
  if (stream.touched) return;
  stream.touched = true;
  touched_streams_.push_back(stream.number);
}

void Broker::FillUpdate(const Stream& stream, wire::StreamUpdate* update) const {
  const QueuePolicy& policy = stream.queue->policy;
  update->set_queue(stream.queue->name);
  update->set_next(stream.next);
  update->set_jobs_limit(stream.next - 1 + std::min(kStreamWindowJobs, policy.capacity_jobs));
  update->set_bytes_limit(stream.session_bytes +
                          std::min(config_.window_bytes(), policy.capacity_bytes));
  update->set_stream(stream.number);
  update->set_unsettled(stream.open.size() - stream.discarded.size() + stream.unacknowledged_jobs);
  if (stream.full) {
    update->set_state(wire::StreamUpdate::FULL);
    if (stream.full_bytes >= DiskRoom(*stream.queue)) {
      *update->mutable_status() = WireStatus(absl::StatusCode::kResourceExhausted, disk_.Reason());
    } else if (stream.full_for_unread) {
      *update->mutable_status() =
          WireStatus(absl::StatusCode::kResourceExhausted, "outcomes are not fetched");
    } else if (stream.full_for_name && !HasNameRoom()) {
      *update->mutable_status() =
          WireStatus(absl::StatusCode::kResourceExhausted,
                     "the broker's memory for job names is full: shorten job_names.window of its "
                     "queues, or raise its --memory-limit");
    }
  } else if (stream.gap_due) {
    update->set_state(wire::StreamUpdate::GAP);
  }
}

void Broker::WakeFullStreams() {
  for (auto it = full_queues_.begin(); it != full_queues_.end();) {
    Queue& queue = *queue_by_number_[*it];
    const QueuePolicy& policy = queue.policy;
    CountMemory(queue);
    // Room for a good part at once: a freed place is not worth a message.
    const uint64_t budget = config_.budget_bytes();
    const uint64_t jobs = queue.counted_jobs();
    const bool open = jobs == 0 || jobs + policy.capacity_jobs / 8 < policy.capacity_jobs;
    const uint64_t bytes = queue.counted_bytes();
    const bool fits = bytes == 0 || bytes + policy.capacity_bytes / 8 < policy.capacity_bytes;
    if (open && fits && used_bytes_ + budget / 16 < budget) {
      uint64_t room = policy.capacity_jobs - std::min(policy.capacity_jobs, jobs);
      for (auto next = queue.full_streams.begin(); room > 0 && next != queue.full_streams.end();) {
        Stream& stream = *streams_.at(*next);
        // Else it would send and be refused, again and again.
        if (!HasRoom(queue, stream.full_bytes)) break;
        if (stream.full_for_name && !HasNameRoom()) {
          ++next;
          continue;
        }
        next = queue.full_streams.erase(next);
        stream.full = false;
        Touch(stream);
        room -= std::min(room, std::min(kStreamWindowJobs, policy.capacity_jobs));
      }
    }
    it = queue.full_streams.empty() ? full_queues_.erase(it) : std::next(it);
  }
}

void Broker::DropStream(Stream& stream) {
  Queue& queue = *stream.queue;
  for (const auto& item : stream.outcomes.items()) {
    ReleaseOutcome(stream, item.value, item.bytes);
  }
  stream.outcomes.Clear();
  stored_outcomes_.Drop(stream, ~uint64_t{0});
  for (const auto& [first, range] : std::exchange(stream.groups, {})) {
    GroupOf(stream, range.group)->open -= range.end - first;
  }
  NoteStream(stream);
  stream.producer = 0;
  queue.jobs.Resume(stream.number);
  if (stream.full) {
    std::erase(queue.full_streams, stream.number);
    stream.full = false;
  }
  dying_streams_.push_back(stream.number);
  Wake(queue);
}

}  // namespace whippletree::core
