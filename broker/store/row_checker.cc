#include "broker/store/row_checker.h"

#include <absl/strings/str_cat.h>

#include <numeric>

#include "broker/store/keys.h"

namespace whippletree {

using record::Record;

void RowChecker::Add(std::string_view key, std::string_view value) {
  at_ = KeyText(key);
  Record record;
  if (!record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return Problem("its value is not readable");
  }
  const auto own_key = KeyOf(record);
  if (!own_key.ok()) return Problem(std::string(own_key.status().message()));
  if (*own_key != key) return Problem(absl::StrCat("its value is that of ", KeyText(*own_key)));
  if (record.erased()) return Problem("it says that it is erased");
  ++counts_[record.row_case()];
  switch (record.row_case()) {
    case Record::kQueue:
      queues_.insert(record.queue().name());
      break;
    case Record::kStream:
      AddStream(record.stream());
      break;
    case Record::kRun:
      AddRun(record.run());
      break;
    case Record::kEnded:
      CheckInRuns(record.ended().stream(), record.ended().first(), record.ended().count(), true);
      break;
    case Record::kReturned:
      CheckInRuns(record.returned().stream(), record.returned().first(), record.returned().count(),
                  false);
      break;
    case Record::kLease:
      // Its jobs may have ended since, so runs of some may be gone.
      for (const record::LeasePart& part : record.lease().parts()) {
        Find(part.stream(), part.first(), part.count());
      }
      break;
    case Record::kOutcome:
      Find(record.outcome().stream(), record.outcome().outcome().first(),
           record.outcome().outcome().count());
      break;
    case Record::kAttempts:
      CheckInRuns(record.attempts().stream(), record.attempts().first(), record.attempts().count(),
                  false);
      break;
    // The streams of these may be gone.
    case Record::kJobNames:
      CheckQueue(record.job_names().queue());
      break;
    case Record::kDead:
      CheckQueue(record.dead().queue());
      break;
    case Record::kProducer:
    case Record::kGroup:
    case Record::ROW_NOT_SET:
      break;
  }
}

void RowChecker::CheckQueue(const std::string& queue) {
  if (!queues_.contains(queue)) Problem(absl::StrCat("its queue ", queue, " is missing"));
}

void RowChecker::AddStream(const record::Stream& stream) {
  streams_[stream.number()] = {stream.next(), queues_.contains(stream.queue()), {}};
}

void RowChecker::AddRun(const record::Run& run) {
  const auto& sizes = run.jobs().sizes();
  const uint64_t count = sizes.size();
  jobs_ += count;
  const uint64_t bytes = std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
  if (bytes != run.jobs().block().size()) {
    Problem(absl::StrCat("its jobs have ", bytes, " bytes, its block ", run.jobs().block().size()));
  }
  Stream* stream = Find(run.stream(), run.first(), count);
  if (stream == nullptr) return;
  if (!stream->has_queue)
    Problem(absl::StrCat("the queue of stream ", run.stream(), " is missing"));
  if (!stream->runs.empty() && stream->runs.rbegin()->second > run.first()) {
    Problem("jobs of it are in the run before, too");
  }
  stream->runs[run.first()] = run.first() + count;
}

RowChecker::Stream* RowChecker::Find(uint64_t stream, uint64_t first, uint64_t count) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) {
    Problem(absl::StrCat("stream ", stream, " is missing"));
    return nullptr;
  }
  const uint64_t next = found->second.next;
  if (count == 0 || first == 0 || first > next || count > next - first) {
    Problem(absl::StrCat("has ", count, " jobs from ", first, " on; stream ", stream,
                         " has those below ", next));
    return nullptr;
  }
  return &found->second;
}

void RowChecker::CheckInRuns(uint64_t stream, uint64_t first, uint64_t count, bool in_one) {
  const Stream* found = Find(stream, first, count);
  if (found == nullptr) return;
  const uint64_t end = first + count;
  auto run = found->runs.upper_bound(first);
  uint64_t covered = first;
  if (run != found->runs.begin()) {
    --run;
    for (; run != found->runs.end() && run->first <= covered && covered < end; ++run) {
      covered = run->second > covered ? run->second : covered;
      if (in_one) break;
    }
  }
  if (covered < end) {
    Problem(absl::StrCat("job ", stream, "-", covered, " of it is in no run",
                         in_one ? " together with the others" : ""));
  }
}

}  // namespace whippletree
