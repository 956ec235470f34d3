// Acknowledgements of outcomes, on their way to the broker. Nobody waits for one, so they are held
// back for a moment: one message then tells of many outcomes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

class OutcomeAcks {
 public:
  // `delay`: from the first outcome on that is not acknowledged.
  explicit OutcomeAcks(Duration delay) : delay_(delay) {}

  // Outcomes have come, with so many bytes, and will be added, as far as they are taken.
  void OnOutcomes(MonoTime now, uint64_t bytes);
  // The application has them. True: Take() is to be called now, or NextDeadline() is earlier.
  bool Add(const wire::OutcomeAck& ack, MonoTime now);
  // What is to be told now, without a session; if `at_once`, whatever there is. To be called until
  // it returns nothing: one message takes so many streams.
  std::optional<wire::OutcomeAck> Take(MonoTime now, bool at_once);
  MonoTime NextDeadline() const;

  // Of another session, with so many bytes of outcomes on their way at most.
  void Reset(uint64_t window_bytes);

 private:
  const Duration delay_;
  uint64_t window_bytes_ = 0;
  std::map<std::pair<std::string, bool>, uint64_t>
      next_;            // by queue, and whether of follow-on jobs
  uint64_t bytes_ = 0;  // of outcomes since the last Take()
  MonoTime due_ = kNever;
  bool late_ = false;  // the application has none of them yet, and it is time
};

}  // namespace whippletree
