// Files that are no configuration: refused with a line that says why, whatever is in them and
// whatever they are; nothing of them is waited for, and none takes more memory than its size lets
// expect.
#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>

#include "broker/config.h"
#include "common/prng.h"

namespace whippletree {
namespace {

using std::string_literals::operator""s;

std::string Error(const std::string& text) {
  return std::string(ParseConfig(text, "b.yaml").status().message());
}

std::string ReadError(const std::string& path) {
  return std::string(ReadConfig(path).status().message());
}

std::string Repeat(int times, std::string_view text) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST(ConfigHostileTest, WhatIsNotUtf8TextIsNotParsed) {
  EXPECT_EQ(Error("\x2c\x00\xf1\x00\x00\x75"s), "b.yaml:1:2: not text: a control character");
  EXPECT_EQ(Error("\0\xff\xfe{"s), "b.yaml:1:1: not text: a control character");
  EXPECT_EQ(Error("queues:\n  a: {}\n  \xf1: {}\n"),
            "b.yaml:3:1: not text: this line is not UTF-8");
  EXPECT_EQ(Error("\xff\xfe{\n"), "b.yaml:1:1: not text: this line is not UTF-8");
  EXPECT_EQ(Error("queues: {}\n\x04"), "b.yaml:2:1: not text: a control character");
  EXPECT_EQ(Error("queues: {}\nx\x7f"), "b.yaml:2:2: not text: a control character");
  // In a comment too.
  EXPECT_EQ(Error("queues: {} # \xe9\n"), "b.yaml:1:1: not text: this line is not UTF-8");
  EXPECT_EQ(Error("queues: {}\t# caf\xc3\xa9\r\n"), "");
}

TEST(ConfigHostileTest, NestingIsBounded) {
  const std::string deep = "nested too deeply: expected at most 50 levels";
  EXPECT_EQ(Error(std::string(900'000, '[')), "b.yaml:1:51: " + deep);
  EXPECT_EQ(Error(std::string(900'000, '{')), "b.yaml:1:51: " + deep);
  EXPECT_EQ(Error(Repeat(60, "[\n")), "b.yaml:51:1: " + deep);
  EXPECT_EQ(Error(Repeat(60, "- ") + "a"), "b.yaml:1:101: not YAML: " + deep);
  std::string indented;
  for (int i = 0; i < 60; ++i) absl::StrAppend(&indented, std::string(i, ' '), "a:\n");
  EXPECT_EQ(Error(indented), "b.yaml:51:51: not YAML: " + deep);
  // Behind what looks like a comment and is none.
  EXPECT_NE(Error("a: \" #\" " + std::string(100'000, '[')), "");
  // Brackets that open nothing.
  EXPECT_EQ(Error("queues: {}\n" + Repeat(100, "# as in [\n") + Repeat(100, "  # {\n")), "");
  EXPECT_EQ(Error(Repeat(100, "]\n}\n") + "a").find("b.yaml:1:1: "), 0u);
}

TEST(ConfigHostileTest, AliasesAreCountedInFull) {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = absl::StrCat("*a", i - 1);
    absl::StrAppend(&laughs, "a", i, ": &a", i, " [", before, Repeat(9, ", " + before), "]\n");
  }
  EXPECT_EQ(Error(laughs).find("b.yaml:6:"), 0u) << Error(laughs);
  EXPECT_TRUE(Error(laughs).ends_with(": not YAML: too much, aliases in full")) << Error(laughs);
  EXPECT_EQ(Error("queues: &a\n  b: {}\n  c: *a\n"),
            "b.yaml:3:6: not YAML: an alias of what it is in");
  // Each of these is one more error.
  std::string wrong = "queues:\n  a: &a {";
  for (int i = 0; i < 5'000; ++i) absl::StrAppend(&wrong, "x", i, ": 1, ");
  wrong += "}\n";
  for (int i = 0; i < 20'000; ++i) absl::StrAppend(&wrong, "  q", i, ": *a\n");
  EXPECT_TRUE(Error(wrong).ends_with(": not YAML: too much, aliases in full"));
}

TEST(ConfigHostileTest, SizeIsBounded) {
  const std::string most = "queues: {}\n" + std::string((1 << 20) - 11, '#');
  EXPECT_EQ(Error(most), "");
  EXPECT_EQ(Error(most + "#"), "b.yaml: it has more than 1MiB");
  const std::string name(100'000, 'x');
  EXPECT_LT(Error(name + ": 1\n" + name + ": 1\n").size(), 1000u);
}

// All kinds of beginnings and of mistakes. What counts is that each of them ends.
TEST(ConfigHostileTest, AnythingEnds) {
  constexpr std::string_view kParts[] = {
      "[",       "]",  "{",   "}",   ",",      ":",     ": ",
      "- ",      "? ", "\n",  "\r",  "\t",     " ",     "a",
      "&a",      "*",  "*a",  "!",   "!!",     "|",     ">",
      "'",       "\"", "%",   "#",   "@",      "`",     "\\",
      "~",       "<<", "---", "...", "queues", "lease", "\xef\xbb\xbf",
      "\xc2\x85"};
  Prng prng(1);
  for (int i = 0; i < 5'000; ++i) {
    std::string text;
    for (uint64_t parts = prng.Below(40); parts > 0; --parts) {
      text += kParts[prng.Below(std::size(kParts))];
    }
    EXPECT_LT(Error(text).size(), 5'000u) << text;
  }
}

TEST(ConfigHostileTest, OnlyARegularFileIsRead) {
  const std::string fifo = testing::TempDir() + "whippletree_config_fifo";
  unlink(fifo.c_str());
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ReadError(fifo), "cannot read \"" + fifo + "\": it is not a regular file");
  unlink(fifo.c_str());
  for (const std::string path : {"/dev/zero", "/dev/null", "/dev/full"}) {
    EXPECT_EQ(ReadError(path), "cannot read \"" + path + "\": it is not a regular file");
  }
  // Of these the system does not say how much they have.
  EXPECT_NE(ReadError("/proc/self/status"), "");
  const std::string large = testing::TempDir() + "whippletree_config_large.yaml";
  std::ofstream(large).close();
  ASSERT_EQ(truncate(large.c_str(), 1ll << 40), 0);  // takes no room
  EXPECT_EQ(ReadError(large), "cannot read \"" + large + "\": it has more than 1MiB");
  unlink(large.c_str());
}

}  // namespace
}  // namespace whippletree
