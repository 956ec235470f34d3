// Finds commits that are missing in the middle of what a store has.
//
// RocksDB replays its log after a crash and takes damage that looks like a torn write for one; when
// a later log file follows, commits in the middle are missing and nobody says so. So every write
// carries a link, from the position before it to the one after it, and links are joined whenever
// RocksDB merges them. Links that meet become one; links that do not meet show what is missing
// between them, for ever. A position is (epoch, commit): every open of a store begins a new epoch,
// so files of another past of the same store do not fit either.
//
// A lost end leaves a chain without a gap: see confirmed_file.h. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace whippletree {

struct ChainPosition {
  uint64_t epoch = 0;
  uint64_t commit = 0;
  friend bool operator==(const ChainPosition&, const ChainPosition&) = default;
};

struct ChainLink {
  ChainPosition from;
  ChainPosition to;
  // If links did not meet: the first place, the positions before and after what is missing.
  std::optional<ChainPosition> gap_after;
  std::optional<ChainPosition> gap_before;
  friend bool operator==(const ChainLink&, const ChainLink&) = default;
};

// The link that stands for both, `left` being the older one. Associative.
ChainLink Join(const ChainLink& left, const ChainLink& right);

// What is wrong with the whole chain of a store, for people; empty: nothing.
std::string ChainError(const ChainLink& chain, uint64_t epoch);

std::string EncodeLink(const ChainLink& link);
// nullopt: this is not an encoded link.
std::optional<ChainLink> DecodeLink(std::string_view bytes);

}  // namespace whippletree
