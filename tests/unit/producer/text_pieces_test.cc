// Texts are cut at white space, whatever their size.
#include "producer/text_pieces.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace whippletree {
namespace {

using Pieces = std::vector<std::string>;

Pieces Cut(const std::string& text, PieceSizes sizes) {
  std::istringstream in(text);
  Pieces pieces;
  const absl::Status status = CutText(in, sizes, [&](std::string_view piece) {
    pieces.emplace_back(piece);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

TEST(CutTextTest, ASmallTextIsOnePiece) {
  EXPECT_EQ(Cut("one two", {10, 10}), (Pieces{"one two"}));
  EXPECT_EQ(Cut("0123456789", {10, 10}), (Pieces{"0123456789"}));
  EXPECT_EQ(Cut("", {10, 10}), (Pieces{""}));
}

TEST(CutTextTest, PiecesEndWithTheLastWhiteSpaceThatFits) {
  EXPECT_EQ(Cut("one two three four", {10, 20}), (Pieces{"one two ", "three four"}));
  EXPECT_EQ(Cut("one two ", {4, 20}), (Pieces{"one ", "two "}));
}

TEST(CutTextTest, ALineIsKeptWholeIfThePieceStaysLarge) {
  EXPECT_EQ(Cut("one two\nthree four", {12, 20}), (Pieces{"one two\n", "three four"}));
  EXPECT_EQ(Cut("o\nt three four", {12, 20}), (Pieces{"o\nt three ", "four"}));
}

TEST(CutTextTest, AWordLargerThanAPieceIsKeptWhole) {
  EXPECT_EQ(Cut("a 0123456789abc b", {5, 20}), (Pieces{"a ", "0123456789abc ", "b"}));
  EXPECT_EQ(Cut("0123456789abc", {5, 20}), (Pieces{"0123456789abc"}));
}

TEST(CutTextTest, NothingIsLostOrAdded) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * 7919) + (i % 7 == 0 ? "\n" : "  ");
  for (const size_t wanted : {10, 64, 1000, 100'000}) {
    std::string joined;
    for (const std::string& piece : Cut(text, {wanted, 200'000})) {
      EXPECT_LE(piece.size(), wanted);
      joined += piece;
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(CutTextTest, AWordThatNoPayloadHoldsIsRefused) {
  for (const char* text : {"a 0123456789 b", "0123456789 b", "0123456789"}) {
    std::istringstream in(text);
    const absl::Status status =
        CutText(in, {4, 8}, [](std::string_view) { return absl::OkStatus(); });
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  }
}

TEST(CutTextTest, TheTakersErrorEndsIt) {
  std::istringstream in("one two three");
  EXPECT_EQ(CutText(in, {4, 8}, [](std::string_view) { return absl::AbortedError("enough"); }),
            absl::AbortedError("enough"));
}

}  // namespace
}  // namespace whippletree
