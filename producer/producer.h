// The producer library: submits jobs and brings back their outcomes.
//
//   auto producer = whippletree::Producer::Connect({.broker = "127.0.0.1:7711"});
//   auto outcome = (*producer)->Submit("square", "12");
//   std::cout << outcome->get().result;
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/time.h"

namespace whippletree {

struct JobOptions {
  // How long one attempt may run; zero: as the queue's policy says. Milliseconds count.
  Duration timeout{0};
  // The most starts of the job; 0: as the queue's policy says.
  uint32_t max_attempts = 0;
  // The line inside the queue; lines take turns, so that one customer's jobs do not hold up others.
  std::string key{};
  // Nobody waits for the outcome: it is counted by the broker and not kept.
  bool discard_outcome = false;
  // On the broker's clock, to the millisecond; 1970 means unset. The job is not started before …
  WallTime not_before{};
  // … and not after: one that still waits then is expired, one that runs may finish.
  WallTime expires_at{};
  // The group that the job belongs to, as OpenGroup() returned it; 0: none.
  uint64_t group = 0;
  // UTF-8 text of at most 256 bytes; empty: none. A job whose name another job of the queue had
  // within the queue's window (job_names in its policy) is that job: it is not run, and its outcome
  // is kRepeated.
  std::string name{};

  friend bool operator==(const JobOptions&, const JobOptions&) = default;
};

// kRepeated: never accepted, since another job has its name; the status, ALREADY_EXISTS, says
// which.
enum class OutcomeKind { kCompleted, kDead, kCancelled, kExpired, kRejected, kRepeated, kUnknown };

// "completed", "dead", …
std::string_view ToString(OutcomeKind kind);

struct Outcome {
  std::string queue;
  uint64_t number = 0;  // of the job in its stream, as Submit returned it, from 1
  std::string id;       // "<stream>-<number>": what logs and workers call it
  OutcomeKind kind = OutcomeKind::kUnknown;
  absl::Status status;    // OK if and only if completed
  std::string result;     // if completed
  uint32_t attempts = 0;  // charged starts
  std::string worker;     // that ended it; empty if none did
  uint64_t group = 0;     // that the job belonged to; 0: none
  // Of a job that a handler asked for: `queue` is where it ran, `number` the broker's.
  bool follow_on = false;
};

// What became of a group: its members by outcome, follow-on jobs included.
struct GroupEnd {
  uint64_t group = 0;
  uint64_t completed = 0;
  uint64_t dead = 0;
  uint64_t cancelled = 0;
  uint64_t expired = 0;
  uint64_t rejected = 0;
  // OK: the counts are right. UNAVAILABLE: the broker restarted, or the producer was closed before
  // the end; members are missing in the counts. Else why the broker refused the producer.
  absl::Status status;

  uint64_t jobs() const { return completed + dead + cancelled + expired + rejected; }
};

struct ProducerOptions {
  std::string broker = "127.0.0.1:7711";  // the door
  // Empty: a fresh identity. Else the name under which a restarted producer goes on with its
  // streams (see OpenStream).
  std::string name{};
  // How long Connect() tries to reach the broker; zero: for ever.
  Duration connect_timeout = seconds(10);
  // Jobs and payload bytes that may wait in this process to be accepted.
  uint64_t pending_jobs_max = 100'000;
  uint64_t pending_bytes_max = 64ull << 20;
  // When that much waits: true: Submit blocks; false: it returns RESOURCE_EXHAUSTED.
  bool block = true;
  // Called after the callbacks of outcomes that came together, by the same thread. True: they are
  // acknowledged to the broker, which forgets them. Whoever must not lose any when this process is
  // killed writes them down first. Without it they are acknowledged when the callbacks return.
  // Called too when nothing of what came is to be acknowledged.
  std::function<bool()> delivered{};
  // Gets what happens to the connection, one line each; from the library's thread.
  std::function<void(std::string_view line)> log{};
};

// Called from a thread of the library, once for each job. While it runs no other outcome is
// delivered; what it has taken is acknowledged to the broker when it returns (see
// ProducerOptions::delivered). It must not call Producer.
using OutcomeCallback = std::function<void(Outcome&&)>;

// Thread-safe.
class Producer {
 public:
  // Returns UNAVAILABLE if no broker answers within connect_timeout, FAILED_PRECONDITION if it
  // refuses, INVALID_ARGUMENT for a broker address that is none.
  static absl::StatusOr<std::unique_ptr<Producer>> Connect(ProducerOptions options);
  // Jobs already accepted go on; futures without an outcome become kUnknown, callbacks are not
  // called any more.
  ~Producer();

