// A WorkerSession with its clock, and a broker that the test speaks for.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/run.h"
#include "worker/session.h"

namespace whippletree {

class WorkerSessionTest : public ::testing::Test {
 protected:
  using Item = wire::ReportItem;
  // (kind, token, first index, count)
  using Items = std::vector<std::tuple<Item::Kind, uint64_t, uint32_t, uint32_t>>;

  WorkerSessionTest()
      : session({.name = "w",
                 .queues = {"q", "other"},
                 .slots = 2,
                 .process = 1,
                 .seed = 1,
                 .software = "test"}) {}

  void Poll() { session.Poll(now, &out); }
  // Polls at every deadline of the next `d`.
  void Run(Duration d) {
    const MonoTime end = now.mono + d;
    while (now.mono < end) {
      now.mono = std::clamp(session.NextDeadline(), now.mono, end);
      Poll();
      if (session.NextDeadline() <= now.mono) Poll();
      if (session.NextDeadline() > now.mono) continue;
      EXPECT_FALSE(session.fatal().ok()) << "it keeps its thread awake";
      now.mono = end;
    }
  }
  void OnDoor(wire::Envelope message) {
    session.OnDoor(now, message, &out);
    Poll();
  }
  // Lets the session join; its hello is in `hello`, its first report is taken.
  void Join(uint64_t number = 1, const std::vector<uint64_t>& kept = {}) {
    now.mono = std::max(now.mono, session.NextDeadline());
    Poll();
    ASSERT_EQ(out.door.size(), 1u);
    hello = out.door[0].hello();
    out.Clear();
    session_number = number;
    wire::Envelope message;
    wire::Welcome* welcome = message.mutable_welcome();
    welcome->set_session(number);
    welcome->set_broker_start(9);
    welcome->set_complete_port(7713);
    welcome->set_store_id("store");
    welcome->set_secret(1000 + number);
    message.set_commit(10);
    message.set_receipt(1010);
    welcome->set_payload_bytes_max(50);
    welcome->set_result_bytes_max(100);
    welcome->set_window_bytes(window_bytes);
    welcome->set_heartbeat_interval_ms(2000);
    welcome->set_lease_duration_ms(1'000'000);
    welcome->mutable_leases_kept()->Add(kept.begin(), kept.end());
    session.OnDoor(now, message, &out);
    EXPECT_EQ(out.reopen_complete_port, 7713u);
    Poll();
  }
  void SayHello() {
    wire::Envelope message;
    message.mutable_refusal()->set_action(wire::Refusal::SAY_HELLO);
    OnDoor(message);
    out.Clear();
  }
  // A delivery of `count` jobs, the first `started` of them for free slots.
  void Deliver(uint64_t ordinal, uint64_t token, uint32_t count, uint32_t started,
               const std::string& queue = "q") {
    wire::Envelope message;
    message.mutable_deliveries()->set_session(session_number);
    message.mutable_deliveries()->set_first_ordinal(ordinal);
    wire::Delivery* delivery = message.mutable_deliveries()->add_deliveries();
    delivery->set_token(token);
    delivery->set_queue(queue);
    delivery->set_first(1);
    delivery->set_started(started);
    for (uint32_t i = 0; i < count; ++i) AppendToRun("payload", delivery->mutable_run());
    OnDoor(message);
  }
  // A batch of `count` jobs of one stream.
  void DeliverBatch(uint64_t ordinal, uint64_t token, uint32_t count,
                    const std::vector<uint32_t>& indexes = {}) {
    wire::Envelope message;
    message.mutable_deliveries()->set_session(session_number);
    message.mutable_deliveries()->set_first_ordinal(ordinal);
    wire::Delivery* delivery = message.mutable_deliveries()->add_deliveries();
    delivery->set_token(token);
    delivery->set_queue("q");
    delivery->set_batch(true);
    delivery->set_started(count);
    delivery->add_parts()->set_count(count);
    for (uint32_t i = 0; i < count; ++i) AppendToRun("payload", delivery->mutable_run());
    delivery->mutable_indexes()->Add(indexes.begin(), indexes.end());
    OnDoor(message);
  }
  static wire::FollowOn MakeFollowOn(uint32_t index, const std::string& payload) {
    wire::FollowOn follow_on;
    follow_on.set_index(index);
    follow_on.set_queue("next");
    AppendToRun(payload, follow_on.mutable_run());
    return follow_on;
  }
  void Finish(uint64_t token, uint32_t index, Duration run_time = seconds(1)) {
    session.OnFinished(token, index, "result", run_time);
  }
  void AckReports(uint64_t next) {
    wire::Envelope message;
    message.mutable_report_ack()->set_session(session_number);
    message.mutable_report_ack()->set_next(next);
    OnDoor(message);
  }
  // The items of the reports that were sent; the last report is in `report`.
  Items TakeItems() {
    Items items;
    for (const wire::Envelope& message : std::exchange(out.complete, {})) {
      report = message.report();
      EXPECT_EQ(report.session(), session_number);
      for (const Item& item : report.items()) {
        items.emplace_back(item.kind(), item.token(), item.first(), item.count());
      }
    }
    return items;
  }
  // What the hello, the last report or heartbeat said of queue "q".
  template <typename Message>
  static wire::Credit CreditIn(const Message& message, const std::string& queue = "q") {
    for (const wire::Credit& credit : message.credits()) {
      if (credit.queue() == queue) return credit;
    }
    return {};
  }
  // Tokens that were given to the executor.
  std::vector<uint64_t> TakeStarted() {
    std::vector<uint64_t> tokens;
    for (const wire::Delivery& delivery : std::exchange(out.run, {})) {
      tokens.push_back(delivery.token());
    }
    return tokens;
  }

  Instant now{MonoTime(seconds(100)), WallTime(seconds(100))};
  WorkerSession session;
  WorkerOutput out;
  wire::Hello hello;
  wire::Report report;
  uint64_t session_number = 0;
  uint32_t window_bytes = 1 << 20;  // of the welcome
};

}  // namespace whippletree
