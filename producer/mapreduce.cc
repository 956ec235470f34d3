#include "producer/mapreduce.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "common/printable.h"
#include "producer/line_sorter.h"
#include "producer/text_pieces.h"

namespace whippletree {
namespace {

std::string TemporaryFolder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

// FNV-1a: the same in every process.
uint64_t HashOf(std::string_view key) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Lines by the hash of their key, in memory up to a bound.
class Shuffle {
 public:
  Shuffle(uint32_t partitions, uint64_t memory_bytes) : memory_bytes_max_(memory_bytes) {
    for (uint32_t i = 0; i < partitions; ++i) sorters_.emplace_back(TemporaryFolder());
  }

  absl::Status Add(std::string_view line) {
    LineSorter& sorter = sorters_[HashOf(KeyOf(line)) % sorters_.size()];
    const uint64_t before = sorter.memory_bytes();
    sorter.Add(line);
    memory_bytes_ += sorter.memory_bytes() - before;
    if (memory_bytes_ <= memory_bytes_max_) return absl::OkStatus();
    LineSorter& largest = *std::max_element(
        sorters_.begin(), sorters_.end(),
        [](const auto& a, const auto& b) { return a.memory_bytes() < b.memory_bytes(); });
    memory_bytes_ -= largest.memory_bytes();
    return largest.Spill();
  }

  bool empty() const {
    return std::all_of(sorters_.begin(), sorters_.end(), [](const auto& s) { return s.empty(); });
  }
  std::vector<LineSorter>& sorters() { return sorters_; }

 private:
  const uint64_t memory_bytes_max_;
  uint64_t memory_bytes_ = 0;
  std::vector<LineSorter> sorters_;
};

// What the callbacks of outcomes fill. They may come later than the end of a stage if the broker
// refuses the producer, so they share it.
class Results {
 public:
  // Its lines go to `shuffle`, which is kept alive.
  OutcomeCallback Into(std::shared_ptr<Shuffle> shuffle) {
    return [this, self = self_.lock(), shuffle = std::move(shuffle)](Outcome outcome) {
      const std::lock_guard lock(mutex_);
      Take(outcome, *shuffle);
    };
  }
  static std::shared_ptr<Results> Make() {
    auto results = std::make_shared<Results>();
    results->self_ = results;
    return results;
  }

  absl::Status failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  bool job_failed() const {
    const std::lock_guard lock(mutex_);
    return job_failed_;
  }

 private:
  void Take(const Outcome& outcome, Shuffle& shuffle) {
    const std::string job = "job " + outcome.id + " of queue " + outcome.queue;
    if (outcome.kind != OutcomeKind::kCompleted) {
      const std::string message(outcome.status.message().data(), outcome.status.message().size());
      const absl::StatusCode code =
          outcome.status.ok() ? absl::StatusCode::kUnknown : outcome.status.code();
      JobFailed(
          absl::Status(code, job + " " + std::string(ToString(outcome.kind)) + ": " + message));
      return;
    }
    for (std::string_view rest = outcome.result; !rest.empty() && failure_.ok();) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.empty()) continue;
      if (line.find('\t') == std::string_view::npos) {
        JobFailed(absl::InvalidArgumentError("the result of " + job + " has the line " +
                                             Quoted(line, 60) +
                                             ": expected KEY<TAB>VALUE on each line"));
      } else if (absl::Status status = shuffle.Add(line); !status.ok()) {
        failure_ = std::move(status);
      }
    }
  }

  void JobFailed(absl::Status status) {
    if (!failure_.ok()) return;
    failure_ = std::move(status);
    job_failed_ = true;
  }

  std::weak_ptr<Results> self_;
  mutable std::mutex mutex_;
  absl::Status failure_;
  bool job_failed_ = false;
};

class Work {
 public:
  Work(const StartStage& start, uint64_t payload_bytes_max, const MapReduceOptions& options,
       MapReduceReport* report)
      : start_(start), payload_bytes_max_(payload_bytes_max), options_(options), report_(*report) {}

  absl::Status Run(const std::vector<MapInput>& inputs, const MapReduceSink& sink) {
    const auto merged = std::make_shared<Shuffle>(1, options_.memory_bytes / 4);
    absl::Status status = RunStages(inputs, merged);
    report_.job_failed = report_.job_failed || results_->job_failed();
    if (!status.ok()) return status;
    return merged->sorters()[0].Read([&](std::string_view line) {
      const std::string_view key = KeyOf(line);
      return sink(key, line.substr(key.size() + 1));
    });
  }

