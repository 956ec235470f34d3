#include "tests/fuzz/byte_source.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace whippletree::fuzz {

uint8_t ByteSource::Byte() {
  if (rest_.empty()) return 0;
  const auto byte = static_cast<uint8_t>(rest_.front());
  rest_.remove_prefix(1);
  return byte;
}

uint32_t ByteSource::Below(uint32_t end) {
  uint32_t number = Byte();
  if (end > 256) number = number << 8 | Byte();
  return number % end;
}

uint64_t ByteSource::Number() {
  constexpr uint8_t kSmallEnd = 0xd0;
  const uint8_t first = Byte();
  if (first < kSmallEnd) return first;
  switch (first) {
    case 0xd0:
      return std::numeric_limits<uint64_t>::max();
    case 0xd1:
      return std::numeric_limits<int64_t>::max();
    case 0xd2:
      return std::numeric_limits<uint32_t>::max();
    case 0xd3:
      return std::numeric_limits<int32_t>::max();
    case 0xd4:
      return uint64_t{1} << 60;
    case 0xd5:
      return uint64_t{1} << 32;
    default:
      break;
  }
  uint64_t number = 0;
  for (int left = 1 + first % 8; left > 0; --left) number = number << 8 | Byte();
  return number;
}

std::string_view ByteSource::Bytes(size_t size_max) {
  const size_t size = std::min<size_t>(
      rest_.size(), size_max < 256
                        ? Byte() % (size_max + 1)
                        : Below(static_cast<uint32_t>(std::min<size_t>(size_max, 65'535)) + 1));
  const std::string_view bytes = rest_.substr(0, size);
  rest_.remove_prefix(bytes.size());
  return bytes;
}

std::string_view ByteSource::Rest() { return std::exchange(rest_, {}); }

}  // namespace whippletree::fuzz
