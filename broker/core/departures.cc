#include "broker/core/departures.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/check.h"

namespace whippletree::core {

void Departures::End(const Peer& worker, std::vector<uint64_t> tokens, bool uncharged,
                     std::string_view why) {
  if (tokens.empty()) return;
  endings_.push_back({worker.number, std::move(tokens), 0, uncharged, std::string(why), false});
  GoOn();
}

void Departures::ForgetWorker(const Peer& worker, std::string_view reason) {
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

void Departures::ForgetProducer(const Peer& peer, bool may_return) {
  WT_CHECK(!peer.connected());
  Forgotten& forgotten = forgotten_.emplace_back();
  forgotten.producer = peer.number;
  forgotten.may_return = may_return;
  b_.ForEachStream(*peer.producer,
                   [&](const Stream& stream) { forgotten.streams.push_back(stream.number); });
  GoOn();
}

void Departures::GoOn() {
  while (!endings_.empty() && GoOn(endings_.front())) endings_.pop_front();
  if (!endings_.empty()) return;
  while (!forgotten_.empty() && GoOn(forgotten_.front())) forgotten_.pop_front();
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

bool Departures::GoOn(Forgotten& forgotten) {
  Peer& peer = *b_.peers_.at(forgotten.producer);
  ProducerState& producer = *peer.producer;
  if (!forgotten.is_going) {
    if (!CancelUnclosedGroups(peer, forgotten)) return false;
    forgotten.is_going = true;
    if (producer.outcome_bytes > 0 || forgotten.may_return) {
      b_.Log(LogLevel::kInfo, "producer_forgotten",
             {{"producer", peer.name},
              {"streams", static_cast<uint64_t>(forgotten.streams.size())},
              {"unread_bytes", producer.outcome_bytes}});
    }
    producer.unsent.clear();
    // It may come back to another start of the broker, which has its durable jobs no more; those of
    // a name may have been accepted from a process before.
    const bool is_kept = producer.named || producer.durable;
    if (forgotten.may_return && is_kept && !producer.streams.empty()) {
      b_.expired_names_[peer.name] = {b_.now_.mono + kNamedProducerRetention, producer.durable};
    }
  }
  if (!DropStreams(&producer.streams) || !DropStreams(&producer.follow_on_streams)) return false;
  while (!producer.groups.empty()) {
    if (b_.IsExhausted()) return false;
    b_.Work();
    b_.EraseGroup(peer, producer.groups.begin()->first);
  }
  b_.ErasePeer(peer);
  return true;
}

bool Departures::DropStreams(std::map<std::string, uint64_t>* streams) {
  while (!streams->empty()) {
    if (b_.IsExhausted()) return false;
    Stream& stream = *b_.streams_.at(streams->begin()->second);
    if (!DropOutcomes(stream)) return false;
    b_.Work(1 + stream.groups.size() / 4);
    b_.DropStream(stream);
    streams->erase(streams->begin());
  }
  return true;
}

bool Departures::DropOutcomes(Stream& stream) {
  while (!stream.outcomes.empty()) {
    if (b_.IsExhausted()) return false;
    b_.Work();
    const auto item = stream.outcomes.PopFront();
    b_.ReleaseOutcome(stream, item.value, item.bytes);
  }
  const auto& waiting = stream.stored_outcomes.waiting;
  while (!waiting.empty()) {
    if (b_.IsExhausted()) return false;
    b_.Work();
    b_.stored_outcomes_.Drop(stream, waiting.begin()->first + waiting.begin()->second.jobs);
  }
  return true;
}

bool Departures::CancelUnclosedGroups(const Peer& peer, Forgotten& forgotten) {
  for (; forgotten.cancelled < forgotten.streams.size(); ++forgotten.cancelled) {
    if (b_.IsExhausted()) return false;
    Stream& stream = *b_.streams_.at(forgotten.streams[forgotten.cancelled]);
    if (!CancelUnclosedGroups(peer, stream, &forgotten.next)) return false;
    forgotten.next = 0;
  }
  return true;
}

bool Departures::CancelUnclosedGroups(const Peer& peer, Stream& stream, uint64_t* next) {
  auto range = stream.groups.upper_bound(*next);
  if (range != stream.groups.begin() && std::prev(range)->second.end > *next) --range;
  IntervalSet jobs;
  bool done = true;
  for (; done && range != stream.groups.end(); ++range) {
    const auto& [first, members] = *range;
    done = !b_.IsExhausted();
    if (!done) break;
    b_.Work();
    const uint64_t begin = std::max(*next, first);
    const bool closed = peer.producer->groups.at(members.group).closed;
    *next = closed ? members.end : b_.CancelEnd(stream, begin, members.end);
    if (!closed) jobs.Add(begin, *next);
    done = *next == members.end;
  }
  b_.Count("group_jobs_cancelled", jobs.size());
  if (!jobs.empty()) {
    b_.Log(LogLevel::kWarning, "group_jobs_cancelled",
           {{"producer", peer.name},
            {"queue", stream.queue->name},
            {"jobs", jobs.size()},
            {"reason", std::string("their producer is gone, and had not closed their group")}});
  }
  b_.CancelJobs(stream, jobs);
  return done;
}

}  // namespace whippletree::core
