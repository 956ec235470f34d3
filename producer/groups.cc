#include "producer/groups.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/wire_limits.h"

namespace whippletree {

uint64_t ProducerGroups::Group::jobs() const {
  uint64_t sum = 0;
  for (const auto& [queue, some] : members) sum += some.jobs;
  return sum;
}

bool ProducerGroups::Group::all_accepted() const {
  return std::all_of(members.begin(), members.end(),
                     [](const auto& m) { return m.second.accepted == m.second.jobs; });
}

bool ProducerGroups::Group::known() const {
  return closed || std::any_of(members.begin(), members.end(),
                               [](const auto& m) { return m.second.accepted > 0; });
}

// The broker has lost those of `some` that it had accepted.
void ProducerGroups::Group::Forget(Members* some) {
  if (some->accepted == 0) return;
  some->jobs -= std::exchange(some->accepted, 0);
  lost = true;
  closed = ended = false;
  close_at = MonoTime{};
}

uint64_t ProducerGroups::Open() {
  groups_.try_emplace(next_);
  return next_++;
}

absl::Status ProducerGroups::CheckOpen(uint64_t group) const {
  auto it = groups_.find(group);
  if (it != groups_.end() && !it->second.closing) return absl::OkStatus();
  return absl::FailedPreconditionError("group " + std::to_string(group) +
                                       " is not open: it was closed, or is none of this producer");
}

absl::Status ProducerGroups::Close(uint64_t group) {
  if (absl::Status status = CheckOpen(group); !status.ok()) return status;
  groups_.at(group).closing = true;
  closing_.insert(group);
  return absl::OkStatus();
}

void ProducerGroups::OnSubmitted(uint64_t group, const std::string& queue, uint64_t begin,
                                 uint64_t end) {
  Group& of = groups_.at(group);
  WT_CHECK(!of.closing);
  of.members[queue].jobs += end - begin;
  of.open += end - begin;
  Spans& spans = spans_[queue];
  if (!spans.empty()) {
    Span& last = spans.rbegin()->second;
    WT_CHECK(last.end <= begin);
    if (last.end == begin && last.group == group) {
      last.end = end;
      last.open += end - begin;
      return;
    }
  }
  spans.emplace_hint(spans.end(), begin, Span{end, end - begin, group});
}

void ProducerGroups::OnAccepted(uint64_t group, const std::string& queue, uint64_t count) {
  auto it = groups_.find(group);
  if (it == groups_.end()) return;
  it->second.members[queue].accepted += count;
}

ProducerGroups::Spans::const_iterator ProducerGroups::FirstEndingAfter(const Spans& spans,
                                                                       uint64_t number) {
  auto it = spans.upper_bound(number);
  if (it != spans.begin() && std::prev(it)->second.end > number) --it;
  return it;
}

void ProducerGroups::OnSettled(const std::string& queue, uint64_t begin, uint64_t end) {
  auto found = spans_.find(queue);
  if (found == spans_.end()) return;
  Spans& spans = found->second;
  for (auto it = FirstEndingAfter(spans, begin); it != spans.end() && it->first < end;) {
    const uint64_t count = std::min(end, it->second.end) - std::max(begin, it->first);
    Span& span = spans.at(it->first);
    WT_CHECK(span.open >= count);
    span.open -= count;
    if (auto group = groups_.find(span.group); group != groups_.end()) group->second.open -= count;
    it = span.open == 0 ? spans.erase(it) : std::next(it);
  }
  if (spans.empty()) spans_.erase(found);
}

void ProducerGroups::OnGone(const std::string& queue) {
  for (auto& [number, group] : groups_) {
    auto it = group.members.find(queue);
    if (it == group.members.end()) continue;
    group.refused += it->second.jobs - it->second.accepted;
    it->second.jobs = it->second.accepted;
    group.Forget(&it->second);
  }
}

void ProducerGroups::OnLost(const std::string& queue) {
  for (auto& [number, group] : groups_) {
    if (auto it = group.members.find(queue); it != group.members.end()) group.Forget(&it->second);
  }
}

std::vector<ProducerGroups::Part> ProducerGroups::Split(const std::string& queue, uint64_t begin,
                                                        uint64_t end) const {
  std::vector<Part> parts;
  uint64_t at = begin;
  if (auto found = spans_.find(queue); found != spans_.end()) {
    const Spans& spans = found->second;
    for (auto it = FirstEndingAfter(spans, begin); it != spans.end() && it->first < end; ++it) {
      if (at < it->first) parts.push_back({{at, it->first}, 0});
      const IntervalSet::Interval jobs{std::max(begin, it->first), std::min(end, it->second.end)};
      parts.push_back({jobs, it->second.group});
      at = jobs.end;
    }
  }
  if (at < end) parts.push_back({{at, end}, 0});
  return parts;
}

void ProducerGroups::OnWelcome() {
  acks_.clear();  // what is not acknowledged is said again
  for (const uint64_t number : closing_) groups_.at(number).close_at = MonoTime{};
}

void ProducerGroups::OnUpdates(const wire::GroupUpdates& updates) {
  for (const uint64_t number : updates.closed()) {
    auto it = groups_.find(number);
    if (it != groups_.end()) it->second.closed = true;
  }
  for (const wire::GroupEnd& end : updates.ended()) OnEnded(end);
}

void ProducerGroups::OnEnded(const wire::GroupEnd& end) {
  if (end.group() > kNumberMax) return;  // no producer has named it, and no broker takes it back
  acks_.push_back(end.group());
  auto it = groups_.find(end.group());
  if (it == groups_.end()) return;  // told before
  Group& group = it->second;
  if (!end.lost()) {
    group.closed = group.ended = true;
    group.end = end;
  } else if (!group.lost) {
    for (auto& [queue, some] : group.members) group.Forget(&some);
    group.lost = true;
  }
  // Lost again: the answer to a hello that came late, or was repeated. The rest goes on.
}

void ProducerGroups::AddTo(wire::Hello* hello) const {
  for (const auto& [number, group] : groups_) {
    // The broker has fewer; what it has forgotten beyond these is told as lost next time.
    if (hello->groups_size() == kGroupsPerMessage) return;
    if (group.known()) hello->add_groups(number);
  }
}

void ProducerGroups::Poll(MonoTime now, uint64_t session, std::vector<wire::Envelope>* door,
                          std::vector<wire::Envelope>* submit, std::vector<wire::GroupEnd>* ended) {
  if (!acks_.empty()) {
    wire::GroupAck* ack = nullptr;
    for (const uint64_t number : std::exchange(acks_, {})) {
      if (ack == nullptr || ack->groups_size() == kGroupsPerMessage) {
        ack = door->emplace_back().mutable_group_ack();
        ack->set_session(session);
      }
      ack->add_groups(number);
    }
  }
  for (auto it = closing_.begin(); it != closing_.end();) {
    const uint64_t number = *it;
    Group& group = groups_.at(number);
    if (group.done()) {
      group.end.set_group(number);
      group.end.set_lost(group.lost);
      group.end.set_rejected(group.end.rejected() + group.refused);
      ended->push_back(std::move(group.end));
      groups_.erase(number);
      it = closing_.erase(it);
      continue;
    }
    ++it;
    if (!group.to_be_closed() || now < group.close_at) continue;
    group.close_at = now + kRepeat;
    wire::CloseGroup* close = submit->emplace_back().mutable_close_group();
    close->set_session(session);
    close->set_group(number);
    for (const auto& [queue, some] : group.members) {
      if (some.jobs == 0) continue;
      wire::GroupCount* count = close->add_counts();
      count->set_queue(queue);
      count->set_jobs(some.jobs);
    }
  }
}

MonoTime ProducerGroups::NextDeadline() const {
  MonoTime next = kNever;
  for (const uint64_t number : closing_) {
    const Group& group = groups_.at(number);
    if (group.to_be_closed()) next = std::min(next, group.close_at);
  }
  return next;
}

}  // namespace whippletree
