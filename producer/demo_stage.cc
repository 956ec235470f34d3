#include "producer/demo_stage.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <cstdio>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "common/printable.h"
#include "producer/interrupt.h"

namespace whippletree {
namespace {

constexpr size_t kShownMax = 13;  // lines of one pattern
constexpr Duration kIdleMax = seconds(60);
constexpr Duration kAbandonMax = seconds(2);
constexpr Duration kLookInterval = milliseconds(20);

void PrintLine(std::string_view line) {
  std::printf("  %s\n", Printable(line).c_str());
  std::fflush(stdout);
}

// An argument as a shell wants it.
std::string ForShell(const std::string& arg) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/=";
  return arg.find_first_not_of(kPlain) == std::string::npos ? arg : absl::StrCat("'", arg, "'");
}

}  // namespace

absl::StatusOr<std::unique_ptr<DemoStage>> DemoStage::Open(const std::string& broker) {
  std::unique_ptr<DemoStage> stage(new DemoStage(broker));
  auto producer = Producer::Connect({.broker = broker});
  if (!producer.ok()) return producer.status();
  stage->producer_ = *std::move(producer);
  return stage;
}

absl::Status DemoStage::StartWorkers(const std::string& name, int count,
                                     const std::vector<std::string>& args) {
  Say(absl::StrCat(count, " x whippletree-worker ",
                   absl::StrJoin(args, " ", [](std::string* out, const std::string& arg) {
                     out->append(ForShell(arg));
                   })));
  return workers_.Start(name, count, args);
}

absl::Status DemoStage::WaitForWorkers() {
  const MonoTime begin = ReadClock().mono;
  for (;;) {
    const absl::StatusOr<bool> connected = workers_.Connected();
    if (!connected.ok()) return connected.status();
    if (*connected) break;
    if (const absl::Status status = KeepWaiting(begin); !status.ok()) return status;
    std::this_thread::sleep_for(kLookInterval);
  }
  began_ = ReadClock().mono;
  return absl::OkStatus();
}

absl::Status DemoStage::Submit(const std::string& queue, const std::vector<std::string>& payloads,
                               uint64_t group) {
  const std::vector<std::string_view> views(payloads.begin(), payloads.end());
  JobOptions options;
  options.group = group;
  const absl::Status status = producer_->SubmitMany(queue, views, options, Inbox()).status();
  if (status.ok()) {
    submitted_[queue] += views.size();
    awaited_ += views.size();
  }
  return status;
}

OutcomeCallback DemoStage::Inbox() {
  return [this](Outcome outcome) {
    std::unique_lock lock(mutex_);
    inbox_.push_back(std::move(outcome));
    arrived_.notify_one();
  };
}

absl::StatusOr<Outcome> DemoStage::Next() {
  absl::StatusOr<std::optional<Outcome>> outcome = NextUntil([] { return false; });
  if (!outcome.ok()) return outcome.status();
  return **std::move(outcome);
}

absl::StatusOr<std::optional<Outcome>> DemoStage::NextUntil(const std::function<bool()>& done) {
  const MonoTime begin = ReadClock().mono;
  for (;;) {
    // Asked first: what came before the end is in the inbox then.
    const bool ended = done();
    {
      std::unique_lock lock(mutex_);
      arrived_.wait_for(lock, ended ? Duration(0) : kLookInterval,
                        [this] { return !inbox_.empty(); });
      if (!inbox_.empty()) {
        std::optional<Outcome> outcome = std::move(inbox_.front());
        inbox_.pop_front();
        if (!outcome->follow_on) --awaited_;
        return outcome;
      }
    }
    if (ended) return std::nullopt;
    if (const absl::Status status = KeepWaiting(begin); !status.ok()) return status;
  }
}

absl::StatusOr<std::vector<Outcome>> DemoStage::Collect(
    size_t count, const std::function<std::string(const Outcome&)>& show) {
  std::vector<Outcome> outcomes;
  while (outcomes.size() < count) {
    absl::StatusOr<Outcome> outcome = Next();
    if (!outcome.ok()) return outcome.status();
    if (const std::string line = show(*outcome); !line.empty()) Show(line);
    outcomes.push_back(*std::move(outcome));
  }
  std::sort(outcomes.begin(), outcomes.end(),
            [](const Outcome& a, const Outcome& b) { return a.number < b.number; });
  EndShow();
  return outcomes;
}

absl::StatusOr<GroupEnd> DemoStage::WaitForEnd(std::future<GroupEnd>& end) {
  const MonoTime begin = ReadClock().mono;
  while (end.wait_for(kLookInterval) != std::future_status::ready) {
    if (const absl::Status status = KeepWaiting(begin); !status.ok()) return status;
  }
  GroupEnd group = end.get();
  if (!group.status.ok()) return group.status;
  return group;
}

void DemoStage::Abandon() {
  for (const auto& [queue, jobs] : submitted_) producer_->Cancel(queue, 1, jobs);
  const MonoTime end = ReadClock().mono + kAbandonMax;
  std::unique_lock lock(mutex_);
  while (awaited_ > 0 && ReadClock().mono < end) {
    if (!arrived_.wait_for(lock, kLookInterval, [this] { return !inbox_.empty(); })) continue;
    if (!inbox_.front().follow_on) --awaited_;
    inbox_.pop_front();
  }
}

absl::Status DemoStage::Pause(Duration duration) {
  const MonoTime begin = ReadClock().mono;
  while (ReadClock().mono < begin + duration) {
    if (Signals() > 0) return absl::CancelledError("interrupted");
    std::this_thread::sleep_for(kLookInterval);
  }
  return absl::OkStatus();
}

void DemoStage::Show(std::string_view line) {
  if (++shown_ <= kShownMax) PrintLine(line);
}

void DemoStage::Say(std::string_view line) { PrintLine(line); }

void DemoStage::EndShow() {
  if (shown_ > kShownMax) PrintLine(absl::StrCat("... and ", shown_ - kShownMax, " more"));
  shown_ = 0;
}

double DemoStage::Seconds() const {
  return std::chrono::duration<double>(ReadClock().mono - began_).count();
}

absl::Status DemoStage::KeepWaiting(MonoTime idle_since) {
  if (Signals() > 0) return absl::CancelledError("interrupted");
  if (ReadClock().mono > idle_since + kIdleMax) {
    return absl::DeadlineExceededError("nothing has come for a minute");
  }
  return workers_.Connected().status();
}

std::string ShortName(const std::string& worker) { return worker.substr(0, worker.rfind('-')); }

std::string_view ResultOf(const Outcome& outcome) {
  std::string_view result = outcome.result;
  if (!result.empty() && result.back() == '\n') result.remove_suffix(1);
  return result;
}

std::string Summary(const Outcome& outcome) {
  return absl::StrCat(std::string(ToString(outcome.kind)), " ",
                      outcome.status.ok() ? std::string(ResultOf(outcome))
                                          : absl::StatusCodeToString(outcome.status.code()));
}

}  // namespace whippletree
