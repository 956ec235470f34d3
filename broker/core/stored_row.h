// What the core knows of payloads that only the store has, and how it asks for them.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "record.pb.h"

namespace whippletree::core {

// A run as one row of the store has it. Some of its jobs may have ended.
struct StoredRow {
  uint64_t first = 0;
  uint64_t end = 0;
  uint64_t bytes = 0;   // of payload
  uint64_t commit = 0;  // that wrote it; 0: before this start of the broker
};

// How much a queue asks back at once.
struct LoadPlan {
  // So many payload bytes at the heads of the lines are enough.
  uint64_t ahead_bytes = 0;
  // So many are needed whatever the room is: what one start takes.
  uint64_t least_bytes = 1;
  // How many bytes may be asked for, beyond what is needed.
  uint64_t room_bytes = std::numeric_limits<uint64_t>::max();
  // Lines to look into.
  uint64_t lines_max = 64;
  // What this commit and those before it wrote can be read.
  uint64_t durable = std::numeric_limits<uint64_t>::max();
  // The row that has the job.
  std::function<StoredRow(uint64_t stream, uint64_t number)> row_of;
};

// A row of a stream: of a run, or of an outcome.
struct Load {
  record::Record::RowCase kind;
  uint64_t stream;
  uint64_t first;
};

struct LoadsAsked {
  std::vector<Load> loads;
  uint64_t bytes = 0;
  bool waits_for_commit = false;  // else more would have been asked for
};

}  // namespace whippletree::core
