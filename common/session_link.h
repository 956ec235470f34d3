// What the sessions of producers and workers have in common: saying hello until there is a
// welcome, heartbeats, and noticing that the broker is gone. No I/O, no clock.
#pragma once

#include <absl/status/status.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/prng.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// An acknowledgement that keeps nobody waiting may wait so long for a message that goes there
// anyway, at the broker and at producers: a quick job is under way for less.
inline constexpr Duration kAckDelay = milliseconds(1);

class SessionLink {
 public:
  static constexpr Duration kHelloRetryMin = milliseconds(500);
  static constexpr Duration kHelloRetryMax = seconds(5);
  // After a broker's restart thousands come back: not all in the same instant.
  static constexpr Duration kHelloJitter = milliseconds(50);

  explicit SessionLink(uint64_t seed) : prng_(seed) {}

  enum class Action { kNone, kHello, kHeartbeat };
  // What is to be sent now, if anything. To be called until it says kNone.
  Action Poll(MonoTime now);
  MonoTime NextDeadline() const { return next_; }

  bool connected() const { return session_ != 0; }
  uint64_t session() const { return session_; }
  // Of the last welcome; 0: none yet.
  uint64_t broker_start() const { return broker_start_; }
  // Number for the hello that is being sent.
  uint64_t NextAttempt() { return ++attempt_; }
  // The store of durable queues that a welcome named last; empty: none yet. It is remembered beyond
  // brokers that have none.
  const std::string& store_id() const { return store_id_; }
  // The highest commit of it that we were told of, and its receipt.
  uint64_t commit() const { return commit_; }
  uint64_t receipt() const { return receipt_; }

  // REQUIRES: message.has_welcome().
  // False: an old welcome that came late. Else the session is the new one.
  bool OnWelcome(MonoTime now, const wire::Envelope& message);
  // Something of this session came from the broker.
  void OnHeard(MonoTime now, const wire::Envelope& message) {
    heard_ = now;
    if (message.commit() <= commit_) return;
    commit_ = message.commit();
    receipt_ = message.receipt();
  }
  // Signs what is sent in this session.
  void Sign(std::vector<wire::Envelope>* messages) const {
    for (wire::Envelope& message : *messages) message.set_secret(secret_);
  }
  // The broker refused what we sent, for now. False: it has said the same before, of a hello.
  bool OnRefused(const absl::Status& why) {
    if (connected()) return true;
    const bool is_new = why != refusal_;
    refusal_ = why;
    return is_new;
  }
  // Not OK: what the broker has last said to hellos instead of a welcome.
  const absl::Status& refusal() const { return refusal_; }
  // The broker does not know us.
  void OnSayHello(MonoTime now);
  // The broker was silent for too long since the last call.
  bool TakeLost() { return std::exchange(lost_, false); }

 private:
  Prng prng_;
  uint64_t session_ = 0;
  uint64_t last_session_ = 0;  // of the last welcome
  uint64_t secret_ = 0;        // the same
  uint64_t broker_start_ = 0;
  std::string store_id_;
  uint64_t commit_ = 0;
  uint64_t receipt_ = 0;
  uint64_t attempt_ = 0;
  Duration heartbeat_interval_{};
  Duration silence_max_{};
  Duration retry_ = kHelloRetryMin;
  MonoTime heard_{};
  MonoTime next_{};  // hello or heartbeat
  bool lost_ = false;
  absl::Status refusal_;
};

}  // namespace whippletree
