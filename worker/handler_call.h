// Calls handlers: what they throw and whatever they answer becomes a result or a status.
// Thread-safe.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire.pb.h"
#include "worker/worker.h"

namespace whippletree {

// What runs the jobs of a queue. One of them may be missing: the other does its work then.
struct QueueHandlers {
  Handler job;
  BatchHandler batch;
};

absl::StatusOr<std::string> CallHandler(const Handler& handler, JobContext& context,
                                        std::string_view payload);

// The results are as many as the payloads.
BatchResults CallBatchHandler(const BatchHandler& handler, BatchContext& context,
                              std::span<const std::string_view> payloads);

// One job that a batch handler runs as a batch of one.
absl::StatusOr<std::string> CallWithOne(const BatchHandler& handler, BatchContext& context,
                                        std::string_view payload);

// In the form of a report. `indexes` are those of the call's jobs in their lease.
std::vector<wire::FollowOn> ToWire(std::vector<FollowOnRun> runs,
                                   std::span<const uint32_t> indexes);

struct DeliveredJob {
  uint64_t stream;
  uint64_t number;
  uint32_t attempt;
  uint32_t timeout_ms;
};

// Index in the lease of the job at a position of the delivery's run.
// REQUIRES: the position is in the run.
uint32_t IndexOf(const wire::Delivery& delivery, uint32_t position);

// Reads the jobs of a delivery, which it refers to, in their order.
class JobReader {
 public:
  explicit JobReader(const wire::Delivery& delivery) : delivery_(delivery) {}
  // REQUIRES: the position is in the run and above that of the last call; the counts of a batch's
  // parts add up to the size of the run.
  DeliveredJob At(uint32_t position);

 private:
  const wire::Delivery& delivery_;
  int part_ = 0;
  uint64_t part_begin_ = 0;  // position
};

}  // namespace whippletree
