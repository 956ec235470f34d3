// The broker as a state machine: inputs and the time go in, writes and sends come out.
//
// It decides everything and does nothing: no socket, no clock, no thread, no random device, no
// file. Not thread-safe. Remote input is never trusted: what is wrong is answered, counted and
// logged. Broken internal state ends the process.
//
// The members are grouped by the file that has them; docs/architecture.md says what each is for.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/attempt_log.h"
#include "broker/core/changed_rows.h"
#include "broker/core/config.h"
#include "broker/core/dead_jobs.h"
#include "broker/core/departures.h"
#include "broker/core/disk_gate.h"
#include "broker/core/effects.h"
#include "broker/core/follow_on.h"
#include "broker/core/hellos.h"
#include "broker/core/lease.h"
#include "broker/core/options_keeper.h"
#include "broker/core/outgoing.h"
#include "broker/core/overdue.h"
#include "broker/core/peer.h"
#include "broker/core/queue.h"
#include "broker/core/secrets.h"
#include "broker/core/stored_outcomes.h"
#include "broker/core/stream.h"
#include "broker/core/unwritten.h"
#include "common/interval_set.h"
#include "common/prng.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

class Broker {
 public:
  explicit Broker(Config config);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // Takes over a row of the store. REQUIRES: before the first Step; in the order of Record.
  // DATA_LOSS: the row cannot be, by itself or beside the others.
  absl::Status Restore(record::Record row);
  // After the last row, also if there was none and there is a store. Errors as Restore.
  absl::Status FinishRestore(Instant now, Effects* effects);

  // Applies `inputs` in order, then what is due at `now`, then dispatches; what is too much for one
  // step is left for the next. Adds to `effects`, which is to be empty. Inputs are consumed.
  // REQUIRES: now does not go back.
  void Step(Instant now, std::span<Input> inputs, Effects* effects);

  // Something is left for the next step, which is due at once.
  bool has_more() const { return is_left_ || has_carried(); }
  // No further inputs are to be read before it.
  bool has_carried() const { return !carried_.empty() || !departures_.empty() || configured_; }
  // When Step must be called at the latest, with or without inputs.
  MonoTime NextDeadline() const;
  // The ledger and every cross-index; CHECKs. Slow: for tests.
  void CheckInvariants() const;
  // What comes behind `after`. `next` is set if that is more than about so many bytes.
  wire::StatusReply Status(const wire::StatusCursor& after = {}, uint64_t bytes_max = ~0ul) const;

  const Config& config() const { return config_; }
  uint64_t last_commit() const { return commit_; }
  uint64_t used_bytes() const { return used_bytes_; }
  DiskState disk_state() const { return disk_.state(); }

  const std::map<std::string, std::unique_ptr<Queue>>& queues() const { return queues_; }
  // For tests.
  const LeaseTable& leases() const { return leases_; }
  const DeadJobs& dead() const { return dead_; }
  // Some worker would take a start of this queue now.
  bool HasFreeSlot(const Queue& queue) const;
  uint64_t counter(std::string_view name) const;

 private:
  friend class Departures;
  friend class FollowOns;
  friend class Hellos;
  friend class Outgoing;
  friend class Overdue;
  friend class StoredOutcomes;
  // broker.cc
  void Apply(FrameIn& in);
  void Apply(AdminAnswer& in);
  void Apply(BadFrame& in);
  void Apply(Durable& in);
  void Apply(SendFailed& in);
  void Apply(Loaded& in);
  void Apply(Policies& in);
  void Apply(Disk& in);
  void ApplyDoor(FrameIn& in);
  void ApplyData(FrameIn& in);
  void ApplyAll(std::span<Input> inputs);
  void CarryRest(FrameIn& in);
  void Work(uint64_t units = 1) { work_ += units; }
  bool IsExhausted() const;
  void FireTimers();
  void CheckPeer(Peer& peer);
  void SetTimer(Peer& peer, MonoTime at);
  void SetTimer(Queue& queue, MonoTime at);
  void SendTo(Peer& peer, wire::Envelope message, uint64_t commit = 0);
  void Answer(const std::string& route, wire::Envelope message, uint64_t commit = 0);
  void Refuse(const std::string& route, const absl::Status& status, wire::Refusal::Action action);
  void FinishStep();
  uint64_t ThisCommit() const { return commit_ + 1; }
  void Start(Instant now);

