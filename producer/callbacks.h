// Who gets the outcome of which job. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "producer/producer.h"

namespace whippletree {

class Callbacks {
 public:
  // For jobs [first, first + count) of the queue's stream. `discarded`: only a rejection is told,
  // and of these the last 100,000 calls are kept, since a rejection comes soon or never.
  void Add(const std::string& queue, uint64_t first, uint64_t count, bool discarded,
           OutcomeCallback callback);
  // For jobs that nothing was added for: those of an earlier process.
  void SetEarlier(const std::string& queue, OutcomeCallback callback);

  struct Part {
    std::shared_ptr<const OutcomeCallback> callback;  // may be null, or empty
    uint64_t end;                                     // of the jobs that it is for
    bool discarded;
  };
  // The outcome of jobs [begin, part.end) is being told, end of these at most. To be called once
  // for each job.
  Part Take(const std::string& queue, uint64_t begin, uint64_t end);

 private:
  // Jobs submitted together.
  struct Batch {
    uint64_t first;
    uint64_t end;
    uint64_t open;  // without outcome; 0: done
    bool discarded;
    std::shared_ptr<const OutcomeCallback> callback;
  };
  // Of one queue, ascending. Those that are done stay until they are many: whoever submits jobs
  // one by one has a batch for each.
  struct Batches {
    std::deque<Batch> all;
    size_t done = 0;                                     // of these
    std::deque<Batch>::iterator After(uint64_t number);  // the first that begins after it
    Batch* Find(uint64_t number);  // that of the job, unless it is done; nullptr: none
    void Finish(Batch* batch);
  };
  static constexpr size_t kDiscardedMax = 100'000;

  std::map<std::string, Batches> batches_;
  std::map<std::string, std::shared_ptr<const OutcomeCallback>> earlier_;  // by queue
  std::deque<std::pair<std::string, uint64_t>> discarded_;
};

// A callback that sets the future. Dropped without an outcome it says so.
std::pair<std::future<Outcome>, OutcomeCallback> FutureOutcome();

}  // namespace whippletree
