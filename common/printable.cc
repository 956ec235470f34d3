#include "common/printable.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "common/utf8.h"

namespace whippletree {
namespace {

// The character at the front of a text.
struct Decoded {
  uint32_t code = 0;
  size_t length = 0;  // 0: not UTF-8
};

bool ContinuesCharacter(char c) { return (static_cast<uint8_t>(c) & 0xc0) == 0x80; }

// REQUIRES: !bytes.empty().
Decoded DecodeUtf8(std::string_view bytes) {
  size_t length = 1;
  while (length <= 4 && length <= bytes.size() && !IsUtf8(bytes.substr(0, length))) ++length;
  if (length > 4 || length > bytes.size()) return {};
  uint32_t code = static_cast<uint8_t>(bytes[0]);
  if (length > 1) code &= 0x7fu >> length;
  for (size_t i = 1; i < length; ++i) code = code << 6 | (static_cast<uint8_t>(bytes[i]) & 0x3f);
  return {code, length};
}

// Characters beyond ASCII that change how a line is shown or where it ends.
bool IsHostile(uint32_t code) {
  return (code >= 0x80 && code <= 0x9f) || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

void AppendHex(const char* format, unsigned value, std::string* out) {
  char text[16];
  std::snprintf(text, sizeof text, format, value);
  out->append(text);
}

}  // namespace

std::string Printable(std::string_view bytes, Newlines newlines) {
  const bool keep = newlines == Newlines::kKeep;
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const char c = bytes[0];
    const Decoded decoded = DecodeUtf8(bytes);
    const size_t length = decoded.length == 0 ? 1 : decoded.length;
    if (decoded.length == 0) {
      AppendHex("\\x%02x", static_cast<uint8_t>(c), &out);
    } else if (c == '\n' || c == '\t') {
      out.append(keep ? std::string_view(&c, 1) : c == '\n' ? "\\n" : "\\t");
    } else if (keep && bytes.substr(0, 2) == "\r\n") {
      // The newline follows.
    } else if (decoded.code < 0x20 || decoded.code == 0x7f) {
      AppendHex("\\x%02x", decoded.code, &out);
    } else if (IsHostile(decoded.code)) {
      AppendHex("\\u{%x}", decoded.code, &out);
    } else {
      out.append(bytes.substr(0, length));
    }
    bytes.remove_prefix(length);
  }
  return out;
}

std::string Quoted(std::string_view bytes, size_t bytes_max) {
  const bool cut = bytes.size() > bytes_max;
  if (cut) {
    size_t length = bytes_max;
    while (length > 0 && bytes_max - length < 4 && ContinuesCharacter(bytes[length])) --length;
    bytes = bytes.substr(0, length);
  }
  std::string escaped;
  escaped.reserve(bytes.size() + 2);
  for (const char c : bytes) {
    if (c == '"' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return '"' + Printable(escaped) + (cut ? "…\"" : "\"");
}

}  // namespace whippletree
