// Drives a Broker in tests: time is given, frames go through the real codec, invariants are checked
// after every step, and what was sent is taken off by the test. What nobody took fails the test.
// After each commit, a broker that starts with the rows of the store is compared with the one that
// wrote them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"
#include "broker/store/keys.h"
#include "common/codec.h"

namespace whippletree::core {

class BrokerHarness {
 public:
  using RowMap = std::map<std::string, record::Record>;  // by key

  explicit BrokerHarness(Config config = {}) : broker(InStore(std::move(config))) { Step(); }
  // A start with what a store has.
  BrokerHarness(Config config, RowMap rows_before, Instant at)
      : now(at), rows(std::move(rows_before)), broker(std::move(config)) {
    Effects effects;
    Restore(rows, now, &broker, &effects);
    Take(effects);
    Step();
  }
  ~BrokerHarness() { ExpectNothingLeft(); }

  // One step at the present time with `inputs`, and one more for the commit it made.
  void Step(std::vector<Input> inputs = {}) {
    Effects effects;
    broker.Step(now, inputs, &effects);
    broker.CheckInvariants();
    Take(effects);
    if (effects.commit != 0 && durable_at_once) Step({Durable{effects.commit}});
    if (loads_at_once && !loads.empty()) Load();
    if (broker.has_more()) Step();
  }

  // What the store answers to a load.
  Loaded Answer(const core::Load& load) const {
    if (damaged.contains(load.first)) return {load, absl::DataLossError("it is damaged")};
    const auto row = rows.find(KeyOf(RowKey{load.kind, load.stream, load.first}));
    if (row == rows.end()) return {load, absl::NotFoundError("there is no such row")};
    return {load, row->second};
  }
  // All loads that were asked for are answered, in one step.
  void Load() {
    std::vector<Input> answers;
    for (const core::Load& load : std::exchange(loads, {})) answers.emplace_back(Answer(load));
    Step(std::move(answers));
  }

  // The same tests are run once more with every queue in the store.
  static Config InStore(Config config) {
    if (std::getenv("WHIPPLETREE_TEST_DURABLE") == nullptr) return config;
    for (const auto& [name, policy] : config.queues) {
      if (policy.durable) return config;  // the test chose
    }
    config.default_policy.durable = true;
    for (auto& [name, policy] : config.queues) policy.durable = true;
    return config;
  }

  void Take(Effects& effects) {
    is_awaited = effects.is_awaited;
    for (Send& send : effects.sends) {
      std::string frame;
      Encode(&send.message, &frame);
      wire::Envelope decoded;
      EXPECT_TRUE(Decode(frame, Receiver::kPeer, &decoded).ok()) << send.message.ShortDebugString();
      sent.push_back(std::move(send));
    }
    for (LogEvent& event : effects.logs) logs.push_back(std::move(event));
    lost_commits.Update(effects.lost_commits);
    loads.insert(loads.end(), effects.loads.begin(), effects.loads.end());
    for (const record::Record& write : effects.writes) {
      writes.push_back(write);
      const absl::StatusOr<std::string> key = KeyOf(write);
      ASSERT_TRUE(key.ok()) << key.status();
      if (write.erased()) {
        rows.erase(*key);
      } else {
        rows[*key] = write;
      }
    }
    if (effects.commit == 0) {
      EXPECT_TRUE(effects.writes.empty());
      return;
    }
    EXPECT_EQ(effects.commit, broker.last_commit());
    CompareWithRestored();
  }

  // Those of one kind, in order.
  std::vector<record::Record> Rows(record::Record::RowCase kind) const {
    std::vector<record::Record> found;
    for (const auto& [key, row] : rows) {
      if (row.row_case() == kind) found.push_back(row);
    }
    return found;
  }

  // Of the start after this one.
  Config NextConfig() const {
    Config config = broker.config();
    ++config.epoch;
    ++config.broker_start;
    config.last_commit = broker.last_commit();
    return config;
  }
  static void Restore(const RowMap& rows, Instant now, Broker* broker, Effects* effects) {
    for (const auto& [key, row] : rows) {
      const absl::Status status = broker->Restore(row);
      ASSERT_TRUE(status.ok()) << status << row.ShortDebugString();
    }
    const absl::Status status = broker->FinishRestore(now, effects);
    ASSERT_TRUE(status.ok()) << status;
    broker->CheckInvariants();
  }
  void CompareWithRestored() const {
    Broker other(NextConfig());
    Effects effects;
    Restore(rows, now, &other, &effects);
    for (const auto& [name, queue] : broker.queues()) {
      if (!queue->policy.durable || queue->ledger.accepted == 0) continue;
      ASSERT_TRUE(other.queues().contains(name));
      const Queue& restored = *other.queues().at(name);
      EXPECT_EQ(restored.ledger.accepted, queue->ledger.accepted);
      EXPECT_EQ(restored.ledger.leased, queue->ledger.leased);
      EXPECT_EQ(restored.ledger.completed, queue->ledger.completed);
      EXPECT_EQ(restored.ledger.dead, queue->ledger.dead);
      EXPECT_EQ(restored.ledger.cancelled, queue->ledger.cancelled);
      EXPECT_EQ(restored.ledger.expired, queue->ledger.expired);
      EXPECT_LE(restored.bytes, queue->bytes);  // which may have those of cancelled jobs
      EXPECT_EQ(restored.outcome_jobs, queue->outcome_jobs);
      EXPECT_EQ(restored.starts, queue->starts);
      EXPECT_EQ(restored.held, queue->held);
      EXPECT_EQ(restored.paused, queue->paused);
      EXPECT_EQ(restored.names.count(), queue->names.count());
      EXPECT_EQ(restored.names.bytes(), queue->names.bytes());
      EXPECT_EQ(other.dead().count(name), broker.dead().count(name));
      EXPECT_EQ(other.dead().bytes(name), broker.dead().bytes(name));
    }
  }

