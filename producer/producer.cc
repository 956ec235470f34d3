// The producer's shell: one thread moves frames between sockets and session; callers add jobs
// under a lock and wake it. Another thread calls callbacks, so that a slow one costs neither the
// session nor memory: what is not delivered is not acknowledged, and the broker sends no more.
#include "producer/producer.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "common/address.h"
#include "common/client_sockets.h"
#include "common/clock.h"
#include "common/crash_point.h"
#include "common/identity.h"
#include "common/name_check.h"
#include "common/port_check.h"
#include "common/utf8.h"
#include "common/version.h"
#include "producer/callbacks.h"
#include "producer/convert.h"
#include "producer/group_promises.h"
#include "producer/session.h"

namespace whippletree {

constexpr Duration kGoodbyePatience = seconds(5);  // of a named producer, for its answer

class Producer::Impl {
 public:
  Impl(ProducerOptions options, HostPort address, ProducerSession::Config config)
      : options_(std::move(options)), session_(std::move(config)), sockets_(std::move(address)) {}
  ~Impl();

  absl::Status Start();
  absl::StatusOr<uint64_t> Submit(const std::string& queue,
                                  std::span<const std::string_view> payloads,
                                  std::span<const std::string_view> names,
                                  const JobOptions& options, OutcomeCallback callback);
  absl::StatusOr<uint64_t> OpenStream(const std::string& queue, OutcomeCallback callback,
                                      Earlier* earlier);
  absl::Status SkipEarlier(const std::string& queue, std::span<const std::string_view> payloads,
                           std::span<const std::string_view> names);
  void Cancel(const std::string& queue, uint64_t first, uint64_t count);
  void OnFollowOn(OutcomeCallback callback);
  void WatchQueue(const std::string& queue);
  absl::StatusOr<uint64_t> OpenGroup();
  absl::StatusOr<std::future<GroupEnd>> CloseGroup(uint64_t group);
  absl::Status WaitUntil(bool outcomes);
  void StopWaiting();
  uint64_t payload_bytes_max();
  Counts counts();

 private:
  // What one poll of the session brought.
  struct Delivery {
    std::vector<ProducerOutput::Settled> settled;
    std::vector<wire::GroupEnd> group_ends;  // after `settled`
    std::optional<wire::OutcomeAck> ack;
  };

  void Loop();
  void DeliverLoop();
  void Deliver(std::vector<ProducerOutput::Settled>& settled);
  void DeliverFollowOns(ProducerOutput::Settled& settled);
  void Wake();  // REQUIRES: mutex_ is held
  // Jobs of which somebody waits for the outcome.
  bool Settled() const { return settled_ >= wanted_; }

  const ProducerOptions options_;
  WakeEvent wake_;
  GroupPromises closed_groups_;

  std::mutex mutex_;                     // guards what follows, up to sockets_
  std::condition_variable changed_;      // the session
  std::condition_variable all_settled_;  // nothing more is to come: Settled(), or refused
  ProducerSession session_;
  Callbacks callbacks_;
  std::map<std::string, uint64_t> received_;  // outcomes of a named producer, by queue
  std::shared_ptr<const OutcomeCallback> follow_on_;
  std::atomic<uint64_t> settled_ = 0;
  uint64_t wanted_ = 0;
  JobOptions last_options_;  // of what was submitted: mostly the next ones are the same
  wire::JobOptions last_wire_options_ = ToWire(JobOptions{});
  bool welcomed_ = false;
  bool ending_ = false;  // nothing more is delivered
  bool stops_waiting_ = false;
  bool closing_ = false;  // nothing more is sent
  bool sleeping_ = false;
  bool added_ = false;  // something was added since the session was polled
  std::deque<Delivery> deliveries_;
  std::condition_variable delivery_;

