#include "tests/sim/commit_checker.h"

#include <algorithm>
#include <variant>

#include "tests/sim/failure.h"

namespace whippletree::sim {

namespace {

constexpr char kFollowOn[] = " follow-on";  // no queue has a blank in its name

}  // namespace

bool CommitChecker::IsDurable(const std::string& queue) const {
  auto it = options_.broker.queues.find(queue);
  return it != options_.broker.queues.end() && it->second.durable;
}

void CommitChecker::OnInput(const core::Input& input) {
  const auto* in = std::get_if<core::FrameIn>(&input);
  if (in == nullptr) return;
  if (in->message.has_hello()) name_by_route_[in->route] = in->message.hello().name();
  if (!in->message.has_report()) return;
  const wire::Report& report = in->message.report();
  uint64_t ordinal = report.first_ordinal();
  for (const wire::ReportItem& item : report.items()) {
    if (leases_.contains(item.token())) {
      items_.try_emplace({report.session(), ordinal}, Item{item.token()});
    }
    ++ordinal;
  }
}

void CommitChecker::OnEffects(const core::Effects& effects) {
  if (effects.writes.empty() != (effects.commit == 0)) Violation("I3", "a commit without a number");
  if (effects.commit != 0) {
    if (effects.commit != last_commit_ + 1) Violation("I3", "commit numbers have a gap");
    last_commit_ = effects.commit;
    for (const record::Record& write : effects.writes) OnWrite(effects.commit, write);
  }
  for (const core::Send& send : effects.sends) OnSend(send);
}

void CommitChecker::OnWrite(uint64_t commit, const record::Record& record) {
  // What a report's items led to: the first write about their leases after they came.
  const auto note_items = [&](uint64_t token) {
    for (auto& [key, item] : items_) {
      if (item.token == token && item.commit == 0) item.commit = commit;
    }
  };
  if (record.has_accepted()) {
    const record::Accepted& accepted = record.accepted();
    if (!IsDurable(accepted.queue())) Violation("I3", "a write for a memory queue");
    const std::string queue = accepted.queue() + (accepted.follow_on() ? kFollowOn : "");
    streams_[{accepted.producer(), queue}] = accepted.stream();
    for (int i = 0; i < accepted.run().sizes_size(); ++i) {
      notes_[accepted.stream()].accepted[accepted.first() + static_cast<uint64_t>(i)] = commit;
    }
  } else if (record.has_leased()) {
    const record::Leased& leased = record.leased();
    if (leased.token() < last_token_) Violation("I8", "lease tokens do not rise");
    last_token_ = leased.token();
    leases_.emplace(leased.token(),
                    LeaseNotes{commit, leased.stream(), leased.first(), leased.count()});
  } else if (record.has_ended()) {
    const wire::OutcomeRange& outcome = record.ended().outcome();
    for (uint64_t i = 0; i < outcome.count(); ++i) {
      const bool is_new =
          notes_[record.ended().stream()].ended.emplace(outcome.first() + i, commit).second;
      if (!is_new) Violation("I2", "a second outcome was recorded");
    }
    for (const auto& [token, lease] : leases_) {
      if (lease.stream == record.ended().stream() &&
          lease.first < outcome.first() + outcome.count() &&
          outcome.first() < lease.first + lease.count) {
        note_items(token);
      }
    }
  } else if (record.has_returned()) {
    note_items(record.returned().token());
  } else if (record.has_charged()) {
    note_items(record.charged().token());
  }
}

const CommitChecker::StreamNotes* CommitChecker::Find(uint64_t session,
                                                      const std::string& queue) const {
  auto name = name_by_session_.find(session);
  if (name == name_by_session_.end()) return nullptr;
  auto stream = streams_.find({name->second, queue});
  if (stream == streams_.end()) return nullptr;
  return &notes_.at(stream->second);
}

void CommitChecker::CheckStream(uint64_t session, const std::string& queue, uint64_t next) const {
  const StreamNotes* notes = Find(session, queue);
  if (notes == nullptr) return;
  for (const auto& [number, commit] : notes->accepted) {
    if (number < next && commit > durable_) {
      Violation("I3", queue + " " + std::to_string(number) + " was acknowledged before commit " +
                          std::to_string(commit) + " was durable");
    }
  }
}

void CommitChecker::OnSend(const core::Send& send) {
  const wire::Envelope& message = send.message;
  if (message.has_welcome()) {
    name_by_session_[message.welcome().session()] = name_by_route_[send.route];
    for (const wire::StreamUpdate& update : message.welcome().streams()) {
      CheckStream(message.welcome().session(), update.queue(), update.next());
    }
  } else if (message.has_stream_updates()) {
    for (const wire::StreamUpdate& update : message.stream_updates().streams()) {
      CheckStream(send.session, update.queue(), update.next());
    }
  } else if (message.has_outcomes() && IsDurable(message.outcomes().queue())) {
    const StreamNotes* notes =
        Find(send.session,
             message.outcomes().queue() + (message.outcomes().follow_on() ? kFollowOn : ""));
    for (const wire::OutcomeRange& range : message.outcomes().ranges()) {
      if (range.kind() == wire::OutcomeRange::REJECTED) continue;
      for (uint64_t i = 0; i < range.count(); ++i) {
        const bool recorded = notes != nullptr && notes->ended.contains(range.first() + i) &&
                              notes->ended.at(range.first() + i) <= durable_;
        if (!recorded) Violation("I3", "an outcome was told before it was durable");
      }
    }
  } else if (message.has_deliveries()) {
    for (const wire::Delivery& delivery : message.deliveries().deliveries()) {
      if (!IsDurable(delivery.queue())) continue;
      auto lease = leases_.find(delivery.token());
      if (lease == leases_.end() || lease->second.commit > durable_) {
        Violation("I3", "a delivery left before its lease was durable");
      }
    }
  } else if (message.has_report_ack()) {
    const uint64_t next = message.report_ack().next();
    for (auto it = items_.lower_bound({send.session, 0});
         it != items_.end() && it->first.first == send.session && it->first.second < next; ++it) {
      if (it->second.commit > durable_) {
        Violation("I3", "a completion was confirmed before it was durable");
      }
    }
  }
}

}  // namespace whippletree::sim