  // As the shell does it: what does not decode becomes a BadFrame.
  static Input FromBytes(Channel channel, const std::string& route, const std::string& frame) {
    FrameIn in{channel, route, {}};
    absl::Status error = Decode(frame, ReceiverOf(channel), &in.message);
    if (error.ok()) return in;
    return BadFrame{channel, route, std::move(error)};
  }
  static Input Frame(Channel channel, const std::string& route, wire::Envelope message) {
    std::string frame;
    Encode(&message, &frame);
    return FromBytes(channel, route, frame);
  }
  // As a peer sends it that was told the secrets of what it names.
  void Sign(wire::Envelope* message) const {
    const Secrets secrets(broker.config().secret_key);
    const google::protobuf::FieldDescriptor* body =
        message->GetReflection()->GetOneofFieldDescriptor(
            *message, wire::Envelope::descriptor()->FindOneofByName("body"));
    if (body == nullptr) return;
    const google::protobuf::FieldDescriptor* session =
        body->message_type()->FindFieldByName("session");
    if (session != nullptr && message->secret() == 0) {
      const auto& named = message->GetReflection()->GetMessage(*message, body);
      message->set_secret(secrets.OfSession(named.GetReflection()->GetUInt64(named, session)));
    }
    if (message->has_report()) {
      for (wire::ReportItem& item : *message->mutable_report()->mutable_items()) {
        if (item.secret() == 0) item.set_secret(secrets.OfLease(item.token()));
      }
    }
    if (!message->has_hello()) return;
    wire::Hello& hello = *message->mutable_hello();
    if (hello.receipt() == 0) hello.set_receipt(secrets.Receipt(hello.commit()));
    while (hello.lease_secrets_size() < hello.leases_size()) {
      hello.add_lease_secrets(secrets.OfLease(hello.leases(hello.lease_secrets_size())));
    }
  }
  Input Signed(Channel channel, const std::string& route, wire::Envelope message) const {
    Sign(&message);
    return Frame(channel, route, std::move(message));
  }
  void Door(const std::string& route, wire::Envelope message) {
    Step({Signed(Channel::kDoor, route, std::move(message))});
  }
  void Submit(wire::Envelope message) { Step({Signed(Channel::kSubmit, "", std::move(message))}); }
  void Complete(wire::Envelope message) {
    Step({Signed(Channel::kComplete, "", std::move(message))});
  }

  // A broker that does all at hand in one step.
  static Config InOneStep() {
    Config config;
    config.step_work_max = 10'000'000;
    return config;
  }

  // What an admin is told, once it is durable.
  wire::AdminReply Ask(wire::AdminRequest request) {
    wire::Envelope message;
    request.set_id(7);
    request.set_received(admin_number);
    *message.mutable_admin_request() = std::move(request);
    Door("admin", std::move(message));
    const wire::AdminReply reply = Take("admin", wire::Envelope::kAdminReply).admin_reply();
    EXPECT_EQ(reply.id(), 7u);
    admin_number = reply.number();
    return reply;
  }

  // One step after `d`, as if nothing had been due before.
  void Jump(Duration d) {
    now.mono += d;
    now.wall += d;
    Step();
  }
  // Steps at every deadline of the next `d`.
  void Run(Duration d) {
    const MonoTime end = now.mono + d;
    while (now.mono < end) {
      const MonoTime next = std::min(end, std::max(broker.NextDeadline(), now.mono + Duration(1)));
      Jump(next - now.mono);
    }
  }

  // The oldest frame of this kind for `route` that was not taken. Fails if there is none.
  wire::Envelope Take(const std::string& route, wire::Envelope::BodyCase kind) {
    for (auto it = sent.begin(); it != sent.end(); ++it) {
      if (it->route != route || it->message.body_case() != kind) continue;
      wire::Envelope message = std::move(it->message);
      sent.erase(it);
      return message;
    }
    ADD_FAILURE() << "no frame of kind " << kind << " was sent to " << route;
    return {};
  }
  wire::Refusal TakeRefusal(const std::string& route) {
    return Take(route, wire::Envelope::kRefusal).refusal();
  }
  bool HasFrameFor(const std::string& route) const {
    return std::any_of(sent.begin(), sent.end(),
                       [&](const Send& send) { return send.route == route; });
  }
  void ExpectNothingLeft() {
    for (const Send& send : sent) {
      ADD_FAILURE() << "not expected, to " << send.route << ": " << send.message.ShortDebugString();
    }
    sent.clear();
    EXPECT_TRUE(lost_commits.ok()) << lost_commits;
  }

  const Queue& queue(const std::string& name) const { return *broker.queues().at(name); }
  const Ledger& ledger(const std::string& name) const { return queue(name).ledger; }
  uint64_t counter(std::string_view name) const { return broker.counter(name); }
  bool HasLog(std::string_view event) const {
    return std::any_of(logs.begin(), logs.end(),
                       [&](const LogEvent& log) { return log.event == event; });
  }

  Instant now{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  RowMap rows;
  Broker broker;
  std::deque<Send> sent;
  std::vector<LogEvent> logs;
  absl::Status lost_commits;
  bool is_awaited = false;  // of the last step
  std::vector<record::Record> writes;
  std::vector<core::Load> loads;  // not answered
  std::set<uint64_t> damaged;     // rows of runs, by their first job
  uint64_t admin_number = 0;      // of the last reply of Ask()
  bool durable_at_once = true;
  bool loads_at_once = true;
};

}  // namespace whippletree::core
