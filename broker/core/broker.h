// The broker as a state machine: inputs and the time go in, writes and sends come out.
//
// It decides everything and does nothing: no socket, no clock, no thread, no random device, no
// file. Not thread-safe. Remote input is never trusted: what is wrong is answered, counted and
// logged. Broken internal state ends the process.
//
// The members are grouped by file: broker.cc (steps, timers, sends), sessions.cc (hello to loss),
// producers.cc (streams), outcomes.cc, workers.cc (reports, leases), dispatch.cc (who gets what),
// report.cc (status, log, invariants).
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/commit_gate.h"
#include "broker/core/config.h"
#include "broker/core/effects.h"
#include "broker/core/lease.h"
#include "broker/core/peer.h"
#include "broker/core/queue.h"
#include "broker/core/stream.h"
#include "common/prng.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

class Broker {
 public:
  explicit Broker(Config config);
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // Applies `inputs` in order, then what is due at `now`, then dispatches. Adds to `effects`, which
  // is to be empty. Inputs are consumed.
  // REQUIRES: now does not go back.
  void Step(Instant now, std::span<Input> inputs, Effects* effects);

  // When Step must be called at the latest, with or without inputs.
  MonoTime NextDeadline() const;

  // The ledger and every cross-index; CHECKs. Slow: for tests.
  void CheckInvariants() const;

  wire::StatusReply Status() const;

  const Config& config() const { return config_; }
  uint64_t last_commit() const { return commit_; }
  uint64_t used_bytes() const { return used_bytes_; }

  // For tests.
  const std::map<std::string, std::unique_ptr<Queue>>& queues() const { return queues_; }
  const LeaseTable& leases() const { return leases_; }
  uint64_t counter(std::string_view name) const;

 private:
  // broker.cc
  void Apply(FrameIn& in);
  void Apply(BadFrame& in);
  void Apply(Durable& in);
  void Apply(SendFailed& in);
  void Apply(Loaded& in);
  void Apply(Policies& in);
  void ApplyDoor(FrameIn& in);
  void ApplyData(FrameIn& in);
  void FireTimers();
  void CheckPeer(Peer& peer);
  // Makes sure that CheckPeer runs at `at`, at the latest.
  void SetTimer(Peer& peer, MonoTime at);
  void SetTimer(Queue& queue, MonoTime at);
  void SendTo(Peer& peer, wire::Envelope message, uint64_t commit = 0);
  // To somebody who has no session.
  void Answer(const std::string& route, wire::Envelope message);
  void Refuse(const std::string& route, const absl::Status& status, wire::Refusal::Action action);
  void Release(Send send);
  void Emit(Send send);
  void FlushOutbox(Peer& peer);
  void FinishStep();
  // The commit that this step's writes will be.
  uint64_t ThisCommit() const { return commit_ + 1; }
  record::Record* Write() { return &effects_->writes.emplace_back(); }

  // sessions.cc
  // What a claiming producer was to this start of the broker: nobody, in a session before, or in
  // one that is forgotten by now.
  enum class Claimant { kNew, kKnown, kForgotten };
  void OnHello(const std::string& route, wire::Hello& hello);
  absl::Status CheckHello(const wire::Hello& hello) const;
  void WelcomeProducer(Peer& peer, const wire::Hello& hello, Claimant claimant,
                       wire::Welcome* welcome);
  void WelcomeWorker(Peer& peer, const wire::Hello& hello, wire::Welcome* welcome);
  // The last commit that what a welcome says of the peer depends on.
  uint64_t CommitOf(const Peer& peer) const;
  // The peer of this session; else null, and who can be told is told to say hello.
  Peer* FindSession(uint64_t session, wire::Role role, const FrameIn& in);
  void LoseSession(Peer& peer, std::string_view reason);
  void ForgetProducer(Peer& peer);
  void ForgetWorker(Peer& peer, std::string_view reason);
  void ErasePeer(Peer& peer);

  // producers.cc
  void OnSubmit(Peer& peer, wire::Submit& submit);
  void OnCancel(Peer& peer, const wire::Cancel& cancel);
  void OnOpenStream(Peer& peer, const wire::StreamClaim& claim);
  // nullptr: too many streams or queues, or a bad name; `error` says so.
  Stream* OpenStream(Peer& peer, const std::string& queue_name, absl::Status* error);
  Queue* OpenQueue(const std::string& name, absl::Status* error);
  const QueuePolicy& PolicyOf(const std::string& queue) const;
  // The producer speaks of the stream: its outcomes may be sent.
  void MarkClaimed(Stream& stream);
  void ClaimStream(Peer& peer, const wire::StreamClaim& claim, Claimant claimant,
                   wire::StreamUpdate* update);
  // Whether the queue takes a job with this payload now.
  bool HasRoom(const Queue& queue, uint64_t bytes) const;
  // Of jobs [begin, end) of `run`, how many the queue takes now.
  uint32_t RoomFor(const Queue& queue, const RunData& run, uint32_t begin, uint32_t end) const;
  void Accept(Stream& stream, const std::shared_ptr<RunData>& run, uint32_t begin, uint32_t end);
  // Reads what cancelled jobs and records take into the sums.
  void CountMemory(Queue& queue);
  // Results that nobody fetches must not fill the memory: neither those of one queue, which leave
  // room for others, nor all together.
  bool OutcomesFull() const { return outcome_bytes_ > config_.budget_bytes() / 2; }
  bool HeldByOutcomes(const Queue& queue) const {
    return OutcomesFull() ||
           queue.outcome_bytes > std::min(queue.policy.capacity_bytes, config_.budget_bytes() / 4);
  }
  void ReleasePayload(Queue& queue, uint64_t bytes);
  void Reject(Stream& stream, uint64_t first, uint64_t count, const absl::Status& status);
  void Touch(Stream& stream);
  void FillUpdate(const Stream& stream, wire::StreamUpdate* update) const;
  void SendUpdates();
  void WakeFullStreams();
  // Its producer is gone for good.
  void DropStream(Stream& stream);

