// A simulated worker process: the real session, the shell's loop (worker/worker.cc) by hand, and
// the simulated executor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/executor.h"
#include "tests/sim/process.h"
#include "worker/session.h"

namespace whippletree::sim {

class WorkerProcess : public Process {
 public:
  WorkerProcess(World* world, std::vector<std::string> queues, uint32_t slots);

  void Drain();
  // As a second SIGTERM: jobs are ended, and it leaves soon in any case.
  void Stop();
  // Until then it takes all it can and runs it, but tells nothing of it; kNever: for ever.
  void Hoard(MonoTime until);
  // From now on its jobs do not take long.
  void Hurry();
  void Pause() override;
  void Resume() override;
  void Kill() override;

  bool draining() const { return drain_; }
  size_t queues() const { return queues_; }
  bool hoards() const { return world_->loop.now() < hoard_until_; }

 protected:
  void Turn() override;

 private:
  void TakeEvents();

  std::unique_ptr<WorkerSession> session_;
  std::unique_ptr<SimExecutor> executor_;
  size_t queues_ = 0;
  bool drain_ = false;
  bool stop_ = false;
  bool stopped_ = false;
  bool was_connected_ = false;
  MonoTime leave_at_ = kNever;
  MonoTime hoard_until_{};
};

}  // namespace whippletree::sim
