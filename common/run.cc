#include "common/run.h"

#include <limits>
#include <utility>

namespace whippletree {

RunData::RunData(wire::Run* run) {
  WT_CHECK(IsValidRun(*run));
  block_ = std::move(*run->mutable_block());
  count_ = static_cast<uint32_t>(run->sizes_size());
  size_ = run->sizes(0);
  bool uniform = true;
  for (uint32_t size : run->sizes()) uniform = uniform && size == size_;
  if (uniform) return;
  ends_.reserve(count_);
  uint32_t end = 0;
  for (uint32_t size : run->sizes()) ends_.push_back(end += size);
}

void RunData::NoteEnds() {
  if (!ends_.empty()) return;
  ends_.reserve(count_ + 1);
  for (uint32_t i = 1; i <= count_; ++i) ends_.push_back(size_ * i);
}

void RunData::Append(std::string_view payload) {
  if (count_ == 0) {
    size_ = static_cast<uint32_t>(payload.size());
  } else if (payload.size() != size_) {
    NoteEnds();
  }
  block_.append(payload);
  ++count_;
  if (!ends_.empty()) ends_.push_back(static_cast<uint32_t>(block_.size()));
}

void RunData::Append(const RunData& other, uint32_t begin, uint32_t end) {
  if (begin == end) return;
  if (ends_.empty() && other.ends_.empty() && (count_ == 0 || size_ == other.size_)) {
    size_ = other.size_;
  } else {
    NoteEnds();
    const uint64_t before = block_.size();
    for (uint32_t i = begin; i < end; ++i) {
      ends_.push_back(static_cast<uint32_t>(before + other.bytes(begin, i + 1)));
    }
  }
  count_ += end - begin;
  block_.append(other.block(begin, end));
}

uint32_t RunData::Fitting(uint32_t begin, uint32_t end, uint64_t most) const {
  uint32_t fitting = 0;
  uint32_t beyond = end - begin + 1;
  while (beyond - fitting > 1) {
    const uint32_t middle = fitting + (beyond - fitting) / 2;
    (bytes(begin, begin + middle) <= most ? fitting : beyond) = middle;
  }
  return fitting;
}

void RunData::CopyTo(uint32_t begin, uint32_t end, wire::Run* run) const {
  run->mutable_block()->append(block(begin, end));
  CopySizesTo(begin, end, run);
}

void RunData::MoveTo(wire::Run* run) {
  WT_CHECK(run->sizes().empty());
  CopySizesTo(0, count_, run);
  *run->mutable_block() = std::move(block_);
  *this = RunData();
}

std::string RunData::Take() {
  WT_CHECK(count_ == 1);
  std::string payload = std::move(block_);
  *this = RunData();
  return payload;
}

void RunData::CopySizesTo(uint32_t begin, uint32_t end, wire::Run* run) const {
  auto* sizes = run->mutable_sizes();
  if (ends_.empty()) {
    sizes->Resize(sizes->size() + static_cast<int>(end - begin), size_);
    return;
  }
  sizes->Reserve(sizes->size() + static_cast<int>(end - begin));
  for (uint32_t i = begin; i < end; ++i) {
    sizes->AddAlreadyReserved(static_cast<uint32_t>(offset(i + 1) - offset(i)));
  }
}

bool IsValidRun(const wire::Run& run) {
  if (run.sizes_size() < 1 || static_cast<uint32_t>(run.sizes_size()) > kJobsPerRunMax) {
    return false;
  }
  uint64_t sum = 0;
  for (uint32_t size : run.sizes()) sum += size;
  return sum == run.block().size() && sum <= std::numeric_limits<uint32_t>::max();
}

void AppendToRun(std::string payload, wire::Run* run) {
  run->add_sizes(static_cast<uint32_t>(payload.size()));
  std::string* block = run->mutable_block();
  if (block->capacity() < payload.size() && block->empty()) {
    *block = std::move(payload);
  } else {
    block->append(payload);
  }
}

}  // namespace whippletree
