// Bytes of strangers (payloads, what programs print, names) made fit for terminals and logs.
// Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace whippletree {

enum class Newlines { kEscape, kKeep };

// Valid UTF-8 stays as it is; bytes that are not UTF-8 become \xNN, control characters \n, \t or
// \xNN, and characters that would reorder the line or end it (bidirectional marks, U+2028) \u{…}.
// kKeep leaves '\n' and '\t' alone and drops a '\r' before '\n'. Backslashes are not doubled: the
// result is for people, not for parsing.
std::string Printable(std::string_view bytes, Newlines newlines = Newlines::kEscape);

// The same in double quotes, with quotes and backslashes escaped; only the first `bytes_max` bytes,
// followed by "…" if there were more.
std::string Quoted(std::string_view bytes, size_t bytes_max = std::string_view::npos);

}  // namespace whippletree