  ClientSockets sockets_;  // the thread's
  std::thread thread_;
  std::thread delivery_thread_;
};

absl::Status Producer::Impl::Start() {
  if (absl::Status status = sockets_.ConnectDoor(); !status.ok()) return status;
  thread_ = std::thread([this] { Loop(); });
  delivery_thread_ = std::thread([this] { DeliverLoop(); });
  const HostPort address = *ParseHostPort(options_.broker);
  const NameCheck name(address.host);
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return welcomed_ || !session_.fatal().ok(); };
  const MonoTime begin = ReadMonoClock();
  const Duration patience = options_.connect_timeout;
  constexpr Duration kTellAfter = seconds(1);
  std::optional<PortCheck> port;
  const bool soon = changed_.wait_for(lock, PortCheckDelay(patience), ready);
  if (!soon && session_.refusal().ok()) port.emplace(address);
  if (patience == Duration(0) || patience > kTellAfter) {
    const bool is_ready = changed_.wait_for(lock, begin + kTellAfter - ReadMonoClock(), ready);
    if (!is_ready && session_.refusal().ok() && options_.log)
      options_.log(NoBrokerAnswersYet(address, name.error()));
  }
  if (patience == Duration(0)) {
    changed_.wait(lock, ready);
  } else if (!changed_.wait_for(lock, begin + patience - ReadMonoClock(), ready)) {
    if (!session_.refusal().ok()) return session_.refusal();
    return NoBrokerAnswers(address, name.error(), port ? port->error() : "");
  }
  return session_.fatal();
}

Producer::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  delivery_.notify_all();
  if (delivery_thread_.joinable()) delivery_thread_.join();
  {  // what was delivered is acknowledged before the goodbye
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.Notify();
  if (thread_.joinable()) thread_.join();
  closed_groups_.EndAll(absl::UnavailableError("the producer was closed"));
}

void Producer::Impl::Wake() {
  added_ = true;
  if (std::exchange(sleeping_, false)) wake_.Notify();
}

void Producer::Impl::Loop() {
  ProducerOutput out;
  std::vector<wire::Envelope> received;
  std::vector<absl::Status> bad_frames;
  absl::Status refused;
  MonoTime close_by = kNever;
  while (true) {
    Duration wait{};
    {
      const std::lock_guard lock(mutex_);
      const MonoTime now = ReadClock().mono;
      if (closing_ && close_by == kNever) {
        close_by = now + kGoodbyePatience;
        session_.Close();
        added_ = true;
      }
      wait = added_ ? Duration(0) : std::min(session_.NextDeadline(), close_by) - now;
      if (closing_ && !added_ && (session_.closed() || now >= close_by)) break;
      sleeping_ = true;
    }
    // Whatever is added from here on notifies.
    sockets_.Poll(&wake_, wait);
    // Callers are not kept waiting meanwhile.
    sockets_.Receive([&](wire::Envelope& message) { received.push_back(std::move(message)); },
                     [&](const absl::Status& error) { bad_frames.push_back(error); });
    out.Clear();
    {
      const std::lock_guard lock(mutex_);
      sleeping_ = added_ = false;
      const Instant now = ReadClock();
      for (wire::Envelope& message : received) session_.OnDoor(now, message, &out);
      for (const absl::Status& error : bad_frames) session_.OnBadFrame(error);
      session_.Poll(now, &out);
      if (!out.settled.empty()) CrashPoint("outcome.received");
      welcomed_ = welcomed_ || session_.connected();
      if (!options_.name.empty()) {
        for (const auto& settled : out.settled) {
          if (!settled.follow_on) received_[settled.queue] += settled.range.count();
        }
      }
      if (!out.settled.empty() || out.ack || !out.group_ends.empty()) {
        deliveries_.push_back(
            {std::move(out.settled), std::move(out.group_ends), std::move(out.ack)});
        delivery_.notify_one();
      }
      refused = session_.fatal();
    }
    received.clear();
    bad_frames.clear();
    if (!refused.ok()) {
      closed_groups_.EndAll(refused);
      all_settled_.notify_all();
    }
    changed_.notify_all();
    const bool submits = !out.submit.empty();
    const bool acknowledges = std::any_of(out.door.begin(), out.door.end(),
                                          [](const auto& m) { return m.has_outcome_ack(); });
    if (submits) CrashPoint("submit.before");
    const absl::Status status =
        sockets_.Carry(out.reopen_door, out.reopen_submit_port, out.door, out.submit);
    if (submits) CrashPoint("submit.after");
    if (acknowledges) CrashPoint("ack.after");
    if (!status.ok() && options_.log) options_.log(std::string(status.message()));
    if (options_.log) {
      for (const std::string& line : out.log) options_.log(line);
    }
  }
  if (!session_.closed() && options_.log) {
    options_.log("the broker has not confirmed the end of " + options_.name +
                 ": outcomes that were printed may come once more when it is started again");
  }
}

