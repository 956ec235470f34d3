// An executor and what it tells; its slots are real threads.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/run.h"
#include "worker/executor.h"

namespace whippletree {

// An executor for queue "q"; gathers what it tells.
class ExecutorTest : public ::testing::Test {
 protected:
  void Start(uint32_t slots, Handler handler) { Start(slots, {std::move(handler), nullptr}); }
  void Start(uint32_t slots, QueueHandlers handlers) {
    executor_ = std::make_unique<Executor>(
        slots, std::map<std::string, QueueHandlers>{{"q", std::move(handlers)}}, [this] {
          const std::lock_guard lock(mutex_);
          notified_ = true;
          changed_.notify_all();
        });
  }
  // Waits until `count` jobs in all have finished.
  void WaitForFinished(size_t count) {
    WaitUntil([&] { return finished_.size() >= count; });
  }
  template <typename Condition>
  void WaitUntil(Condition&& condition) {
    while (true) {
      Executor::Events events;
      executor_->TakeEvents(&events);
      for (const StartedJobs& jobs : events.started) {
        for (uint32_t i = 0; i < jobs.count; ++i) started_.emplace_back(jobs.token, jobs.first + i);
      }
      for (CompletedJobs& jobs : events.completed) {
        const RunData results(&jobs.results);
        for (uint32_t i = 0; i < results.count(); ++i) {
          finished_.push_back({jobs.token,
                               jobs.first + i,
                               std::string(results.payload(i)),
                               jobs.run_time / results.count(),
                               {}});
        }
      }
      recalled_.insert(recalled_.end(), events.recalled.begin(), events.recalled.end());
      for (auto& finished : events.finished) finished_.push_back(std::move(finished));
      std::sort(finished_.begin(), finished_.end(), [](const auto& a, const auto& b) {
        return std::pair(a.token, a.index) < std::pair(b.token, b.index);
      });
      for (auto& batch : events.finished_batches) batches_.push_back(std::move(batch));
      if (!events.worker_failure.ok()) worker_failure_ = events.worker_failure;
      if (condition()) return;
      // At a time before all deadlines: quick jobs are not waited for longer than this.
      const MonoTime next = executor_->CheckDeadlines(MonoTime{});
      const bool quick = next <= MonoTime{} + milliseconds(1);
      std::unique_lock lock(mutex_);
      const bool told = changed_.wait_for(lock, quick ? Duration(milliseconds(1)) : seconds(60),
                                          [&] { return notified_; });
      ASSERT_TRUE(told || quick);
      notified_ = false;
    }
  }
  static wire::Delivery Jobs(uint64_t token, const std::vector<std::string>& payloads,
                             uint32_t started, uint32_t timeout_ms = 0) {
    wire::Delivery delivery;
    delivery.set_token(token);
    delivery.set_queue("q");
    delivery.set_stream(7);
    delivery.set_first(100);
    delivery.set_attempt(3);
    delivery.set_started(started);
    delivery.mutable_options()->set_timeout_ms(timeout_ms);
    for (const std::string& payload : payloads) AppendToRun(payload, delivery.mutable_run());
    return delivery;
  }
  void WaitForBatches(size_t count) {
    WaitUntil([&] { return batches_.size() >= count; });
  }
  // A batch of two parts: one job of the stream 7, the others of the stream 8.
  static wire::Delivery Batch(uint64_t token, const std::vector<std::string>& payloads) {
    wire::Delivery delivery;
    delivery.set_token(token);
    delivery.set_queue("q");
    delivery.set_batch(true);
    delivery.set_started(static_cast<uint32_t>(payloads.size()));
    for (const std::string& payload : payloads) AppendToRun(payload, delivery.mutable_run());
    for (const uint32_t stream : {7, 8}) {
      wire::DeliveryPart* part = delivery.add_parts();
      part->set_stream(stream);
      part->set_first(stream * 100);
      part->set_count(stream == 7 ? 1 : static_cast<uint32_t>(payloads.size()) - 1);
      part->set_attempt(stream - 6);
    }
    return delivery;
  }
  static wire::JobRange Range(uint64_t token, uint32_t first, uint32_t count) {
    wire::JobRange range;
    range.set_token(token);
    range.set_first(first);
    range.set_count(count);
    return range;
  }

  using JobList = std::vector<std::pair<uint64_t, uint32_t>>;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool notified_ = false;
  JobList started_;
  JobList recalled_;
  std::vector<Executor::Events::Finished> finished_;  // by token and index
  std::vector<Executor::Events::FinishedBatch> batches_;
  absl::Status worker_failure_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace whippletree