  // sessions.cc
  void OnGoodbye(Peer& peer);
  void DropExpiredNames();
  void OfferRefused(Peer& peer);  // to say hello again, if it can serve a refused queue now
  // The last commit that what a welcome says of the peer depends on.
  uint64_t CommitOf(const Peer& peer) const;
  uint64_t CommitOf(const Lease& lease) const;
  Duration SilenceMax(const Peer& peer) const;
  // The peer of this session, if the message has its secret; else null, and who can be told is told
  // to say hello.
  Peer* FindSession(uint64_t session, wire::Role role, const FrameIn& in);
  void LoseSession(Peer& peer, std::string_view reason);
  void CheckLostProducer(Peer& peer);
  // Calls each(stream) for all streams of the producer.
  template <typename Each>
  void ForEachStream(const ProducerState& producer, Each&& each) {
    for (const auto& [queue, number] : producer.streams) each(*streams_.at(number));
    for (const auto& [queue, number] : producer.follow_on_streams) each(*streams_.at(number));
  }
  Peer& AddPeer(wire::Role role, const std::string& name);
  void SetRoute(Peer& peer, const std::string& route);
  void LeaveQueues(const Peer& worker);  // serves them no more
  void ErasePeer(Peer& peer);

  // producers.cc
  bool OnSubmit(Peer& peer, wire::Submit& submit, bool is_rest);  // as OnReport
  static absl::Status OptionsError(const wire::JobOptions& options);
  void OnOpenStream(Peer& peer, const wire::StreamClaim& claim);
  // nullptr: `error` says why.
  Stream* OpenStream(Peer& peer, const std::string& queue_name, absl::Status* error);
  Stream& AddStream(uint64_t number, Queue& queue, uint64_t producer);
  // The producer speaks of the stream: its outcomes may be sent.
  void MarkClaimed(Stream& stream);
  void ClaimStream(Peer& peer, const wire::StreamClaim& claim, Claimant claimant,
                   wire::StreamUpdate* update);
  uint64_t DiskRoom(const Queue& queue) const;
  void MarkFull(Stream& stream, uint64_t bytes, bool for_name = false);
  bool HasNameRoom() const { return name_bytes_ < config_.budget_bytes() / 4; }
  // Whether the queue takes a job with this payload now.
  bool HasRoom(const Queue& queue, uint64_t bytes) const;
  // Of jobs [begin, end) of `run`, how many the queue takes now.
  uint32_t RoomFor(const Queue& queue, const RunData& run, uint32_t begin, uint32_t end) const;
  void Accept(Stream& stream, const std::shared_ptr<RunData>& run, uint32_t begin, uint32_t end);
  // REQUIRES: slice.first == stream.next.
  void AddJobs(Stream& stream, Slice slice);
  void Reject(Stream& stream, uint64_t first, uint64_t count, const absl::Status& status);
  void Touch(Stream& stream);
  void FillUpdate(const Stream& stream, wire::StreamUpdate* update) const;
  void WakeFullStreams();
  void DropStream(Stream& stream);

  // queues.cc
  const QueuePolicy& PolicyOf(const std::string& queue) const;
  Queue* OpenQueue(const std::string& name, absl::Status* error);
  Queue& AddQueue(const std::string& name);
  // Why the queue cannot go.
  absl::Status DropError(const Queue& queue) const;
  void DropQueue(Queue& queue);
  bool IsUnused(Queue& queue) const;  // for so long that it may go
  wire::AdminReply OnDropQueue(const wire::DropQueueRequest& request);

  // accounts.cc
  bool TablesFull() const;         // no more queues, streams and groups
  absl::Status PeersFull() const;  // OK: there may be another
  void CountTable(int64_t bytes);
  void CountPeer(Peer& peer);
  void CountGroup(JobGroup& group);
  void UncountGroup(const JobGroup& group);
  void CountMemory(Queue& queue);
  void ReleasePayload(Queue& queue, uint64_t bytes);

  // schedule.cc
  void Enqueue(Stream& stream, Slice slice);
  void WatchExpiry(Queue& queue, const Slice& slice);
  bool IsExpired(const Slice& slice) const;
  void SetWallTimer(Queue& queue);
  void FireWallTimers();
  void ExpireWaiting(Queue& queue, const Expiry& expiry);

