#include "common/utf8.h"

#include <cstdint>
#include <cstring>

namespace whippletree {
namespace {

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xc0) == 0x80; }

// Length of the text at the front of `bytes` that is plain ASCII, as most text is.
size_t AsciiLength(std::string_view bytes) {
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= bytes.size(); i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, sizeof(word));
    if ((word & 0x8080808080808080) != 0) break;
  }
  while (i < bytes.size() && static_cast<uint8_t>(bytes[i]) < 0x80) ++i;
  return i;
}

// Length of the sequence at the front of `bytes`; 0 if it is not valid. The ranges are those of
// the Unicode standard, table 3-7.
// REQUIRES: !bytes.empty().
size_t SequenceLength(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (bytes.size() < length) return 0;
  const uint8_t second_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const uint8_t second_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (at(1) < second_min || at(1) > second_max) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!IsContinuation(bytes[i])) return 0;
  }
  return length;
}

}  // namespace

bool IsUtf8(std::string_view bytes) {
  while (true) {
    bytes.remove_prefix(AsciiLength(bytes));
    if (bytes.empty()) return true;
    const size_t length = SequenceLength(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
}

std::string ToUtf8(std::string_view bytes, size_t bytes_max) {
  std::string out;
  while (!bytes.empty() && out.size() < bytes_max) {
    if (const size_t ascii = AsciiLength(bytes.substr(0, bytes_max - out.size())); ascii > 0) {
      out += bytes.substr(0, ascii);
      bytes.remove_prefix(ascii);
      continue;
    }
    const size_t length = SequenceLength(bytes);
    if (out.size() + length > bytes_max) break;
    out += length == 0 ? std::string_view("?") : bytes.substr(0, length);
    bytes.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string CutMiddle(std::string_view bytes, size_t bytes_max) {
  constexpr std::string_view kGap = "…";
  const std::string text = ToUtf8(bytes, bytes.size());
  if (text.size() <= bytes_max) return text;
  const size_t kept = bytes_max - kGap.size();
  size_t head = kept / 3;
  size_t tail = text.size() - (kept - head);
  while (head > 0 && IsContinuation(text[head])) --head;
  while (tail < text.size() && IsContinuation(text[tail])) ++tail;
  return text.substr(0, head).append(kGap).append(text, tail, std::string::npos);
}

size_t CodePoints(std::string_view utf8) {
  size_t count = 0;
  for (const char c : utf8) count += !IsContinuation(c);
  return count;
}

std::string Shorten(std::string_view utf8, size_t columns) {
  if (CodePoints(utf8) <= columns) return std::string(utf8);
  if (columns == 0) return "";
  size_t end = 0;
  for (size_t kept = 0; kept < columns; ++end) kept += !IsContinuation(utf8[end]);
  return std::string(utf8.substr(0, end - 1)) + "…";
}

}  // namespace whippletree
