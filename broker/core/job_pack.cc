#include "broker/core/job_pack.h"

#include <limits>
#include <utility>

#include "common/check.h"

namespace whippletree::core {
namespace {

// Larger jobs gain little.
constexpr uint64_t kBytesMax = 4 << 10;
constexpr size_t kChunkBytesMax = 256 << 10;
constexpr size_t kChunkSourcesMax = std::numeric_limits<uint16_t>::max();

}  // namespace

bool JobPack::Takes(const Slice& slice) {
  return !slice.stored() && slice.bytes() <= kBytesMax && slice.attempts == 0 && !slice.suspect &&
         slice.losses == 0 && slice.halvings == 0 && slice.arrived == MonoTime{};
}

void JobPack::Close() {
  Chunk& chunk = chunks_.back();
  chunk.block.shrink_to_fit();
  chunk.ends.shrink_to_fit();
  chunk.sources.shrink_to_fit();
  chunk.table.shrink_to_fit();
  chunk.next.shrink_to_fit();
  last_.clear();
}

void JobPack::Add(const Slice& slice) {
  if (chunks_.empty() || chunks_.back().table.size() >= kChunkSourcesMax ||
      chunks_.back().block.size() + slice.bytes() > kChunkBytesMax ||
      chunks_.back().ends.size() + slice.count() > kChunkBytesMax) {
    if (!chunks_.empty()) Close();
    chunks_.emplace_back();
  }
  Chunk& chunk = chunks_.back();
  auto [it, is_new] = last_.try_emplace(slice.stream);
  Last& last = it->second;
  if (is_new || last.number != slice.first || chunk.table[last.source].options != slice.options) {
    last.source = static_cast<uint16_t>(chunk.table.size());
    chunk.table.push_back({slice.stream, slice.options});
    chunk.next.push_back(slice.first);
  }
  last.number = slice.first + slice.count();
  for (uint32_t i = slice.begin; i < slice.end; ++i) {
    chunk.block.append(slice.data->payload(i));
    chunk.ends.push_back(static_cast<uint32_t>(chunk.block.size()));
    chunk.sources.push_back(last.source);
  }
  jobs_ += slice.count();
}

Slice JobPack::Chunk::Read(Place* place, std::vector<uint64_t>* numbers) const {
  const uint16_t source = sources[place->job];
  Slice slice;
  slice.data = std::make_shared<RunData>();
  slice.stream = table[source].stream;
  slice.options = table[source].options;
  slice.first = (*numbers)[source];
  while (place->job < ends.size() && sources[place->job] == source &&
         slice.data->count() < kJobsPerRunMax) {
    const uint32_t end = ends[place->job];
    slice.data->Append(std::string_view(block).substr(place->byte, end - place->byte));
    place->byte = end;
    ++place->job;
  }
  slice.end = slice.data->count();
  (*numbers)[source] += slice.count();
  return slice;
}

Slice JobPack::TakeFirst() {
  WT_CHECK(jobs_ > 0);
  Chunk& chunk = chunks_.front();
  Slice slice = chunk.Read(&chunk.front, &chunk.next);
  jobs_ -= slice.count();
  if (chunk.front.job == chunk.ends.size()) {
    if (chunks_.size() == 1) last_.clear();
    chunks_.pop_front();
  }
  return slice;
}

}  // namespace whippletree::core