  // job_names.cc
  uint32_t FreshNames(const Queue& queue, const wire::Submit& submit, uint32_t begin, uint32_t end,
                      absl::Status* error) const;
  void KeepNames(Queue& queue, uint64_t stream, uint64_t first, RunData names);
  void EndNames(Queue& queue, uint64_t stream, uint64_t begin, uint64_t end, const NameEnds& ends);
  void ExpireNames(Queue& queue);
  void DropOldestNames(Queue& queue);

  // cancel.cc
  bool OnCancel(Peer& peer, wire::Cancel& cancel);  // as OnReport
  // How far jobs [first, end) of the stream can be cancelled in this step, which is its work then.
  uint64_t CancelEnd(const Stream& stream, uint64_t first, uint64_t end);
  void CancelJobs(Stream& stream, const IntervalSet& jobs);
  IntervalSet WaitingOf(const Stream& stream, const IntervalSet& jobs) const;
  void EndWaiting(Stream& stream, const IntervalSet& waiting, const wire::OutcomeRange& outcome);

  // groups.cc
  // nullptr: no group, or nobody waits for it.
  JobGroup* GroupOf(const Stream& stream, uint64_t group);
  // That of this number, which is new if there is none.
  JobGroup& OpenGroup(ProducerState& producer, uint64_t group);
  absl::Status GroupError(const Stream& stream, uint64_t group) const;
  void JoinGroup(Stream& stream, uint64_t group, uint64_t begin, uint64_t end);
  void LeaveGroup(Stream& stream, wire::OutcomeRange::Kind kind, uint64_t begin, uint64_t end);
  void CheckGroup(uint64_t producer, uint64_t group);
  void OnCloseGroup(Peer& peer, const wire::CloseGroup& close);
  bool OnGroupAck(Peer& peer, wire::GroupAck& ack);  // as OnReport
  void SendGroupUpdates(Peer& peer);
  void ResumeGroups(Peer& peer, const wire::Hello& hello, bool known);
  void EraseGroup(Peer& peer, uint64_t group);

  // gates.cc
  // How many starts its gates let pass now; sets the timer for when it may be more.
  uint64_t AllowedStarts(Queue& queue);
  void WaitForTokens(Queue& queue, uint64_t tokens);
  void OnStarts(Queue& queue, uint64_t starts, uint64_t jobs);
  // What keeps its waiting jobs, in words; empty: nothing.
  std::string_view ClosedGate(const Queue& queue) const;
  void FeedBreaker(Lease& lease, uint64_t jobs, Verdict verdict);
  void LogBreaker(const Queue& queue);
  void HoldQueue(Queue& queue, Duration delay);
  // The disk is too full for leases of this queue.
  bool HeldByDisk(const Queue& queue) const;
  void OnDiskState(DiskState before);
  void TakeBackHeld(const Queue& queue);  // from workers, in this step
  void AskForHeldBack();
  void AskBackLater(Peer& peer, const Queue& queue);
  // `commit`: the last commit that the reply depends on.
  wire::AdminReply OnPause(const wire::PauseRequest& request, uint64_t* commit);
  void ConfigureQueues();
  void Configure(Queue& queue, const QueuePolicy& policy);

  // batches.cc
  uint64_t BatchJobsMax(const Queue& queue) const;
  bool NoneWillJoin(const Queue& queue);
  // The jobs of the next batch, which may be one that runs `apart`; empty: none may go yet.
  std::vector<Slice> NextBatch(Queue& queue, bool apart, BatchReason* reason);
  bool MayHalve(const Slice& slice, const QueuePolicy& policy) const;
  bool Halves(const Lease& lease) const;  // it is a batch whose jobs may be halved
  // Jobs `part` of a batch are tried again in two halves, uncharged; those that cannot be are
  // failed.
  void HalveBatch(Lease& lease, const IntervalSet::Interval& part, const Failure& failure);

