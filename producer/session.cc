#include "producer/session.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/codec.h"
#include "common/status.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

// Of the first job after those of an earlier process: jobs behind it can be numbered, too.
constexpr uint64_t kEarlierNumberMax = kNumberMax / 2;

}  // namespace

ProducerSession::Stream& ProducerSession::GetOrAdd(const std::string& queue) {
  auto [it, is_new] = streams_.try_emplace(queue);
  Stream& stream = it->second;
  if (is_new) {
    stream.queue = queue;
    // A fresh identity cannot have been here before.
    stream.opened = !config_.named;
  }
  if (link_.connected() && !stream.limits_known && !config_.named) {
    stream.limits_known = stream.limits_guessed = true;
    stream.jobs_limit = first_jobs_limit_;
    stream.bytes_limit = first_bytes_limit_;
  }
  return stream;
}

void ProducerSession::Touch(Stream& stream) {
  if (std::exchange(stream.touched, true)) return;
  touched_.insert(&stream);
  if (stream.timer == kNever) return;
  timers_.erase({stream.timer, &stream});
  stream.timer = kNever;
}

uint64_t ProducerSession::Submit(const std::string& queue, const wire::JobOptions& options,
                                 RunData run, RunData names) {
  Stream& stream = GetOrAdd(queue);
  WT_CHECK(stream.opened && run.count() > 0);
  WT_CHECK(names.count() == 0 || names.count() == run.count());
  const uint64_t first = stream.next_number;
  const uint64_t bytes = run.bytes(0, run.count()) + names.bytes(0, names.count());
  std::vector<uint64_t> hashes = HashesOf(stream, run, names);
  stream.next_number += run.count();
  stream.open.Add(first, stream.next_number);
  if (options.group() != 0) groups_.OnSubmitted(options.group(), queue, first, stream.next_number);
  submitted_ += run.count();
  open_jobs_ += run.count();
  pending_jobs_ += run.count();
  pending_bytes_ += bytes;
  Touch(stream);
  if (!stream.pending.empty()) {
    Pending& last = stream.pending.back();
    const bool unsent = last.first + last.begin >= stream.sent_next;
    const uint64_t last_bytes =
        last.run->bytes(0, last.run->count()) + last.names.bytes(0, last.names.count());
    if (unsent && SameOptions(*last.options, options) && last_bytes + bytes <= kRunBytes &&
        (last.names.count() > 0) == (names.count() > 0) &&
        last.run->count() + run.count() <= kJobsPerRunMax) {
      last.run->Append(run, 0, run.count());
      last.names.Append(names, 0, names.count());
      last.hashes.insert(last.hashes.end(), hashes.begin(), hashes.end());
      return first;
    }
  }
  Pending pending;
  pending.first = first;
  pending.run = std::make_shared<RunData>(std::move(run));
  pending.names = std::move(names);
  pending.hashes = std::move(hashes);
  pending.options = std::make_shared<wire::JobOptions>(options);
  stream.pending.push_back(std::move(pending));
  return first;
}

void ProducerSession::Watch(const std::string& queue) {
  watch_.Add(queue);
  if (const auto it = streams_.find(queue); it != streams_.end()) Touch(it->second);
}

wire::StreamClaim ProducerSession::Claim(const Stream& stream) const {
  wire::StreamClaim claim;
  claim.set_queue(stream.queue);
  if (!stream.opened) return claim;
  claim.set_next(stream.next);
  if (stream.unsettled == 0) {
    claim.set_wanted(stream.open.empty() ? stream.next_number : stream.open.front());
  }
  return claim;
}

