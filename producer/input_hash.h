// By which a named producer that is started again knows whether its input is the same.
#pragma once

#include <cstdint>
#include <string_view>

namespace whippletree {

// The hash of all jobs up to the next one, from that of those before it (0: there are none). Never
// 0. It is kept by brokers: FNV-1a of 64 bits over the name, the payload, and the length of each.
inline uint64_t NextInputHash(uint64_t before, std::string_view name, std::string_view payload) {
  uint64_t hash = before != 0 ? before : 0xcbf29ce484222325;
  const auto add = [&hash](uint64_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const std::string_view text : {name, payload}) {
    for (const char c : text) add(static_cast<unsigned char>(c));
    for (uint64_t size = text.size(), i = 0; i < 8; ++i, size >>= 8) add(size & 0xff);
  }
  return hash != 0 ? hash : 1;
}

}  // namespace whippletree
