// Groups: their members are counted where jobs are accepted and end, and their end is told once,
// after the producer has taken all outcomes.
#include <algorithm>
#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/check.h"
#include "common/codec.h"

namespace whippletree::core {

JobGroup* Broker::GroupOf(const Stream& stream, uint64_t group) {
  if (group == 0 || stream.producer == 0) return nullptr;
  return &OpenGroup(*peers_.at(stream.producer)->producer, group);
}

JobGroup& Broker::OpenGroup(ProducerState& producer, uint64_t group) {
  const auto [it, is_new] = producer.groups.try_emplace(group);
  if (is_new) CountGroup(it->second);
  return it->second;
}

absl::Status Broker::GroupError(const Stream& stream, uint64_t group) const {
  if (group == 0) return absl::OkStatus();
  const ProducerState& producer = *peers_.at(stream.producer)->producer;
  const auto& groups = producer.groups;
  const auto it = groups.find(group);
  if (producer.ended_groups.Contains(group)) {
    return absl::FailedPreconditionError("the group has ended");
  }
  if (it == groups.end()) {
    if (TablesFull()) {
      return absl::ResourceExhaustedError(
          "the broker has as many groups as it may have: let some end, or raise its "
          "--memory-limit");
    }
    if (groups.size() < size_t{kGroupsPerProducerMax}) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        "a producer has at most " + std::to_string(kGroupsPerProducerMax) + " groups at a time");
  }
  if (it->second.ended) return absl::FailedPreconditionError("the group has ended");
  const bool durable = stream.rows != nullptr;
  if (it->second.has_members() && it->second.durable != durable) {
    return absl::FailedPreconditionError(
        "the jobs of a group are all in durable queues, or all in queues in memory");
  }
  return absl::OkStatus();
}

// Jobs [begin, end) were accepted.
void Broker::JoinGroup(Stream& stream, uint64_t group_number, uint64_t begin, uint64_t end) {
  JobGroup* group = GroupOf(stream, group_number);
  if (group == nullptr) return;
  group->open += end - begin;
  if (!stream.follow_on) group->Arrive(stream.queue->name, end - begin);
  group->durable |= stream.rows != nullptr;
  CountGroup(*group);
  NoteGroup(stream.producer, group_number);
  stream.AddMembers(group_number, begin, end);
}

// Jobs [begin, end) have an outcome.
void Broker::LeaveGroup(Stream& stream, wire::OutcomeRange::Kind kind, uint64_t begin,
                        uint64_t end) {
  auto it = stream.groups.upper_bound(begin);
  WT_CHECK(it != stream.groups.begin());
  --it;
  const GroupRange range = it->second;
  const uint64_t first = it->first;
  WT_CHECK(end <= range.end);  // one group an outcome range
  stream.groups.erase(it);
  if (first < begin) stream.groups.emplace(first, GroupRange{begin, range.group});
  if (end < range.end) stream.groups.emplace(end, GroupRange{range.end, range.group});
  JobGroup* group = GroupOf(stream, range.group);
  if (group == nullptr) return;
  const uint64_t jobs = end - begin;
  WT_CHECK(group->open >= jobs);
  group->open -= jobs;
  group->commit = std::max(group->commit, stream.commit);
  switch (kind) {
    case wire::OutcomeRange::COMPLETED:
      group->completed += jobs;
      break;
    case wire::OutcomeRange::DEAD:
      group->dead += jobs;
      break;
    case wire::OutcomeRange::CANCELLED:
      group->cancelled += jobs;
      break;
    default:
      group->expired += jobs;
  }
  NoteGroup(stream.producer, range.group);
  CheckGroup(stream.producer, range.group);
}

void Broker::CheckGroup(uint64_t producer, uint64_t number) {
  Peer& peer = *peers_.at(producer);
  JobGroup& group = peer.producer->groups.at(number);
  if (!group.ended) {
    if (group.all_arrived()) {  // its last members may be a batch now
      for (const std::string& name : std::exchange(peer.producer->lingering, {})) {
        if (const auto queue = queues_.find(name); queue != queues_.end()) Wake(*queue->second);
      }
    }
    if (!group.complete() && !(Planted("end_group_early") && group.closed)) return;
    group.ended = true;
    NoteGroup(producer, number);
    Count("groups_ended");
    Log(LogLevel::kInfo, "group_ended",
        {{"producer", peer.name},
         {"group", number},
         {"completed", group.completed},
         {"dead", group.dead},
         {"cancelled", group.cancelled},
         {"expired", group.expired},
         {"rejected", group.rejected}});
  }
  if (group.unacknowledged > 0) return;
  peer.producer->updated_groups.insert(number);
  group_peers_.insert(producer);
}

