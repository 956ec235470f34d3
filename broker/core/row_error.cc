#include "broker/core/row_error.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "broker/core/job_names.h"
#include "broker/core/limits.h"
#include "broker/core/restoring.h"
#include "common/codec.h"
#include "common/run.h"

namespace whippletree::core {
namespace {

// Far more than a batch can be halved, and than a job can be tried.
constexpr uint32_t kHalvingsMax = 64;
constexpr uint32_t kAttemptsStoredMax = 2 * kAttemptsMax;
// Numbers that peers name are at most kNumberMax, and a broker counts on from there. A row
// that was written must never be refused, so these bounds are far away: nothing overflows below.
constexpr uint64_t kNumberStoredMax = 4 * kNumberMax;
constexpr uint64_t kJobsLeasedMax = 16 * kJobsPerRunMax;

bool IsNumber(uint64_t number) { return number >= 1 && number <= kNumberStoredMax; }

bool IsRange(uint64_t first, uint64_t count, uint64_t count_max = kNumberStoredMax) {
  return IsNumber(first) && count >= 1 && count <= count_max;
}

bool AreCounts(std::initializer_list<uint64_t> counts) {
  return std::all_of(counts.begin(), counts.end(),
                     [](uint64_t count) { return count <= kNumberStoredMax; });
}

// Of jobs of a lease, by index, from 0.
bool AreIndexes(const google::protobuf::RepeatedPtrField<record::Range>& ranges) {
  return std::all_of(ranges.begin(), ranges.end(), [](const record::Range& range) {
    return range.first() <= kNumberStoredMax && range.count() >= 1 &&
           range.count() <= kNumberStoredMax;
  });
}

bool IsPeerName(const std::string& name) {
  return !name.empty() && name.size() <= kPeerNameBytesMax;
}

bool IsOptions(const wire::JobOptions& options) {
  return options.max_attempts() <= kAttemptsMax && options.key().size() <= kKeyBytesMax;
}

bool IsProducer(const record::Producer& row) {
  return IsPeerName(row.name()) &&
         std::all_of(row.ended_groups().begin(), row.ended_groups().end(),
                     [](const record::Range& range) {
                       return range.count() >= 1 && range.first() + range.count() > range.first();
                     });
}

// What runs apart is one job, or of a batch that was halved.
template <typename Jobs>
bool MayRunApart(const Jobs& jobs) {
  return jobs.losses() < kLossesApart || jobs.halvings() > 0 || jobs.count() == 1;
}

// Its memory follows from its counts, so these are what one delivery may have.
bool IsLease(const record::Lease& row) {
  uint64_t jobs = 0;
  for (const record::LeasePart& part : row.parts()) {
    if (!IsNumber(part.stream()) || !IsRange(part.first(), part.count(), kJobsLeasedMax) ||
        part.attempts() > kAttemptsStoredMax || part.halvings() > kHalvingsMax ||
        !MayRunApart(part)) {
      return false;
    }
    jobs += part.count();
  }
  return row.token() != 0 && IsPeerName(row.worker()) && jobs >= 1 && jobs <= kJobsLeasedMax &&
         (row.batch() || row.parts_size() == 1) && AreIndexes(row.charged()) &&
         AreIndexes(row.cancelled());
}

bool IsReturned(const record::Returned& row) {
  return MayRunApart(row) && IsRange(row.first(), row.count(), kStoredJobsMax) &&
         row.attempts() <= kAttemptsStoredMax && row.halvings() <= kHalvingsMax &&
         row.batch() <= kNumberStoredMax && (row.batch() == 0 || row.halvings() > 0);
}

bool IsOutcome(const wire::OutcomeRange& outcome) {
  if (!IsRange(outcome.first(), outcome.count()) ||
      outcome.kind() == wire::OutcomeRange::UNSPECIFIED ||
      !wire::OutcomeRange::Kind_IsValid(outcome.kind())) {
    return false;
  }
  if (outcome.kind() != wire::OutcomeRange::COMPLETED && !outcome.has_results()) return true;
  return IsValidRun(outcome.results()) &&
         static_cast<uint64_t>(outcome.results().sizes_size()) == outcome.count();
}

bool IsGroup(const record::Group& row) {
  const auto is_count = [](const wire::GroupCount& count) {
    return count.jobs() <= kNumberStoredMax;
  };
  return row.group() != 0 && std::all_of(row.expected().begin(), row.expected().end(), is_count) &&
         std::all_of(row.arrived().begin(), row.arrived().end(), is_count) &&
         AreCounts({row.completed(), row.dead(), row.cancelled(), row.expired(), row.rejected()});
}

bool IsJobNames(const record::JobNames& row) {
  const auto jobs = static_cast<uint64_t>(row.names_size());
  return IsNumber(row.stream()) && IsRange(row.first(), jobs) &&
         (row.ends().empty() || row.ends().size() == jobs) &&
         std::all_of(row.ends().begin(), row.ends().end(),
                     [](char end) { return end >= 0 && end <= static_cast<char>(NameEnd::kFree); });
}

bool IsSound(const record::Record& row) {
  using record::Record;
  switch (row.row_case()) {
    case Record::kQueue:
      // Without a name: the sum of those that were dropped.
      return (row.queue().name().empty() || QueueNameError(row.queue().name()).empty()) &&
             AreCounts({row.queue().accepted(), row.queue().completed(), row.queue().dead(),
                        row.queue().cancelled(), row.queue().expired()});
    case Record::kProducer:
      return IsProducer(row.producer());
    case Record::kStream:
      return IsNumber(row.stream().number()) && IsNumber(row.stream().next()) &&
             row.stream().hashed() < row.stream().next() &&
             AreCounts({row.stream().dead(), row.stream().cancelled(), row.stream().expired()});
    case Record::kLease:
      return IsLease(row.lease());
    case Record::kRun:
      return IsNumber(row.run().first()) && IsValidRun(row.run().jobs()) &&
             row.run().order() <= kNumberStoredMax && IsOptions(row.run().options());
    case Record::kEnded:
      return IsRange(row.ended().first(), row.ended().count());
    case Record::kReturned:
      return IsReturned(row.returned());
    case Record::kOutcome:
      return IsOutcome(row.outcome().outcome());
    case Record::kGroup:
      return IsGroup(row.group());
    case Record::kJobNames:
      return IsJobNames(row.job_names());
    case Record::kAttempts:
      return IsRange(row.attempts().first(), row.attempts().count());
    case Record::kDead:
      return IsNumber(row.dead().stream()) && IsNumber(row.dead().number()) &&
             IsNumber(row.dead().order()) && IsOptions(row.dead().options());
    default:
      return true;  // not known: its reader says so
  }
}

}  // namespace

absl::Status RowError(const record::Record& row) {
  if (IsSound(row)) return absl::OkStatus();
  const auto* kind = record::Record::descriptor()->FindFieldByNumber(row.row_case());
  return Damaged("a row of kind \"" + kind->name() + "\" that nobody writes");
}

}  // namespace whippletree::core
