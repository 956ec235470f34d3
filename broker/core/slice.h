// Waiting or leased jobs that share everything but their payload: a part of one run.
//
// A stored slice has no payload in memory: only the store has it, in one row or in several. It is
// what waits of a backlog that is larger than its share of the memory, and what a start finds.
#pragma once

#include <cstdint>
#include <memory>

#include "common/run.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree::core {

// After so many losses of a worker that ran it, or before its last attempt, a job is tried apart.
inline constexpr uint32_t kLossesApart = 2;

struct Slice {
  std::shared_ptr<RunData> data;  // nullptr: stored
  uint32_t begin = 0;             // jobs [begin, end) of data
  uint32_t end = 0;
  uint64_t stream = 0;
  uint64_t first = 0;  // number of job `begin` in its stream
  std::shared_ptr<const wire::JobOptions> options;
  uint32_t attempts = 0;  // charged so far
  bool suspect = false;   // its worker died and nobody knows whether it had been started
  // Workers that were lost while they ran these jobs, up to kLossesApart.
  uint32_t losses = 0;
  // Uncharged starts in batches that were halved. Not zero: never merged with other jobs again.
  uint32_t halvings = 0;
  // When the first job came, in queues with a linger; else the same for all.
  MonoTime arrived{};
  uint64_t stored_bytes = 0;  // of a stored one: its payload, about; exact for whole rows
  bool loading = false;       // stored, of one row, and asked back

  bool stored() const { return data == nullptr; }
  // They may end workers: they run beside no others of this kind.
  bool apart() const { return losses >= kLossesApart; }
  // They come back as they are, and keep their places until then.
  bool is_sealed() const { return halvings > 0 || apart(); }
  uint32_t count() const { return end - begin; }
  // Of payload, in memory.
  uint64_t bytes() const { return bytes(0, count()); }
  // … of jobs [from, from + n) of this slice.
  uint64_t bytes(uint32_t from, uint32_t n) const {
    return stored() ? 0 : data->bytes(begin + from, begin + from + n);
  }

  // How many jobs from the first on have at most `most` payload bytes together. REQUIRES:
  // !stored().
  uint32_t Fitting(uint64_t most) const { return data->Fitting(begin, end, most); }
  // Jobs [from, from + n) of this slice. REQUIRES: from + n <= count().
  Slice Part(uint32_t from, uint32_t n) const {
    Slice part = *this;
    part.begin = begin + from;
    part.end = begin + from + n;
    part.first = first + from;
    if (stored()) part.stored_bytes = StoredBelow(from + n) - StoredBelow(from);
    return part;
  }
  // A few jobs must not keep the bytes of a whole run in memory.
  void OwnSmallPart() {
    if (stored() || bytes() * 4 >= data->bytes(0, data->count())) return;
    auto own = std::make_shared<RunData>();
    own->Append(*data, begin, end);
    end = count();
    begin = 0;
    data = std::move(own);
  }
  // Gives up the payload. REQUIRES: the store has it, or will.
  void KeepStored() {
    stored_bytes = bytes();
    end = count();
    begin = 0;
    data.reset();
  }

 private:
  // What the first n jobs have of stored_bytes, so that parts add up.
  uint64_t StoredBelow(uint32_t n) const {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(stored_bytes) * n / count());
  }
};

}  // namespace whippletree::core