void ProducerSession::SendHello(ProducerOutput* out) {
  wire::Hello* hello = out->door.emplace_back().mutable_hello();
  hello->set_role(wire::PRODUCER);
  hello->set_name(config_.name);
  hello->set_named(config_.named);
  hello->set_process(config_.process);
  hello->set_attempt(link_.NextAttempt());
  out->reopen_door = hello->attempt() > 1;
  hello->set_software(config_.software);
  hello->set_broker_start(link_.broker_start());
  hello->set_store_id(link_.store_id());
  hello->set_commit(link_.commit());
  hello->set_receipt(link_.receipt());
  // More than the broker takes, of those that it knows first: of others it refuses the surplus.
  for (const bool is_known : {true, false}) {
    for (auto& [queue, stream] : streams_) {
      if (!stream.gone.ok() || (stream.number != 0) != is_known) continue;
      // The broker cannot have forgotten what it never saw.
      if (!config_.named && stream.sent_max == 1) continue;
      if (hello->streams_size() == kStreamsPerProducerMax) break;
      *hello->add_streams() = Claim(stream);
      stream.open_asked = true;
    }
  }
  follow_ons_.AddClaims(hello);
  groups_.AddTo(hello);
}

void ProducerSession::OnDoor(Instant now, wire::Envelope& message, ProducerOutput* out) {
  if (message.has_refusal()) {
    const wire::Refusal& refusal = message.refusal();
    const absl::Status status = FromWire(refusal.status());
    if (refusal.action() == wire::Refusal::GIVE_UP) {
      fatal_ = status;
    } else if (refusal.action() == wire::Refusal::SAY_HELLO) {
      link_.OnSayHello(now.mono);
    } else if (link_.OnRefused(status)) {
      out->log.push_back("the broker refused a message: " + std::string(status.message()));
    }
    return;
  }
  if (message.has_welcome()) {
    OnWelcome(now, message, out);
    return;
  }
  if (message.has_admin_reply()) return watch_.OnReply(message.admin_reply(), now.mono, &out->log);
  uint64_t session = 0;
  if (message.has_heartbeat()) session = message.heartbeat().session();
  if (message.has_stream_updates()) session = message.stream_updates().session();
  if (message.has_outcomes()) session = message.outcomes().session();
  if (message.has_group_updates()) session = message.group_updates().session();
  if (message.has_goodbye()) session = message.goodbye().session();
  if (!link_.connected() || session != link_.session()) return;  // of another session
  link_.OnHeard(now.mono, message);
  if (message.has_stream_updates()) {
    for (const wire::StreamUpdate& update : message.stream_updates().streams()) {
      OnUpdate(now, update, false, out);
    }
  }
  if (message.has_outcomes()) OnOutcomes(now, *message.mutable_outcomes(), out);
  if (message.has_group_updates()) groups_.OnUpdates(message.group_updates());
  if (message.has_goodbye()) closed_ = true;
}

void ProducerSession::OnBadFrame(const absl::Status& error) {
  if (absl::IsFailedPrecondition(error)) fatal_ = error;
}

void ProducerSession::OnWelcome(Instant now, const wire::Envelope& message, ProducerOutput* out) {
  const uint64_t broker_start = link_.broker_start();
  if (!link_.OnWelcome(now.mono, message)) return;
  const wire::Welcome& welcome = message.welcome();
  follow_ons_.OnWelcome(link_.broker_start() != broker_start, welcome);
  groups_.OnWelcome();
  acks_.Reset(welcome.window_bytes());
  goodbye_at_ = MonoTime{};
  out->reopen_submit_port = welcome.submit_port();
  out->submit.clear();  // of the session before
  payload_bytes_max_ = welcome.payload_bytes_max();
  first_jobs_limit_ = welcome.first_jobs_limit();
  first_bytes_limit_ = welcome.first_bytes_limit();
  out->log.push_back("connected");
  for (auto& [queue, stream] : streams_) {
    Touch(stream);
    Rewind(stream);
    stream.accepted_bytes = 0;
    stream.outcome_next = 1;
    SetFull(stream, false);
    stream.open_asked = false;
    stream.limits_known = stream.opened;
    stream.limits_guessed = true;
    stream.jobs_limit = stream.next - 1 + first_jobs_limit_;
    stream.bytes_limit = first_bytes_limit_;
    stream.resend_after = kResendMin;
    if (!stream.cancels.empty()) stream.cancel_at = MonoTime{};
  }
  for (const wire::StreamUpdate& update : welcome.streams()) {
    if (!update.follow_on()) OnUpdate(now, update, true, out);
  }
}