 private:
  absl::Status RunStages(const std::vector<MapInput>& inputs,
                         const std::shared_ptr<Shuffle>& merged) {
    auto lines = std::make_shared<Shuffle>(options_.partitions, options_.memory_bytes / 2);
    absl::Status status = RunStage(options_.map_queue, [&] { return Map(inputs, lines); });
    while (status.ok() && !lines->empty()) {
      ++report_.reduce_rounds;
      // Of keys that are reduced in parts.
      auto again = std::make_shared<Shuffle>(options_.partitions, options_.memory_bytes / 4);
      status = RunStage(options_.reduce_queue, [&] { return Reduce(*lines, again, merged); });
      lines = std::move(again);
    }
    return status;
  }

  // Submits jobs, and waits for the end of those that were submitted.
  absl::Status RunStage(const std::string& queue, const std::function<absl::Status()>& submit) {
    auto stage = start_(queue);
    if (!stage.ok()) return stage.status();
    stage_ = *std::move(stage);
    const absl::Status submitted = submit();
    const absl::Status finished = stage_->Finish();
    stage_.reset();
    if (absl::Status failure = results_->failure(); !failure.ok()) return failure;
    if (!submitted.ok()) return submitted;
    return finished.ok() ? CheckStopped() : finished;
  }

  absl::Status CheckStopped() const {
    return options_.stopped && options_.stopped() ? absl::CancelledError("interrupted")
                                                  : absl::OkStatus();
  }

  absl::Status Submit(std::string_view payload, const std::shared_ptr<Shuffle>& lines) {
    if (absl::Status status = CheckStopped(); !status.ok()) return status;
    if (absl::Status failure = results_->failure(); !failure.ok()) return failure;
    return stage_->Submit(payload, results_->Into(lines));
  }

  absl::Status Map(const std::vector<MapInput>& inputs, const std::shared_ptr<Shuffle>& lines) {
    for (const MapInput& input : inputs) {
      const absl::Status status = MapOne(input, lines);
      if (status.ok()) continue;
      // Of the text, not of a job.
      const bool named = absl::IsInvalidArgument(status) || absl::IsUnavailable(status);
      if (!named || !results_->failure().ok()) return status;
      return absl::Status(status.code(), Quoted(input.name) + ": " + std::string(status.message()));
    }
    return absl::OkStatus();
  }

  absl::Status MapOne(const MapInput& input, const std::shared_ptr<Shuffle>& lines) {
    if (input.name.find('\n') != std::string::npos) {
      return absl::InvalidArgumentError("a name has no newline: rename the file");
    }
    const std::string head = input.name + "\n";
    if (head.size() >= payload_bytes_max_) {
      return absl::InvalidArgumentError("the name alone is larger than a payload may be");
    }
    auto text = input.open();
    if (!text.ok()) return text.status();
    const size_t largest = payload_bytes_max_ - head.size();
    const size_t wanted = std::min<uint64_t>(largest, options_.piece_bytes);
    return CutText(**text, {wanted, largest}, [&](std::string_view piece) {
      ++report_.map_jobs;
      return Submit(head + std::string(piece), lines);
    });
  }

  absl::Status Reduce(Shuffle& lines, const std::shared_ptr<Shuffle>& again,
                      const std::shared_ptr<Shuffle>& merged);

  const StartStage& start_;
  const uint64_t payload_bytes_max_;
  const MapReduceOptions& options_;
  MapReduceReport& report_;
  const std::shared_ptr<Results> results_ = Results::Make();
  std::unique_ptr<JobStage> stage_;
  std::map<std::string, uint64_t> parts_;  // of each key that the last round reduced in parts
};

