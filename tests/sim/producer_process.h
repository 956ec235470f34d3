// A simulated producer process: the real session, and a load of jobs that it submits in bursts. A
// named one that is started again goes on with the same input where the broker says.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "producer/session.h"
#include "tests/sim/process.h"

namespace whippletree::sim {

class ProducerProcess : public Process {
 public:
  // `deaf`: it acknowledges no outcome before it hurries.
  ProducerProcess(World* world, std::string name, bool named, bool deaf, uint32_t jobs);

  bool named() const { return named_; }
  bool deaf() const { return deaf_; }
  // The stream is gone for good: nobody waits for its outcomes.
  bool finished() const;
  std::string Describe() const;
  // No pauses between submits from now on, and few submits.
  void Hurry();
  // It says goodbye, whatever it waits for, and exits; a named one when that is confirmed.
  void Leave();
  bool leaving() const { return leaves_; }

 protected:
  void Turn() override;

 private:
  // As ProducerOptions.
  static constexpr uint64_t kPendingJobsMax = 300;
  static constexpr Duration kGoodbyeMax = std::chrono::seconds(3);
  static constexpr uint32_t kLateJobsMax = 40;  // that are submitted when it hurries

  void AcknowledgeLater(wire::OutcomeAck ack);
  void AcknowledgeDue();
  void Submit();
  void SubmitRun(const std::string& queue);
  JobSpec DrawJob(const wire::JobOptions& options);
  void CancelSome();
  void CloseGroup();
  void SayGoodbye();
  // Numbers that an earlier process used: its input comes again.
  bool SubmitAgain();

  const bool named_;
  const bool deaf_;
  std::unique_ptr<ProducerSession> session_;
  Prng prng_;
  uint32_t jobs_left_;
  uint64_t group_ = 0;  // that jobs may join; 0: none
  bool group_closed_ = false;
  bool group_ended_ = false;
  MonoTime submit_at_{};
  std::deque<std::pair<MonoTime, wire::OutcomeAck>> acks_;  // and when they are due
  uint32_t sessions_ = 0;
  bool hurry_ = false;
  bool leaves_ = false;
  MonoTime leave_at_ = kNever;  // when it said goodbye and has waited for long enough
  const bool leaves_when_finished_;
  bool full_seen_ = false;
};

}  // namespace whippletree::sim
