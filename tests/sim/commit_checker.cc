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
  if (const auto* disk = std::get_if<core::Disk>(&input)) disk_ = *disk;
  const auto* in = std::get_if<core::FrameIn>(&input);
  if (in == nullptr) return;
  if (in->message.has_hello()) name_by_route_[in->route] = in->message.hello().name();
  if (!in->message.has_report()) return;
  const wire::Report& report = in->message.report();
  uint64_t ordinal = report.first_ordinal();
  for (const wire::ReportItem& item : report.items()) {
    OnItem(report.session(), ordinal, item.token());
    ++ordinal;
  }
}

void CommitChecker::OnItem(uint64_t session, uint64_t ordinal, uint64_t token) {
  const auto [begin, end] = leases_.equal_range(token);
  if (begin == end) return;
  const auto [item, is_new] = items_.try_emplace({session, ordinal}, Item{token});
  if (!is_new) return;
  items_not_durable_.insert(item->first);
  items_without_commit_[token].push_back(item->first);
  for (auto lease = begin; lease != end; ++lease) notes_[lease->second.stream].tokens.insert(token);
}

void CommitChecker::OnEffects(const core::Effects& effects) {
  if (effects.writes.empty() != (effects.commit == 0)) Violation("I3", "a commit without a number");
  if (effects.commit != 0) {
    situations_->Checked(3);
    if (effects.commit != last_commit_ + 1) Violation("I3", "commit numbers have a gap");
    last_commit_ = effects.commit;
    for (const record::Record& write : effects.writes) OnWrite(effects.commit, write, false);
  }
  // What led to nothing was recorded before, or came too early and will come again.
  for (const auto& [token, items] : items_without_commit_) {
    for (const ItemKey& item : items) {
      items_.erase(item);
      items_not_durable_.erase(item);
    }
  }
  items_without_commit_.clear();
  if (disk_.free_bytes < disk_.reserve_bytes) CheckLowDisk(effects.writes);
  for (const core::Send& send : effects.sends) OnSend(send);
}

void CommitChecker::CheckLowDisk(const std::vector<record::Record>& writes) const {
  for (const record::Record& write : writes) {
    if (!write.has_run() || write.erased()) continue;
    const bool follows = std::any_of(streams_.begin(), streams_.end(), [&](const auto& entry) {
      return entry.second == write.run().stream() && entry.first.second.ends_with(kFollowOn);
    });
    if (!follows) Violation("disk", "jobs are accepted though the disk is low");
  }
}

void CommitChecker::OnEnded(uint64_t commit, uint64_t stream, uint64_t first, uint64_t count) {
  std::set<uint64_t>& tokens = notes_[stream].tokens;
  for (auto token = tokens.begin(); token != tokens.end();) {
    const auto [begin, end] = leases_.equal_range(*token);
    const bool ended = std::any_of(begin, end, [&](const auto& entry) {
      const LeaseNotes& lease = entry.second;
      return lease.stream == stream && lease.first < first + count &&
             first < lease.first + lease.count;
    });
    if (ended) NoteItems(commit, *token);
    token = ended ? tokens.erase(token) : std::next(token);
  }
}

// What a report's items led to: the writes about their leases in the step in which they came.
void CommitChecker::NoteItems(uint64_t commit, uint64_t token) {
  const auto items = items_without_commit_.find(token);
  if (items == items_without_commit_.end()) return;
  for (const ItemKey& item : items->second) items_.at(item).commit = commit;
  items_without_commit_.erase(items);
}

bool CommitChecker::IsReturned(const record::LeasePart& part) const {
  const auto notes = notes_.find(part.stream());
  if (notes == notes_.end()) return false;
  auto row = notes->second.returned.lower_bound(part.first() + part.count());
  if (row == notes->second.returned.begin()) return false;
  --row;
  return row->first + row->second > part.first();
}

void CommitChecker::OnReturned(uint64_t commit, const record::Returned& row, bool erased) {
  std::map<uint64_t, uint64_t>& returned = notes_[row.stream()].returned;
  if (erased) {
    returned.erase(row.first());
    return;
  }
  returned[row.first()] = row.count();
  OnEnded(commit, row.stream(), row.first(), row.count());
}

void CommitChecker::OnLease(uint64_t commit, const record::Lease& lease, bool restored) {
  if (leases_.contains(lease.token())) return;
  if (!restored && disk_.free_bytes < disk_.reserve_bytes / 2) {
    Violation("disk", "a lease is written to a full disk");
  }
  if (lease.token() < last_token_) Violation("I8", "lease tokens do not rise");
  last_token_ = lease.token();
  situations_->Checked(8);
  situations_->Checked(7, static_cast<uint64_t>(lease.parts_size()));
  for (const record::LeasePart& part : lease.parts()) {
    // Later the jobs of a lease may be returned.
    if (!restored && IsReturned(part)) {
      Violation("I7", "in the store, job " + std::to_string(part.stream()) + "-" +
                          std::to_string(part.first()) + " is leased and waits as well");
    }
    leases_.emplace(lease.token(), LeaseNotes{commit, part.stream(), part.first(), part.count()});
  }
}