void ProducerSession::OnUpdate(Instant now, const wire::StreamUpdate& update, bool welcome,
                               ProducerOutput* out) {
  auto it = streams_.find(update.queue());
  if (it == streams_.end()) return;
  Stream& stream = it->second;
  if (!stream.gone.ok()) return;
  Touch(stream);
  const bool refused = update.state() == wire::StreamUpdate::REFUSED;
  if (refused || update.state() == wire::StreamUpdate::GONE) {
    stream.gone = absl::FailedPreconditionError(update.status().message());
    stream.cancel_at = kNever;
    stream.opened = true;
    SetFull(stream, false);
    groups_.OnGone(stream.queue);
    // What was sent may have been accepted, without our knowing.
    if (!refused) {
      SettleAll(stream, 1, std::max(stream.next, stream.sent_max), wire::OutcomeRange::UNSPECIFIED,
                update.status(), out);
    }
    SettleAll(stream, 1, stream.next_number, wire::OutcomeRange::REJECTED, update.status(), out);
    Accepted(stream, stream.next_number, now);
    return;
  }
  if (update.stream() != 0) stream.number = update.stream();
  if (!stream.opened) {  // numbers of an earlier process
    if (update.next() == 0 || update.next() > kEarlierNumberMax) return;  // of a broken broker
    stream.opened = true;
    stream.next = stream.next_number = stream.sent_next = update.next();
    stream.earlier = IntervalSet(1, update.next());
    stream.unsettled = update.unsettled();
    stream.earlier_state = update;
  }
  if (update.state() == wire::StreamUpdate::LOST) {
    groups_.OnLost(stream.queue);
    SettleAll(stream, 1, stream.next, wire::OutcomeRange::UNSPECIFIED, update.status(), out);
    stream.earlier = IntervalSet();
    stream.unsettled = 0;
  }
  if (update.next() > stream.next_number) return;  // not of this life: a broken broker
  if (update.next() > stream.next) {
    const uint64_t counted = stream.accepted_bytes;
    Accepted(stream, update.next(), now);
    // Before the welcome they do not count: the broker counts from its `next` on.
    if (welcome) stream.accepted_bytes = counted;
  }
  if (std::exchange(stream.limits_guessed, false)) stream.jobs_limit = stream.bytes_limit = 0;
  stream.limits_known = true;
  stream.jobs_limit = std::max(stream.jobs_limit, update.jobs_limit());
  stream.bytes_limit = std::max(stream.bytes_limit, update.bytes_limit());
  if (update.next() < stream.next) return;  // came late
  const bool was_full = stream.full;
  SetFull(stream, update.state() == wire::StreamUpdate::FULL);
  NoteFull(stream, update, out);
  if (stream.full) {
    if (!was_full) {
      Rewind(stream);
      stream.resend_after = kResendMin;
      stream.resend_at = now.mono + stream.resend_after;
    }
  } else if (was_full || update.state() == wire::StreamUpdate::GAP) {
    Rewind(stream);
    stream.resend_after = kResendMin;
  }
}

void ProducerSession::NoteFull(Stream& stream, const wire::StreamUpdate& update,
                               ProducerOutput* out) {
  const bool told = !stream.full_reason.empty();
  stream.full_reason = stream.full ? update.status().message() : "";
  if (!told && !stream.full_reason.empty()) {
    out->log.push_back("queue " + stream.queue + " takes no jobs: " + stream.full_reason +
                       "; waiting");
  } else if (told && !stream.full) {
    out->log.push_back("queue " + stream.queue + " takes jobs again");
  }
}

