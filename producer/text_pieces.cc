#include "producer/text_pieces.h"

#include <algorithm>
#include <string>

#include "common/check.h"

namespace whippletree {
namespace {

constexpr char kWhiteSpace[] = " \t\n\v\f\r";

// Where the piece at the begin of `text`, which is longer than `wanted`, ends; 0: not known yet.
size_t PieceEnd(std::string_view text, size_t wanted) {
  const std::string_view front = text.substr(0, wanted);
  const size_t newline = front.rfind('\n');
  if (newline != std::string_view::npos && newline >= wanted / 2) return newline + 1;
  size_t space = front.find_last_of(kWhiteSpace);
  if (space == std::string_view::npos) space = text.find_first_of(kWhiteSpace, wanted);
  return space == std::string_view::npos ? 0 : space + 1;
}

}  // namespace

absl::Status CutText(std::istream& text, PieceSizes sizes,
                     const std::function<absl::Status(std::string_view piece)>& take) {
  WT_CHECK(sizes.wanted > 0 && sizes.wanted <= sizes.largest);
  std::string held;
  bool any = false;
  while (true) {
    const size_t old = held.size();
    held.resize(old + sizes.wanted);
    text.read(held.data() + old, static_cast<std::streamsize>(sizes.wanted));
    held.resize(old + static_cast<size_t>(text.gcount()));
    if (text.bad()) return absl::UnavailableError("cannot read it");
    const bool ended = text.eof() || text.gcount() == 0;
    size_t begin = 0;
    while (held.size() - begin > sizes.wanted) {
      const std::string_view rest = std::string_view(held).substr(begin);
      size_t end = PieceEnd(rest, sizes.wanted);
      if (end == 0 && ended) end = rest.size();
      if (end > sizes.largest || (end == 0 && rest.size() > sizes.largest)) {
        return absl::InvalidArgumentError("it has a word of more than " +
                                          std::to_string(sizes.largest) +
                                          " bytes, the most that the broker takes as one payload");
      }
      if (end == 0) break;
      if (absl::Status status = take(rest.substr(0, end)); !status.ok()) return status;
      any = true;
      begin += end;
    }
    held.erase(0, begin);
    if (!ended) continue;
    return any && held.empty() ? absl::OkStatus() : take(held);
  }
}

}  // namespace whippletree
