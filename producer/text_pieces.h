// Cuts texts of any size into pieces, at white space. Pure.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <functional>
#include <istream>
#include <string_view>

namespace whippletree {

struct PieceSizes {
  size_t wanted;   // bytes of a piece, at most
  size_t largest;  // … of one that has no white space before
};

// Calls take(piece) for the pieces of `text`, which are all of it, one after the other; each ends
// with white space: with a newline if there is one in its second half. An empty text is one empty
// piece. Stops when a call fails, and returns its error. INVALID_ARGUMENT: a word of more than
// `largest` bytes; UNAVAILABLE: the text cannot be read.
// REQUIRES: 0 < wanted <= largest.
absl::Status CutText(std::istream& text, PieceSizes sizes,
                     const std::function<absl::Status(std::string_view piece)>& take);

}  // namespace whippletree
