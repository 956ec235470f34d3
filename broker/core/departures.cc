#include "broker/core/departures.h"

#include <utility>

#include "broker/core/broker.h"
#include "common/check.h"

namespace whippletree::core {

void Departures::End(const Peer& worker, std::vector<uint64_t> tokens, bool uncharged,
                     std::string_view why) {
  if (tokens.empty()) return;
  endings_.push_back({worker.number, std::move(tokens), 0, uncharged, std::string(why), false});
  GoOn();
}

void Departures::Forget(const Peer& worker, std::string_view reason) {
  WT_CHECK(!worker.connected());
  const std::set<uint64_t>& leases = worker.worker->leases;
  const bool said_goodbye = reason == "said goodbye";
  uint64_t jobs = 0;
  for (uint64_t token : leases) jobs += b_.leases_.Find(token)->open.size();
  if (!said_goodbye && jobs > 0) {
    b_.Log(LogLevel::kWarning, "leases_expired",
           {{"worker", worker.name},
            {"leases", static_cast<uint64_t>(leases.size())},
            {"jobs", jobs},
            {"reason", std::string(reason)}});
    b_.Count("leases_expired", leases.size());
  }
  // Whoever says goodbye has started nothing that it did not report.
  endings_.push_back(
      {worker.number, {leases.begin(), leases.end()}, 0, said_goodbye, std::string(reason), true});
  GoOn();
}

void Departures::GoOn() {
  while (!endings_.empty() && GoOn(endings_.front())) endings_.pop_front();
}

bool Departures::GoOn(Ending& ending) {
  for (; ending.ended < ending.tokens.size(); ++ending.ended) {
    if (b_.IsExhausted()) return false;
    const uint64_t token = ending.tokens[ending.ended];
    // For hellos: a worker that comes back must not be told less than what a crash leaves.
    if (ending.forget && b_.leases_.Find(token)->queue->policy.durable) {
      b_.forgotten_leases_commit_ = b_.ThisCommit();
    }
    while (!b_.EndLease(token, ending.uncharged, ending.why)) {
      if (b_.IsExhausted()) return false;
    }
  }
  if (ending.forget) b_.ErasePeer(*b_.peers_.at(ending.worker));
  return true;
}

}  // namespace whippletree::core