// One round: whole keys go together into payloads, and their results are final.
absl::Status Work::Reduce(Shuffle& lines, const std::shared_ptr<Shuffle>& again,
                          const std::shared_ptr<Shuffle>& merged) {
  const std::map<std::string, uint64_t> parts_before = std::exchange(parts_, {});
  const uint64_t wanted = std::min(options_.piece_bytes, payload_bytes_max_);
  std::string payload;  // of whole keys
  std::string values;   // lines of the key whose turn it is
  std::optional<std::string> key;
  uint64_t parts = 0;  // of that key
  const auto send = [&](std::string* jobs_payload, const std::shared_ptr<Shuffle>& to) {
    if (jobs_payload->empty()) return absl::OkStatus();
    ++report_.reduce_jobs;
    absl::Status status = Submit(*jobs_payload, to);
    jobs_payload->clear();
    return status;
  };
  const auto send_part = [&] {
    ++parts;
    return send(&values, again);
  };
  const auto end_key = [&]() -> absl::Status {
    if (parts > 0) {
      if (absl::Status status = send_part(); !status.ok()) return status;
      auto before = parts_before.find(*key);
      if (before != parts_before.end() && parts >= before->second) {
        report_.job_failed = true;
        return absl::FailedPreconditionError(
            "the results for the key " + Quoted(*key, 60) +
            " are no fewer bytes than its values, which are too many for one payload: a reducer "
            "must make less of them");
      }
      parts_[*key] = std::exchange(parts, 0);
      return absl::OkStatus();
    }
    if (payload.size() + values.size() > wanted) {
      if (absl::Status status = send(&payload, merged); !status.ok()) return status;
    }
    payload += values;
    values.clear();
    return absl::OkStatus();
  };
  for (LineSorter& partition : lines.sorters()) {
    absl::Status status = partition.Read([&](std::string_view line) -> absl::Status {
      if (!key || KeyOf(line) != *key) {
        if (absl::Status ended = end_key(); !ended.ok()) return ended;
        key = std::string(KeyOf(line));
      }
      if (line.size() + 1 > payload_bytes_max_) {
        return absl::InvalidArgumentError(
            "a line of " + std::to_string(line.size()) + " bytes for the key " + Quoted(*key, 60) +
            " is larger than a payload may be: let the mapper make smaller ones");
      }
      if (values.size() + line.size() + 1 > payload_bytes_max_) {
        if (absl::Status sent = send_part(); !sent.ok()) return sent;
      }
      values.append(line).append("\n");
      return absl::OkStatus();
    });
    if (status.ok()) status = end_key();
    if (status.ok()) status = send(&payload, merged);
    if (!status.ok()) return status;
    key.reset();
  }
  return absl::OkStatus();
}

// The jobs of a stage, as one group of a producer.
class ProducerStage : public JobStage {
 public:
  ProducerStage(Producer* producer, std::string queue, JobOptions options)
      : producer_(producer), queue_(std::move(queue)), options_(std::move(options)) {}

  absl::Status Submit(std::string_view payload, OutcomeCallback callback) override {
    const std::string_view payloads[] = {payload};
    return producer_->SubmitMany(queue_, payloads, options_, std::move(callback)).status();
  }
  absl::Status Finish() override {
    auto end = producer_->CloseGroup(options_.group);
    return end.ok() ? end->get().status : end.status();
  }

 private:
  Producer* const producer_;
  const std::string queue_;
  const JobOptions options_;
};

}  // namespace

MapInput FileInput(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.ends_with(".txt")) name.resize(name.size() - 4);
  const auto open = [path]() -> absl::StatusOr<std::unique_ptr<std::istream>> {
    auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
    // A folder opens, and fails only when it is read.
    if (*file && file->peek() == std::ifstream::traits_type::eof() && file->bad()) {
      file->setstate(std::ios::failbit);
    }
    if (file->bad() || !file->is_open()) {
      return absl::UnavailableError(std::string("cannot read ") + Quoted(path) + ": " +
                                    std::strerror(errno));
    }
    file->clear();
    return std::unique_ptr<std::istream>(std::move(file));
  };
  return {std::move(name), open};
}

absl::Status MapReduce(const StartStage& start, uint64_t payload_bytes_max,
                       const std::vector<MapInput>& inputs, const MapReduceOptions& options,
                       const MapReduceSink& sink, MapReduceReport* report) {
  if (options.partitions == 0 || options.piece_bytes == 0) {
    return absl::InvalidArgumentError("partitions and piece_bytes are at least 1");
  }
  MapReduceReport unused;
  return Work(start, payload_bytes_max, options, report != nullptr ? report : &unused)
      .Run(inputs, sink);
}

absl::Status MapReduce(Producer& producer, const std::vector<MapInput>& inputs,
                       const MapReduceOptions& options, const MapReduceSink& sink,
                       MapReduceReport* report) {
  const StartStage start =
      [&](const std::string& queue) -> absl::StatusOr<std::unique_ptr<JobStage>> {
    JobOptions jobs = options.jobs;
    jobs.discard_outcome = false;
    const absl::StatusOr<uint64_t> group = producer.OpenGroup();
    if (!group.ok()) return group.status();
    jobs.group = *group;
    return std::make_unique<ProducerStage>(&producer, queue, std::move(jobs));
  };
  return MapReduce(start, producer.payload_bytes_max(), inputs, options, sink, report);
}

}  // namespace whippletree
