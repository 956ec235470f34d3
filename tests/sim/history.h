// The independent model at the edges: what producers submitted, what was started where, what was
// reported; and the checks of promise and rules that can be made from that alone, without a look
// into the broker. Numbers I1 … I20 are the invariants of docs/simulation.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "common/interval_set.h"
#include "common/log_event.h"
#include "common/time.h"
#include "record.pb.h"
#include "tests/sim/job_spec.h"
#include "tests/sim/options.h"
#include "tests/sim/situations.h"
#include "wire.pb.h"

namespace whippletree::sim {

// One call of a handler.
struct Start {
  std::string worker;
  uint64_t token = 0;
  MonoTime at;
  MonoTime end = kNever;  // kNever: it runs
};

struct Job {
  JobSpec spec;
  std::string producer;
  std::string queue;
  uint64_t number = 0;
  wire::JobOptions options;
  uint32_t max_attempts = 1;
  bool discard = false;
  bool rejectable = false;  // its payload is too large
  uint64_t parent = 0;      // of a follow-on job: the job that asked for it
  uint64_t batch_max = 1;   // of its queue
  bool cancel_asked = false;
  std::string name;      // of the job, by which it is known when it is submitted again
  MonoTime submitted{};  // not accepted before
  MonoTime seen{};       // accepted by then: it was delivered; zero: it was not
  uint32_t seen_epoch = 0;
  bool repeated = false;  // another job has its name, so it was not accepted
  bool row_damaged = false;
  // Its broker crashed, or its stream was given up: its outcome may be unknown, it may be accepted
  // again.
  bool excused = false;

  // Of this life of the broker.
  uint64_t stream = 0;  // 0: not seen in a delivery
  uint64_t number_delivered = 0;
  std::vector<Start> starts;
  struct Sent {
    std::string worker;
    bool free_slot = false;  // else to be held
    MonoTime at;
    uint64_t index = 0;  // in the lease
    bool taken = false;  // it left the lease unheard, though its worker was heard
  };
  std::map<uint64_t, Sent> deliveries;  // by token
  bool held_by_lost_worker = false;
  uint64_t restarts = 0;  // of the broker, before its outcome
  wire::OutcomeRange::Kind outcome = wire::OutcomeRange::UNSPECIFIED;
  bool ended = false;

  std::set<uint64_t> reported_to;  // producer processes
};

// Where the job at a position of a delivery's run belongs.
struct Place {
  uint64_t stream;
  uint64_t number;
  uint32_t attempt;
  std::string requeue_of;  // not empty: a dead job that an admin has requeued
};
Place PlaceOf(const wire::Delivery& delivery, uint32_t position);

class History {
 public:
  History(const Options* options, Situations* situations)
      : options_(options), situations_(situations) {}

  // ---- Producers.
  Job& AddJob(JobSpec spec);
  // A handler asks for a job to follow `parent`; it is accepted if its completion is.
  const Job& AddFollowOn(uint64_t parent);
  Job& job(uint64_t uid) { return jobs_.at(uid); }
  const std::map<uint64_t, Job>& jobs() const { return jobs_; }
  // Jobs of a (producer, queue) by number, from 1: uids.
  std::vector<uint64_t>& StreamJobs(const std::string& producer, const std::string& queue) {
    return streams_[{producer, queue}];
  }
  // `process` got outcomes.
  void OnSettled(uint64_t process, const std::string& producer, const std::string& queue,
                 const wire::OutcomeRange& range);
  // The same, of follow-on jobs, in a session of the broker's start `epoch`.
  void OnFollowOnsSettled(uint64_t process, uint32_t epoch, uint64_t stream,
                          const wire::OutcomeRange& range);
  // A group of `process` ended: all members have their outcome.
  void OnGroupEnd(const std::string& producer, const wire::GroupEnd& end);
  // A row cannot be read: its jobs may die of that.
  void OnRowDamaged(const record::Run& run);
  // The broker has forgotten the producer.
  void OnProducerForgotten(const std::string& producer);
  // It said goodbye and was told that it may go. A hostile network may still repeat its last hello,
  // which is answered as that of a new producer; nobody reads that.
  void OnProducerLeft(const std::string& producer) { left_.insert(producer); }

