// Options of jobs in memory, and what they take: runs that have the same share them, so what counts
// is each object, for as long as some run has it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "wire.pb.h"

namespace whippletree::core {

// Must outlive what Keep() returns. Not thread-safe.
class OptionsKeeper {
 public:
  // `sum`: a larger account, of which these bytes are a part.
  explicit OptionsKeeper(uint64_t* sum) : sum_(sum) {}
  OptionsKeeper(const OptionsKeeper&) = delete;
  OptionsKeeper& operator=(const OptionsKeeper&) = delete;

  std::shared_ptr<const wire::JobOptions> Keep(wire::JobOptions options) {
    // The message, the two counters of the pointer, what allocators round up.
    constexpr uint64_t kOverheadBytes = 192;
    const uint64_t bytes = kOverheadBytes + options.key().size() + options.requeue_of().size();
    bytes_ += bytes;
    *sum_ += bytes;
    return {new wire::JobOptions(std::move(options)), [this, bytes](const wire::JobOptions* gone) {
              bytes_ -= bytes;
              *sum_ -= bytes;
              delete gone;
            }};
  }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t* const sum_;
  uint64_t bytes_ = 0;
};

}  // namespace whippletree::core
