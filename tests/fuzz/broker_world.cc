#include "tests/fuzz/broker_world.h"

#include <algorithm>
#include <utility>

#include "common/codec.h"
#include "common/run.h"
#include "tests/fuzz/peer.h"

namespace whippletree::fuzz {
namespace {

constexpr int kStepsMax = 100;
constexpr int kStepsPerCheck = 8;
constexpr size_t kTokensMax = 8;
constexpr size_t kSentMax = 4;
constexpr int kAdmin = 0;  // no role

const std::vector<std::string> kQueues = {"q", "d", "b", "k", "new"};

constexpr int kProducerBodies[] = {
    wire::Envelope::kSubmitFieldNumber,     wire::Envelope::kSubmitFieldNumber,
    wire::Envelope::kOutcomeAckFieldNumber, wire::Envelope::kCancelFieldNumber,
    wire::Envelope::kCloseGroupFieldNumber, wire::Envelope::kGroupAckFieldNumber,
    wire::Envelope::kOpenStreamFieldNumber, wire::Envelope::kHeartbeatFieldNumber,
    wire::Envelope::kHelloFieldNumber,      wire::Envelope::kGoodbyeFieldNumber};
constexpr int kWorkerBodies[] = {
    wire::Envelope::kReportFieldNumber,    wire::Envelope::kReportFieldNumber,
    wire::Envelope::kHeartbeatFieldNumber, wire::Envelope::kReportFieldNumber,
    wire::Envelope::kHelloFieldNumber,     wire::Envelope::kGoodbyeFieldNumber};

core::Channel ChannelOf(const wire::Envelope& message) {
  if (message.has_submit() || message.has_cancel() || message.has_close_group()) {
    return core::Channel::kSubmit;
  }
  return message.has_report() ? core::Channel::kComplete : core::Channel::kDoor;
}

}  // namespace

BrokerWorld::BrokerWorld(ByteSource input)
    : input_(input),
      grammar_(&input_, &words_),
      policies_(MakePolicies()),
      peers_({{"p", wire::PRODUCER},
              {"n", wire::PRODUCER, true},
              {"w", wire::WORKER},
              {"v", wire::WORKER},
              {"a", kAdmin}}) {
  words_.queues = kQueues;
  words_.names = {"p", "n", "w", "v"};
  words_.streams = {1, 2, 3, 4};
  Start();
}

core::QueuePolicy BrokerWorld::MakePolicy() {
  core::QueuePolicy policy;
  const uint8_t limits = input_.Byte();
  if ((limits & 1) != 0) policy.capacity_jobs = 4;
  if ((limits & 2) != 0) policy.capacity_bytes = 64;
  policy.concurrency = limits >> 2 & 3;
  policy.rate.count = limits >> 4 & 3;
  policy.rate.of_batches = (limits & 0x40) != 0;
  policy.rate.burst = 1 + (limits >> 7);
  const uint8_t batch = input_.Byte();
  policy.batch.max_jobs = 1 + batch % 4;
  if ((batch & 4) != 0) policy.batch.linger = milliseconds(100);
  if ((batch & 8) != 0) policy.batch.max_bytes = 16;
  policy.keys.ordered = (batch & 0x10) != 0;
  policy.keys.concurrency = batch >> 5 & 1;
  policy.keys.rate.count = batch >> 6 & 1;
  const uint8_t attempts = input_.Byte();
  policy.max_attempts = 1 + attempts % 4;
  if ((attempts & 4) != 0) policy.backoff_min = Duration(0);
  if ((attempts & 8) != 0) policy.timeout = seconds(1);
  if ((attempts & 0x10) != 0) policy.lease_duration = seconds(1);
  policy.breaker.failures = attempts >> 5 & 1;
  if ((attempts & 0x40) != 0) policy.breaker.ratio = 0.5;
  policy.breaker.min_jobs = 2;
  const uint8_t kept = input_.Byte();
  policy.dead_jobs_max = kept % 4 == 3 ? 10'000 : kept % 4;
  if ((kept & 4) != 0) policy.dead_bytes_max = 1000;
  if ((kept & 8) != 0) policy.names_window = Duration(0);
  policy.durable = (kept & 0x10) != 0;
  return policy;
}

core::Policies BrokerWorld::MakePolicies() {
  core::Policies policies;
  for (const char* queue : {"q", "b", "k"}) policies.queues[queue] = MakePolicy();
  policies.queues["d"].durable = true;
  policies.unknown_queues = input_.Byte() < 0xe0;
  return policies;
}

void BrokerWorld::Start() {
  store_ = std::make_unique<MapStore>(
      &disk_,
      StoreCallbacks{
          .durable = [this](uint64_t commit) { answers_.push_back(core::Durable{commit}); },
          .failed = [](const absl::Status&) {},
          .loaded =
              [this](const RowKey& key, absl::StatusOr<record::Record> row) {
                answers_.push_back(core::Loaded{{key.kind, key.stream, key.first}, std::move(row)});
              },
      });
  core::Config config;
  config.epoch = static_cast<uint32_t>(store_->opened().epoch);
  config.broker_start = config.epoch;
  config.store_id = store_->opened().store_id;
  config.secret_key = store_->opened().secret_key;
  config.last_commit = store_->opened().last_commit;
  config.memory_limit_bytes = 64 << 20;
  config.queue_memory_bytes = 32;
  config.payload_bytes_max = config.result_bytes_max = 60'000;
  config.peers_max = 8;
  config.ack_delay = milliseconds(1);
  config.default_policy = policies_.defaults;
  config.queues = policies_.queues;
  config.unknown_queues = policies_.unknown_queues;
  broker_ = std::make_unique<core::Broker>(std::move(config));
  // What it has written it can read.
  Require(store_->Read([this](record::Record row) { Require(broker_->Restore(row).ok()); }).ok());
  effects_.Clear();
  Require(broker_->FinishRestore(now_, &effects_).ok());
  broker_->CheckInvariants();
  if (effects_.commit != 0) store_->Commit(effects_.commit, std::move(effects_.writes));
  Step({});
}

void BrokerWorld::NoteReached() const {
  for (const char* name : {"batches_halved", "dead_requeued", "deliveries_sent_again", "follow_ons",
                           "groups_ended", "jobs_revoked", "leases_expired", "outcomes_sent_again",
                           "repeated_jobs", "rows_loaded", "stale_completions", "suspects"}) {
    Reached()[name] += broker_->counter(name);
  }
  for (const auto& [name, queue] : broker_->queues()) {
    const core::Ledger& ledger = queue->ledger;
    Reached()["accepted"] += ledger.accepted;
    Reached()["completed"] += ledger.completed;
    Reached()["dead"] += ledger.dead;
    Reached()["cancelled"] += ledger.cancelled;
    Reached()["expired"] += ledger.expired;
  }
}

void BrokerWorld::Restart(size_t kept) {
  NoteReached();
  broker_.reset();
  store_->Crash(std::min(kept, store_->pending()));
  store_.reset();
  answers_.clear();
  sent_.clear();
  Start();
}

void BrokerWorld::Run() {
  // These begin with a session, unless the input has them say more. A hello takes as long as many
  // steps: not all need one.
  const uint8_t absent = input_.Byte();
  std::vector<core::Input> hellos;
  for (size_t i = 0; i < peers_.size(); ++i) {
    Peer& peer = peers_[i];
    if (peer.role == kAdmin || (absent >> i & 1) != 0) continue;
    wire::Envelope message;
    message.mutable_hello();
    Correct(peer, &message);
    hellos.emplace_back(core::FrameIn{core::Channel::kDoor, peer.name, std::move(message)});
  }
  Step(std::move(hellos));
  for (int i = 0; i < kStepsMax && !input_.empty() && !over_; ++i) {
    TakeStep();
    if (i % kStepsPerCheck == 0) broker_->CheckInvariants();
  }
  broker_->CheckInvariants();
  // Most inputs have written nothing, and a start takes as long as all that they say.
  if (over_ || broker_->last_commit() == 0) return NoteReached();
  Restart(store_->pending());
  for (int i = 0; i < 4; ++i) AdvanceToDeadline();
  broker_->CheckInvariants();
}

void BrokerWorld::TakeStep() {
  const uint32_t step = input_.Below(32);
  switch (step) {
    case 0:
      Advance(milliseconds(1) * (1 << input_.Below(20)));
      return Step({});
    case 1:
    case 2:
      for (int i = 0; i < 3; ++i) AdvanceToDeadline();
      return;
    case 3:
      durable_at_once_ = !durable_at_once_;
      return Step({});
    case 4:
      if (store_->pending() > 0) store_->Sync(1 + input_.Byte() % store_->pending());
      return Step({});
    case 5:
      return Restart(input_.Byte());
    case 6: {
      if (sent_.empty()) return;
      const uint32_t which = input_.Below(static_cast<uint32_t>(sent_.size()));
      core::Send send = std::move(sent_[which]);
      sent_.erase(sent_.begin() + which);  // it can fail once
      return Step({core::SendFailed{
          input_.Flag() ? core::SendFailed::Reason::kAgain : core::SendFailed::Reason::kUnreachable,
          std::move(send)}});
    }
    case 7:
      policies_ = MakePolicies();
      return Step({policies_});
    case 8: {
      constexpr uint64_t kReserve = 1 << 30;
      return Step({core::Disk{input_.Below(4) * kReserve / 2, input_.Flag() ? kReserve : 0}});
    }
    case 9:
      return Step({core::BadFrame{static_cast<core::Channel>(input_.Below(3)), "p",
                                  absl::InvalidArgumentError("no message")}});
    case 10: {  // all that is dead; by itself it is seldom said right
      core::FrameIn in{core::Channel::kDoor, "a", {}};
      wire::DeadRequest* dead = in.message.mutable_admin_request()->mutable_dead();
      dead->set_action(wire::DeadRequest::REQUEUE);
      dead->set_queue(kQueues[input_.Below(static_cast<uint32_t>(kQueues.size()))]);
      return Step({std::move(in)});
    }
    default: {
      // Several in one step, sometimes.
      std::vector<core::Input> inputs;
      do {
        inputs.push_back(MessageOf(peers_[input_.Below(static_cast<uint32_t>(peers_.size()))]));
      } while (inputs.size() < 4 && input_.Byte() >= 0xc0);
      return Step(std::move(inputs));
    }
  }
}

core::Input BrokerWorld::MessageOf(Peer& peer) {
  words_.session = peer.session;
  int body = wire::Envelope::kAdminRequestFieldNumber;
  if (peer.role == wire::PRODUCER) {
    body = kProducerBodies[input_.Below(std::size(kProducerBodies))];
  } else if (peer.role == wire::WORKER) {
    body = kWorkerBodies[input_.Below(std::size(kWorkerBodies))];
  }
  wire::Envelope message = grammar_.Message(body);
  Correct(peer, &message);
  Require(message.body_case() == body);  // to look at another one would have made it that one
  // The core gets only what the codec takes.
  std::string frame;
  Encode(&message, &frame);
  core::FrameIn in{ChannelOf(message), "", {}};
  if (in.channel == core::Channel::kDoor) in.route = peer.name;
  absl::Status error = Decode(frame, core::ReceiverOf(in.channel), &in.message);
  if (error.ok()) return in;
  return core::BadFrame{in.channel, std::move(in.route), std::move(error)};
}

void BrokerWorld::Correct(Peer& peer, wire::Envelope* message) {
  if (message->has_hello()) CorrectHello(peer, message->mutable_hello());
  if (message->has_report()) CorrectReport(peer, message->mutable_report());
  if (message->has_heartbeat() && message->heartbeat().deliveries_next() == 0) {
    message->mutable_heartbeat()->set_deliveries_next(peer.deliveries_next);
  }
  if (message->has_submit()) {
    wire::Submit& submit = *message->mutable_submit();
    if (submit.first() == 0) {
      uint64_t& next = peer.next[submit.queue()];
      submit.set_first(next = std::max<uint64_t>(next, 1));
    }
    while (submit.names_size() > submit.run().sizes_size()) submit.mutable_names()->RemoveLast();
    while (submit.names_size() > 0 && submit.names_size() < submit.run().sizes_size()) {
      submit.add_names();
    }
    CorrectOptions(submit.mutable_options());
  }
  if (message->admin_request().has_dead() && message->admin_request().dead().ids().empty()) {
    wire::DeadRequest& dead = *message->mutable_admin_request()->mutable_dead();
    if (dead.queue().empty()) dead.set_queue("q");
  }
  if (message->has_cancel()) {
    wire::Cancel& cancel = *message->mutable_cancel();
    while (cancel.counts_size() > cancel.firsts_size()) cancel.mutable_counts()->RemoveLast();
    while (cancel.counts_size() < cancel.firsts_size()) cancel.add_counts(1);
  }
  if (message->has_outcome_ack()) {
    for (wire::StreamAck& ack : *message->mutable_outcome_ack()->mutable_streams()) {
      if (ack.next() == 0) ack.set_next(peer.outcome_next[ack.queue()]);
    }
  }
}

void BrokerWorld::CorrectHello(Peer& peer, wire::Hello* hello) {
  if (hello->role() == 0) hello->set_role(static_cast<wire::Role>(peer.role));
  if (hello->process() == 0) {  // else it is another process, perhaps of another name
    hello->set_process(1);
    hello->set_name(peer.name);
    hello->set_named(peer.named);
  }
  if (hello->attempt() == 0) hello->set_attempt(++peer.attempt);
  if (hello->commit() == 0) {
    hello->set_store_id(disk_.store_id);
    hello->set_commit(peer.commit);
    hello->set_receipt(peer.receipt);
  }
  if (hello->role() != wire::WORKER) return;
  if (hello->slots() == 0) hello->set_slots(2);
  if (hello->credits().empty()) {
    for (const char* queue : {"q", "d", "b"}) hello->add_credits()->set_queue(queue);
  }
  for (wire::Credit& credit : *hello->mutable_credits()) {
    if (credit.jobs_limit() == 0) credit.set_jobs_limit(1000);
    if (credit.held_max() == 0) credit.set_held_max(2);
  }
}

void BrokerWorld::CorrectReport(Peer& peer, wire::Report* report) {
  if (report->first_ordinal() == 0) {
    report->set_first_ordinal(peer.report_next);
    peer.report_next += static_cast<uint64_t>(report->items_size());
  }
  if (report->deliveries_next() == 0) report->set_deliveries_next(peer.deliveries_next);
  for (wire::ReportItem& item : *report->mutable_items()) {
    if (item.count() == 0) item.set_count(1);
    if (item.kind() == wire::ReportItem::COMPLETED) {
      if (item.results().sizes().empty()) AppendToRun("r", item.mutable_results());
      item.set_count(static_cast<uint32_t>(item.results().sizes_size()));
    }
    for (wire::FollowOn& follow_on : *item.mutable_follow_ons()) {
      follow_on.set_index(item.first() + follow_on.index() % std::max(1u, item.count()));
      if (follow_on.run().sizes().empty()) AppendToRun("f", follow_on.mutable_run());
      CorrectOptions(follow_on.mutable_options());
    }
  }
  for (wire::Credit& credit : *report->mutable_credits()) {
    if (credit.jobs_limit() == 0) credit.set_jobs_limit(1000);
  }
}

void BrokerWorld::CorrectOptions(wire::JobOptions* options) const {
  constexpr uint64_t kSmall = 0x100;  // in tenths of a second, from now on
  const auto now_ms = static_cast<uint64_t>(ToMilliseconds(now_.wall.time_since_epoch()));
  const auto from_now = [&](uint64_t ms) {
    return ms == 0 || ms >= kSmall ? ms : now_ms + 100 * ms;
  };
  // Only the broker says it: a job that does is refused.
  if ((options->expires_at_ms() & 1) == 0) options->clear_requeue_of();
  options->set_not_before_ms(from_now(options->not_before_ms()));
  options->set_expires_at_ms(from_now(options->expires_at_ms()));
}

void BrokerWorld::Advance(Duration by) {
  now_.mono += by;
  now_.wall += by;
}

void BrokerWorld::AdvanceToDeadline() {
  const MonoTime next = broker_->NextDeadline();
  if (next < now_.mono + std::chrono::hours(1)) Advance(std::max(Duration(1), next - now_.mono));
  Step({});
}

void BrokerWorld::Step(std::vector<core::Input> inputs) {
  do {
    for (core::Input& answer : std::exchange(answers_, {})) inputs.push_back(std::move(answer));
    effects_.Clear();
    broker_->Step(now_, inputs, &effects_);
    inputs.clear();
    over_ = over_ || !effects_.lost_commits.ok();
    for (const core::Send& send : effects_.sends) Hear(send);
    if (effects_.commit != 0) store_->Commit(effects_.commit, std::move(effects_.writes));
    if (durable_at_once_) store_->Sync();
    for (const core::Load& load : effects_.loads)
      store_->Load({load.kind, load.stream, load.first});
  } while (!answers_.empty());
}

void BrokerWorld::Hear(const core::Send& send) {
  const wire::Envelope message = Reread(send.message, Receiver::kPeer);
  sent_.push_back(send);
  if (sent_.size() > kSentMax) sent_.pop_front();
  for (Peer& peer : peers_) {
    if (peer.name == send.route) Learn(message, &peer);
  }
}

void BrokerWorld::Learn(const wire::Envelope& message, Peer* peer) {
  if (message.commit() > peer->commit) {
    peer->commit = message.commit();
    peer->receipt = message.receipt();
  }
  const auto learn_next = [&](const auto& updates) {
    for (const wire::StreamUpdate& update : updates) {
      if (!update.follow_on()) peer->next[update.queue()] = update.next();
    }
  };
  if (message.has_welcome()) {
    peer->session = {message.welcome().session(), message.welcome().secret()};
    peer->report_next = peer->deliveries_next = 1;
    peer->outcome_next.clear();
    learn_next(message.welcome().streams());
  } else if (message.has_stream_updates()) {
    learn_next(message.stream_updates().streams());
  } else if (message.has_report_ack()) {
    peer->report_next = message.report_ack().next();
  } else if (message.has_outcomes()) {
    const wire::Outcomes& outcomes = message.outcomes();
    peer->outcome_next[outcomes.queue()] =
        outcomes.first_ordinal() + static_cast<uint64_t>(outcomes.ranges_size());
  } else if (message.has_deliveries()) {
    const wire::Deliveries& deliveries = message.deliveries();
    peer->deliveries_next =
        deliveries.first_ordinal() + static_cast<uint64_t>(deliveries.deliveries_size());
    for (const wire::Delivery& delivery : deliveries.deliveries()) {
      words_.tokens.insert(words_.tokens.begin(), delivery.token());
      words_.secrets[delivery.token()] = delivery.secret();
    }
    words_.tokens.resize(std::min(words_.tokens.size(), kTokensMax));
  }
}

}  // namespace whippletree::fuzz
