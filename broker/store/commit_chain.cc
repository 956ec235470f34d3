#include "broker/store/commit_chain.h"

#include <absl/strings/str_cat.h>

#include <array>
#include <vector>

namespace whippletree {
namespace {

constexpr size_t kNumberBytes = 8;
constexpr size_t kWholeNumbers = 4;
constexpr size_t kBrokenNumbers = 8;

}  // namespace

ChainLink Join(const ChainLink& left, const ChainLink& right) {
  ChainLink joined{left.from, right.to, left.gap_after, left.gap_before};
  if (joined.gap_after) return joined;
  if (left.to != right.from) {
    joined.gap_after = left.to;
    joined.gap_before = right.from;
  } else {
    joined.gap_after = right.gap_after;
    joined.gap_before = right.gap_before;
  }
  return joined;
}

std::string ChainError(const ChainLink& chain, uint64_t epoch) {
  if (chain.from != ChainPosition{}) {
    return absl::StrCat("all before commit ", chain.from.commit + 1, " is missing");
  }
  if (chain.gap_after) {
    const ChainPosition& after = *chain.gap_after;
    const ChainPosition& before = *chain.gap_before;
    return absl::StrCat("commit ", after.commit, " of epoch ", after.epoch,
                        " is followed by what came after commit ", before.commit, " of epoch ",
                        before.epoch, "; what was between is missing");
  }
  if (chain.to.epoch != epoch) {
    return absl::StrCat("the last commit, ", chain.to.commit, ", is of epoch ", chain.to.epoch,
                        ", the store of epoch ", epoch);
  }
  return "";
}

std::string EncodeLink(const ChainLink& link) {
  std::vector<ChainPosition> positions = {link.from, link.to};
  if (link.gap_after) positions.insert(positions.end(), {*link.gap_after, *link.gap_before});
  std::string bytes;
  for (const ChainPosition& position : positions) {
    for (const uint64_t number : {position.epoch, position.commit}) {
      for (int shift = 56; shift >= 0; shift -= 8) {
        bytes.push_back(static_cast<char>(number >> shift));
      }
    }
  }
  return bytes;
}

std::optional<ChainLink> DecodeLink(std::string_view bytes) {
  const size_t numbers = bytes.size() / kNumberBytes;
  if (bytes.size() % kNumberBytes != 0) return std::nullopt;
  if (numbers != kWholeNumbers && numbers != kBrokenNumbers) return std::nullopt;
  std::array<uint64_t, kBrokenNumbers> values{};
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint64_t& value = values[i / kNumberBytes];
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  ChainLink link{{values[0], values[1]}, {values[2], values[3]}, {}, {}};
  if (numbers == kBrokenNumbers) {
    link.gap_after = {values[4], values[5]};
    link.gap_before = {values[6], values[7]};
  }
  return link;
}

}  // namespace whippletree
