// Map-reduce over two queues, whose workers may be any program:
//
//   text ─▶ pieces ─▶ map jobs ─▶ lines KEY<TAB>VALUE ─▶ shuffle, by key ─▶ reduce jobs
//        ─▶ lines KEY<TAB>VALUE ─▶ sorted
//
// A map job's payload is the text's name, a newline and a piece of the text; its result is lines.
// A reduce job's payload is sorted lines, with all values of each of its keys; its result is lines
// too. Values of one key that are too many for one payload are reduced in parts, and then the
// results of these: the reducer must be associative, and take its own results as values.
//
// Each stage is one group of jobs. Lines wait in memory and, beyond a bound, in temporary files
// without a name, in $TMPDIR.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "producer/producer.h"

namespace whippletree {

struct MapReduceOptions {
  std::string map_queue;
  std::string reduce_queue;
  // Each gets the keys with its hash, and makes at least one reduce job if it has any.
  uint32_t partitions = 3;
  // Bytes of text of a map job, and of lines of a reduce job with more than one key.
  uint64_t piece_bytes = 1 << 20;
  // Of lines in memory, about.
  uint64_t memory_bytes = 64 << 20;
  // Of all jobs; `group` and `discard_outcome` are not used.
  JobOptions jobs{};
  // True: no more jobs are submitted, and the work ends as CANCELLED. May be null.
  std::function<bool()> stopped{};
};

// A text, which is opened when its turn comes.
struct MapInput {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<std::istream>>()> open;
};
// A file; the name is that of the file without its folder and without ".txt".
MapInput FileInput(const std::string& path);

struct MapReduceReport {
  uint64_t map_jobs = 0;
  uint64_t reduce_jobs = 0;
  uint64_t reduce_rounds = 0;
  // A job failed, or its result is of no use: what is wrong is the jobs, not the machine.
  bool job_failed = false;
};

// Gets the results, sorted by key, then by value.
using MapReduceSink = std::function<absl::Status(std::string_view key, std::string_view value)>;

// Runs it and blocks until its end. If a job fails no more are submitted, and its status is
// returned when all others have ended; `sink` gets nothing then. Other errors: INVALID_ARGUMENT (a
// name with a newline, a word or a line larger than a payload), UNAVAILABLE (a file cannot be read
// or written, the broker restarted), FAILED_PRECONDITION (the reducer does not make less of the
// values of a key), CANCELLED (stopped), and those of Producer::Submit and of `sink`.
// `report` may be null; it is filled in any case.
// REQUIRES: the producer blocks; if it is named, both queues' streams are open.
absl::Status MapReduce(Producer& producer, const std::vector<MapInput>& inputs,
                       const MapReduceOptions& options, const MapReduceSink& sink,
                       MapReduceReport* report = nullptr);

// ---- The same without a producer, for whoever runs jobs in another way.

// The jobs of one stage.
class JobStage {
 public:
  virtual ~JobStage() = default;
  // `callback` gets the outcome, from any thread, one at a time.
  virtual absl::Status Submit(std::string_view payload, OutcomeCallback callback) = 0;
  // Blocks until all jobs have ended and the callbacks have returned.
  virtual absl::Status Finish() = 0;
};
using StartStage =
    std::function<absl::StatusOr<std::unique_ptr<JobStage>>(const std::string& queue)>;

absl::Status MapReduce(const StartStage& start, uint64_t payload_bytes_max,
                       const std::vector<MapInput>& inputs, const MapReduceOptions& options,
                       const MapReduceSink& sink, MapReduceReport* report = nullptr);

}  // namespace whippletree