void CommitChecker::OnWrite(uint64_t commit, const record::Record& record, bool restored) {
  switch (record.row_case()) {
    case record::Record::kQueue:
      if (!IsDurable(record.queue().name())) Violation("I3", "a write for a memory queue");
      return;
    case record::Record::kStream: {
      const record::Stream& stream = record.stream();
      if (record.erased()) return;
      if (!IsDurable(stream.queue())) Violation("I3", "a write for a memory queue");
      streams_[{stream.producer(), stream.queue() + (stream.follow_on() ? kFollowOn : "")}] =
          stream.number();
      return;
    }
    case record::Record::kRun:
      OnRun(commit, record.run(), record.erased());
      return;
    case record::Record::kEnded:
      if (record.erased()) return;
      OnEnded(commit, record.ended().stream(), record.ended().first(), record.ended().count());
      return;
    case record::Record::kReturned:
      OnReturned(commit, record.returned(), record.erased());
      return;
    case record::Record::kLease:
      NoteItems(commit, record.lease().token());
      if (!record.erased()) OnLease(commit, record.lease(), restored);
      return;
    case record::Record::kOutcome: {
      if (record.erased()) return;
      const wire::OutcomeRange& outcome = record.outcome().outcome();
      for (uint64_t i = 0; i < outcome.count(); ++i) {
        const bool is_new =
            notes_[record.outcome().stream()].told.emplace(outcome.first() + i, commit).second;
        situations_->Checked(2);
        if (!is_new) Violation("I2", "a second outcome was recorded");
      }
      return;
    }
    case record::Record::kJobNames:
      if (record.erased() || IsDurable(record.job_names().queue())) return;
      Violation("I3", "a write for a memory queue");
    case record::Record::kDead:
      if (record.erased() || IsDurable(record.dead().queue())) return;
      Violation("I3", "a write for a memory queue");
    default:
      return;
  }
}

void CommitChecker::OnRun(uint64_t commit, const record::Run& run, bool erased) {
  StreamNotes& notes = notes_[run.stream()];
  if (erased) {
    const auto found = notes.runs.find(run.first());
    if (found == notes.runs.end()) Violation("I3", "a run is erased that is not there");
    OnEnded(commit, run.stream(), run.first(), found->second);
    notes.runs.erase(found);
    return;
  }
  const auto jobs = static_cast<uint64_t>(run.jobs().sizes_size());
  notes.runs[run.first()] = jobs;
  situations_->Checked(4, jobs);
  for (uint64_t i = 0; i < jobs; ++i) {
    if (!notes.accepted.emplace(run.first() + i, commit).second) {
      Violation("I4", "a job is written twice");
    }
  }
  notes.checked_below = std::min(notes.checked_below, run.first());
}

CommitChecker::StreamNotes* CommitChecker::Find(uint64_t session, const std::string& queue) {
  auto name = name_by_session_.find(session);
  if (name == name_by_session_.end()) return nullptr;
  auto stream = streams_.find({name->second, queue});
  if (stream == streams_.end()) return nullptr;
  return &notes_[stream->second];
}

void CommitChecker::CheckStream(uint64_t session, const std::string& queue, uint64_t next) {
  StreamNotes* notes = Find(session, queue);
  if (notes == nullptr) return;
  const auto end = notes->accepted.lower_bound(next);
  for (auto job = notes->accepted.lower_bound(notes->checked_below);
       notes->checked_below < next && job != end; ++job) {
    situations_->Checked(3);
    if (job->second > durable_) {
      Violation("I3", queue + " " + std::to_string(job->first) +
                          " was acknowledged before commit " + std::to_string(job->second) +
                          " was durable");
    }
  }
  notes->checked_below = std::max(notes->checked_below, next);
}

void CommitChecker::CheckItems(uint64_t session, uint64_t next) {
  for (auto key = items_not_durable_.lower_bound({session, 0});
       key != items_not_durable_.end() && *key < ItemKey{session, next};) {
    const uint64_t commit = items_.at(*key).commit;
    situations_->Checked(3);
    if (commit > durable_) Violation("I3", "a completion was confirmed before it was durable");
    key = commit > 0 ? items_not_durable_.erase(key) : std::next(key);
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
      for (uint64_t i = 0; i < range.count(); ++i) {
        const bool recorded = notes != nullptr && notes->told.contains(range.first() + i) &&
                              notes->told.at(range.first() + i) <= durable_;
        situations_->Checked(3);
        if (!recorded) Violation("I3", "an outcome was told before it was durable");
      }
    }
  } else if (message.has_deliveries()) {
    for (const wire::Delivery& delivery : message.deliveries().deliveries()) {
      if (!IsDurable(delivery.queue())) continue;
      auto lease = leases_.find(delivery.token());
      situations_->Checked(8);
      if (lease == leases_.end() || lease->second.commit > durable_) {
        Violation("I8", "a delivery left before its lease was durable");
      }
    }
  } else if (message.has_report_ack()) {
    CheckItems(send.session, message.report_ack().next());
  }
}

}  // namespace whippletree::sim
