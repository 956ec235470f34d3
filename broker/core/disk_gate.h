// Keeps durable queues from filling the disk of the store, in two steps. Below the reserve no job
// is accepted. What is accepted still runs and ends, which is how a backlog that fills the disk
// gets smaller; only when other things take the disk further, to half of the reserve, nothing more
// is dispatched. What is below that is for what leased jobs return.
//
// Each step ends when there is an eighth of the reserve more than where it began.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace whippletree::core {

enum class DiskState {
  kOk,
  kLow,   // no job is accepted
  kFull,  // and none is dispatched
};

// "ok", "low", "full".
std::string_view NameOf(DiskState state);

class DiskGate {
 public:
  // What the disk has now. A reserve of 0: there is no disk to look at.
  void Set(uint64_t free_bytes, uint64_t reserve_bytes);
  // Bytes were accepted since.
  void Take(uint64_t bytes);

  DiskState state() const { return state_; }
  uint64_t free_bytes() const { return free_bytes_; }
  uint64_t reserve_bytes() const { return reserve_bytes_; }
  // Bytes that may be accepted at once. One step may go a quarter of the reserve below it.
  uint64_t room() const;
  // Why bytes are not accepted, for people.
  std::string Reason() const;

 private:
  void Update();

  DiskState state_ = DiskState::kOk;
  uint64_t free_bytes_ = 0;
  uint64_t reserve_bytes_ = 0;
};

}  // namespace whippletree::core