  // outcomes.cc
  void OnOutcomeAck(Peer& peer, const wire::OutcomeAck& ack);
  void DropSettled(Stream& stream, uint64_t wanted);
  // Records the one outcome of jobs of a stream. `keep`: somebody wants to know it.
  void EndJobs(Stream& stream, wire::OutcomeRange outcome, bool keep);
  void SendOutcomesOf(Stream& stream);
  void KeepOutcome(Stream& stream, wire::OutcomeRange outcome);
  void AddOutcome(Stream& stream, wire::OutcomeRange outcome);
  void PushOutcome(Stream& stream, wire::OutcomeRange outcome);  // to be sent
  void ReleaseOutcome(Stream& stream, const wire::OutcomeRange& outcome, uint64_t bytes);
  void ForgetOutcome(Stream& stream, uint64_t first, uint64_t jobs, uint64_t group);
  void SendOutcomes(Peer& peer);

  // unread.cc
  void MarkUnread(Stream& stream);  // as MarkFull
  bool IsStopped(const Stream& stream) const;
  void AddUnread(Stream& stream, uint64_t bytes);
  void RemoveUnread(Stream& stream, uint64_t bytes);
  void CheckUnread(Peer& peer);
  void SetStopped(Peer& peer, bool stopped);

  // ack_delay.cc
  void SendUpdates();
  // Nobody waits for the update, as far as the broker knows, or not yet.
  bool MayHoldUpdate(const Stream& stream) const;
  // Items of a report were recorded.
  void HoldReportAck(Peer& peer);
  void SendReportAck(Peer& peer);
  void PruneHeld();
  void ReleaseHeld();
  MonoTime NextHeld() const;

  // worker_reports.cc. False: some of it is left, for the next step.
  bool OnReport(Peer& peer, wire::Report& report);
  bool OnReportItem(Peer& peer, wire::ReportItem& item);  // as OnReport
  // Of a failure, the first jobs that one step takes.
  uint32_t PartOf(const wire::ReportItem& item);

  // workers.cc
  // Where one step ends that takes jobs of the lease from index `first` on: each record, and each
  // part between others, is work; or `each` job.
  uint64_t StepEnd(const Lease& lease, uint64_t first, bool each) const;
  void OnStarted(Lease& lease, const IntervalSet::Interval& part);
  void OnFailed(const Peer& peer, Lease& lease, const std::vector<IntervalSet::Interval>& parts,
                wire::ReportItem& item);
  // `results`: of the jobs from index `first` on. Takes those of `part`, which is still open.
  void OnCompleted(Peer& peer, Lease& lease, const IntervalSet::Interval& part, RunData& results,
                   uint32_t first);
  void OnWorkerState(Peer& peer, const google::protobuf::RepeatedPtrField<wire::Credit>& credits,
                     uint64_t deliveries_next, bool draining);
  // The jobs of `slice`, from index `index` of the lease on, end.
  void EndSlice(Lease& lease, const Slice& slice, uint64_t index, wire::OutcomeRange outcome,
                Verdict verdict);
  // Jobs `part` of `lease` were started and failed: retried, or dead, cancelled, expired.
  void FailJobs(Lease& lease, const IntervalSet::Interval& part, const Failure& failure);
  Duration RetryLost(Lease& lease, const Slice& slice, uint64_t index);
  void GiveBack(Lease& lease, const IntervalSet::Interval& part, bool cancelled, bool suspect);
  // The jobs of `slice`, from index `index` of the lease on, wait again, as `slice` says.
  void ReturnJobs(Lease& lease, Slice slice, uint64_t index, Duration delay, Verdict verdict);
  // The jobs of `slice`, from index `index` of the lease on, are leased no more.
  void CloseJobs(Lease& lease, const Slice& slice, uint64_t index, Verdict verdict);
  void EraseIfDone(Lease& lease);
  // Without a word from its worker. `uncharged`: it never got the jobs, or did not list them.
  // False: it has more jobs than the step has room for; the rest is to be ended as well.
  bool EndLease(uint64_t token, bool uncharged, std::string_view why);
  void Ask(Lease& lease);  // for all that is cancelled or revoked of it
  void AskFor(Lease& lease, const IntervalSet& cancelled, const IntervalSet& revoked);
  void UpdateReady(Peer& worker);
  // nullptr: it does not serve the queue any more.
  WorkerQueue* WorkerQueueOf(const Lease& lease);

