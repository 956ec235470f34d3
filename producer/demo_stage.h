// Where a pattern of the demo plays: a producer, worker processes, and what is shown meanwhile.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "producer/demo_workers.h"
#include "producer/producer.h"

namespace whippletree {

// Used by one thread. What waits returns CANCELLED after Ctrl-C, DEADLINE_EXCEEDED when nothing
// came for a minute, and UNAVAILABLE when a worker has ended by itself.
class DemoStage {
 public:
  // Connects. Errors: as Producer::Connect.
  static absl::StatusOr<std::unique_ptr<DemoStage>> Open(const std::string& broker);

  Producer& producer() { return *producer_; }
  DemoWorkers& workers() { return workers_; }
  const std::string& broker() const { return broker_; }

  // Starts `count` workers, as DemoWorkers::Start, and shows the command.
  absl::Status StartWorkers(const std::string& name, int count,
                            const std::vector<std::string>& args);
  // Waits until all have reached the broker.
  absl::Status WaitForWorkers();

  // Submits jobs whose outcomes Next() returns.
  absl::Status Submit(const std::string& queue, const std::vector<std::string>& payloads,
                      uint64_t group = 0);
  // For Producer::OnFollowOn: those outcomes come from Next() too.
  OutcomeCallback Inbox();
  absl::StatusOr<Outcome> Next();
  // The same; nullopt when `done` and all that came until then was returned.
  absl::StatusOr<std::optional<Outcome>> NextUntil(const std::function<bool()>& done);
  // Takes `count` outcomes and returns them in the order of their jobs. Shows of each what `show`
  // says, unless that is empty.
  absl::StatusOr<std::vector<Outcome>> Collect(
      size_t count, const std::function<std::string(const Outcome&)>& show);
  absl::StatusOr<GroupEnd> WaitForEnd(std::future<GroupEnd>& end);
  // After an error: cancels the jobs that have no outcome yet, and waits a little for that, so that
  // they are not in the way of who comes next. Follow-on jobs go on.
  void Abandon();
  // Waits a moment. CANCELLED after Ctrl-C.
  absl::Status Pause(Duration duration);

  // Shows a line, if it is one of the first.
  void Show(std::string_view line);
  // Shows a line, whatever there was before.
  void Say(std::string_view line);
  // Tells how many lines were not shown.
  void EndShow();

  // Since the workers were there.
  double Seconds() const;

 private:
  explicit DemoStage(std::string broker) : broker_(std::move(broker)), workers_(broker_) {}
  // OK: go on waiting. `idle_since`: when the wait began.
  absl::Status KeepWaiting(MonoTime idle_since);

  const std::string broker_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Outcome> inbox_;  // guarded by mutex_
  DemoWorkers workers_;
  std::unique_ptr<Producer> producer_;         // goes first: it writes to the inbox
  std::map<std::string, uint64_t> submitted_;  // jobs by queue
  uint64_t awaited_ = 0;                       // outcomes of these
  MonoTime began_{};
  size_t shown_ = 0;
};

// The worker's name without what makes it unique.
std::string ShortName(const std::string& worker);
// The result without the newline of a program.
std::string_view ResultOf(const Outcome& outcome);
// "completed RESULT" or "dead CODE".
std::string Summary(const Outcome& outcome);

}  // namespace whippletree
