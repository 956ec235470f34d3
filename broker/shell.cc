#include "broker/shell.h"

#include <algorithm>
#include <utility>

#include "broker/config.h"
#include "broker/core/limits.h"
#include "broker/store/memory_store.h"
#include "common/clock.h"
#include "common/codec.h"
#include "common/crash_point.h"
#include "common/log.h"
#include "common/wire_limits.h"

namespace whippletree {
namespace {

constexpr int kDoorHighWaterMark = 1000;
// Frames of a connection that wait in a data socket: an eighth of the memory's limit, if all are as
// large as they may be. Credit bounds what honest peers have under way, and they put many jobs into
// a frame; this is for others, who may send what is more work to look at than to send.
constexpr int kDataHighWaterMarkMin = 8;
constexpr int kDataHighWaterMarkMax = 64;

int DataHighWaterMark(uint64_t memory_limit_bytes, int64_t frame_bytes_max) {
  return static_cast<int>(
      std::clamp<uint64_t>(memory_limit_bytes / 8 / static_cast<uint64_t>(frame_bytes_max),
                           kDataHighWaterMarkMin, kDataHighWaterMarkMax));
}

// The crash points at either end of sending a message.
struct SendPoints {
  std::string_view before;
  std::string_view after;
};

SendPoints SendPointsOf(const wire::Envelope& message) {
  switch (message.body_case()) {
    case wire::Envelope::kStreamUpdates:
      return {"reply.before", "reply.after"};
    case wire::Envelope::kDeliveries:
      return {"dispatch.before", "dispatch.after"};
    case wire::Envelope::kOutcomes:
      return {"outcome.before", "outcome.after"};
    case wire::Envelope::kReportAck:
      return {"confirm.before", "confirm.after"};
    default:
      return {};
  }
}

// What of the policies has no effect, as comments.
std::string NotInForce(const core::Broker& core) {
  std::string out;
  for (const auto& [name, queue] : core.queues()) {
    if (!queue->durable_kept) continue;
    out += "# not in force: queue " + name +
           " is durable: " + (queue->policy.durable ? "true" : "false") +
           " until it is dropped (whippletree-broker queue drop)\n";
  }
  return out;
}

std::string TextOf(const core::Policies& policies) { return ConfigText(ConfigOf(policies)); }

}  // namespace

absl::StatusOr<std::unique_ptr<BrokerShell>> BrokerShell::Start(Options options) {
  std::unique_ptr<BrokerShell> shell(new BrokerShell());
  core::Config& core = options.core;
  Socket::Options socket_options;
  const auto data_frame_bytes_max = static_cast<int64_t>(
      std::max(core.payload_bytes_max, core.result_bytes_max) + kFrameOverheadBytes);
  const auto make = [&](Socket::Type type, int high_water_mark) {
    socket_options.high_water_mark = high_water_mark;
    socket_options.message_bytes_max = type == Socket::Type::kRouter
                                           ? static_cast<int64_t>(kDoorFrameBytesMax)
                                           : data_frame_bytes_max;
    return std::make_unique<Socket>(shell->context_, type, socket_options);
  };
  shell->door_ = make(Socket::Type::kRouter, kDoorHighWaterMark);
  const int high_water_mark = DataHighWaterMark(core.memory_limit_bytes, data_frame_bytes_max);
  shell->submit_ = make(Socket::Type::kPull, high_water_mark);
  shell->complete_ = make(Socket::Type::kPull, high_water_mark);
  if (options.descriptors_max > 0) {
    shell->guard_.emplace(
        shell->context_,
        std::vector<Socket*>{shell->door_.get(), shell->submit_.get(), shell->complete_.get()},
        options.descriptors_max);
  }
  const auto bind = [&](Socket& socket, uint32_t offset, uint32_t* port) -> absl::Status {
    auto bound = socket.Bind(options.host, options.port == 0 ? 0 : options.port + offset);
    if (!bound.ok()) return bound.status();
    *port = *bound;
    return absl::OkStatus();
  };
  absl::Status status = bind(*shell->door_, 0, &shell->door_port_);
  if (status.ok()) status = bind(*shell->submit_, 1, &shell->submit_port_);
  if (status.ok()) status = bind(*shell->complete_, 2, &shell->complete_port_);
  if (!status.ok()) return status;
  core.submit_port = shell->submit_port_;
  core.complete_port = shell->complete_port_;
  shell->policies_ = TextOf({core.default_policy, core.queues, core.unknown_queues});
  status = shell->OpenStore(options);
  if (!status.ok()) return status;
  return shell;
}

absl::Status BrokerShell::OpenStore(const Options& options) {
  StoreCallbacks callbacks;
  callbacks.durable = [this](uint64_t commit) {
    const std::lock_guard lock(mutex_);
    durable_ = std::max(durable_, commit);
    wake_.Notify();
  };
  callbacks.failed = [this](absl::Status status) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(status);
    Stop();
  };
  callbacks.loaded = [this](const RowKey& key, absl::StatusOr<record::Record> row) {
    const std::lock_guard lock(mutex_);
    loaded_.push_back({{key.kind, key.stream, key.first}, std::move(row)});
    wake_.Notify();
  };
  core::Config config = options.core;
  if (options.open_store) {
    auto opened = options.open_store(std::move(callbacks));
    if (!opened.ok()) return opened.status();
    store_ = *std::move(opened);
    // Higher than that of any start before, whatever the clock was.
    config.epoch = static_cast<uint32_t>(store_->opened().epoch);
    config.store_id = store_->opened().store_id;
    config.secret_key = store_->opened().secret_key;
    config.last_commit = store_->opened().last_commit;
  } else {
    store_ = std::make_unique<MemoryStore>(std::move(callbacks));
  }
  core_ = std::make_unique<core::Broker>(config);
  absl::Status restored;
  const absl::Status read = store_->Read([&](record::Record row) {
    if (restored.ok()) restored = core_->Restore(std::move(row));
  });
  if (!read.ok()) return read;
  if (!restored.ok()) return restored;
  CrashPoint("restore.after");
  durable_ = durable_told_ = config.last_commit;
  // Before the first step, which may dispatch.
  if (options.disk) disk_watch_.emplace(*options.disk);
  restored = core_->FinishRestore(ReadClock(), &effects_);
  if (restored.ok()) Carry();
  return restored;
}