void Producer::Impl::DeliverLoop() {
  std::unique_lock lock(mutex_);
  while (true) {
    delivery_.wait(lock, [this] { return ending_ || !deliveries_.empty(); });
    if (ending_) return;
    Delivery delivery = std::move(deliveries_.front());
    deliveries_.pop_front();
    lock.unlock();
    Deliver(delivery.settled);
    for (const wire::GroupEnd& end : delivery.group_ends) closed_groups_.End(FromWire(end));
    const bool kept = !options_.delivered || options_.delivered();
    CrashPoint("outcome.taken");
    lock.lock();
    if (!delivery.ack || !kept) continue;
    if (session_.Acknowledge(*delivery.ack, ReadClock().mono)) Wake();
  }
}

void Producer::Impl::Deliver(std::vector<ProducerOutput::Settled>& settled) {
  constexpr size_t kPartsAtOnce = 100;  // jobs that were submitted singly are a part each
  std::vector<Callbacks::Part> parts;
  for (ProducerOutput::Settled& s : settled) {
    if (s.follow_on) {
      DeliverFollowOns(s);
      continue;
    }
    OutcomeMaker maker(&s);
    uint64_t at = s.range.first();
    const uint64_t end = s.range.first() + s.range.count();
    while (at < end) {
      {
        const std::lock_guard lock(mutex_);
        for (uint64_t n = at; n < end && parts.size() < kPartsAtOnce; n = parts.back().end) {
          parts.push_back(callbacks_.Take(s.queue, n, end));
        }
      }
      for (const Callbacks::Part& part : parts) {
        for (uint64_t n = at; part.callback && *part.callback && n < part.end; ++n) {
          (*part.callback)(std::move(maker.Make(n)));
        }
        if (!part.discarded) settled_ += part.end - at;
        at = part.end;
      }
      parts.clear();
    }
  }
  const std::lock_guard lock(mutex_);  // whoever waits has looked before, or waits by now
  if (Settled()) all_settled_.notify_all();
}

void Producer::Impl::DeliverFollowOns(ProducerOutput::Settled& settled) {
  std::shared_ptr<const OutcomeCallback> callback;
  {
    const std::lock_guard lock(mutex_);
    callback = follow_on_;
  }
  if (!callback || !*callback) return;
  OutcomeMaker maker(&settled);
  const uint64_t end = settled.range.first() + settled.range.count();
  for (uint64_t number = settled.range.first(); number < end; ++number) {
    (*callback)(std::move(maker.Make(number)));
  }
}

