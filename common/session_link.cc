#include "common/session_link.h"

#include <algorithm>

namespace whippletree {

SessionLink::Action SessionLink::Poll(MonoTime now) {
  if (connected() && now >= heard_ + silence_max_) {
    session_ = 0;
    lost_ = true;
    next_ = now;
    retry_ = kHelloRetryMin;
  }
  if (now < next_) return Action::kNone;
  if (connected()) {
    next_ = now + heartbeat_interval_;
    return Action::kHeartbeat;
  }
  const auto jitter = static_cast<uint64_t>(retry_.count() / 4);
  next_ = now + retry_ + Duration(static_cast<int64_t>(prng_.Below(jitter)));
  retry_ = std::min(retry_ * 2, kHelloRetryMax);
  return Action::kHello;
}

bool SessionLink::OnWelcome(MonoTime now, const wire::Envelope& message) {
  const wire::Welcome& welcome = message.welcome();
  if (welcome.session() == 0) return false;
  // Also when that session is over: a late repetition must not bring it back.
  if (welcome.broker_start() == broker_start_ && welcome.session() <= last_session_) return false;
  session_ = last_session_ = welcome.session();
  secret_ = welcome.secret();
  if (!welcome.store_id().empty()) {
    // Lower than before only if the broker was told to go on without what is lost.
    store_id_ = welcome.store_id();
    commit_ = message.commit();
    receipt_ = message.receipt();
  }
  broker_start_ = welcome.broker_start();
  heartbeat_interval_ = milliseconds(std::max<uint32_t>(10, welcome.heartbeat_interval_ms()));
  silence_max_ =
      std::max<Duration>(milliseconds(welcome.lease_duration_ms()), 2 * heartbeat_interval_);
  retry_ = kHelloRetryMin;
  refusal_ = absl::OkStatus();
  heard_ = now;
  next_ = now + heartbeat_interval_;
  return true;
}

void SessionLink::OnSayHello(MonoTime now) {
  if (!connected()) return;  // a hello is under way
  session_ = 0;
  lost_ = true;
  retry_ = kHelloRetryMin;
  next_ = now +
          Duration(static_cast<int64_t>(prng_.Below(static_cast<uint64_t>(kHelloJitter.count()))));
}

}  // namespace whippletree