  // What became of jobs that an earlier process of the name has submitted.
  struct Earlier {
    uint64_t unsettled = 0;  // outcomes of these are still to come
    // How many ended in this way, whether their outcome was told before or is still to come.
    uint64_t dead = 0;
    uint64_t cancelled = 0;
    uint64_t expired = 0;
  };
  // For named producers, before the first Submit to `queue`: returns the number that the next
  // submitted job will have. Earlier ones have been accepted already; outcomes of these that were
  // never acknowledged go to `callback`; `earlier` (may be null) gets what is known of them.
  absl::StatusOr<uint64_t> OpenStream(const std::string& queue, OutcomeCallback callback,
                                      Earlier* earlier = nullptr);
  // After OpenStream(), before the first Submit: the next of the earlier jobs, in their order, to
  // find out whether the input is the same. INVALID_ARGUMENT: these are others than were submitted.
  // Who does not call it for each of them is not told the next time either. REQUIRES: not more than
  // there are.
  absl::Status SkipEarlier(const std::string& queue, std::span<const std::string_view> payloads,
                           std::span<const std::string_view> names = {});

  // Submits one job. Jobs submitted one after the other travel together by themselves.
  // Errors: INVALID_ARGUMENT (payload larger than the broker takes, bad queue name or options),
  // RESOURCE_EXHAUSTED (options.block is false and too much waits), FAILED_PRECONDITION (refused,
  // or the group is not open).
  absl::StatusOr<std::future<Outcome>> Submit(const std::string& queue, std::string_view payload,
                                              const JobOptions& options = {});

  // Submits many jobs with one callback for all their outcomes, in any order. Returns the number
  // of the first. When it fails nothing was submitted. With `discard_outcome`, callback may be
  // null; it is still called for a rejected or repeated job. `names`: of each job, or none (see
  // JobOptions::name, which is for a single job).
  absl::StatusOr<uint64_t> SubmitMany(const std::string& queue,
                                      std::span<const std::string_view> payloads,
                                      const JobOptions& options, OutcomeCallback callback,
                                      std::span<const std::string_view> names = {});

  // Outcomes of follow-on jobs go to `callback`; without one they are dropped. They come for
  // follow-on jobs of jobs whose own outcome is wanted. REQUIRES: nothing was submitted yet.
  void OnFollowOn(OutcomeCallback callback);

  // Opens a group and returns its number, for JobOptions::group: a set of jobs, of any queues,
  // whose common end is told. Follow-on jobs belong to the group of the job that asked for them.
  // FAILED_PRECONDITION if the broker has refused the producer.
  absl::StatusOr<uint64_t> OpenGroup();
  // No more jobs are submitted to the group. Its end comes when all its jobs, follow-on jobs
  // included, have their outcome, and after the callbacks of these have returned.
  // FAILED_PRECONDITION if it is not open, as for a job that is submitted to it afterwards.
  absl::StatusOr<std::future<GroupEnd>> CloseGroup(uint64_t group);

  // Asks for jobs [first, first + count) to be cancelled. Their outcomes still arrive: cancelled,
  // or what they became before.
  void Cancel(const std::string& queue, uint64_t first, uint64_t count = 1);

  // Blocks until every submitted job is accepted (or rejected). Returns why not, if it cannot be.
  absl::Status WaitAccepted();
  // Blocks until every submitted job has its outcome, and its callback has returned. Follow-on jobs
  // are not waited for: the end of a group is.
  absl::Status WaitOutcomes();
  // These two return CANCELLED from now on where they would wait. Thread-safe.
  void StopWaiting();

  // When nothing has come of this queue's jobs for 2 s, ProducerOptions::log is told what keeps
  // them from being run, if the broker knows: no worker serves it, it is paused, …; and again when
  // that changes.
  void WatchQueue(const std::string& queue);

  // Largest payload that the broker takes.
  uint64_t payload_bytes_max() const;

  struct Counts {
    uint64_t submitted = 0;
    uint64_t accepted = 0;
    uint64_t settled = 0;  // with an outcome
    bool connected = false;
    bool full = false;        // some queue takes no more for now
    std::string full_reason;  // why, if it is not its own capacity: the broker's words
    std::string note;         // what keeps jobs of a watched queue from being run; empty: nothing
  };
  Counts counts() const;

 private:
  class Impl;
  explicit Producer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace whippletree