absl::StatusOr<uint64_t> Producer::Impl::Submit(const std::string& queue,
                                                std::span<const std::string_view> payloads,
                                                std::span<const std::string_view> names,
                                                const JobOptions& options,
                                                OutcomeCallback callback) {
  const std::string_view own_name = options.name;
  if (!own_name.empty() && payloads.size() == 1 && names.empty()) names = {&own_name, 1};
  if (absl::Status status = CheckJobs(queue, payloads.size(), names, options); !status.ok()) {
    return status;
  }
  std::unique_lock lock(mutex_);
  const auto room = [this] {
    return !session_.fatal().ok() || (session_.pending_jobs() < options_.pending_jobs_max &&
                                      session_.pending_bytes() < options_.pending_bytes_max);
  };
  absl::Status sizes = CheckSizes(payloads, session_.payload_bytes_max());
  if (!sizes.ok()) return sizes;
  if (!options_.block && !room()) {
    return absl::ResourceExhaustedError("too many jobs wait to be accepted: queue " + queue);
  }
  changed_.wait(lock, room);
  if (!session_.fatal().ok()) return session_.fatal();
  const ProducerSession::StreamState state = session_.GetStream(queue);
  if (!state.error.ok()) return state.error;
  if (!options_.name.empty() && !state.open) {
    return absl::FailedPreconditionError("a named producer opens its stream first");
  }
  if (options.group != 0) {
    if (absl::Status status = session_.CheckGroup(options.group); !status.ok()) return status;
  }
  if (options != last_options_) {
    last_options_ = options;
    last_wire_options_ = ToWire(options);
  }
  uint64_t first = 0;
  for (size_t at = 0; at < payloads.size();) {
    RunData run;
    RunData run_names;
    const size_t begin = at;
    at = FillRun(payloads, names, begin, &run, &run_names);
    const uint64_t number =
        session_.Submit(queue, last_wire_options_, std::move(run), std::move(run_names));
    if (begin == 0) first = number;
  }
  callbacks_.Add(queue, first, payloads.size(), options.discard_outcome, std::move(callback));
  if (!options.discard_outcome) wanted_ += payloads.size();
  Wake();
  return first;
}

absl::StatusOr<uint64_t> Producer::Impl::OpenStream(const std::string& queue,
                                                    OutcomeCallback callback, Earlier* earlier) {
  if (std::string error = QueueNameError(queue); !error.empty()) {
    return absl::InvalidArgumentError("'" + queue + "': " + error);
  }
  std::unique_lock lock(mutex_);
  callbacks_.SetEarlier(queue, std::move(callback));
  session_.OpenStream(queue);
  Wake();
  ProducerSession::StreamState state;
  changed_.wait(lock, [&] {
    state = session_.GetStream(queue);
    return state.open || !session_.fatal().ok();
  });
  if (!session_.fatal().ok()) return session_.fatal();
  if (!state.error.ok()) return state.error;
  // Some of them may have come between the broker's answer and now.
  state.unsettled += received_[queue];
  wanted_ += state.unsettled;
  if (earlier) *earlier = {state.unsettled, state.dead, state.cancelled, state.expired};
  return state.next_number;
}

absl::Status Producer::Impl::SkipEarlier(const std::string& queue,
                                         std::span<const std::string_view> payloads,
                                         std::span<const std::string_view> names) {
  const std::lock_guard lock(mutex_);
  return session_.Skip(queue, payloads, names);
}

void Producer::Impl::Cancel(const std::string& queue, uint64_t first, uint64_t count) {
  const std::lock_guard lock(mutex_);
  session_.Cancel(queue, first, count);
  Wake();
}

void Producer::Impl::WatchQueue(const std::string& queue) {
  const std::lock_guard lock(mutex_);
  session_.Watch(queue);
  Wake();
}

void Producer::Impl::OnFollowOn(OutcomeCallback callback) {
  const std::lock_guard lock(mutex_);
  follow_on_ = std::make_shared<const OutcomeCallback>(std::move(callback));
}

absl::StatusOr<uint64_t> Producer::Impl::OpenGroup() {
  const std::lock_guard lock(mutex_);
  if (!session_.fatal().ok()) return session_.fatal();
  return session_.OpenGroup();
}

absl::StatusOr<std::future<GroupEnd>> Producer::Impl::CloseGroup(uint64_t group) {
  const std::lock_guard lock(mutex_);
  if (!session_.fatal().ok()) return session_.fatal();
  if (absl::Status status = session_.CloseGroup(group); !status.ok()) return status;
  std::future<GroupEnd> end = closed_groups_.Add(group);
  Wake();
  return end;
}

absl::Status Producer::Impl::WaitUntil(bool outcomes) {
  std::unique_lock lock(mutex_);
  const auto done = [&] { return outcomes ? Settled() : session_.pending_jobs() == 0; };
  const auto ends = [&] { return done() || stops_waiting_ || !session_.fatal().ok(); };
  (outcomes ? all_settled_ : changed_).wait(lock, ends);
  if (!done() && stops_waiting_) return absl::CancelledError("nobody waits any more");
  return done() ? absl::OkStatus() : session_.fatal();
}

