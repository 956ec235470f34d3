#include "tests/sim/executor.h"

#include <algorithm>

namespace whippletree::sim {

SimExecutor::SimExecutor(EventLoop* loop, History* history, std::string worker, uint32_t slots,
                         uint64_t seed, Hooks hooks)
    : loop_(loop),
      history_(history),
      worker_(std::move(worker)),
      slots_(slots),
      prng_(seed),
      hooks_(std::move(hooks)) {}

SimExecutor::~SimExecutor() {
  *self_ = nullptr;
  history_->OnWorkerGone(worker_, loop_->now());
}

void SimExecutor::Run(wire::Delivery delivery) {
  auto lease = std::make_shared<Lease>();
  lease->run = RunData(delivery.mutable_run());
  lease->delivery = std::move(delivery);
  for (uint32_t i = 0; i < lease->run.count(); ++i) lease->waiting.push_back(i);
  leases_.push_back(std::move(lease));
  Start();
}

void SimExecutor::Start() {
  while (!paused_ && !leases_.empty() && running_.size() < slots_) {
    const std::shared_ptr<Lease> lease = leases_.front();
    const wire::Delivery& delivery = lease->delivery;
    const uint64_t token = delivery.token();
    const size_t count = delivery.batch() ? lease->waiting.size() : 1;
    Running running;
    running.lease = lease;
    running.begin = running.end = loop_->now();
    uint32_t timeout = delivery.options().timeout_ms();
    for (size_t i = 0; i < count; ++i) {
      const uint32_t position = lease->waiting.front();
      lease->waiting.pop_front();
      RunningJob job;
      job.index = lease->IndexOf(position);
      job.attempt = PlaceOf(delivery, position).attempt;
      job.payload = std::string(lease->run.payload(position));
      history_->OnStart(worker_, delivery, job.payload, loop_->now());
      job.spec = history_->job(UidOf(job.payload)).spec;
      running.end += hurry_ ? std::min(job.spec.service, kServiceMax) : job.spec.service;
      running.ignores_cancel = running.ignores_cancel || job.spec.ignores_cancel;
      if (position >= delivery.started()) {
        events_.started.emplace_back(token, job.index);
        hooks_.notify();
      }
      running.jobs.push_back(std::move(job));
    }
    if (lease->waiting.empty()) leases_.pop_front();
    if (hoards_) {
      running.ignores_cancel = true;
      if (prng_.Chance(400)) running.end += DrawDuration(&prng_, seconds(5));
    }
    for (const wire::DeliveryPart& part : delivery.parts()) {
      const uint32_t own = part.options().timeout_ms();
      if (own > 0 && (timeout == 0 || own < timeout)) timeout = own;
    }
    const uint64_t id = ++last_start_;
    Running& placed = running_.emplace(id, std::move(running)).first->second;
    if (stopped_) End(&placed, id, absl::StatusCode::kCancelled);
    Plan(id);
    if (timeout > 0) {
      loop_->After(milliseconds(timeout), [this, self = self_, id] {
        if (*self == nullptr) return;
        auto it = running_.find(id);
        if (it != running_.end()) End(&it->second, id, absl::StatusCode::kDeadlineExceeded);
      });
    }
  }
}

void SimExecutor::Plan(uint64_t id) {
  loop_->At(running_.at(id).end, [this, self = self_, id] {
    if (*self != nullptr) Finish(id);
  });
}

void SimExecutor::End(Running* running, uint64_t id, absl::StatusCode code) {
  if (running->ended != absl::StatusCode::kOk) return;
  running->ended = code;
  if (running->ignores_cancel) return;
  const MonoTime soon = loop_->now() + DrawDuration(&prng_, milliseconds(2));
  if (soon >= running->end) return;
  running->end = soon;
  Plan(id);
}

void SimExecutor::Finish(uint64_t id) {
  auto it = running_.find(id);
  if (paused_ || it == running_.end() || loop_->now() < it->second.end) return;
  const Running running = std::move(it->second);
  for (const RunningJob& job : running.jobs) {
    if (!job.spec.poison) continue;
    hooks_.die();  // and we are gone
    return;
  }
  running_.erase(it);
  for (const RunningJob& job : running.jobs) {
    history_->OnEnd(worker_, job.spec.uid, running.lease->delivery.token(), loop_->now());
  }
  if (running.lease->delivery.batch()) {
    FinishBatch(running);
  } else {
    FinishJob(running);
  }
  hooks_.notify();
  Start();
}

// What the handler says of one job.
absl::StatusOr<std::string> SimExecutor::ResultFor(const RunningJob& job) const {
  if (job.spec.fatal) return absl::InvalidArgumentError("bad job \xff\xfe");  // no UTF-8
  if (job.attempt <= job.spec.fails) {
    std::string text(4095, 'x');
    text += "\xc3\xa4 is cut in the middle";
    return absl::UnavailableError(text);
  }
  return ResultOf(job.spec, job.payload);
}

std::vector<wire::FollowOn> SimExecutor::FollowOnsOf(const RunningJob& job) {
  std::vector<wire::FollowOn> follow_ons;
  if (!job.spec.follows) return follow_ons;
  const Job& next = history_->AddFollowOn(job.spec.uid);
  wire::FollowOn& follow_on = follow_ons.emplace_back();
  follow_on.set_index(job.index);
  follow_on.set_queue(next.queue);
  follow_on.mutable_options()->set_key(next.options.key());
  AppendToRun(PayloadOf(next.spec), follow_on.mutable_run());
  return follow_ons;
}

void SimExecutor::FinishJob(const Running& running) {
  const RunningJob& job = running.jobs.front();
  absl::StatusOr<std::string> result = ResultFor(job);
  if (running.ended == absl::StatusCode::kCancelled && !running.ignores_cancel && result.ok()) {
    result = absl::CancelledError("ended");
  }
  if (running.ended == absl::StatusCode::kDeadlineExceeded) {
    result = absl::DeadlineExceededError("timed out");
  } else if (stopped_ && !result.ok()) {
    result = absl::UnavailableError("its worker was stopped");
  }
  std::vector<wire::FollowOn> follow_ons;
  if (result.ok()) follow_ons = FollowOnsOf(job);
  events_.finished.push_back({running.lease->delivery.token(), job.index, std::move(result),
                              loop_->now() - running.begin, std::move(follow_ons)});
}

// Half of the handlers answer with one status for all, the others with one for each.
void SimExecutor::FinishBatch(const Running& running) {
  const uint64_t token = running.lease->delivery.token();
  const bool whole = token % 2 == 0;
  BatchOutcome outcome;
  for (const RunningJob& job : running.jobs) {
    outcome.indexes.push_back(job.index);
    absl::StatusOr<std::string> result = ResultFor(job);
    if (whole && !result.ok() && outcome.status.ok()) outcome.status = result.status();
    if (result.ok()) {
      for (wire::FollowOn& follow_on : FollowOnsOf(job)) {
        outcome.follow_ons.push_back(std::move(follow_on));
      }
    }
    outcome.results.push_back(std::move(result));
  }
  if (running.ended == absl::StatusCode::kDeadlineExceeded) {
    outcome.status = absl::DeadlineExceededError("timed out");
  } else if (running.ended == absl::StatusCode::kCancelled && !running.ignores_cancel) {
    outcome.status =
        stopped_ ? absl::UnavailableError("its worker was stopped") : absl::CancelledError("ended");
  }
  if (!outcome.status.ok()) {
    outcome.results.clear();
    outcome.follow_ons.clear();
  }
  events_.batches.push_back({token, std::move(outcome), loop_->now() - running.begin});
}

void SimExecutor::Recall(const wire::JobRange& range) {
  for (auto& lease : leases_) {
    if (lease->delivery.token() != range.token()) continue;
    std::erase_if(lease->waiting, [&](uint32_t position) {
      const uint64_t index = lease->IndexOf(position);
      if (index < range.first() || index >= uint64_t{range.first()} + range.count()) return false;
      events_.recalled.emplace_back(range.token(), static_cast<uint32_t>(index));
      hooks_.notify();
      return true;
    });
  }
  std::erase_if(leases_, [](const auto& lease) { return lease->waiting.empty(); });
}

void SimExecutor::Cancel(const wire::JobRange& range) {
  Recall(range);
  for (auto& [id, running] : running_) {
    if (running.lease->delivery.token() != range.token()) continue;
    const auto covered =
        std::count_if(running.jobs.begin(), running.jobs.end(), [&](const RunningJob& job) {
          return job.index >= range.first() && job.index < uint64_t{range.first()} + range.count();
        });
    // A part of a batch cannot be ended alone.
    if (static_cast<size_t>(covered) == running.jobs.size()) {
      End(&running, id, absl::StatusCode::kCancelled);
    }
  }
}

void SimExecutor::Drop(uint64_t token) {
  std::erase_if(leases_, [&](const auto& lease) { return lease->delivery.token() == token; });
  for (auto& [id, running] : running_) {
    if (running.lease->delivery.token() == token) {
      End(&running, id, absl::StatusCode::kCancelled);
    }
  }
}

void SimExecutor::StopAll() {
  stopped_ = true;
  for (auto& [id, running] : running_) End(&running, id, absl::StatusCode::kCancelled);
}

void SimExecutor::Resume() {
  paused_ = false;
  for (auto& [id, running] : running_) Plan(id);
  Start();
}

}  // namespace whippletree::sim