void ProducerSession::Accepted(Stream& stream, uint64_t next, Instant now) {
  while (stream.next < next) {
    Pending& front = stream.pending.front();
    const uint32_t n = static_cast<uint32_t>(std::min<uint64_t>(front.count(), next - stream.next));
    const uint64_t bytes = front.run->bytes(front.begin, front.begin + n);
    if (stream.next < stream.sent_next) stream.in_flight_bytes -= bytes;
    stream.accepted_bytes += bytes;
    // A stream that is gone accepts nothing; its groups were told.
    if (front.options->group() != 0 && stream.gone.ok()) {
      groups_.OnAccepted(front.options->group(), stream.queue, n);
    }
    if (front.options->discard_outcome()) {
      // Not those whose rejection came first.
      for (const auto& part : stream.open.Intersect(stream.next, stream.next + n)) {
        stream.discarded.Add(part.begin, part.end);
        groups_.OnSettled(stream.queue, part.begin, part.end);
      }
      open_jobs_ -= stream.open.Remove(stream.next, stream.next + n);
    }
    pending_jobs_ -= n;
    pending_bytes_ -= bytes + front.name_bytes(front.begin, front.begin + n);
    stream.next += n;
    front.begin += n;
    if (front.count() == 0) stream.pending.pop_front();
  }
  stream.sent_next = std::max(stream.sent_next, stream.next);
  stream.resend_after = kResendMin;
  stream.resend_at = stream.sent_next > stream.next ? now.mono + stream.resend_after : kNever;
}

void ProducerSession::Rewind(Stream& stream) {
  stream.sent_next = stream.next;
  stream.in_flight_bytes = 0;
  stream.resend_at = kNever;
}

void ProducerSession::SendRuns(Stream& stream, Instant now, bool probe, ProducerOutput* out) {
  if (!stream.limits_known) return;
  size_t i = 0;
  while (i < stream.pending.size() &&
         stream.pending[i].first + stream.pending[i].run->count() <= stream.sent_next) {
    ++i;
  }
  for (; i < stream.pending.size(); ++i) {
    const Pending& pending = stream.pending[i];
    const uint64_t base = pending.first;  // number of job 0 of the run
    uint32_t begin = static_cast<uint32_t>(std::max(stream.sent_next, base) - base);
    const uint32_t count = pending.run->count();
    while (begin < count) {
      if (base + begin > stream.jobs_limit) return;
      uint32_t end = begin;
      uint64_t bytes = 0;
      while (end < count && base + end <= stream.jobs_limit) {
        const uint64_t size = pending.run->payload(end).size();
        const bool alone = stream.sent_next == stream.next && end == begin;
        if (!alone &&
            stream.accepted_bytes + stream.in_flight_bytes + bytes + size > stream.bytes_limit) {
          break;
        }
        if (end > begin && bytes + size + pending.name_bytes(begin, end + 1) > kRunBytes) break;
        bytes += size;
        ++end;
        if (probe) break;
      }
      if (end == begin) return;  // no credit
      wire::Submit* submit = out->submit.emplace_back().mutable_submit();
      submit->set_session(link_.session());
      submit->set_queue(stream.queue);
      submit->set_first(base + begin);
      *submit->mutable_options() = *pending.options;
      pending.run->CopyTo(begin, end, submit->mutable_run());
      for (uint32_t job = begin; job < end && pending.names.count() > 0; ++job) {
        submit->add_names(std::string(pending.names.payload(job)));
      }
      if (!pending.hashes.empty()) submit->set_input_hash(pending.hashes[end - 1]);
      stream.in_flight_bytes += bytes;
      stream.sent_next = base + end;
      stream.sent_max = std::max(stream.sent_max, stream.sent_next);
      if (stream.resend_at == kNever) stream.resend_at = now.mono + stream.resend_after;
      begin = end;
      if (probe) return;
    }
  }
}

void ProducerSession::Poll(Instant now, ProducerOutput* out) {
  if (!fatal_.ok()) return;
  DoWhatIsDue(now, out);
  link_.Sign(&out->door);
  link_.Sign(&out->submit);
}

