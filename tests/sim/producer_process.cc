#include "tests/sim/producer_process.h"

#include <algorithm>
#include <utility>

namespace whippletree::sim {

ProducerProcess::ProducerProcess(World* world, std::string name, bool named, bool deaf,
                                 uint32_t jobs)
    : Process(world, std::move(name), core::Channel::kSubmit),
      named_(named),
      deaf_(deaf),
      prng_(world->prng.Next()),
      jobs_left_(jobs),
      // Not where jobs follow its own: it does not wait for those.
      leaves_when_finished_(!named && world->options.load.follow_on == 0 && prng_.Chance(500)) {
  ProducerSession::Config config;
  config.name = name_;
  config.named = named;
  config.process = world_->prng.Next();
  config.seed = world_->prng.Next();
  config.ack_delay = world_->options.ack_delay;
  config.first_group = 1 + world_->prng.Below(1'000'000'000);
  session_ = std::make_unique<ProducerSession>(config);
  if (prng_.Chance(world_->options.load.group)) group_ = session_->OpenGroup();
  if (named_) {
    for (const std::string& queue : world_->options.queues) session_->OpenStream(queue);
  }
  WakeAt(world_->loop.now());
}

void ProducerProcess::Hurry() {
  hurry_ = true;
  jobs_left_ = std::min(jobs_left_, kLateJobsMax);
  submit_at_ = MonoTime{};
  for (auto& [at, ack] : acks_) at = std::min(at, world_->loop.now());
  WakeAt(world_->loop.now());
}

void ProducerProcess::Leave() {
  leaves_ = true;
  WakeAt(world_->loop.now());
}

bool ProducerProcess::finished() const {
  if (jobs_left_ > 0 || session_->pending_jobs() > 0 || session_->open_jobs() > 0) return false;
  if (group_ != 0 && !group_ended_) return false;
  if (!named_) return true;
  for (const std::string& queue : world_->options.queues) {
    const auto state = session_->GetStream(queue);
    if (!state.error.ok()) continue;
    const auto& jobs = world_->history.StreamJobs(name_, queue);
    if (!state.open || state.unsettled > 0 || state.next_number <= jobs.size()) return false;
  }
  return true;
}

std::string ProducerProcess::Describe() const {
  std::string text = name_ + ": connected " + std::to_string(session_->connected()) + ", left " +
                     std::to_string(jobs_left_) + ", pending " +
                     std::to_string(session_->pending_jobs()) + ", open " +
                     std::to_string(session_->open_jobs());
  for (const std::string& queue : world_->options.queues) {
    const auto state = session_->GetStream(queue);
    text += "; " + queue + " next " + std::to_string(state.next_number) + " unsettled " +
            std::to_string(state.unsettled);
  }
  return text;
}

JobSpec ProducerProcess::DrawJob(const wire::JobOptions& options) {
  const LoadOptions& load = world_->options.load;
  JobSpec spec;
  spec.payload_bytes = static_cast<uint32_t>(8 + prng_.Below(load.payload_bytes_max + 1));
  spec.result_bytes = static_cast<uint32_t>(prng_.Below(load.result_bytes_max + 1));
  spec.service = DrawDuration(&prng_, load.service_mean);
  if (prng_.Chance(load.slow)) spec.service = milliseconds(prng_.Between(500, 7'000));
  if (prng_.Chance(load.oversized)) spec.payload_bytes = 25'000;
  if (prng_.Chance(load.large_result)) spec.result_bytes = 25'000;
  if (prng_.Chance(load.fail)) spec.fails = static_cast<uint32_t>(prng_.Between(1, 3));
  spec.fatal = prng_.Chance(load.fatal);
  spec.poison = prng_.Chance(load.poison);
  spec.ignores_cancel = prng_.Chance(load.ignores_cancel);
  spec.follows = prng_.Chance(load.follow_on);
  if (options.timeout_ms() > 0 && prng_.Chance(300)) {
    spec.service = milliseconds(options.timeout_ms()) * 4;
  }
  return spec;
}

void ProducerProcess::SubmitRun(const std::string& queue) {
  const LoadOptions& load = world_->options.load;
  wire::JobOptions options;
  if (prng_.Chance(load.keyed)) options.set_key("key" + std::to_string(prng_.Below(load.keys)));
  if (prng_.Chance(load.own_attempts)) {
    options.set_max_attempts(static_cast<uint32_t>(prng_.Between(1, 4)));
  }
  if (prng_.Chance(load.timeout)) {
    options.set_timeout_ms(static_cast<uint32_t>(prng_.Between(1, 200)));
  }
  options.set_discard_outcome(prng_.Chance(load.discard));
  const auto in = [&](uint64_t ms_max) {
    const WallTime at = world_->loop.instant().wall + milliseconds(prng_.Below(ms_max));
    return static_cast<uint64_t>(ToMilliseconds(at.time_since_epoch()));
  };
  if (prng_.Chance(load.scheduled)) options.set_not_before_ms(in(3000));
  if (prng_.Chance(load.expires)) options.set_expires_at_ms(in(5000));
  if (group_ != 0 && !group_closed_ && prng_.Chance(700)) options.set_group(group_);
  const core::QueuePolicy& policy = world_->options.broker.queues.at(queue);
  const uint64_t count = std::min<uint64_t>(jobs_left_, prng_.Between(1, load.run_jobs_max));
  jobs_left_ -= static_cast<uint32_t>(count);
  RunData run;
  RunData names;
  std::vector<uint64_t>& stream = world_->history.StreamJobs(name_, queue);
  for (uint64_t i = 0; i < count; ++i) {
    Job& job = world_->history.AddJob(DrawJob(options));
    job.submitted = world_->loop.now();
    if (load.named > 0) {
      if (prng_.Chance(load.named)) job.name = "name" + std::to_string(prng_.Below(load.names));
      names.Append(job.name);
    }
    job.producer = name_;
    job.queue = queue;
    job.options = options;
    job.max_attempts = options.max_attempts() > 0 ? options.max_attempts() : policy.max_attempts;
    job.batch_max = policy.batch.max_jobs;
    job.discard = options.discard_outcome();
    job.rejectable = job.spec.payload_bytes > world_->options.broker.payload_bytes_max;
    stream.push_back(job.spec.uid);
    job.number = stream.size();
    run.Append(PayloadOf(job.spec));
  }
  const uint64_t first = session_->Submit(queue, options, run, names);
  if (first + count - 1 != stream.size()) Violation("I4", name_ + " numbers its jobs wrongly");
}

bool ProducerProcess::SubmitAgain() {
  bool any = false;
  for (const std::string& queue : world_->options.queues) {
    const auto state = session_->GetStream(queue);
    if (!state.open || !state.error.ok()) continue;
    const std::vector<uint64_t>& stream = world_->history.StreamJobs(name_, queue);
    for (uint64_t number = state.next_number; number <= stream.size(); ++number) {
      Job& job = world_->history.job(stream[number - 1]);
      RunData run;
      RunData names;
      run.Append(PayloadOf(job.spec));
      if (!job.name.empty()) names.Append(job.name);
      job.options.clear_group();  // it was the earlier process's
      session_->Submit(queue, job.options, run, names);
      any = true;
    }
  }
  return any;
}

void ProducerProcess::CancelSome() {
  if (!prng_.Chance(world_->options.load.cancel)) return;
  const auto& queues = world_->options.queues;
  const std::string& queue = queues[prng_.Below(queues.size())];
  const std::vector<uint64_t>& stream = world_->history.StreamJobs(name_, queue);
  if (stream.empty()) return;
  const uint64_t first = prng_.Between(1, stream.size());
  const uint64_t count = std::min(prng_.Between(1, 10), stream.size() - first + 1);
  for (uint64_t number = first; number < first + count; ++number) {
    world_->history.job(stream[number - 1]).cancel_asked = true;
  }
  session_->Cancel(queue, first, count);
}

// Some time before the last job, or after it.
void ProducerProcess::CloseGroup() {
  if (group_ == 0 || group_closed_) return;
  if (jobs_left_ > 0 && !prng_.Chance(5)) return;
  group_closed_ = true;
  if (!session_->CloseGroup(group_).ok()) Violation("I17", name_ + " cannot close its group");
}

void ProducerProcess::Submit() {
  const Instant now = world_->loop.instant();
  if (named_) SubmitAgain();
  CancelSome();
  while (jobs_left_ > 0 && now.mono >= submit_at_ && session_->pending_jobs() < kPendingJobsMax) {
    std::vector<std::string> open;
    bool waits = false;
    for (const std::string& queue : world_->options.queues) {
      const auto state = session_->GetStream(queue);
      if (!state.error.ok()) continue;
      if (!named_ || state.open) open.push_back(queue);
      if (named_ && !state.open) waits = true;
    }
    if (open.empty()) {
      if (!waits) jobs_left_ = 0;  // every stream is gone
      return;
    }
    SubmitRun(open[prng_.Below(open.size())]);
    // Bursts, and times without anything.
    Duration gap = DrawDuration(&prng_, world_->options.load.gap_mean);
    if (prng_.Chance(30)) gap += seconds(prng_.Between(1, 3));
    if (prng_.Chance(400) || hurry_) gap = Duration(0);
    submit_at_ = now.mono + gap;
  }
}

// The application takes its time to take outcomes.
void ProducerProcess::AcknowledgeLater(wire::OutcomeAck ack) {
  Duration delay = DrawDuration(&prng_, world_->options.application_delay_mean);
  if (hurry_) delay = Duration(0);
  const MonoTime at = deaf_ && !hurry_ ? kNever : world_->loop.now() + delay;
  acks_.emplace_back(at, std::move(ack));
}

void ProducerProcess::AcknowledgeDue() {
  for (; !acks_.empty() && acks_.front().first <= world_->loop.now(); acks_.pop_front()) {
    session_->Acknowledge(acks_.front().second, world_->loop.now());
  }
}

// After what was sent before in the same turn, such as the last acknowledgement of a group's end.
void ProducerProcess::SayGoodbye() {
  if (leave_at_ == kNever) {
    const bool at_end = leaves_when_finished_ && finished() && acks_.empty();
    if (!leaves_ && !at_end) return;
    world_->situations.Count(at_end ? "producer_left_at_end" : "producer_left");
    leave_at_ = world_->loop.now() + kGoodbyeMax;
    session_->Close();
    ProducerOutput out;
    session_->Poll(world_->loop.instant(), &out);
    Carry(out.reopen_door, out.reopen_submit_port, out.door, out.submit);
  }
  // What a hostile network repeats of the connection is not to come after the next process of the
  // name: TCP does not either.
  if (session_->closed() && !named_) {
    world_->history.OnProducerLeft(name_);
    Exit();
  } else if (session_->closed() || world_->loop.now() >= leave_at_) {
    Kill();
  }
}

void ProducerProcess::Turn() {
  const Instant now = world_->loop.instant();
  ProducerOutput out;
  // Of the broker's start that told of each of `out.settled`.
  std::vector<uint32_t> epochs;
  const auto note_epochs = [&] {
    epochs.resize(out.settled.size(), static_cast<uint32_t>(session_->session() >> 32));
  };
  Receive([&](wire::Envelope& message) {
    if (message.has_stream_updates()) {
      for (const wire::StreamUpdate& update : message.stream_updates().streams()) {
        const bool full = update.state() == wire::StreamUpdate::FULL;
        if (full_seen_ && !full) world_->situations.Count("stream_woken");
        full_seen_ = full;
      }
    }
    if (message.has_welcome()) {
      for (const wire::StreamUpdate& update : message.welcome().streams()) {
        if (update.state() == wire::StreamUpdate::LOST) world_->situations.Count("stream_lost");
        if (update.state() == wire::StreamUpdate::GONE) {
          world_->situations.Count("stream_gone");
          world_->history.OnProducerForgotten(name_);
        }
        if (named_ && sessions_ == 0 && update.unsettled() > 0) {
          world_->situations.Count("producer_resumed");
        }
      }
      if (++sessions_ > 1) world_->situations.Count("session_resumed");
    }
    session_->OnDoor(now, message, &out);
    note_epochs();
  });
  AcknowledgeDue();
  if (leave_at_ == kNever) {
    Submit();
    CloseGroup();
  }
  session_->Poll(now, &out);
  note_epochs();
  for (size_t i = 0; i < out.settled.size(); ++i) {
    const ProducerOutput::Settled& s = out.settled[i];
    if (s.follow_on) {
      world_->history.OnFollowOnsSettled(number_, epochs[i], s.stream, s.range);
    } else {
      world_->history.OnSettled(number_, name_, s.queue, s.range);
    }
  }
  for (const wire::GroupEnd& end : out.group_ends) {
    if (end.group() != group_ || std::exchange(group_ended_, true)) {
      Violation("I17", name_ + " has a group ended that did not end");
    }
    world_->history.OnGroupEnd(name_, end);
  }
  for (const std::string& line : out.log) world_->Say(name_, line);
  Carry(out.reopen_door, out.reopen_submit_port, out.door, out.submit);
  if (out.ack) AcknowledgeLater(*std::move(out.ack));
  if (!session_->fatal().ok()) {
    Violation("fatal", name_ + " gave up: " + std::string(session_->fatal().message()));
  }
  SayGoodbye();
  if (!alive()) return;
  MonoTime next = session_->NextDeadline();
  if (jobs_left_ > 0 && session_->pending_jobs() < kPendingJobsMax && submit_at_ > now.mono) {
    next = std::min(next, submit_at_);
  }
  if (!acks_.empty()) next = std::min(next, acks_.front().first);
  WakeAt(std::max(std::min(next, leave_at_), now.mono));
}

}  // namespace whippletree::sim
