// A ProducerSession with its clock, and a broker that the test speaks for.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/run.h"
#include "common/status.h"
#include "producer/session.h"

namespace whippletree {
class ProducerSessionTest : public ::testing::Test {
 protected:
  using State = wire::StreamUpdate;
  using Outcome = wire::OutcomeRange;

  explicit ProducerSessionTest(bool named = false, Duration ack_delay = Duration(0))
      : session({.name = "p",
                 .named = named,
                 .process = 1,
                 .seed = 1,
                 .software = "test",
                 .ack_delay = ack_delay}) {}

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
  // Lets the session join; its hello is in `hello`.
  void Join(uint64_t number = 1, const std::vector<State>& streams = {},
            uint64_t jobs_limit = 1000) {
    now.mono = std::max(now.mono, session.NextDeadline());
    Poll();
    ASSERT_EQ(out.door.size(), 1u);
    hello = out.door[0].hello();
    out.Clear();
    wire::Envelope message;
    wire::Welcome* welcome = message.mutable_welcome();
    welcome->set_session(number);
    welcome->set_broker_start(9);
    welcome->set_submit_port(7712);
    welcome->set_store_id("store");
    welcome->set_secret(1000 + number);
    message.set_commit(10);
    message.set_receipt(1010);
    welcome->set_payload_bytes_max(1000);
    welcome->set_heartbeat_interval_ms(2000);
    welcome->set_lease_duration_ms(1'000'000);
    welcome->set_first_jobs_limit(jobs_limit);
    welcome->set_first_bytes_limit(1 << 20);
    welcome->set_window_bytes(1 << 20);
    for (const State& state : streams) *welcome->add_streams() = state;
    session.OnDoor(now, message, &out);
    EXPECT_EQ(out.reopen_submit_port, 7712u);
    Poll();
  }
  // The broker forgets the session, and it joins anew.
  void Rejoin(uint64_t number, const std::vector<State>& streams = {}) {
    wire::Envelope message;
    message.mutable_refusal()->set_action(wire::Refusal::SAY_HELLO);
    OnDoor(message);
    out.Clear();
    Join(number, streams);
  }
  static State Update(uint64_t next, State::State state = State::OPEN, uint64_t jobs_limit = 1000,
                      uint64_t bytes_limit = 1 << 20) {
    State update;
    update.set_queue("q");
    update.set_next(next);
    update.set_state(state);
    update.set_jobs_limit(jobs_limit);
    update.set_bytes_limit(bytes_limit);
    update.set_stream(5);
    return update;
  }
  void OnUpdate(const State& update) {
    wire::Envelope message;
    message.mutable_stream_updates()->set_session(SessionNumber());
    *message.mutable_stream_updates()->add_streams() = update;
    OnDoor(message);
  }
  static Outcome Range(Outcome::Kind kind, uint64_t first, uint64_t count) {
    Outcome range;
    range.set_kind(kind);
    range.set_first(first);
    range.set_count(count);
    for (uint64_t i = 0; i < count && kind == Outcome::COMPLETED; ++i) {
      AppendToRun("r" + std::to_string(first + i), range.mutable_results());
    }
    return range;
  }
  void OnOutcomes(uint64_t first_ordinal, const std::vector<Outcome>& ranges) {
    wire::Envelope message;
    message.mutable_outcomes()->set_session(SessionNumber());
    message.mutable_outcomes()->set_queue("q");
    message.mutable_outcomes()->set_first_ordinal(first_ordinal);
    message.mutable_outcomes()->mutable_ranges()->Add(ranges.begin(), ranges.end());
    OnDoor(message);
  }
  uint64_t SessionNumber() const { return session.session(); }

  uint64_t Submit(uint32_t count, const wire::JobOptions& options = {}, size_t bytes = 4) {
    RunData run;
    for (uint32_t i = 0; i < count; ++i) run.Append(std::string(bytes, 'x'));
    return session.Submit("q", options, run);
  }
  // (first, count) of each run that was sent; everything else is left.
  std::vector<std::pair<uint64_t, int>> TakeRuns() {
    std::vector<std::pair<uint64_t, int>> runs;
    for (const wire::Envelope& message : out.submit) {
      if (!message.has_submit()) continue;
      EXPECT_EQ(message.submit().session(), SessionNumber());
      runs.emplace_back(message.submit().first(), message.submit().run().sizes_size());
    }
    std::erase_if(out.submit, [](const wire::Envelope& m) { return m.has_submit(); });
    return runs;
  }
  // (first, count) of each cancel that was sent.
  std::vector<std::pair<uint64_t, uint64_t>> TakeCancels() {
    std::vector<std::pair<uint64_t, uint64_t>> cancels;
    for (const wire::Envelope& message : out.submit) {
      for (int i = 0; i < message.cancel().firsts_size(); ++i) {
        cancels.emplace_back(message.cancel().firsts(i), message.cancel().counts(i));
      }
    }
    std::erase_if(out.submit, [](const wire::Envelope& m) { return m.has_cancel(); });
    return cancels;
  }
  // (kind, first, count) of what was settled.
  std::vector<std::tuple<Outcome::Kind, uint64_t, uint64_t>> TakeSettled() {
    std::vector<std::tuple<Outcome::Kind, uint64_t, uint64_t>> settled;
    for (const auto& s : std::exchange(out.settled, {})) {
      settled.emplace_back(s.range.kind(), s.range.first(), s.range.count());
    }
    return settled;
  }

  using Runs = std::vector<std::pair<uint64_t, int>>;
  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
  using Settled = std::vector<std::tuple<Outcome::Kind, uint64_t, uint64_t>>;

  Instant now{MonoTime(seconds(100)), WallTime(seconds(100))};
  ProducerSession session;
  ProducerOutput out;
  wire::Hello hello;
};

}  // namespace whippletree