void ProducerSession::DoWhatIsDue(Instant now, ProducerOutput* out) {
  for (SessionLink::Action action; (action = link_.Poll(now.mono)) != SessionLink::Action::kNone;) {
    if (action == SessionLink::Action::kHello) {
      SendHello(out);
    } else {
      out->door.emplace_back().mutable_heartbeat()->set_session(link_.session());
    }
  }
  if (link_.TakeLost()) out->log.push_back("connection lost; trying again");
  if (link_.connected()) SendAcks(now.mono, out);
  if (closing_) SayGoodbye(now.mono, out);
  if (closing_ || !link_.connected()) return;
  while (!timers_.empty() && timers_.begin()->first <= now.mono) {
    Touch(*timers_.begin()->second);
  }
  wire::OutcomeAck ack;
  for (Stream* stream : std::exchange(touched_, {})) {
    if (stream->gone.ok()) PollStream(*stream, now, out, &ack);
    stream->touched = false;
    if (!watch_.empty()) watch_.SetWaiting(stream->queue, stream->waits(), now.mono);
    stream->timer = stream->due();
    if (stream->timer != kNever) timers_.emplace(stream->timer, stream);
  }
  follow_ons_.TakeAcks(&ack);
  if (ack.streams_size() > 0) {
    ack.set_session(link_.session());
    out->ack = std::move(ack);
    acknowledged_ = true;
  }
  groups_.Poll(now.mono, link_.session(), &out->door, &out->submit, &out->group_ends);
  watch_.Poll(now.mono, &out->door);
}

void ProducerSession::PollStream(Stream& stream, Instant now, ProducerOutput* out,
                                 wire::OutcomeAck* ack) {
  if (!stream.opened) {
    if (stream.open_asked && now.mono < stream.resend_at) return;
    stream.open_asked = true;
    wire::OpenStream* open = out->door.emplace_back().mutable_open_stream();
    open->set_session(link_.session());
    open->mutable_claim()->set_queue(stream.queue);
    stream.resend_at = now.mono + kResendMin;
    return;
  }
  bool probe = false;
  if (now.mono >= stream.resend_at) {  // no word for too long
    Rewind(stream);
    stream.resend_after = std::min(stream.resend_after * 2, kResendMax);
    probe = stream.full;
  }
  if (!stream.full || probe) SendRuns(stream, now, probe, out);
  // The word that there is room may be lost: from time to time it is tried.
  if (stream.full && !stream.pending.empty() && stream.resend_at == kNever) {
    stream.resend_at = now.mono + stream.resend_after;
  }
  if (now.mono >= stream.cancel_at) SendCancels(stream, now, out);
  if (std::exchange(stream.ack_due, false)) {
    wire::StreamAck* stream_ack = ack->add_streams();
    stream_ack->set_queue(stream.queue);
    stream_ack->set_next(stream.outcome_next);
  }
}

MonoTime ProducerSession::NextDeadline() const {
  if (!fatal_.ok()) return kNever;
  MonoTime next = link_.NextDeadline();
  if (!link_.connected()) return next;
  next = std::min(next, acks_.NextDeadline());
  if (closing_) return closed_ ? next : std::min(next, goodbye_at_);
  for (const Stream* stream : touched_) next = std::min(next, stream->due());
  if (!timers_.empty()) next = std::min(next, timers_.begin()->first);
  return std::min({next, groups_.NextDeadline(), watch_.NextDeadline()});
}

void ProducerSession::SayGoodbye(MonoTime now, ProducerOutput* out) {
  const bool confirm = config_.named && acknowledged_;
  if (link_.connected() && now >= goodbye_at_) {
    out->door.emplace_back().mutable_goodbye()->set_session(link_.session());
    goodbye_at_ = now + kResendMin;
  }
  closed_ = closed_ || !confirm;
}

void ProducerSession::SetFull(Stream& stream, bool full) {
  stream.full = full;
  if (full) {
    full_.insert(&stream);
  } else {
    full_.erase(&stream);
  }
}

std::string ProducerSession::full_reason() const {
  for (const Stream* stream : full_) {
    if (!stream->full_reason.empty()) return stream->full_reason;
  }
  return "";
}

}  // namespace whippletree
