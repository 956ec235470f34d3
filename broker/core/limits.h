// The bounds of the core in one place; those of messages are in common/wire_limits.h.
#pragma once

#include <cstdint>
#include <limits>

#include "common/time.h"
#include "common/wire_limits.h"

namespace whippletree::core {

// Runs grow to this many payload bytes by merging what belongs together. A larger bound would cost
// more in copies than it saves in records.
inline constexpr uint64_t kMergedRunBytesMax = 64 << 10;
// Stored jobs of a stream that follow each other are one record, up to this many.
inline constexpr uint32_t kStoredJobsMax = 1u << 30;
// One outcome range grows to this many bytes while it waits to be sent.
inline constexpr uint64_t kMergedOutcomeBytesMax = 64 << 10;
// A message at the door is closed when it has this many bytes.
inline constexpr uint64_t kDoorMessageBytes = 256 << 10;
// Credit of one stream beyond what is accepted, in jobs. In bytes: Config::window_bytes.
inline constexpr uint64_t kStreamWindowJobs = 65'536;
// What waits for a peer whose socket takes no more, one frame or so many and so many bytes; further
// ones are dropped (all that travels at the door is repeated).
inline constexpr size_t kOutboxFramesMax = 256;
inline constexpr uint64_t kOutboxBytesMax = 1 << 20;
inline constexpr Duration kOutboxRetry = milliseconds(5);

inline constexpr uint32_t kSlotsMax = 4096;
inline constexpr uint32_t kHeldMax = 65'536;
inline constexpr size_t kQueuesMax = 100'000;
// Numbers of groups that ended are kept as so many ranges; the lowest grow together beyond.
inline constexpr size_t kEndedGroupRangesMax = 10'000;
// A batch is granted in one step, whatever its jobs have in common: so many parts at most.
inline constexpr size_t kBatchRecordsMax = 4096;
// Peers that one connection may bring: a process has a connection for each.
inline constexpr uint32_t kPeersPerRouteMax = 4;
inline constexpr size_t kPeerNameBytesMax = 128;

// Counted per record beside its payload: queue entry, run, map nodes.
inline constexpr uint64_t kRunOverheadBytes = 256;
// Jobs are accepted while so much is free beside their payload: a record in a line of its own.
inline constexpr uint64_t kRecordRoomBytes = 2 << 10;
// Counted per row of a run in the store: a map node of StreamRows.
inline constexpr uint64_t kRowOverheadBytes = 80;
// An outcome that the store has, and that its row is there.
inline constexpr uint64_t kStoredOutcomeBytes = 160;
inline constexpr uint64_t kPeerOverheadBytes = 16 << 10;
inline constexpr uint64_t kGroupOverheadBytes = 512;
// Of a group, for each queue that is counted apart.
inline constexpr uint64_t kGroupQueueOverheadBytes = 192;
// Of a worker, for each queue that it serves.
inline constexpr uint64_t kWorkerQueueOverheadBytes = 320;
inline constexpr uint64_t kQueueOverheadBytes = 5 << 10;
inline constexpr uint64_t kStreamOverheadBytes = 2 << 10;
// The line of a key, beside the key itself: a map node and a deque.
inline constexpr uint64_t kLineOverheadBytes = 832;
// Of each job in memory, where those of a run differ in size.
inline constexpr uint64_t kJobOverheadBytes = 4;
inline constexpr uint64_t kLeaseOverheadBytes = 640;
// Of jobs of a lease that are to be answered by the same time; of a lease that was not answered
// for.
inline constexpr uint64_t kDueAnswerBytes = 208;
inline constexpr uint64_t kOwedLeaseBytes = 160;
// Of each part of a batch.
inline constexpr uint64_t kSliceBytes = 96;
inline constexpr uint64_t kNameOverheadBytes = 96;  // in a set of names
inline constexpr uint64_t kIntervalBytes = 24;
inline constexpr uint64_t kExpiryOverheadBytes = 96;
inline constexpr uint64_t kJobNameOverheadBytes = 80;
inline constexpr uint64_t kAttemptOverheadBytes = 160;
inline constexpr uint64_t kDeadOverheadBytes = 512;
// Beside what a waiting message has on the wire.
inline constexpr uint64_t kSendOverheadBytes = 512;

// Of the last attempts of a job so many are kept …
inline constexpr int kAttemptsKept = 10;
// … each with so much of its message.
inline constexpr size_t kAttemptMessageBytesMax = 512;
// Smaller replies to admins may wait unread: the socket's high-water mark bounds these.
inline constexpr uint64_t kSmallReplyBytes = 1 << 10;
// An admin's reply goes on in another one beyond so many bytes. One job may be larger: it is alone.
inline constexpr uint64_t kAdminReplyBytes = 256 << 10;
// To a producer whose queue nobody serves so many others are named, with so many bytes together,
// and so many are looked at for it.
inline constexpr int kServedTold = 10;
inline constexpr size_t kServedBytes = 512;
inline constexpr int kServedLookedAt = 1000;
// To tell an admin of jobs, so many records are looked at.
inline constexpr uint64_t kRecordsLookedAt = 50'000;
// Dead jobs that one admin request lists, requeues or drops.
inline constexpr uint32_t kDeadPerReply = 1000;

// What a queue or stream that is opened is counted as, in units of work: it is new memory.
inline constexpr uint64_t kOpenWork = 8;

inline constexpr int kHeartbeatsPerLease = 5;

// An unstarted job that has been in a worker for this long while another worker is idle is taken
// back.
inline constexpr Duration kRevokeAfter = milliseconds(5);
// Of what a worker wants to hold of quick jobs, this part is worth a message and a wake-up, which
// cost some tens of microseconds there and here: about (1 ms + turnaround) / 4 of work.
inline constexpr uint32_t kGrainsPerWindow = 4;
// No more than this of work for each slot.
inline constexpr Duration kGrainMax = milliseconds(1);
// A worker whose slots had jobs for so long leaves one free for a queue of which nothing can wait
// in it.
inline constexpr Duration kFreeSlotAfter = milliseconds(10);
// Unanswered revocations and cancels are repeated after this.
inline constexpr Duration kRepeatAfter = seconds(1);

// Of an attempt; what a policy says beyond it is as much as this.
inline constexpr Duration kTimeoutMax = milliseconds(std::numeric_limits<uint32_t>::max());
// Beyond its timeout, and what its worker needs to end it, a started job is to be answered within
// this, or the worker's lease duration if that is longer; one that is asked back likewise.
inline constexpr Duration kAnswerGrace = seconds(5);

// A queue that has nothing, and that nobody uses, goes after this.
inline constexpr Duration kQueueRetention = std::chrono::minutes(10);

// Outcomes of a producer that is gone are kept this long.
inline constexpr Duration kProducerRetention = seconds(60);
inline constexpr Duration kNamedProducerRetention = std::chrono::hours(24);

// The core is stepped at least this often while it has peers; a longer gap counts as a pause.
inline constexpr Duration kTick = milliseconds(500);
inline constexpr Duration kPause = seconds(1);
// Between two log lines about one busy queue.
inline constexpr Duration kSummaryInterval = seconds(5);

}  // namespace whippletree::core