  // outcomes.cc
  static wire::OutcomeRange CancelledOutcome(uint32_t attempts);
  void OnOutcomeAck(Peer& peer, const wire::OutcomeAck& ack);
  void DropSettled(Stream& stream, uint64_t wanted);
  // Records the one outcome of jobs of a stream. `keep`: somebody wants to know it.
  void EndJobs(Stream& stream, wire::OutcomeRange outcome, bool keep);
  void SendOutcomesOf(const Stream& stream);
  void KeepOutcome(Stream& stream, wire::OutcomeRange outcome);
  void ReleaseOutcome(Stream& stream, const wire::OutcomeRange& outcome, uint64_t bytes);
  void SendOutcomes(Peer& peer);

  // workers.cc
  void OnReport(Peer& peer, wire::Report& report);
  void OnReportItem(Peer& peer, wire::ReportItem& item);
  void OnStarted(Lease& lease, const IntervalSet::Interval& part);
  // `results` are those of the jobs from index `first` on; `part` of these is still open.
  void OnCompleted(Peer& peer, Lease& lease, const IntervalSet::Interval& part,
                   const RunData& results, uint32_t first);
  void OnWorkerState(Peer& peer, const google::protobuf::RepeatedPtrField<wire::Credit>& credits,
                     uint64_t deliveries_next, bool draining);
  // Jobs `part` of `lease` end. Closes them.
  void EndLeased(Lease& lease, const IntervalSet::Interval& part, wire::OutcomeRange outcome);
  // Jobs `part` of `lease` were started and failed: retried, or dead, or cancelled.
  void FailJobs(Lease& lease, const IntervalSet::Interval& part, const wire::Status& status,
                const std::string& worker);
  // Jobs of `lease` wait again, with `attempts` charged.
  void ReturnJobs(Lease& lease, const IntervalSet::Interval& part, uint32_t attempts, bool suspect,
                  Duration delay);
  void CloseJobs(Lease& lease, const IntervalSet::Interval& part);
  void EraseIfDone(Lease& lease);
  // The lease ends without a word from its worker. `uncharged`: it never got the jobs, or did not
  // list them.
  void EndLease(uint64_t token, bool uncharged, std::string_view why);
  void Ask(Lease& lease);
  void UpdateReady(Peer& worker);
  Queue& QueueOf(const Lease& lease);
  Stream& StreamOf(const Lease& lease);
  // The worker's entry for the lease's queue; nullptr if it does not serve it any more.
  WorkerQueue* WorkerQueueOf(const Lease& lease);

  // dispatch.cc
  void Dispatch();
  bool DispatchPass(bool to_hold);
  bool Serve(Peer& peer, bool to_hold);
  uint32_t Room(const WorkerState& worker, const WorkerQueue& wq, bool to_hold) const;
  uint32_t Grant(Peer& worker, WorkerQueue& wq, uint32_t jobs, bool to_hold);
  void SendDeliveries(Peer& worker);
  void FillDelivery(const Lease& lease, wire::Delivery* delivery) const;
  void Wake(Queue& queue) { woken_queues_.insert(queue.number); }
  void RevokeForIdle(Queue& queue);

  // report.cc
  void Tick();
  void Log(LogLevel level, std::string_view event, LogFields fields);
  void Count(std::string_view name, uint64_t n = 1);
  std::string GateOf(const Queue& queue) const;

  const Config config_;
  Policies policies_;
  Prng prng_;
  Instant now_{};
  bool started_ = false;
  Instant start_{};
  Effects* effects_ = nullptr;  // during a step

  std::map<std::string, std::unique_ptr<Queue>> queues_;
  std::vector<Queue*> queue_by_number_;
  std::map<uint64_t, std::unique_ptr<Stream>> streams_;
  uint64_t last_stream_ = 0;
  std::map<uint64_t, std::unique_ptr<Peer>> peers_;
  uint64_t last_peer_ = 0;
  absl::flat_hash_map<std::string, uint64_t> peer_by_name_;
  absl::flat_hash_map<uint64_t, uint64_t> peer_by_session_;
  uint64_t last_session_;
  LeaseTable leases_;
  // Named producers that were forgotten: name → when even that is forgotten.
  std::map<std::string, MonoTime> expired_names_;

  uint64_t commit_ = 0;
  CommitGate<Send> gate_;
  uint64_t used_bytes_ = 0;     // payloads, outcomes, records, peers
  uint64_t outcome_bytes_ = 0;  // of these

  std::set<std::pair<MonoTime, uint64_t>> peer_timers_;
  std::set<std::pair<MonoTime, uint64_t>> queue_timers_;
  MonoTime next_tick_{};

  // Work for the end of the step.
  std::vector<uint64_t> touched_streams_;
  std::set<uint64_t> outcome_peers_;
  std::set<uint64_t> report_peers_;
  std::set<uint64_t> woken_queues_;
  std::set<uint64_t> woken_workers_;
  std::set<uint64_t> delivery_peers_;
  std::set<uint64_t> full_queues_;       // with streams that wait for room
  std::vector<uint64_t> dying_streams_;  // perhaps without jobs and producer

  std::map<std::string, uint64_t, std::less<>> counters_;
  MonoTime next_summary_{};
};

}  // namespace whippletree::core
