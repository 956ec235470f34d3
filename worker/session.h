// The worker's side of the protocol, without I/O: takes deliveries once, marks starts, reports
// until acknowledged, and grants just enough credit to stay busy. Not thread-safe.
//
// The executor runs the jobs. Every call may add to `out`; the caller sends frames in order and
// hands the rest to the executor.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/interval_set.h"
#include "common/resend_queue.h"
#include "common/session_link.h"
#include "common/time.h"
#include "wire.pb.h"
#include "worker/job_events.h"
#include "worker/prefetch_window.h"

namespace whippletree {

struct WorkerOutput {
  // The complete socket is to be closed and opened anew to this port of the door's host, before
  // anything in `complete` is sent.
  std::optional<uint32_t> reopen_complete_port;
  // The door is to be connected anew before anything in `door` is sent.
  bool reopen_door = false;
  std::vector<wire::Envelope> door;
  std::vector<wire::Envelope> complete;

  // For the executor, in this order.
  std::vector<wire::Delivery> run;
  // Take back what has not been started, and say so (OnRecalled).
  std::vector<wire::JobRange> recall;
  // Take back what has not been started, end the rest.
  std::vector<wire::JobRange> cancel;
  // The lease is void: end its jobs, forget them, report nothing.
  std::vector<uint64_t> drop;

  std::vector<std::string> log;

  void Clear() { *this = WorkerOutput(); }
};

// What became of a batch.
struct BatchOutcome {
  std::vector<uint32_t> indexes;  // of its jobs in the lease, ascending
  absl::Status status;            // if not OK: the one status of all
  // Else one for each of `indexes`.
  std::vector<absl::StatusOr<std::string>> results;
  // Of any of the jobs, in their order. Those of jobs that are not completed are left out.
  std::vector<wire::FollowOn> follow_ons;
};

class WorkerSession {
 public:
  struct Config {
    std::string name;
    std::vector<std::string> queues;
    uint32_t slots = 1;
    uint64_t process = 1;  // fresh for each process start
    uint64_t seed = 1;
    std::string software;
    Duration end_grace{0};  // what a handler may need to end when its timeout has passed
  };

  explicit WorkerSession(Config config);

  void OnDoor(Instant now, wire::Envelope& message, WorkerOutput* out);
  void OnBadFrame(const absl::Status& error);

  // From the executor. Of a batch whose jobs are run one after the other, each start is told, and
  // nothing of others. `run_time` is what the call took in its slot. Follow-on jobs are reported if
  // the job is completed.
  void OnStarted(uint64_t token, uint32_t first, uint32_t count = 1);
  // REQUIRES: at least one job.
  void OnCompleted(CompletedJobs jobs);
  void OnFinished(uint64_t token, uint32_t index, absl::StatusOr<std::string> result,
                  Duration run_time, std::vector<wire::FollowOn> follow_ons = {});
  // All that ran of a batch. REQUIRES: as many results as indexes, if the status is OK.
  void OnBatchFinished(uint64_t token, BatchOutcome outcome, Duration run_time);
  void OnRecalled(uint64_t token, uint32_t index);

  // Takes nothing new and hands back what has not been started. done() once all is confirmed.
  void Drain(WorkerOutput* out);
  bool draining() const { return draining_; }
  bool done() const { return done_; }

  // Does what is due and sends what is there. To be called after anything else.
  void Poll(Instant now, WorkerOutput* out);
  MonoTime NextDeadline() const;

  bool connected() const { return link_.connected(); }
  // Not OK: why the broker has not taken us yet, by its last word.
  const absl::Status& refusal() const { return link_.refusal(); }
  const absl::Status& fatal() const { return fatal_; }
  // Jobs that are here, a batch counting as one.
  uint64_t held_jobs() const { return possessed_; }
  uint32_t result_bytes_max() const { return result_bytes_max_; }

 private:
  static constexpr uint64_t kReportBytes = 256 << 10;
  // Beyond the largest result, what the items of one batch may have; a frame has 1 MiB.
  static constexpr uint64_t kBatchBytesBeyond = 256 << 10;
  static constexpr Duration kMarkAfter = milliseconds(1);
  // Well before the broker would send deliveries again.
  static constexpr Duration kTellDeliveriesAfter = milliseconds(200);