void BrokerShell::Receive(Socket& socket, core::Channel channel) {
  std::string route;
  std::string_view frame;
  size_t bytes = 0;
  for (int i = 0; i < frames_per_turn_ && bytes < kBytesPerTurn; ++i) {
    const Socket::ReceiveResult result = socket.Receive(&route, &frame);
    if (result == Socket::ReceiveResult::kNothing) return;
    bytes += frame.size();
    absl::Status error;
    core::FrameIn in{channel, route, {}};
    if (result == Socket::ReceiveResult::kMalformed) {
      error = absl::InvalidArgumentError("malformed message: not one frame");
    } else {
      error = Decode(frame, core::ReceiverOf(channel), &in.message);
    }
    if (error.ok() && channel == core::Channel::kDoor &&
        in.message.admin_request().has_policies()) {
      AnswerPolicies(route, in.message.admin_request());
    } else if (error.ok()) {
      inputs_.emplace_back(std::move(in));
    } else {
      inputs_.emplace_back(core::BadFrame{channel, route, std::move(error)});
    }
  }
}

void BrokerShell::AnswerPolicies(const std::string& route, const wire::AdminRequest& request) {
  core::AdminAnswer answer{route, request, {}};
  wire::PoliciesReply* part = answer.reply.mutable_policies();
  const std::string text = policies_ + NotInForce(*core_);
  std::string_view rest = text;
  rest.remove_prefix(std::min<uint64_t>(rest.size(), request.policies().after()));
  if (rest.size() > core::kAdminReplyBytes) {  // whole lines of it
    rest = rest.substr(0, rest.rfind('\n', core::kAdminReplyBytes - 1) + 1);
    part->set_more(true);
  }
  part->set_yaml(std::string(rest));
  part->set_version(std::hash<std::string>()(text));
  inputs_.emplace_back(std::move(answer));
}

void BrokerShell::AddCounters(wire::StatusReply* status) const {
  if (!guard_ || guard_->refused() == 0) return;
  wire::Counter* counter = status->add_counters();
  counter->set_name("connections_refused");
  counter->set_value(guard_->refused());
}

Socket::SendResult BrokerShell::SendAtDoor(const std::string& route, wire::Envelope* message) {
  return door_->SendTo(route, BeginEncode(message),
                       [&](char* frame) { FinishEncode(*message, frame); });
}

void BrokerShell::Run() {
  Socket* const sockets[] = {door_.get(), submit_.get(), complete_.get()};
  while (!stopping_) {
    MonoTime deadline = core_->NextDeadline();
    if (disk_watch_) deadline = std::min(deadline, disk_watch_->next_look());
    Duration wait(0);
    if (inputs_.empty() && !snapshot_part_) wait = std::max(wait, deadline - ReadClock().mono);
    PollSockets(sockets, &wake_, wait);
    {
      const std::lock_guard lock(mutex_);
      if (durable_ > durable_told_) {
        CrashPoint("commit.after");
        durable_told_ = durable_;
        inputs_.emplace_back(core::Durable{durable_});
        if (disk_watch_) disk_watch_->OnDurable(durable_);
      }
      for (core::Loaded& loaded : std::exchange(loaded_, {})) {
        inputs_.emplace_back(std::move(loaded));
      }
      if (policies_wanted_) {
        inputs_.emplace_back(std::move(*policies_wanted_));
        policies_wanted_.reset();
        policies_ = std::move(policies_wanted_text_);
      }
    }
    WatchDisk();
    const bool reads = !core_->has_carried();
    // What says that jobs ended goes before what adds jobs.
    if (reads) {
      Receive(*door_, core::Channel::kDoor);
      Receive(*complete_, core::Channel::kComplete);
      Receive(*submit_, core::Channel::kSubmit);
    }
    if (!inputs_.empty()) CrashPoint("receive.after");
    effects_.Clear();
    core_->Step(ReadClock(), inputs_, &effects_);
    inputs_.clear();
    if (reads) {
      frames_per_turn_ = core_->has_carried() ? std::max(1, frames_per_turn_ / 2)
                                              : std::min(kFramesPerTurn, frames_per_turn_ * 2);
    }
    Carry();
    AnswerSnapshots();
  }
}

