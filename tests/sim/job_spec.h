// What a simulated job is and does: its payload says who it is, its result is computed from the
// payload's bytes, and how it behaves is known here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "common/prng.h"
#include "common/time.h"

namespace whippletree::sim {

struct JobSpec {
  uint64_t uid = 0;
  uint32_t payload_bytes = 8;
  uint32_t result_bytes = 0;
  Duration service{};
  uint32_t fails = 0;   // so many of its first attempts fail, retryably
  bool fatal = false;   // fails for good
  bool poison = false;  // kills its worker
  bool ignores_cancel = false;
  bool follows = false;  // asks for another job when it completes
};

// As FNV-1a, but eight bytes at a time: every byte that is sent goes through it.
inline uint64_t HashBytes(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325) {
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  };
  mix(bytes.size());
  uint64_t word = 0;
  for (; bytes.size() >= sizeof(word); bytes.remove_prefix(sizeof(word))) {
    std::memcpy(&word, bytes.data(), sizeof(word));
    mix(word);
  }
  word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  mix(word);
  return hash;
}

inline std::string FillBytes(uint64_t seed, size_t size) {
  Prng prng(seed);
  std::string bytes(size, '\0');
  size_t at = 0;
  for (uint64_t word = 0; at < size; at += sizeof(word)) {
    word = prng.Next();
    std::memcpy(bytes.data() + at, &word, std::min(sizeof(word), size - at));
  }
  return bytes;
}

// The first eight bytes are the uid.
inline std::string PayloadOf(const JobSpec& spec) {
  std::string payload(reinterpret_cast<const char*>(&spec.uid), sizeof(spec.uid));
  return payload + FillBytes(spec.uid, spec.payload_bytes - sizeof(spec.uid));
}

// 0: these are no bytes of ours.
inline uint64_t UidOf(std::string_view payload) {
  uint64_t uid = 0;
  if (payload.size() >= sizeof(uid)) payload.copy(reinterpret_cast<char*>(&uid), sizeof(uid));
  return uid;
}

inline std::string ResultOf(const JobSpec& spec, std::string_view payload) {
  return FillBytes(HashBytes(payload), spec.result_bytes);
}

}  // namespace whippletree::sim