void Broker::OnCloseGroup(Peer& peer, const wire::CloseGroup& close) {
  ProducerState& producer = *peer.producer;
  // Zero is no group, and one that ended may be closed again by a word that came late.
  if (close.group() == 0 || producer.ended_groups.Contains(close.group())) return;
  const bool has_room = producer.groups.contains(close.group()) ||
                        (producer.groups.size() < size_t{kGroupsPerProducerMax} && !TablesFull());
  const bool are_queues =
      std::all_of(close.counts().begin(), close.counts().end(),
                  [](const auto& count) { return QueueNameError(count.queue()).empty(); });
  if (!has_room || !are_queues) {
    Count("rejected_frames");
    return;
  }
  JobGroup& group = OpenGroup(producer, close.group());
  group.closed_due = true;
  producer.updated_groups.insert(close.group());
  group_peers_.insert(peer.number);
  if (!group.closed) {
    group.closed = true;
    for (const wire::GroupCount& count : close.counts()) {
      group.Expect(count.queue(), count.jobs());
      // One without members yet is what they will be.
      group.durable |= PolicyOf(count.queue()).durable;
    }
    CountGroup(group);
    NoteGroup(peer.number, close.group());
  }
  CheckGroup(peer.number, close.group());
}

bool Broker::OnGroupAck(Peer& peer, wire::GroupAck& ack) {
  int done = 0;
  for (; done < ack.groups_size() && !IsExhausted(); ++done) {
    Work();
    const uint64_t number = ack.groups(done);
    const auto it = peer.producer->groups.find(number);
    if (it == peer.producer->groups.end() || !it->second.ended) continue;
    if (it->second.unacknowledged > 0) continue;  // never told
    peer.producer->updated_groups.erase(number);
    peer.producer->told_groups.erase(number);
    if (peer.producer->told_groups.empty()) peer.producer->groups_told_at = kNever;
    IntervalSet& ended = peer.producer->ended_groups;
    ended.Add(number, number + 1);
    if (ended.intervals().size() > kEndedGroupRangesMax) {
      // Whoever counts up has long left these behind.
      ended.Add(ended.front(), std::next(ended.intervals().begin())->begin);
    }
    if (it->second.durable) NoteProducer(peer);  // `ended_groups`
    EraseGroup(peer, number);
  }
  CountPeer(peer);
  ack.mutable_groups()->ExtractSubrange(0, done, nullptr);
  return ack.groups().empty();
}

// At the end of the step: what is new. Ends are told again until they are acknowledged.
void Broker::SendGroupUpdates(Peer& peer) {
  ProducerState& producer = *peer.producer;
  if (!peer.connected() || producer.updated_groups.empty()) return;
  wire::Envelope message;
  wire::GroupUpdates* updates = message.mutable_group_updates();
  updates->set_session(peer.session);
  uint64_t commit = 0;
  while (!producer.updated_groups.empty() && !IsExhausted()) {
    Work();
    const uint64_t number = *producer.updated_groups.begin();
    producer.updated_groups.erase(producer.updated_groups.begin());
    JobGroup& group = producer.groups.at(number);
    if (std::exchange(group.closed_due, false)) {
      updates->add_closed(number);
      commit = std::max(commit, group.commit);
    }
    if (!group.ended || group.unacknowledged > 0) continue;
    producer.told_groups.insert(number);
    commit = std::max(commit, group.commit);
    wire::GroupEnd* end = updates->add_ended();
    end->set_group(number);
    end->set_completed(group.completed);
    end->set_dead(group.dead);
    end->set_cancelled(group.cancelled);
    end->set_expired(group.expired);
    end->set_rejected(group.rejected);
  }
  if (!producer.updated_groups.empty()) {
    group_peers_.insert(peer.number);
    is_left_ = true;
  }
  if (producer.groups_told_at == kNever && !updates->ended().empty()) {
    producer.groups_told_at = now_.mono;
    SetTimer(peer, now_.mono + kRepeatAfter);
  }
  if (updates->closed().empty() && updates->ended().empty()) return;
  SendTo(peer, std::move(message), commit);
}

// A new session: of the groups that the producer waits for, those that are over are told again,
// and those that were of an earlier start of the broker, and are not in the store, are lost.
void Broker::ResumeGroups(Peer& peer, const wire::Hello& hello, bool known) {
  ProducerState& producer = *peer.producer;
  for (const auto& [number, group] : producer.groups) {
    if (group.ended) CheckGroup(peer.number, number);
  }
  if (known) return;
  wire::Envelope message;
  message.mutable_group_updates()->set_session(peer.session);
  for (uint64_t number : hello.groups()) {
    if (producer.groups.contains(number) || producer.ended_groups.Contains(number)) continue;
    wire::GroupEnd* end = message.mutable_group_updates()->add_ended();
    end->set_group(number);
    end->set_lost(true);
  }
  if (message.group_updates().ended().empty()) return;
  SendTo(peer, std::move(message));
}

void Broker::EraseGroup(Peer& peer, uint64_t number) {
  const auto it = peer.producer->groups.find(number);
  if (it->second.durable) EraseGroupRow(peer, number);
  UncountGroup(it->second);
  peer.producer->groups.erase(it);
}

}  // namespace whippletree::core
