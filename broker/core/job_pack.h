// Small jobs far behind in a line, in little memory: their payloads one after the other, and six
// bytes for each. A record of its own costs two hundred, and jobs that many producers submit one by
// one belong to no common run. First in, first out; nothing is known of single jobs until they come
// out.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "broker/core/slice.h"
#include "wire.pb.h"

namespace whippletree::core {

class JobPack {
 public:
  // Whether these jobs are like all others here, but for stream, options and payload: in memory,
  // never started, and without a time of arrival.
  static bool Takes(const Slice& slice);

  // Adds the jobs at the end. REQUIRES: Takes(slice).
  void Add(const Slice& slice);
  // Takes out the first job, and those that follow it in the same stream, as one slice.
  // REQUIRES: jobs() > 0.
  Slice TakeFirst();

  bool empty() const { return jobs_ == 0; }
  uint64_t jobs() const { return jobs_; }

  // Calls each(slice) for what TakeFirst() would give until it returns false; then returns false.
  template <typename Each>
  bool ForEach(Each&& each) const {
    for (const Chunk& chunk : chunks_) {
      Chunk::Place place = chunk.front;
      std::vector<uint64_t> next = chunk.next;
      while (place.job < chunk.ends.size()) {
        if (!each(chunk.Read(&place, &next))) return false;
      }
    }
    return true;
  }

 private:
  // Jobs of a stream in a chunk, numbered one after the other.
  struct Source {
    uint64_t stream;
    std::shared_ptr<const wire::JobOptions> options;
  };
  struct Chunk {
    struct Place {
      uint32_t job = 0;
      uint32_t byte = 0;
    };
    std::string block;
    std::vector<uint32_t> ends;     // of each job's payload in the block
    std::vector<uint16_t> sources;  // of each job
    std::vector<Source> table;
    std::vector<uint64_t> next;  // of each source: the number of its first job from `front` on
    Place front;                 // the jobs before are taken

    // The jobs at `place`, which is moved behind them, as are their numbers in `numbers`.
    Slice Read(Place* place, std::vector<uint64_t>* numbers) const;
  };
  // Closes the last chunk.
  void Close();

  std::deque<Chunk> chunks_;
  uint64_t jobs_ = 0;
  // Of the last chunk: the newest source of a stream, and the number that its next job has to have.
  struct Last {
    uint16_t source;
    uint64_t number;
  };
  absl::flat_hash_map<uint64_t, Last> last_;
};

}  // namespace whippletree::core