  // ---- The broker's edge.
  // It tells a producer of one of its streams, in a welcome or later. (A later one may overtake
  // another.)
  void OnStreamUpdate(const std::string& producer, const wire::StreamUpdate& update, bool welcome);
  void OnBrokerUp(uint32_t epoch);
  void OnDeliverySent(const wire::Delivery& delivery, const std::string& worker, MonoTime at);
  // Tells of leases, and of jobs in them, that ended without a word from their worker.
  void OnLog(const LogEvent& event, MonoTime at);

  // ---- Workers.
  void OnStart(const std::string& worker, const wire::Delivery& delivery, std::string_view payload,
               MonoTime at);
  void OnEnd(const std::string& worker, uint64_t uid, uint64_t token, MonoTime at);
  // kill -9, or it left.
  void OnWorkerGone(const std::string& worker, MonoTime at);

  uint64_t settled() const { return settled_; }
  // Outcomes of follow-on jobs of which nobody saw a delivery: their broker crashed before, and
  // their leases were charged as if they had left it; or their row was damaged.
  uint64_t undelivered() const { return undelivered_; }

  // It outlives the broker.
  bool IsDurable(const Job& job) const;
  // What happened to it in this epoch is not forgotten.
  bool IsOfThisLife(const Job& job, uint64_t epoch) const {
    return epoch == epoch_ || IsDurable(job);
  }
  // The job with this id, as it was delivered by this start of the broker, or by one before if it
  // is durable; nullptr: none is known.
  Job* Find(uint64_t stream, uint64_t number);
  // Some job that was delivered and has no outcome yet; nullptr: there is none.
  Job* PickOpen(Prng* prng);
  // The dead job with this id was requeued as this one of the broker, which was delivered.
  bool WasRequeued(const std::string& requeue_of) const { return requeues_.contains(requeue_of); }

 private:
  void SettleJob(uint64_t process, Job& job, const wire::OutcomeRange& range, uint64_t i);
  void CheckName(const Job& job) const;
  void OnLeasesExpired(const std::string& worker, MonoTime at);
  // Jobs of a lease, by index, that the worker held, or had started.
  void OnJobsTaken(const std::string& worker, uint64_t token, IntervalSet::Interval jobs,
                   bool held);
  // The job's part of the lease had a recorded end that its worker did not agree to.
  bool HasExpired(const Job& job, const std::string& worker, uint64_t token) const;
  void CheckOutcome(const Job& job, const wire::OutcomeRange& range) const;
  void CheckCharges(const Job& job, const wire::OutcomeRange& range) const;

  const Options* const options_;
  Situations* const situations_;
  std::map<uint64_t, Job> jobs_;
  // Stream, number, epoch → uid. Streams in memory end with the broker, their numbers come again.
  std::map<std::tuple<uint64_t, uint64_t, uint32_t>, uint64_t> follow_ons_;
  std::map<uint64_t, uint64_t> followed_by_;  // parent → the follow-on job that was delivered
  std::map<std::pair<std::string, std::string>, std::vector<uint64_t>> streams_;
  // Producer and durable queue → the highest `next` that was told.
  std::map<std::pair<std::string, std::string>, uint64_t> next_told_;
  std::set<std::string> left_;               // producers
  std::map<std::string, MonoTime> expired_;  // worker → when its leases ended last
  // Worker → (uid, token) of what was delivered to it since.
  std::map<std::string, std::vector<std::pair<uint64_t, uint64_t>>> delivered_;
  std::map<std::string, std::map<uint64_t, std::set<uint64_t>>> running_;  // worker → token → uids
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> tokens_;  // → (stream, first number)
  std::set<std::string> requeues_;  // ids of dead jobs whose successors were delivered
  std::set<std::pair<uint64_t, uint64_t>> requeue_leases_;   // token and uid
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> by_id_;  // stream and number → uid
  uint32_t epoch_ = 0;
  uint64_t settled_ = 0;
  std::map<uint64_t, uint64_t> undelivered_by_group_;
  uint64_t undelivered_ = 0;
};

}  // namespace whippletree::sim
