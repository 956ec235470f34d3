// The producer's side of the protocol, without I/O: numbers jobs, sends runs again until they are
// accepted, keeps to its credit, and takes each outcome once. Not thread-safe.
//
// Every call may add to `out`; the caller sends what is there, in order.
#pragma once

#include <absl/status/status.h>

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

#include "common/interval_set.h"
#include "common/run.h"
#include "common/session_link.h"
#include "common/time.h"
#include "producer/follow_ons.h"
#include "producer/groups.h"
#include "producer/outcome_acks.h"
#include "producer/queue_watch.h"
#include "producer/settled.h"
#include "wire.pb.h"

namespace whippletree {

struct ProducerOutput {
  // The submit socket is to be closed and opened anew to this port of the door's host, before
  // anything in `submit` is sent.
  std::optional<uint32_t> reopen_submit_port;
  // The door is to be connected anew before anything in `door` is sent.
  bool reopen_door = false;
  std::vector<wire::Envelope> door;
  std::vector<wire::Envelope> submit;

  using Settled = SettledJobs;
  std::vector<Settled> settled;
  // For Acknowledge(), once the application has `settled`: the broker keeps outcomes, and sends no
  // more than a window of them, until they are acknowledged.
  std::optional<wire::OutcomeAck> ack;
  // Groups that have ended, each once, after the outcomes of its members. `lost`: the broker
  // restarted meanwhile, and the counts are those of the members that it had not accepted before.
  std::vector<wire::GroupEnd> group_ends;
  std::vector<std::string> log;

  void Clear() { *this = ProducerOutput(); }
};

class ProducerSession {
 public:
  struct Config {
    std::string name;
    bool named = false;
    uint64_t process = 1;  // fresh for each process start
    uint64_t seed = 1;
    std::string software;
    // Number of the first group. A named producer must not use one again that an earlier process
    // has used.
    uint64_t first_group = 1;
    // How long acknowledgements may be held back.
    Duration ack_delay{0};
  };

  explicit ProducerSession(Config config)
      : config_(std::move(config)),
        link_(config_.seed),
        groups_(config_.first_group),
        acks_(config_.ack_delay) {}

  // Adds jobs and returns the number of the first. They are sent by the next Poll. `names` has one
  // for each job, or no job has one.
  // REQUIRES: run.count() > 0; for a named producer the stream is open (see OpenStream); the group
  // in the options is open.
  uint64_t Submit(const std::string& queue, const wire::JobOptions& options, RunData run,
                  RunData names = {});

  // Asks the broker for the stream's state. It is open once StreamState says so.
  void OpenStream(const std::string& queue);
  struct StreamState {
    bool open = false;         // the broker has told the numbers
    uint64_t next_number = 1;  // that the next submitted job gets
    uint64_t unsettled = 0;    // jobs of an earlier process whose outcomes are still to come
    // Jobs of an earlier process that ended in this way, whether it was told or not.
    uint64_t dead = 0;
    uint64_t cancelled = 0;
    uint64_t expired = 0;
    absl::Status error;  // the stream is gone
  };
  StreamState GetStream(const std::string& queue) const;
  // The next ones of the jobs that an earlier process of this name has submitted.
  // INVALID_ARGUMENT: up to here these are others than those. REQUIRES: the stream is open, nothing
  // was submitted yet, and not all of them were skipped.
  absl::Status Skip(const std::string& queue, std::span<const std::string_view> payloads,
                    std::span<const std::string_view> names);

  void Cancel(const std::string& queue, uint64_t first, uint64_t count);

  // See ProducerGroups. The end of a closed group is in ProducerOutput::group_ends.
  uint64_t OpenGroup() { return groups_.Open(); }
  absl::Status CheckGroup(uint64_t group) const { return groups_.CheckOpen(group); }
  absl::Status CloseGroup(uint64_t group) { return groups_.Close(group); }

  // The application has what came with the acknowledgement. True: Poll() is to be called.
  bool Acknowledge(const wire::OutcomeAck& ack, MonoTime now);

  // From now on `log` has why nothing comes of the queue's jobs, see QueueWatch.
  void Watch(const std::string& queue);
  // What keeps the jobs of a watched queue from being run, in a few words; empty: nothing known.
  std::string_view note() const { return watch_.note(); }

  void OnDoor(Instant now, wire::Envelope& message, ProducerOutput* out);
  // What came was no message.
  void OnBadFrame(const absl::Status& error);
  // Does what is due and sends what may be sent. To be called after anything else.
  void Poll(Instant now, ProducerOutput* out);
  MonoTime NextDeadline() const;
  // Nothing more is submitted or acknowledged. The next Poll says goodbye.
  void Close() { closing_ = true; }
  // After Close(): there is nothing more to say. The broker has confirmed the goodbye of a named
  // producer, and with it that no later process of the name is told again what was acknowledged.
  bool closed() const { return closed_ || !fatal_.ok(); }

  bool connected() const { return link_.connected(); }
  // Not OK: why the broker has not taken us yet, by its last word.
  const absl::Status& refusal() const { return link_.refusal(); }
  uint64_t session() const { return link_.session(); }
  // Not OK: the broker refused us for good.
  const absl::Status& fatal() const { return fatal_; }
  uint32_t payload_bytes_max() const { return payload_bytes_max_; }
  // Some queue takes no more for now.
  bool full() const { return !full_.empty(); }
  // Why, if the broker says more than that: that of the first such queue.
  std::string full_reason() const;
  uint64_t pending_jobs() const { return pending_jobs_; }  // not accepted
  uint64_t pending_bytes() const { return pending_bytes_; }
  uint64_t open_jobs() const { return open_jobs_; }  // without outcome
  uint64_t submitted() const { return submitted_; }

