// What every system in the benchmark is given to do: payloads that are all different, a result that
// is computed from the payload and as long as it, and a check of every result.
//
// A payload is the number of the job in 16 hexadecimal digits, then text up to its size. The result
// is the scrambled number in 16 digits, then the same text. A payload of 0 bytes is empty, and so
// is its result.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace whippletree::bench {

inline constexpr size_t kNumberBytes = 16;
// The text of a payload begins at one of so many places.
inline constexpr size_t kTextStarts = 64;

constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;
// The inverse of `odd` modulo 2^64, by Newton's method: each round doubles the bits that are right.
constexpr uint64_t InverseOf(uint64_t odd) {
  uint64_t inverse = odd;
  for (int i = 0; i < 6; ++i) inverse *= 2 - odd * inverse;
  return inverse;
}
constexpr uint64_t Scramble(uint64_t number) { return number * kFactor; }
constexpr uint64_t Unscramble(uint64_t scrambled) { return scrambled * InverseOf(kFactor); }
static_assert(Unscramble(Scramble(12345)) == 12345);

inline void WriteNumber(uint64_t number, char* out) {
  static constexpr auto kPairs = [] {
    std::array<char, 512> pairs{};
    const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 256; ++i) {
      pairs[2 * i] = digits[i >> 4];
      pairs[2 * i + 1] = digits[i & 15];
    }
    return pairs;
  }();
  for (int i = 7; i >= 0; --i, number >>= 8)
    std::memcpy(out + 2 * i, &kPairs[2 * (number & 255)], 2);
}

// REQUIRES: 16 characters at `in`. What is no digit gives some wrong number.
inline uint64_t ReadNumber(const char* in) {
  uint64_t number = 0;
  for (size_t i = 0; i < kNumberBytes; ++i) {
    const auto c = static_cast<unsigned char>(in[i]);
    number = number << 4 | ((c & 15) + (c >> 6) * 9);
  }
  return number;
}

// Makes payloads of one size and checks what came of them. Immutable.
class Payloads {
 public:
  // REQUIRES: bytes == 0 or at least kNumberBytes.
  explicit Payloads(size_t bytes) : bytes_(bytes), text_(bytes + kTextStarts, ' ') {
    for (size_t i = 0; i < text_.size(); ++i) text_[i] = static_cast<char>('!' + i * 7 % 89);
  }
  size_t bytes() const { return bytes_; }

  // Writes the payload of job `number` to `out`, which has bytes() of room.
  void Write(uint64_t number, char* out) const {
    if (bytes_ == 0) return;
    WriteNumber(number, out);
    std::memcpy(out + kNumberBytes, TextOf(number), bytes_ - kNumberBytes);
  }
  bool IsResultOf(uint64_t number, std::string_view result) const {
    if (result.size() != bytes_) return false;
    return bytes_ == 0 ||
           (ReadNumber(result.data()) == Scramble(number) &&
            std::memcmp(result.data() + kNumberBytes, TextOf(number), bytes_ - kNumberBytes) == 0);
  }

 private:
  const char* TextOf(uint64_t number) const { return text_.data() + number % kTextStarts; }

  size_t bytes_;
  std::string text_;
};

// What a worker does: writes the result of `payload` to `result`.
inline void Work(std::string_view payload, std::string* result) {
  result->assign(payload);
  if (payload.size() >= kNumberBytes) {
    WriteNumber(Scramble(ReadNumber(payload.data())), result->data());
  }
}

}  // namespace whippletree::bench