void Producer::Impl::StopWaiting() {
  const std::lock_guard lock(mutex_);
  stops_waiting_ = true;
  all_settled_.notify_all();
  changed_.notify_all();
}

uint64_t Producer::Impl::payload_bytes_max() {
  const std::lock_guard lock(mutex_);
  return session_.payload_bytes_max();
}

Producer::Counts Producer::Impl::counts() {
  const std::lock_guard lock(mutex_);
  return {.submitted = session_.submitted(),
          .accepted = session_.submitted() - session_.pending_jobs(),
          .settled = settled_,
          .connected = session_.connected(),
          .full = session_.full(),
          .full_reason = session_.full_reason(),
          .note = std::string(session_.note())};
}

Producer::Producer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Producer::~Producer() = default;

absl::StatusOr<std::unique_ptr<Producer>> Producer::Connect(ProducerOptions options) {
  auto address = ParseHostPort(options.broker);
  if (!address.ok()) return address.status();
  options.broker = address->ToString();
  if (options.name.size() > 100 || ToUtf8(options.name, options.name.size()) != options.name) {
    return absl::InvalidArgumentError("a producer's name is UTF-8 text of at most 100 bytes");
  }
  ProducerSession::Config config;
  config.named = !options.name.empty();
  config.name = config.named ? options.name : UniqueName("");
  config.process = RandomNumber();
  config.ack_delay = kAckDelay;
  config.seed = RandomNumber();
  config.software = kSoftware;
  // Numbers that an earlier process of that name has not used, far from overflow.
  if (config.named) config.first_group = (RandomNumber() >> 4) + 1;
  auto impl = std::make_unique<Impl>(std::move(options), *std::move(address), std::move(config));
  if (absl::Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Producer>(new Producer(std::move(impl)));
}

absl::StatusOr<std::future<Outcome>> Producer::Submit(const std::string& queue,
                                                      std::string_view payload,
                                                      const JobOptions& options) {
  auto [future, callback] = FutureOutcome();
  const std::string_view payloads[] = {payload};
  auto first = impl_->Submit(queue, payloads, {}, options, std::move(callback));
  if (!first.ok()) return first.status();
  return std::move(future);
}

absl::StatusOr<uint64_t> Producer::SubmitMany(const std::string& queue,
                                              std::span<const std::string_view> payloads,
                                              const JobOptions& options, OutcomeCallback callback,
                                              std::span<const std::string_view> names) {
  return impl_->Submit(queue, payloads, names, options, std::move(callback));
}

absl::StatusOr<uint64_t> Producer::OpenStream(const std::string& queue, OutcomeCallback callback,
                                              Earlier* earlier) {
  return impl_->OpenStream(queue, std::move(callback), earlier);
}

absl::Status Producer::SkipEarlier(const std::string& queue,
                                   std::span<const std::string_view> payloads,
                                   std::span<const std::string_view> names) {
  return impl_->SkipEarlier(queue, payloads, names);
}

void Producer::Cancel(const std::string& queue, uint64_t first, uint64_t count) {
  impl_->Cancel(queue, first, count);
}
void Producer::OnFollowOn(OutcomeCallback callback) { impl_->OnFollowOn(std::move(callback)); }
absl::StatusOr<uint64_t> Producer::OpenGroup() { return impl_->OpenGroup(); }
absl::StatusOr<std::future<GroupEnd>> Producer::CloseGroup(uint64_t group) {
  return impl_->CloseGroup(group);
}
absl::Status Producer::WaitAccepted() { return impl_->WaitUntil(false); }
absl::Status Producer::WaitOutcomes() { return impl_->WaitUntil(true); }
void Producer::StopWaiting() { impl_->StopWaiting(); }
void Producer::WatchQueue(const std::string& queue) { impl_->WatchQueue(queue); }
uint64_t Producer::payload_bytes_max() const { return impl_->payload_bytes_max(); }
Producer::Counts Producer::counts() const { return impl_->counts(); }

}  // namespace whippletree