  // deaths.cc
  void NoteAttempt(const Slice& slice, const wire::Status& status, const std::string& worker);
  void ForgetAttempts(const Stream& stream, uint64_t begin, uint64_t end);
  void KeepDead(Queue& queue, const Slice& slice, uint32_t attempts, const wire::Status& status,
                const std::string& worker);
  void BoundDead(Queue& queue);
  record::Dead TakeDead(const DeadJobs::Id& id);
  DeadJobs::Id RequeueDead(const DeadJobs::Id& id);
  // admin.cc. `commit`: the last commit that the reply depends on.
  wire::AdminReply OnAdmin(const wire::AdminRequest& request, uint64_t* commit);
  wire::AdminReply OnDead(const wire::DeadRequest& request);
  wire::AdminReply OnJobs(const wire::JobsRequest& request);
  wire::JobState StateOf(const wire::JobId& id, const Stream* stream, const record::Dead* dead);
  wire::JobState StateOf(const Slice& slice, std::string state) const;
  wire::JobState LeasedState(const Lease& lease, const Slice& slice, bool charged,
                             bool cancelled) const;
  wire::JobState WaitingState(const Slice& slice, const JobQueue::Until& until) const;
  void ListJobs(const Queue& queue, uint64_t after, uint32_t limit, wire::JobsReply* reply);

  // dispatch.cc
  void Dispatch();
  void DispatchAll(bool to_hold);
  bool DispatchPass(bool to_hold);
  // As many workers with room as its jobs need, or all. False: there are more.
  bool WakeTakers(Queue& queue, bool to_hold, bool all);
  uint64_t ShareOf(Queue& queue, bool to_hold) const;
  bool MayHoldNow(const Queue& queue) const;
  bool Serve(Peer& peer, bool to_hold);
  bool MayLease(const WorkerState& worker) const;
  uint32_t Room(const WorkerState& worker, const WorkerQueue& wq, bool to_hold) const;
  // These return how many jobs, or batches, were leased to the worker.
  uint32_t Grant(Peer& worker, WorkerQueue& wq, uint32_t jobs, bool to_hold);
  uint32_t GrantBatches(Peer& worker, WorkerQueue& wq, uint64_t batches);
  void AfterGrants(Peer& worker, Queue& queue, uint32_t granted);
  void GrantLease(Peer& worker, WorkerQueue& wq, std::vector<Slice> slices, bool to_hold,
                  bool batch);
  void SendDeliveries(Peer& worker);
  void FillDelivery(const Lease& lease, wire::Delivery* delivery) const;
  void Wake(Queue& queue) { woken_queues_.insert(queue.number); }
  void RevokeForIdle(Queue& queue);

  // stored.cc
  bool BeyondMemory(const Queue& queue, uint64_t bytes) const;
  void PlacePayload(Queue& queue, Slice* slice);
  void ReleaseWritten(uint64_t durable);
  void AskForStored();  // at the end of the step
  void AskForStored(Queue& queue);
  // The store does not have what it said it has: jobs end without a start.
  void LoseJobs(Stream& stream, const IntervalSet& jobs, const absl::Status& error);

  // journal.cc. These note that a row of a durable queue has changed.
  void NoteQueue(const Queue& queue);
  void NoteStream(Stream& stream);
  void NoteLease(const Lease& lease);
  void NoteGroup(uint64_t producer, uint64_t group);
  void NoteProducer(Peer& peer);
  void NoteReturned(const Slice& slice, uint64_t batch, Duration delay);
  void WriteRows();  // at the end of the step
  record::Record* Write() { return &effects_->writes.emplace_back(); }
  void EraseLeaseRow(const Lease& lease);
  void EraseGroupRow(const Peer& producer, uint64_t group);

  // restore.cc
  struct Restoring;
  absl::Status RestoreProducer(const record::Producer& row);
  absl::Status RestoreStream(const record::Stream& row);
  absl::Status RestoreRun(record::Run& row);
  absl::Status RestoreGroup(const record::Group& row);
  absl::Status RestoreOutcome(const record::Outcome& row);
  absl::Status RestoreNames(const record::JobNames& row);
  absl::Status RestoreAttempts(const record::Attempts& row);
  absl::Status RestoreDead(record::Dead& row);
  absl::Status RestoreLeases();
  absl::Status RestoreLease(const record::Lease& row);
  void RestoreWaiting();

  // report.cc
  void Tick();
  void TickOf(Queue& queue, bool summary);
  void Log(LogLevel level, std::string_view event, LogFields fields);
  void Count(std::string_view name, uint64_t n = 1);
  std::string GateOf(const Queue& queue) const;
  wire::StatusReply StatusOfQueue(const std::string& name) const;
  void FillStatus(const Queue& queue, wire::QueueStatus* q) const;
  void FillStatus(const Peer& peer, wire::WorkerStatus* w) const;