 private:
  static constexpr Duration kResendMin = seconds(1);
  static constexpr Duration kResendMax = seconds(8);
  static constexpr uint64_t kRunBytes = 64 << 10;  // runs are gathered up to this

  struct Pending {
    uint64_t first;
    std::shared_ptr<RunData> run;
    RunData names;                 // empty: none has a name
    std::vector<uint64_t> hashes;  // of the input up to each job; empty: not known
    uint32_t begin = 0;            // jobs before are accepted
    std::shared_ptr<const wire::JobOptions> options;
    uint32_t count() const { return run->count() - begin; }
    // Of jobs [from, to).
    uint64_t name_bytes(uint32_t from, uint32_t to) const {
      return names.count() > 0 ? names.bytes(from, to) : 0;
    }
  };

  struct Stream {
    std::string queue;
    uint64_t number = 0;  // the broker's
    bool opened = false;  // the numbers are known
    bool open_asked = false;
    absl::Status gone;
    uint64_t next = 1;            // everything below is accepted
    uint64_t next_number = 1;     // for the next job
    uint64_t sent_next = 1;       // everything below was sent in this session
    uint64_t sent_max = 1;        // everything below was sent at some time
    std::deque<Pending> pending;  // [next, next_number)
    uint64_t accepted_bytes = 0;  // in this session
    uint64_t in_flight_bytes = 0;
    uint64_t jobs_limit = 0;
    uint64_t bytes_limit = 0;
    bool limits_known = false;
    bool limits_guessed = false;  // those of a stream that the broker does not know yet
    bool full = false;
    std::string full_reason;  // what the broker says to that; empty: nothing
    MonoTime resend_at = kNever;
    Duration resend_after = kResendMin;
    IntervalSet open;        // without outcome
    IntervalSet earlier;     // accepted of an earlier process, outcome not seen
    uint64_t unsettled = 0;  // of these, how many have an outcome to come
    // Of a named producer's input: how many jobs of an earlier process it has come by, and its hash
    // up to there and to what was submitted since.
    uint64_t skipped = 0;
    uint64_t input_hash = 0;
    wire::StreamUpdate earlier_state;  // what the broker said of those jobs
    IntervalSet discarded;             // accepted, and nobody wants the outcome (but a rejection)
    uint64_t outcome_next = 1;         // ordinal
    bool ack_due = false;
    IntervalSet cancels;  // of open: to be cancelled
    MonoTime cancel_at = kNever;
    bool touched = false;     // it is one of touched_
    MonoTime timer = kNever;  // its entry in timers_
    bool waits() const {
      return gone.ok() && (next < next_number || unsettled > 0 || !open.empty());
    }
    MonoTime due() const { return gone.ok() ? std::min(resend_at, cancel_at) : kNever; }
  };
  struct ByQueue {
    bool operator()(const Stream* a, const Stream* b) const { return a->queue < b->queue; }
  };
  using Streams = std::set<Stream*, ByQueue>;  // of streams_

  void DoWhatIsDue(Instant now, ProducerOutput* out);
  Stream& GetOrAdd(const std::string& queue);
  std::vector<uint64_t> HashesOf(Stream& stream, const RunData& run, const RunData& names) const;
  // The next Poll looks at it: something of it has changed.
  void Touch(Stream& stream);
  void PollStream(Stream& stream, Instant now, ProducerOutput* out, wire::OutcomeAck* ack);
  void SetFull(Stream& stream, bool full);
  void SendHello(ProducerOutput* out);
  void OnWelcome(Instant now, const wire::Envelope& message, ProducerOutput* out);
  void OnUpdate(Instant now, const wire::StreamUpdate& update, bool welcome, ProducerOutput* out);
  void OnOutcomes(Instant now, wire::Outcomes& outcomes, ProducerOutput* out);
  void NoteFull(Stream& stream, const wire::StreamUpdate& update, ProducerOutput* out);
  void Accepted(Stream& stream, uint64_t next, Instant now);
  void Rewind(Stream& stream);
  void Settle(Stream& stream, wire::OutcomeRange range, ProducerOutput* out);
  void SettleAll(Stream& stream, uint64_t begin, uint64_t end, wire::OutcomeRange::Kind kind,
                 const wire::Status& status, ProducerOutput* out);
  void SendRuns(Stream& stream, Instant now, bool probe, ProducerOutput* out);
  void SendCancels(Stream& stream, Instant now, ProducerOutput* out);
  wire::StreamClaim Claim(const Stream& stream) const;
  // Acknowledgements are not held back: another process of the name must not be told again what the
  // application had, and the end of a group is told after them.
  bool AcksHurry() const { return config_.named || closing_ || groups_.waits(); }
  void SendAcks(MonoTime now, ProducerOutput* out);
  void SayGoodbye(MonoTime now, ProducerOutput* out);

  const Config config_;
  SessionLink link_;
  absl::Status fatal_;
  std::map<std::string, Stream> streams_;
  // There may be ten thousand, of which few have something to do.
  Streams touched_;
  std::set<std::pair<MonoTime, Stream*>> timers_;  // of those that are not touched
  Streams full_;
  FollowOnStreams follow_ons_;
  ProducerGroups groups_;
  OutcomeAcks acks_;
  QueueWatch watch_;
  uint32_t payload_bytes_max_ = 0;
  uint64_t first_jobs_limit_ = 0;
  uint64_t first_bytes_limit_ = 0;
  uint64_t pending_jobs_ = 0;
  uint64_t pending_bytes_ = 0;
  uint64_t open_jobs_ = 0;
  uint64_t submitted_ = 0;
  bool acknowledged_ = false;  // something
  bool closing_ = false;
  bool closed_ = false;
  MonoTime goodbye_at_{};  // to be said (again)
};

}  // namespace whippletree
