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
    const uint32_t position = lease->waiting.front();
    lease->waiting.pop_front();
    if (lease->waiting.empty()) leases_.pop_front();
    Running running;
    running.lease = lease;
    running.index = lease->IndexOf(position);
    running.payload = std::string(lease->run.payload(position));
    history_->OnStart(worker_, lease->delivery, running.payload, loop_->now());
    running.spec = history_->job(UidOf(running.payload)).spec;
    running.begin = loop_->now();
    running.end = loop_->now() + running.spec.service;
    const uint64_t token = lease->delivery.token();
    if (position >= lease->delivery.started()) {
      events_.started.emplace_back(token, running.index);
      hooks_.notify();
    }
    const uint64_t id = ++last_start_;
    Running& placed = running_.emplace(id, std::move(running)).first->second;
    if (stopped_) End(&placed, id, absl::StatusCode::kCancelled);
    Plan(id);
    if (const uint32_t timeout = lease->delivery.options().timeout_ms(); timeout > 0) {
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
  if (running->spec.ignores_cancel) return;
  const MonoTime soon = loop_->now() + DrawDuration(&prng_, milliseconds(2));
  if (soon >= running->end) return;
  running->end = soon;
  Plan(id);
}

void SimExecutor::Finish(uint64_t id) {
  auto it = running_.find(id);
  if (paused_ || it == running_.end() || loop_->now() < it->second.end) return;
  const Running running = std::move(it->second);
  if (running.spec.poison) {
    hooks_.die();  // and we are gone
    return;
  }
  running_.erase(it);
  const wire::Delivery& delivery = running.lease->delivery;
  history_->OnEnd(worker_, running.spec.uid, delivery.token(), loop_->now());
  absl::StatusOr<std::string> result = ResultOf(running.spec, running.payload);
  if (running.spec.fatal) {
    result = absl::InvalidArgumentError("bad job \xff\xfe");  // no UTF-8: handlers may
  } else if (delivery.attempt() <= running.spec.fails) {
    std::string text(4095, 'x');
    text += "\xc3\xa4 is cut in the middle";
    result = absl::UnavailableError(text);
  } else if (running.ended == absl::StatusCode::kCancelled && !running.spec.ignores_cancel) {
    result = absl::CancelledError("ended");
  }
  if (running.ended == absl::StatusCode::kDeadlineExceeded) {
    result = absl::DeadlineExceededError("timed out");
  } else if (stopped_ && !result.ok()) {
    result = absl::UnavailableError("its worker was stopped");
  }
  events_.finished.push_back(
      {delivery.token(), running.index, std::move(result), loop_->now() - running.begin});
  hooks_.notify();
  Start();
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
    if (running.lease->delivery.token() == range.token() && running.index >= range.first() &&
        running.index < uint64_t{range.first()} + range.count()) {
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
