#include "broker/core/disk_gate.h"

#include <algorithm>
#include <limits>

namespace whippletree::core {
namespace {

// "3.1 MiB".
std::string Bytes(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  uint64_t tenths = bytes * 10 / 1024;
  size_t unit = 0;
  for (; tenths >= 10'240 && unit + 1 < std::size(kUnits); ++unit) tenths /= 1024;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " " +
         std::string(kUnits[unit]);
}

}  // namespace

std::string_view NameOf(DiskState state) {
  constexpr std::string_view kNames[] = {"ok", "low", "full"};
  return kNames[static_cast<int>(state)];
}

void DiskGate::Set(uint64_t free_bytes, uint64_t reserve_bytes) {
  free_bytes_ = free_bytes;
  reserve_bytes_ = reserve_bytes;
  Update();
}

void DiskGate::Take(uint64_t bytes) {
  free_bytes_ -= std::min(bytes, free_bytes_);
  Update();
}

void DiskGate::Update() {
  const uint64_t margin = reserve_bytes_ / 8;
  const uint64_t low = reserve_bytes_ + (state_ == DiskState::kOk ? 0 : margin);
  const uint64_t full = reserve_bytes_ / 2 + (state_ == DiskState::kFull ? margin : 0);
  state_ = free_bytes_ < full  ? DiskState::kFull
           : free_bytes_ < low ? DiskState::kLow
                               : DiskState::kOk;
}

uint64_t DiskGate::room() const {
  if (reserve_bytes_ == 0) return std::numeric_limits<uint64_t>::max();
  if (state_ != DiskState::kOk) return 0;
  return free_bytes_ - reserve_bytes_ + reserve_bytes_ / 4;
}

std::string DiskGate::Reason() const {
  return "the disk of the broker's data directory is " +
         std::string(state_ == DiskState::kOk ? "nearly full" : "full") + ": " +
         Bytes(free_bytes_) + " are free, and " + Bytes(reserve_bytes_) + " are kept in reserve";
}

}  // namespace whippletree::core
