// UTF-8: what is, and how wide it is. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace whippletree {

// Whether `bytes` is valid UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF).
bool IsUtf8(std::string_view bytes);

// The begin of `bytes`, at most `bytes_max` of them, as valid UTF-8: each byte that fits nowhere
// becomes '?', and nothing is cut in the middle.
std::string ToUtf8(std::string_view bytes, size_t bytes_max);

// All of `bytes` as valid UTF-8, if that has at most `bytes_max` bytes; of more the middle goes for
// "…": a message says first what it is about, and last what went wrong. REQUIRES: bytes_max >= 10.
std::string CutMiddle(std::string_view bytes, size_t bytes_max);

// Code points of valid UTF-8: the columns that it takes, wide and combining characters aside.
size_t CodePoints(std::string_view utf8);

// `utf8` if it has at most `columns` code points, else its begin and "…", `columns` in all.
std::string Shorten(std::string_view utf8, size_t columns);

}  // namespace whippletree
