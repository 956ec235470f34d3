#include "common/utf8.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

TEST(Utf8Test, KnowsWhatIsUtf8) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("Größe 漢字 🐎"));
  EXPECT_FALSE(IsUtf8("\x80"));
  EXPECT_FALSE(IsUtf8("\xc0\xaf"));          // overlong
  EXPECT_FALSE(IsUtf8("\xe0\x80\x80"));      // overlong
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80"));      // surrogate
  EXPECT_FALSE(IsUtf8("\xf4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_FALSE(IsUtf8("abc\xe6\xbc"));       // ends in the middle
}

TEST(Utf8Test, CountsCodePoints) {
  EXPECT_EQ(CodePoints(""), 0u);
  EXPECT_EQ(CodePoints("abc"), 3u);
  EXPECT_EQ(CodePoints("Größe 漢字 🐎"), 10u);
}

TEST(Utf8Test, OfWhatIsTooLongTheMiddleGoes) {
  EXPECT_EQ(CutMiddle("abcdefghijkl", 12), "abcdefghijkl");
  EXPECT_EQ(CutMiddle("abcdefghijklm", 12), "abc…hijklm");
  EXPECT_EQ(CutMiddle("öööööööö", 15), "öö…öööö");
  EXPECT_EQ(CutMiddle("a\xff", 10), "a?");
  for (size_t max = 10; max < 60; ++max) {
    const std::string cut = CutMiddle("漢字ö漢字a漢字漢字b漢字漢字漢字c漢字漢字", max);
    EXPECT_LE(cut.size(), max);
    EXPECT_TRUE(IsUtf8(cut));
  }
}

TEST(Utf8Test, ShortensToColumns) {
  EXPECT_EQ(Shorten("abcdef", 6), "abcdef");
  EXPECT_EQ(Shorten("abcdefg", 6), "abcde…");
  EXPECT_EQ(Shorten("ööööööö", 6), "ööööö…");
  EXPECT_EQ(Shorten("漢字漢字", 2), "漢…");
  EXPECT_EQ(Shorten("abc", 1), "…");
  EXPECT_EQ(Shorten("abc", 0), "");
  EXPECT_EQ(Shorten("", 0), "");
}

}  // namespace
}  // namespace whippletree
