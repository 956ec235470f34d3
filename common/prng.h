// A seeded generator whose sequence is the same with every compiler and library.
#pragma once

#include <cstdint>

#include "common/check.h"

namespace whippletree {

// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
class Prng {
 public:
  explicit Prng(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound). The bias is below bound / 2^64.
  // REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound) {
    WT_CHECK(bound > 0);
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
  }

  // Uniform in [low, high].
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }

  // True in `per_mille` of 1000 calls.
  bool Chance(uint64_t per_mille) { return Below(1000) < per_mille; }

  // A generator for a component of its own: what it draws does not shift this one's sequence.
  Prng Fork() { return Prng(Next()); }

 private:
  uint64_t state_;
};

}  // namespace whippletree
