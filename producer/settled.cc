#include "producer/settled.h"

#include <optional>
#include <utility>

#include "common/run.h"

namespace whippletree {

void AppendSettled(SettledJobs jobs, const std::vector<IntervalSet::Interval>& parts,
                   std::vector<SettledJobs>* settled) {
  const uint64_t begin = jobs.range.first();
  const IntervalSet::Interval all{begin, begin + jobs.range.count()};
  if (parts.size() == 1 && parts[0] == all) {
    settled->push_back(std::move(jobs));
    return;
  }
  std::optional<RunData> results;
  if (jobs.range.has_results()) results.emplace(jobs.range.mutable_results());
  jobs.range.clear_results();
  for (const auto& part : parts) {
    SettledJobs piece = jobs;
    piece.range.set_first(part.begin);
    piece.range.set_count(part.end - part.begin);
    if (results) {
      results->CopyTo(static_cast<uint32_t>(part.begin - begin),
                      static_cast<uint32_t>(part.end - begin), piece.range.mutable_results());
    }
    settled->push_back(std::move(piece));
  }
}

}  // namespace whippletree
