#include "producer/queue_watch.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <utility>

namespace whippletree {
namespace {

// What keeps the jobs of a queue from being run although nobody is at work on it.
struct Cause {
  std::string note;  // for a line with little room; empty: there is none worth a word
  std::string text;
  // It comes and goes by itself, and is said once.
  bool passing = false;
};

Cause NoWorker(const std::string& queue, const wire::StatusReply& status) {
  std::string text = absl::StrCat("no worker serves queue ", queue);
  if (status.served().empty()) {
    absl::StrAppend(&text, status.more_served() ? "" : ", nor any other queue");
  } else {
    absl::StrAppend(&text, "; queues with workers: ", absl::StrJoin(status.served(), ", "),
                    status.more_served() ? ", …" : "");
  }
  return {"no worker serves the queue", std::move(text)};
}

Cause CauseOf(const std::string& queue, const wire::StatusReply& status) {
  // A broker that does not know questions of one queue answers with many.
  const auto it = std::find_if(status.queues().begin(), status.queues().end(),
                               [&](const auto& q) { return q.name() == queue; });
  if (it == status.queues().end() || it->workers() == 0 || it->gate() == "no worker") {
    return NoWorker(queue, status);
  }
  if (it->paused()) {
    return {"paused", absl::StrCat("queue ", queue, " is paused (whippletree-broker resume ", queue,
                                   " lets it go on)")};
  }
  const std::pair<std::string_view, std::string_view> others[] = {
      {"backing off", "failed jobs wait to be tried again"},
      {"breaker open", "its jobs kept failing, so none is started for now (breaker open)"},
      {"retry after", "a worker asked to wait before more of its jobs are started"},
      {"disk full", "the broker's disk is full"},
      {"workers stuck", "none of its workers ends what it is to end (workers stuck)"},
  };
  for (const auto& [gate, text] : others) {
    if (it->gate() != gate) continue;
    const bool retrying = gate == "backing off";
    return {retrying ? "retrying" : it->gate(),
            absl::StrCat("queue ", queue, ": ", std::string(text)), retrying};
  }
  return {};
}

}  // namespace

void QueueWatch::SetWaiting(const std::string& queue, bool waiting, MonoTime now) {
  const auto it = queues_.find(queue);
  if (it == queues_.end() || it->second.waiting == waiting) return;
  Watched& watched = it->second;
  watched.waiting = waiting;
  watched.silent_since = now;
  watched.ask_after = kSilence;
  watched.ask_at = waiting ? now + kSilence : kNever;
  watched.told.clear();
  watched.note.clear();
}

void QueueWatch::OnOutcomes(const std::string& queue, MonoTime now) {
  const auto it = queues_.find(queue);
  if (it == queues_.end()) return;
  Watched& watched = it->second;
  watched.silent_since = now;
  // What was said may not be true any more.
  if (watched.waiting && !watched.told.empty()) watched.ask_after = kSilence;
  if (watched.waiting) watched.ask_at = std::min(watched.ask_at, now + kSilence);
}

void QueueWatch::Poll(MonoTime now, std::vector<wire::Envelope>* door) {
  for (auto& [name, watched] : queues_) {
    if (now < watched.ask_at) continue;
    if (watched.told.empty() && now < watched.silent_since + kSilence) {
      watched.ask_at = watched.silent_since + kSilence;
      continue;
    }
    watched.ask_at = now + watched.ask_after;
    watched.ask_after = std::min(2 * watched.ask_after, kAskMax);
    watched.asked = ++last_id_;
    wire::AdminRequest* request = door->emplace_back().mutable_admin_request();
    request->set_id(watched.asked);
    request->set_received(std::exchange(number_, 0));
    request->mutable_status()->set_queue(name);
  }
}

MonoTime QueueWatch::NextDeadline() const {
  MonoTime next = kNever;
  for (const auto& [name, watched] : queues_) next = std::min(next, watched.ask_at);
  return next;
}

void QueueWatch::OnReply(const wire::AdminReply& reply, MonoTime now,
                         std::vector<std::string>* log) {
  number_ = reply.number();
  if (!reply.has_status()) return;
  for (auto& [name, watched] : queues_) {
    if (watched.asked != reply.id()) continue;
    if (!watched.waiting) return;
    auto [note, text, passing] = CauseOf(name, reply.status());
    watched.note = std::move(note);
    if (text == watched.told || (text.empty() && watched.told_passing)) return;
    watched.told_passing = passing;
    log->push_back(!text.empty() ? text : absl::StrCat("queue ", name, " goes on"));
    watched.told = std::move(text);
    // Somebody is at it, perhaps: whether that helps is known soon.
    watched.ask_after = kSilence;
    watched.ask_at = now + kSilence;
    return;
  }
}

std::string_view QueueWatch::note() const {
  for (const auto& [name, watched] : queues_) {
    if (watched.waiting && !watched.note.empty()) return watched.note;
  }
  return "";
}

}  // namespace whippletree
