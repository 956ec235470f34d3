// Waiting or leased jobs that share everything but their payload: a part of one run.
#pragma once

#include <cstdint>
#include <memory>

#include "common/run.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

struct Slice {
  std::shared_ptr<RunData> data;
  uint32_t begin = 0;  // jobs [begin, end) of data
  uint32_t end = 0;
  uint64_t stream = 0;
  uint64_t first = 0;  // number of job `begin` in its stream
  std::shared_ptr<const wire::JobOptions> options;
  uint32_t attempts = 0;  // charged so far
  bool suspect = false;   // its worker died and nobody knows whether it had been started
  // Uncharged starts in batches that were halved. Not zero: never merged with other jobs again.
  uint32_t halvings = 0;
  // When the first job came, in queues with a linger; else the same for all.
  MonoTime arrived{};

  uint32_t count() const { return end - begin; }
  uint64_t bytes() const { return data->bytes(begin, end); }

  // How many jobs from the first on have at most `most` payload bytes together.
  uint32_t Fitting(uint64_t most) const { return data->Fitting(begin, end, most); }
  // Jobs [from, from + n) of this slice. REQUIRES: from + n <= count().
  Slice Part(uint32_t from, uint32_t n) const {
    Slice part = *this;
    part.begin = begin + from;
    part.end = begin + from + n;
    part.first = first + from;
    return part;
  }
};

}  // namespace whippletree::core
