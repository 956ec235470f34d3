// Takes the bytes of an input apart into values: numbers of any width, choices, short texts. What
// is asked beyond the end is 0 or empty, so that every input means something.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace whippletree::fuzz {

class ByteSource {
 public:
  explicit ByteSource(std::string_view bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }

  uint8_t Byte();
  bool Flag() { return (Byte() & 1) != 0; }
  // Below `end`, which is at most 65,536. REQUIRES: end > 0.
  uint32_t Below(uint32_t end);
  // Any number. Small ones take few bytes, and the ends of the common widths take one.
  uint64_t Number();
  // Of at most `size_max` bytes.
  std::string_view Bytes(size_t size_max);
  std::string_view Rest();

 private:
  std::string_view rest_;
};

}  // namespace whippletree::fuzz
