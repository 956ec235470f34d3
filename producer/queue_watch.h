// Says why nothing comes of jobs: a queue's name that is misspelt on one side, a worker that nobody
// started, a pause. Part of ProducerSession: no I/O, no clock. Not thread-safe.
//
// The broker is asked about a queue when nothing has come of it for a while, and then less and less
// often: thousands of producers may wait for hours.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

class QueueWatch {
 public:
  // Nothing for so long is worth a question.
  static constexpr Duration kSilence = seconds(2);
  static constexpr Duration kAskMax = seconds(10);

  // From now on it looks after this queue.
  void Add(const std::string& queue) { queues_[queue]; }
  bool empty() const { return queues_.empty(); }

  // Whether outcomes of the queue are waited for.
  void SetWaiting(const std::string& queue, bool waiting, MonoTime now);
  // Outcomes of it came.
  void OnOutcomes(const std::string& queue, MonoTime now);
  // Adds the questions that are due to `door`. REQUIRES: there is a session.
  void Poll(MonoTime now, std::vector<wire::Envelope>* door);
  MonoTime NextDeadline() const;
  // Adds what there is to say to `log`, if it is another thing than before. A reply to somebody
  // else's question is ignored.
  void OnReply(const wire::AdminReply& reply, MonoTime now, std::vector<std::string>* log);

  // In a few words, of the first queue that has something: what keeps its jobs from being run, as
  // far as is known; empty: nothing.
  std::string_view note() const;

 private:
  struct Watched {
    bool waiting = false;
    MonoTime silent_since{};
    MonoTime ask_at = kNever;
    Duration ask_after = kSilence;
    uint64_t asked = 0;         // id of the last question
    std::string told;           // what was said last; empty: nothing
    bool told_passing = false;  // it comes and goes by itself
    std::string note;
  };

  std::map<std::string, Watched> queues_;
  uint64_t last_id_ = 0;
  uint64_t number_ = 0;  // of the last reply, which the broker is to be told of
};

}  // namespace whippletree