  const Config config_;
  const Secrets secrets_;
  Policies policies_;
  std::optional<std::string> configured_;  // queues up to this one follow them; none: all do
  Prng prng_;
  Instant now_{};
  bool started_ = false;
  Instant start_{};
  Effects* effects_ = nullptr;  // during a step

  uint64_t used_bytes_ = 0;   // payloads, outcomes, records, tables, what is not written
  uint64_t table_bytes_ = 0;  // of these: queues, streams, peers, groups, leases
  OptionsKeeper options_{&used_bytes_};
  std::map<std::string, std::unique_ptr<Queue>> queues_;
  std::vector<Queue*> queue_by_number_;
  std::vector<uint64_t> free_queue_numbers_;
  DroppedQueues dropped_;
  std::map<uint64_t, std::unique_ptr<Stream>> streams_;
  uint64_t last_stream_ = 0;
  std::map<uint64_t, std::unique_ptr<Peer>> peers_;
  uint64_t last_peer_ = 0;
  absl::flat_hash_map<std::string, uint64_t> peer_by_name_;
  absl::flat_hash_map<uint64_t, uint64_t> peer_by_session_;
  absl::flat_hash_map<std::string, uint32_t> peers_by_route_;  // how many
  uint64_t last_session_;
  LeaseTable leases_;
  Overdue overdue_{this};
  Departures departures_{this};
  FollowOns follow_ons_{this};
  Hellos hellos_{this};
  std::map<std::string, ExpiredName> expired_names_;

  uint64_t commit_ = 0;
  std::vector<record::Record> open_writes_;  // of the next commit, by steps before
  uint64_t forgotten_leases_commit_ = 0;     // the last one that ended leases of a forgotten worker
  DiskGate disk_;
  Outgoing outgoing_{this};
  uint64_t outcome_bytes_ = 0;     // of used_bytes_
  uint64_t unread_producers_ = 0;  // that have some of these
  uint64_t name_bytes_ = 0;        // of used_bytes_
  AttemptLog attempts_;
  DeadJobs dead_;
  StoredOutcomes stored_outcomes_{this};
  Unwritten unwritten_{&used_bytes_};

  std::set<std::pair<MonoTime, uint64_t>> peer_timers_;
  std::set<std::pair<MonoTime, uint64_t>> queue_timers_;
  std::set<std::pair<WallTime, uint64_t>> wall_timers_;
  std::map<uint64_t, uint64_t> orphan_streams_;  // of follow-on jobs without producer, by queue
  MonoTime next_tick_{};
  std::string ticked_;  // the last queue that the tick has come to; empty: none is under way
  // What is held back, until when: updates of streams, acknowledgements of workers' reports.
  std::deque<std::pair<MonoTime, uint64_t>> held_updates_;
  std::deque<std::pair<MonoTime, uint64_t>> held_acks_;
  ChangedRows changed_;
  std::unique_ptr<Restoring> restoring_;  // until FinishRestore

  uint64_t work_ = 0;          // units, in this step
  std::deque<Input> carried_;  // for the next one
  bool is_left_ = false;       // of dispatch, or of what it sends
  // Work for the end of the step.
  std::vector<uint64_t> touched_streams_;
  std::set<uint64_t> outcome_peers_, report_peers_, group_peers_, delivery_peers_;
  std::set<uint64_t> woken_queues_, woken_workers_;
  std::set<const Queue*> held_back_;  // what workers hold of these is to be asked back …
  uint64_t held_back_from_ = 0;       // … in leases from this one on
  uint64_t pass_ = 0;                 // of dispatch
  std::set<uint64_t> load_queues_;    // stored jobs of these may come next
  std::set<uint64_t> commit_queues_;  // they do, but their commit is not durable
  std::map<std::pair<uint64_t, uint64_t>, Queue*> loads_;  // not answered, by stream and row
  std::set<uint64_t> full_queues_;                         // with streams that wait for room
  std::vector<uint64_t> dying_streams_;                    // perhaps without jobs and producer

  std::map<std::string, uint64_t, std::less<>> counters_;
  MonoTime next_summary_{};
};

}  // namespace whippletree::core
