// What a message may have, for those who make messages and for those who take them. Chosen so that
// the largest honest message of each kind fits (tests/unit/common/wire_limits_test.cc makes each).
#pragma once

#include <cstddef>
#include <cstdint>

namespace whippletree {

// A frame at the broker's door. Payloads do not come there.
inline constexpr size_t kDoorFrameBytesMax = 1 << 20;
// A frame on its data sockets has so much beside the payloads or results: names, options, sizes.
inline constexpr size_t kFrameOverheadBytes = 1 << 20;

// Numbers of jobs, ordinals, limits and counts stay far from overflow.
inline constexpr uint64_t kNumberMax = uint64_t{1} << 60;

// Of one job.
inline constexpr uint32_t kAttemptsMax = 1000;
inline constexpr size_t kKeyBytesMax = 256;
// The longest time for which a worker's word holds a queue.
inline constexpr uint32_t kRetryAfterMsMax = 3'600'000;
// What a worker may need to end a job at its timeout, at most.
inline constexpr uint32_t kEndGraceMsMax = 3'600'000;

inline constexpr int kQueueNameBytesMax = 128;
inline constexpr int kSoftwareBytesMax = 256;

inline constexpr int kQueuesPerWorkerMax = 1024;
// In a hello those of follow-on jobs included.
inline constexpr int kStreamsPerProducerMax = 4096;
inline constexpr int kGroupsPerProducerMax = 10'000;
// The broker grants a worker no more leases at a time. What a worker has may be more by those whose
// end it has reported, and it does not know yet that the broker has recorded it.
inline constexpr int kLeasesPerWorkerMax = 16'384;
inline constexpr int kLeasesPerHelloMax = 2 * kLeasesPerWorkerMax;

// Of more there are several messages.
inline constexpr int kCancelRangesPerMessage = 4096;
inline constexpr int kGroupsPerMessage = 16'384;
inline constexpr int kStreamsPerAck = 4096;

}  // namespace whippletree
