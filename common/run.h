// Payloads of consecutive jobs in one piece, shared by all who hold a part of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/check.h"
#include "wire.pb.h"

namespace whippletree {

inline constexpr uint32_t kJobsPerRunMax = 65'536;

// Jobs of equal size cost no bytes beyond their payload, others four each.
class RunData {
 public:
  RunData() = default;
  // Takes the block out of `run`. REQUIRES: IsValidRun(*run).
  explicit RunData(wire::Run* run);

  uint32_t count() const { return count_; }
  std::string_view payload(uint32_t i) const {
    return std::string_view(block_).substr(offset(i), offset(i + 1) - offset(i));
  }
  // Of jobs [begin, end).
  uint64_t bytes(uint32_t begin, uint32_t end) const { return offset(end) - offset(begin); }
  // How many of jobs [begin, end) from the first on have at most `most` bytes together.
  uint32_t Fitting(uint32_t begin, uint32_t end, uint64_t most) const;
  std::string_view block(uint32_t begin, uint32_t end) const {
    return std::string_view(block_).substr(offset(begin), bytes(begin, end));
  }

  // Room for payloads of so many bytes.
  void Reserve(uint64_t bytes) { block_.reserve(bytes); }
  void Append(std::string_view payload);
  void Append(const RunData& other, uint32_t begin, uint32_t end);
  // Adds jobs [begin, end) to `run`.
  void CopyTo(uint32_t begin, uint32_t end, wire::Run* run) const;
  // The same of all jobs, which this has no more. REQUIRES: `run` has no jobs.
  void MoveTo(wire::Run* run);
  // The payload of the only job, which this has no more. REQUIRES: count() == 1.
  std::string Take();

 private:
  // Adds the sizes of jobs [begin, end) to `run`.
  void CopySizesTo(uint32_t begin, uint32_t end, wire::Run* run) const;
  uint64_t offset(uint32_t i) const {
    return ends_.empty() ? uint64_t{size_} * i : (i == 0 ? 0 : ends_[i - 1]);
  }

  // From here on sizes may differ.
  void NoteEnds();

  uint32_t count_ = 0;
  uint32_t size_ = 0;           // of every payload, while ends_ is empty
  std::vector<uint32_t> ends_;  // offset of the end of each payload, once sizes differ
  std::string block_;
};

// True if sizes and block agree and the count is in [1, kJobsPerRunMax].
bool IsValidRun(const wire::Run& run);

// Adds one payload to `run`; an only one that is large is moved.
void AppendToRun(std::string payload, wire::Run* run);

}  // namespace whippletree
