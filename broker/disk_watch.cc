#include "broker/disk_watch.h"

#include <algorithm>
#include <string>

namespace whippletree {
namespace {

constexpr Duration kLookInterval = milliseconds(200);
// While what others write in the meantime may be as much as the reserve.
constexpr Duration kLookIntervalNear = milliseconds(20);
constexpr Duration kBallastRetry = seconds(10);

// What is left when others have filled the disk to the brim: less than half of the reserve, so that
// nothing is dispatched on it. The rest of the reserve is enough for a compaction.
uint64_t BallastFor(uint64_t reserve_bytes) { return reserve_bytes / 4; }

}  // namespace

void DiskWatch::OnCommit(uint64_t commit, uint64_t bytes_written) {
  under_way_.push_back({commit, bytes_written});
  written_ = bytes_written;
}

void DiskWatch::OnDurable(uint64_t commit) {
  while (!under_way_.empty() && under_way_.front().number <= commit) {
    in_files_ = under_way_.front().bytes_written;
    under_way_.pop_front();
  }
}

uint64_t DiskWatch::free_bytes() const {
  const uint64_t before = measured_ + ballast_bytes_;
  return before - std::min(before, written_ - in_files_measured_);
}

std::optional<core::Disk> DiskWatch::Poll(MonoTime now, std::vector<LogEvent>* logs) {
  const bool looks = now >= next_look_;
  if (looks) Look(now, logs);
  const uint64_t free = free_bytes();
  // Between two looks it can only get less; a little of that is not worth a word.
  const uint64_t enough = looks ? 1 : options_.reserve_bytes / 64 + 1;
  if (told_ && free < *told_ + enough && *told_ < free + enough) return std::nullopt;
  told_ = free;
  return core::Disk{free, options_.reserve_bytes};
}

// A disk that does not answer leaves what is known: the store notices what is wrong with it.
void DiskWatch::Measure() {
  const absl::StatusOr<uint64_t> free = options_.calls.free_bytes();
  if (!free.ok()) return;
  measured_ = *free;
  in_files_measured_ = in_files_;
}

void DiskWatch::Look(MonoTime now, std::vector<LogEvent>* logs) {
  const uint64_t reserve = options_.reserve_bytes;
  Measure();
  if (has_ballast() && measured_ < reserve / 8) {
    options_.calls.drop_ballast();
    logs->push_back({LogLevel::kWarning,
                     "ballast",
                     {{"state", std::string("given up")}, {"bytes", ballast_bytes_}}});
    ballast_bytes_ = 0;
    Measure();
  } else if (!has_ballast() && measured_ >= reserve && now >= next_ballast_) {
    MakeBallast(now, logs);
  }
  next_look_ = now + (free_bytes() < 2 * reserve ? kLookIntervalNear : kLookInterval);
}

void DiskWatch::MakeBallast(MonoTime now, std::vector<LogEvent>* logs) {
  const uint64_t bytes = BallastFor(options_.reserve_bytes);
  const absl::Status status = options_.calls.make_ballast(bytes);
  if (status.ok()) {
    ballast_bytes_ = bytes;
    logs->push_back(
        {LogLevel::kInfo, "ballast", {{"state", std::string("made")}, {"bytes", bytes}}});
    Measure();
    return;
  }
  next_ballast_ = now + kBallastRetry;
  if (!std::exchange(ballast_failed_, true)) {
    logs->push_back(
        {LogLevel::kWarning,
         "ballast",
         {{"state", std::string("not made")}, {"error", std::string(status.message())}}});
  }
}

}  // namespace whippletree