void BrokerShell::Carry() {
  if (effects_.commit != 0) {
    CrashPoint("append.before");
    store_->Commit(effects_.commit, std::move(effects_.writes));
    CrashPoint("append.after");
    if (disk_watch_) disk_watch_->OnCommit(effects_.commit, store_->bytes_written());
  }
  if (effects_.is_awaited) store_->Hurry();
  for (const core::Load& load : effects_.loads) store_->Load({load.kind, load.stream, load.first});
  for (core::Send& send : effects_.sends) {
    if (send.message.admin_reply().has_status()) {
      AddCounters(send.message.mutable_admin_reply()->mutable_status());
    }
    const SendPoints points = SendPointsOf(send.message);
    CrashPoint(points.before);
    const Socket::SendResult result = SendAtDoor(send.route, &send.message);
    CrashPoint(points.after);
    if (result == Socket::SendResult::kSent) continue;
    const auto reason = result == Socket::SendResult::kAgain
                            ? core::SendFailed::Reason::kAgain
                            : core::SendFailed::Reason::kUnreachable;
    inputs_.emplace_back(core::SendFailed{reason, std::move(send)});
  }
  WriteLogs(effects_.logs);
  const MonoTime now = ReadClock().mono;
  if (now >= next_summaries_) {
    for (const LogEvent& event : throttle_.TakeSummaries(now)) WriteLog(event);
    next_summaries_ = now + seconds(1);
  }
  if (!effects_.lost_commits.ok()) {
    lost_commits_ = effects_.lost_commits;
    Stop();
  }
}

void BrokerShell::WriteLogs(const std::vector<LogEvent>& events) {
  const MonoTime now = ReadClock().mono;
  for (const LogEvent& event : events) {
    if (throttle_.Admit(event, now)) WriteLog(event);
  }
}

void BrokerShell::WatchDisk() {
  if (!disk_watch_) return;
  std::vector<LogEvent> logs;
  if (std::optional<core::Disk> disk = disk_watch_->Poll(ReadClock().mono, &logs)) {
    inputs_.emplace_back(*disk);
  }
  WriteLogs(logs);
  if (core_->disk_state() == disk_told_) return;
  disk_told_ = core_->disk_state();
  store_->OnSpace(disk_told_ == core::DiskState::kOk    ? Space::kPlenty
                  : disk_told_ == core::DiskState::kLow ? Space::kLow
                                                        : Space::kFull);
}

void BrokerShell::Stop() {
  stopping_ = true;
  wake_.Notify();
}

void BrokerShell::SetPolicies(core::Policies policies) {
  // With very many queues this takes a while; not on the broker's thread.
  std::string text = TextOf(policies);
  const std::lock_guard lock(mutex_);
  policies_wanted_ = std::move(policies);
  policies_wanted_text_ = std::move(text);
  wake_.Notify();
}

bool BrokerShell::Snapshot(wire::StatusReply* status) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = ++snapshots_wanted_;
  if (status != nullptr) statuses_wanted_ = ticket;
  wake_.Notify();
  if (!answered_.wait_for(lock, seconds(2), [&] { return snapshots_made_ >= ticket; })) {
    return false;
  }
  if (status != nullptr) *status = snapshot_;
  return true;
}

void BrokerShell::AnswerSnapshots() {
  const std::lock_guard lock(mutex_);
  if (snapshots_made_ == snapshots_wanted_) return;
  uint64_t made = snapshots_wanted_;
  if (statuses_wanted_ > snapshots_made_) {
    if (!snapshot_part_) snapshot_part_.emplace(SnapshotPart{snapshots_wanted_, {}});
    if (!GoOn(&snapshot_part_->status)) return;
    made = snapshot_part_->made;
    snapshot_ = std::move(snapshot_part_->status);
    snapshot_part_.reset();
  }
  snapshots_made_ = made;
  answered_.notify_all();
}

bool BrokerShell::GoOn(wire::StatusReply* status) const {
  const bool begins = !status->has_next();
  wire::StatusReply part = core_->Status(status->next(), core::kAdminReplyBytes);
  if (begins) {
    *status = std::move(part);
    AddCounters(status);
    return !status->has_next();
  }
  for (wire::QueueStatus& queue : *part.mutable_queues()) *status->add_queues() = std::move(queue);
  for (wire::WorkerStatus& worker : *part.mutable_workers()) {
    *status->add_workers() = std::move(worker);
  }
  if (part.has_next()) {
    *status->mutable_next() = std::move(*part.mutable_next());
  } else {
    status->clear_next();
  }
  return !status->has_next();
}

}  // namespace whippletree
