#include "tests/sim/broker_process.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "broker/core/planted.h"
#include "common/codec.h"
#include "tests/sim/failure.h"

namespace whippletree::sim {

using core::Channel;

namespace {

constexpr uint64_t kStatusBytes = 4096;  // the longest
constexpr uint64_t kOutcomeBytes = 300;  // beside its status or result
constexpr uint64_t kDiskReserve = 1 << 20;
constexpr uint64_t kReturnedBytes = 400 << 10;

}  // namespace

BrokerProcess::BrokerProcess(World* world)
    : world_(world),
      prng_(world->prng.Next()),
      queues_(world->options.broker.queues),
      policies_(world->options, &world->situations),
      dead_(&world->options, &world->history, &world->situations),
      free_disk_{1ull << 40, world->options.durable ? kDiskReserve : 0},
      store_delay_mean_(world->options.store_delay_mean) {
  Prng key(world->options.seed);
  for (uint8_t& byte : disk_.secret_key) byte = static_cast<uint8_t>(key.Next());
  Start();
}

void BrokerProcess::Start() {
  StoreCallbacks callbacks;
  callbacks.durable = [this](uint64_t commit) {
    durable_ = commit;
    checker_->OnDurable(commit);
  };
  callbacks.failed = [this](const absl::Status& status) { OnStoreFailed(status); };
  callbacks.loaded = [this](const RowKey& key, absl::StatusOr<record::Record> row) {
    OnLoaded(key, std::move(row));
  };
  store_ = std::make_unique<MapStore>(&disk_, std::move(callbacks));
  const uint64_t fails_at_max = world_->options.faults.store_fails_at_max;
  commits_until_failure_ = fails_at_max > 0 && !healed_ ? prng_.Between(1, fails_at_max) : 0;
  failing_ = false;
  core::Config config = world_->options.broker;
  config.queues = queues_;
  config.epoch = epoch_ = static_cast<uint32_t>(store_->opened().epoch);
  config.store_id = store_->opened().store_id;
  config.secret_key = store_->opened().secret_key;
  config.last_commit = store_->opened().last_commit;
  config.broker_start = prng_.Next();
  config.seed = prng_.Next();
  config.submit_port = 1;
  config.complete_port = 2;
  core_ = std::make_unique<core::Broker>(config);
  checker_ =
      std::make_unique<CommitChecker>(world_->options, config.last_commit, &world_->situations);
  durable_ = durable_told_ = config.last_commit;
  loads_under_way_ = 0;
  counted_.clear();
  name_by_route_.clear();
  revoked_.clear();
  unclaimed_leases_.clear();
  policies_.OnBrokerUp(queues_, config.last_commit, world_->loop.now());
  dead_.OnBrokerUp();
  Restore(config);
  inputs_.emplace_back(free_disk_);
  world_->history.OnBrokerUp(epoch_);
  world_->network.BrokerUp([this](Channel channel, const std::string& route, std::string frame) {
    OnFrame(channel, route, std::move(frame));
  });
  WakeAt(world_->loop.now());
}

void BrokerProcess::Restore(const core::Config& config) {
  const absl::Status status = store_->Read([this](record::Record row) {
    world_->situations.Checked(21);
    checker_->OnRow(row);
    NoteRow(row);
    const absl::Status restored = core_->Restore(std::move(row));
    if (!restored.ok()) Violation("I21", std::string(restored.message()));
  });
  if (!status.ok()) Violation("store", std::string(status.message()));
  core::Effects effects;
  const absl::Status restored = core_->FinishRestore(world_->loop.instant(), &effects);
  if (!restored.ok()) Violation("I21", std::string(restored.message()));
  core_->CheckInvariants();
  if (config.last_commit > 0) world_->situations.Count("restored");
  world_->situations.Count("restored_stopped", core_->counter("producers_stopped"));
  for (const auto& entry : core_->leases().all()) {
    restored_leases_.insert(entry.first);
    unclaimed_leases_.insert(entry.first);
    world_->situations.Count("restored_lease");
  }
  checker_->OnEffects(effects);
  Carry(effects);
}

void BrokerProcess::Crash() {
  world_->Say("broker", "crashes");
  CollectCounters();
  if (store_->pending() > 0) world_->situations.Count("crash_with_pending_commits");
  if (loads_under_way_ > 0) world_->situations.Count("crash_with_loads");
  const auto& leases = core_->leases().all();
  if (std::any_of(unclaimed_leases_.begin(), unclaimed_leases_.end(),
                  [&](uint64_t token) { return leases.contains(token); })) {
    world_->situations.Count("crash_with_unclaimed_lease");
  }
  store_->Crash(failing_ ? 0 : prng_.Below(store_->pending() + 1));
  store_.reset();
  if (core::Planted("restore_backup")) disk_ = backup_;
  world_->network.BrokerDown();
  core_.reset();
  for (auto& frames : frames_) frames.clear();
  inputs_.clear();
  paused_ = false;
  wake_at_ = kNever;
}

void BrokerProcess::NoteRow(const record::Record& row) {
  Situations& situations = world_->situations;
  const auto now = ToMilliseconds(world_->loop.instant().wall.time_since_epoch());
  if (row.has_returned()) {
    if (row.returned().not_before_ms() > static_cast<uint64_t>(now)) {
      situations.Count("restored_backoff");
    }
    if (row.returned().batch() > 0) situations.Count("restored_sealed_batch");
    if (row.returned().suspect()) situations.Count("restored_suspect");
  }
  for (const record::LeasePart& part : row.lease().parts()) {
    if (part.suspect()) situations.Count("restored_suspect");
  }
  if (row.has_group()) situations.Count("restored_group");
  if (row.has_outcome()) situations.Count("restored_outcome");
  if (row.queue().paused()) situations.Count("restored_pause");
  if (row.has_job_names()) situations.Count("restored_names");
  if (row.has_dead()) situations.Count("dead_restored");
}

void BrokerProcess::OnStoreFailed(const absl::Status& status) {
  if (!failing_) Violation("store", std::string(status.message()));
  world_->Say("store", "fails");
  world_->loop.At(world_->loop.now(), [this, epoch = epoch_] {
    if (epoch != epoch_ || !core_) return;
    Crash();
    stopped_();
  });
}

void BrokerProcess::Heal() {
  healed_ = true;
  store_delay_mean_ = microseconds(20);
  commits_until_failure_ = 0;
  SetDisk(core::DiskState::kOk);
}

void BrokerProcess::SetDisk(core::DiskState state) {
  if (healed_) state = core::DiskState::kOk;
  free_disk_.free_bytes = state == core::DiskState::kOk    ? 1ull << 40
                          : state == core::DiskState::kLow ? kDiskReserve * 3 / 4
                                                           : kDiskReserve / 4;
  if (!core_) return;
  inputs_.emplace_back(free_disk_);
  WakeAt(world_->loop.now());
}

void BrokerProcess::StallStore(Duration duration) {
  store_free_ = std::max(store_free_, world_->loop.now()) + duration;
}

void BrokerProcess::Reload(std::map<std::string, core::QueuePolicy> policies) {
  queues_ = std::move(policies);
  if (!core_) return;
  core::Policies in;
  in.defaults = world_->options.broker.default_policy;
  in.queues = queues_;
  in.unknown_queues = world_->options.broker.unknown_queues;
  inputs_.emplace_back(std::move(in));
  WakeAt(world_->loop.now());
}

void BrokerProcess::Resume() {
  if (!core_) return;
  paused_ = false;
  was_paused_ = true;
  WakeAt(world_->loop.now());
}

void BrokerProcess::OnFrame(Channel channel, const std::string& route, std::string frame) {
  frames_[static_cast<int>(channel)].push_back({route, std::move(frame)});
  // What comes within a moment shares a step.
  WakeAt(world_->loop.now() + Duration(static_cast<int64_t>(prng_.Below(20'000))));
}

void BrokerProcess::WakeAt(MonoTime at) {
  if (at >= wake_at_) return;
  wake_at_ = at;
  world_->loop.At(at, [this, at, epoch = epoch_] {
    if (epoch != epoch_ || wake_at_ != at) return;
    wake_at_ = kNever;
    if (core_ && !paused_) Step();
  });
}

void BrokerProcess::Take(Channel channel) {
  auto& frames = frames_[static_cast<int>(channel)];
  for (int i = 0; i < kFramesPerTurn && !frames.empty(); ++i) {
    core::FrameIn in{channel, std::move(frames.front().route), {}};
    const absl::Status status =
        Decode(frames.front().bytes, core::ReceiverOf(channel), &in.message);
    if (!status.ok()) Violation("codec", "the broker cannot read a frame");
    frames.pop_front();
    inputs_.emplace_back(std::move(in));
  }
}

void BrokerProcess::Step() {
  const uint64_t durable_before = durable_told_;
  if (durable_ > durable_told_) {
    durable_told_ = durable_;
    inputs_.emplace_back(core::Durable{durable_});
  }
  if (!std::exchange(was_paused_, false) && !core_->has_more()) {
    policies_.BeforeStep(*core_, world_->loop.instant());
  }
  if (!core_->has_carried()) {
    Take(Channel::kDoor);
    Take(Channel::kComplete);
    Take(Channel::kSubmit);
  }
  world_->situations.Count("inputs_carried", core_->has_carried() ? 1 : 0);
  for (const core::Input& input : inputs_) {
    Note(input);
    const auto* loaded = std::get_if<core::Loaded>(&input);
    if (loaded != nullptr && loaded->load.kind == record::Record::kRun) --loads_under_way_;
  }
  const bool only_durable = inputs_.size() == 1 && durable_told_ > durable_before;
  core::Effects effects;
  core_->Step(world_->loop.instant(), inputs_, &effects);
  inputs_.clear();
  policies_.AfterStep(*core_, world_->loop.instant());
  if (only_durable && !effects.sends.empty()) world_->situations.Count("gate_released");
  for (const LogEvent& event : effects.logs) {
    world_->history.OnLog(event, world_->loop.now());
    if (!world_->verbose) continue;
    std::string line(event.event);
    for (const auto& [name, value] : event.fields) {
      line += " " + std::string(name) + "=";
      if (const auto* text = std::get_if<std::string>(&value)) line += *text;
      if (const auto* number = std::get_if<uint64_t>(&value)) line += std::to_string(*number);
    }
    world_->Say("broker", line);
  }
  if (!effects.lost_commits.ok()) Violation("I21", std::string(effects.lost_commits.message()));
  checker_->OnEffects(effects);
  Carry(effects);
  if (failing_) return;
  if (!core_->has_carried()) CheckLoads();
  if (++steps_ % 16 == 0) Check();
  MonoTime next = core_->NextDeadline();
  const bool more =
      core_->has_more() || std::any_of(std::begin(frames_), std::end(frames_),
                                       [](const auto& frames) { return !frames.empty(); });
  if (more || !inputs_.empty()) next = world_->loop.now() + microseconds(10);
  WakeAt(next);
}

void BrokerProcess::Check() {
  world_->situations.Checked(15);
  world_->situations.Checked(16);
  try {
    core_->CheckInvariants();
  } catch (const Failure& failure) {
    Violation("I16", failure.what());
  }
  uint64_t payloads = 0;
  uint64_t leased = 0;
  for (const auto& [name, queue] : core_->queues()) {
    payloads += queue->bytes + queue->record_bytes;
    leased += queue->ledger.leased;
    world_->situations.Count("jobs_packed", queue->jobs.packed());
  }
  leased_max_ = std::max(leased_max_, leased);
  // One payload may be taken beyond the budget by each queue, and follow-on jobs have a share of
  // their own. What is leased when dispatch stops still brings its outcomes.
  const core::Config& config = core_->config();
  const uint64_t payloads_max = config.budget_bytes() + config.budget_bytes() / 4 +
                                core_->queues().size() * config.payload_bytes_max + kReturnedBytes;
  const uint64_t outcome_max =
      kOutcomeBytes + std::max(kStatusBytes, uint64_t{config.result_bytes_max});
  const uint64_t bytes_max = config.memory_limit_bytes + leased_max_ * outcome_max;
  if (payloads > payloads_max || core_->used_bytes() > bytes_max) {
    std::string text = "the broker uses " + std::to_string(core_->used_bytes()) + " bytes";
    for (const auto& [name, queue] : core_->queues()) {
      text += "; " + name + ": payloads " + std::to_string(queue->bytes) + ", records " +
              std::to_string(queue->record_bytes) + ", outcomes " +
              std::to_string(queue->outcome_bytes);
    }
    Violation("I15", text);
  }
}

void BrokerProcess::Carry(core::Effects& effects) {
  if (effects.commit != 0) Commit(effects);
  if (failing_) return;
  for (const core::Load& load : effects.loads) Load(load);
  for (core::Send& send : effects.sends) {
    if (send.route.starts_with(kAdmin)) {
      NoteAdminReply(send.route, send.message.admin_reply());
      continue;
    }
    std::string frame;
    Encode(&send.message, &frame);
    const Network::SendResult result = world_->network.SendTo(send.route, std::move(frame));
    if (result == Network::SendResult::kSent) {
      NoteSend(send);
      continue;
    }
    const auto reason = result == Network::SendResult::kAgain
                            ? core::SendFailed::Reason::kAgain
                            : core::SendFailed::Reason::kUnreachable;
    inputs_.emplace_back(core::SendFailed{reason, std::move(send)});
  }
}

void BrokerProcess::Commit(core::Effects& effects) {
  const uint64_t commit = effects.commit;
  for (const record::Record& write : effects.writes) {
    if (!write.has_producer() || !write.erased()) continue;
    // It was away for too long, and the next start of the broker will not know it.
    world_->history.OnProducerForgotten(write.producer().name());
    world_->situations.Count("producer_forgotten");
  }
  store_->Commit(commit, std::move(effects.writes));
  if (commits_until_failure_ > 0 && --commits_until_failure_ == 0) {
    failing_ = true;
    store_->Fail(absl::InternalError("no space left on device"));
    return;
  }
  MonoTime at = world_->loop.now() + DrawDuration(&prng_, store_delay_mean_);
  at = store_free_ = std::max(at, store_free_);
  world_->loop.At(at, [this, commit, epoch = epoch_] {
    if (epoch != epoch_ || !core_) return;
    if (commit > durable_) store_->Sync(commit - durable_);
    if (core::Planted("restore_backup") && commit % 8 == 0) backup_ = disk_;
    WakeAt(world_->loop.now());
  });
}

void BrokerProcess::Load(const core::Load& load) {
  if (load.kind == record::Record::kRun) ++loads_under_way_;
  const MonoTime at = world_->loop.now() + DrawDuration(&prng_, store_delay_mean_);
  world_->loop.At(at, [this, load, epoch = epoch_] {
    if (epoch == epoch_ && core_ && !failing_) store_->Load({load.kind, load.stream, load.first});
  });
}

void BrokerProcess::OnLoaded(const RowKey& key, absl::StatusOr<record::Record> row) {
  if (row.ok() && row->has_run() &&
      prng_.Chance(healed_ ? 0 : world_->options.faults.row_damaged)) {
    world_->history.OnRowDamaged(row->run());
    dead_.OnRowDamaged(row->run());
    world_->situations.Count("row_damaged");
    row = absl::DataLossError("damaged");
  }
  inputs_.emplace_back(core::Loaded{{key.kind, key.stream, key.first}, std::move(row)});
  WakeAt(world_->loop.now());
}

// What comes next and is not in memory is being read, or not written yet.
void BrokerProcess::CheckLoads() const {
  uint64_t loads = 0;
  for (const auto& [name, queue] : core_->queues()) {
    loads += queue->jobs.loads();
    if (queue->jobs.stored_ready() == 0) continue;
    world_->situations.Checked(kLoadCheck);
    const bool all_written = durable_told_ == core_->last_commit();
    // A line that its key keeps back is not read.
    if (queue->jobs.WaitsForStored() && queue->jobs.loads() == 0 && all_written &&
        !queue->policy.keys.limits()) {
      Violation("load", name + " waits for jobs that nobody reads");
    }
  }
  if (loads != loads_under_way_) {
    Violation("load", "the broker waits for " + std::to_string(loads) + " rows, and asked for " +
                          std::to_string(loads_under_way_));
  }
}

void BrokerProcess::Note(const core::Input& input) {
  checker_->OnInput(input);
  if (const auto* policies = std::get_if<core::Policies>(&input)) {
    policies_.OnPolicies(policies->queues, world_->loop.now());
  }
  const auto* in = std::get_if<core::FrameIn>(&input);
  if (in == nullptr) return;
  if (in->message.has_hello()) name_by_route_[in->route] = in->message.hello().name();
  if (!in->message.has_report()) return;
  if (core_->disk_state() == core::DiskState::kFull) {
    world_->situations.Count("report_on_full_disk");
  }
  for (const wire::ReportItem& item : in->message.report().items()) {
    if (restored_leases_.contains(item.token())) {
      world_->situations.Count("report_on_restored_lease");
    }
    if (item.kind() == wire::ReportItem::STARTED) world_->situations.Count("start_mark");
    if (item.kind() == wire::ReportItem::HANDED_BACK) continue;
    for (uint32_t i = item.first(); i < item.first() + item.count(); ++i) {
      if (revoked_.erase({item.token(), i}) > 0) world_->situations.Count("revocation_crossed");
    }
  }
}

void BrokerProcess::NoteSend(const core::Send& send) {
  const wire::Envelope& message = send.message;
  for (const auto* updates : {&message.welcome().streams(), &message.stream_updates().streams()}) {
    for (const wire::StreamUpdate& update : *updates) {
      world_->history.OnStreamUpdate(name_by_route_[send.route], update, message.has_welcome());
      if (update.state() == wire::StreamUpdate::FULL && update.has_status()) {
        world_->situations.Count("full_by_disk");
      }
    }
  }
  for (uint64_t token : message.welcome().leases_kept()) unclaimed_leases_.erase(token);
  for (const wire::Delivery& delivery : message.deliveries().deliveries()) {
    world_->history.OnDeliverySent(delivery, name_by_route_[send.route], world_->loop.now());
  }
  for (const wire::JobRange& range : message.revoke().ranges()) {
    for (uint32_t i = range.first(); i < range.first() + range.count(); ++i) {
      revoked_[{range.token(), i}] = true;
    }
  }
}

void BrokerProcess::CollectCounters() {
  if (!core_) return;
  const wire::StatusReply status = core_->Status();
  for (const wire::Counter& counter : status.counters()) {
    uint64_t& before = counted_[counter.name()];
    world_->situations.Count(counter.name(), counter.value() - before);
    before = counter.value();
  }
}

}  // namespace whippletree::sim