  struct Queue {
    std::string name;
    PrefetchWindow window;
    uint64_t received = 0;    // in this session
    uint64_t possessed = 0;   // starts() of its leases
    uint64_t jobs_limit = 0;  // granted in this session
    uint32_t held_max = 0;    // told last
    Duration service_told{};  // the same
    bool told = false;        // the broker knows these
  };
  struct Lease {
    size_t queue;
    uint64_t secret = 0;
    IntervalSet open;  // not reported
    IntervalSet held;  // of open: not started, and no start is charged
    // Of open: started, and neither charged nor marked. Of a batch: the last one started.
    IntervalSet unmarked;
    uint64_t unacknowledged = 0;  // jobs reported, not acknowledged
    uint64_t payload_bytes = 0;   // of one start, on average
    bool batch = false;           // one start of all its jobs
    uint64_t starts() const { return batch ? (open.empty() ? 0 : 1) : open.size(); }
  };
  struct Reported {
    wire::ReportItem item;
    bool joined = false;  // goes into one message with the next
  };

  void DoWhatIsDue(Instant now, WorkerOutput* out);
  void SendHello(WorkerOutput* out);
  void OnWelcome(Instant now, const wire::Envelope& message, WorkerOutput* out);
  // Tells which queues are refused, and which no more.
  void NoteRefused(const wire::Welcome& welcome, WorkerOutput* out);
  void OnDeliveries(Instant now, wire::Deliveries* deliveries, WorkerOutput* out);
  void OnReportAck(Instant now, const wire::ReportAck& ack);
  void TakeDelivery(wire::Delivery delivery, WorkerOutput* out);
  // The lease of that token, or nullptr.
  Lease* FindLease(uint64_t token);
  // The item that is to tell it of the jobs: the newest one, now so many jobs longer, or a new one.
  // `bytes` are those that the jobs bring with them, `follow_ons` whether such are among them.
  wire::ReportItem* Report(wire::ReportItem::Kind kind, uint64_t token, uint32_t index,
                           uint64_t bytes = 0, bool follow_ons = false, uint32_t count = 1);
  // Closes the jobs of `outcome`; what is to be reported of them, in order.
  std::vector<wire::ReportItem> BatchItems(uint64_t token, BatchOutcome outcome);
  // What the items of one batch, or of a job with follow-on jobs, may have.
  uint64_t BatchBytesMax() const {
    return std::max(payload_bytes_max_, result_bytes_max_) + kBatchBytesBeyond;
  }
  // `result` as it can be reported: a status instead of one that is too large.
  void Bound(absl::StatusOr<std::string>* result, std::span<const wire::FollowOn> follow_ons) const;
  // The job leaves the worker. Returns its lease; nullptr: that is void.
  Lease* CloseJob(uint64_t token, uint32_t index);
  // The same of jobs that are all open.
  void CloseJobs(Lease* lease, uint64_t begin, uint64_t end);
  void MarkStarts(Instant now);
  // There are so many more starts of the queue here, or fewer.
  void AddStarts(size_t queue, int64_t more);
  void UpdateCredits();
  wire::Credit CreditOf(Queue& queue);
  // The items to send next that go into one message; their bytes together.
  uint64_t NextBytes() const;
  // They are there and fit the window.
  bool MayReport() const;
  void SendReports(Instant now, WorkerOutput* out);
  uint64_t DeliveriesNext() const { return received_.FirstMissing(1); }

  const Config config_;
  SessionLink link_;
  absl::Status fatal_;
  std::vector<Queue> queues_;
  std::map<std::string, size_t> queue_by_name_;
  std::set<std::string> refused_;  // queues that the last welcome refused
  std::map<uint64_t, Lease> leases_;
  // The one found last, if it is still there: jobs of a lease come one after the other.
  std::pair<uint64_t, Lease*> recent_lease_{};
  uint64_t possessed_ = 0;     // starts() of all leases
  IntervalSet received_;       // ordinals of deliveries in this session
  uint64_t untold_bytes_ = 0;  // of payload that arrived since the broker was told
  // Their arrival is told with the next report, or by itself at this time.
  MonoTime tell_deliveries_at_ = kNever;
  uint64_t unmarked_ = 0;  // jobs, of all leases
  ResendQueue<Reported> reports_;
  MonoTime last_report_{};
  // One report at a time is timed, for the window.
  uint64_t timed_ordinal_ = 0;
  MonoTime timed_at_{};
  uint32_t payload_bytes_max_ = 0;
  uint32_t result_bytes_max_ = 0;
  uint64_t window_bytes_ = 0;
  bool draining_ = false;
  bool draining_told_ = false;
  bool goodbye_said_ = false;
  bool done_ = false;
};

}  // namespace whippletree
