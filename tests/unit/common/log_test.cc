#include "common/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace whippletree {
namespace {

std::string Text(LogFields fields) {
  return FormatEvent(LogFormat::kText, {LogLevel::kInfo, "event", std::move(fields)});
}

nlohmann::json Json(LogFields fields) {
  const std::string text =
      FormatEvent(LogFormat::kJson, {LogLevel::kInfo, "event", std::move(fields)});
  EXPECT_EQ(text.find('\n'), std::string::npos);
  return nlohmann::json::parse("{" + text + "}");
}

TEST(LogTest, TextHasEventAndFields) {
  EXPECT_EQ(Text({{"worker", "w1"}, {"slots", 4}, {"left", -1}, {"ok", true}, {"rate", 0.5}}),
            "event worker=w1 slots=4 left=-1 ok=true rate=0.5");
  EXPECT_EQ(Text({}), "event");
}

TEST(LogTest, TextQuotesWhatWouldBeMistaken) {
  EXPECT_EQ(Text({{"a", ""}, {"b", "x y"}, {"c", "k=v"}, {"d", R"(say "hi" \)"}}),
            R"(event a="" b="x y" c="k=v" d="say \"hi\" \\")");
}

TEST(LogTest, TextEscapesHostileBytes) {
  EXPECT_EQ(Text({{"a", "1\n2026 error forged"}}), R"(event a="1\n2026 error forged")");
  EXPECT_EQ(Text({{"a", "\x1b[31m\xff\x7f"}}), R"(event a="\x1b[31m\xff\x7f")");
  EXPECT_EQ(Text({{"a", std::string("nul\0!", 5)}}), R"(event a="nul\x00!")");
  EXPECT_EQ(Text({{"a", "\u202e\u2028\u0085"}}), R"(event a="\u{202e}\u{2028}\u{85}")");
  EXPECT_EQ(Text({{"a", "\xc0\x80\xed\xa0\x80\xe2\x82"}}),
            R"(event a="\xc0\x80\xed\xa0\x80\xe2\x82")");
  EXPECT_EQ(Text({{"a", "Grüße€😀"}}), "event a=Grüße€😀");
}

TEST(LogTest, JsonKeepsTypes) {
  const auto line = Json({{"s", "x"},
                          {"i", int64_t{-5}},
                          {"u", std::numeric_limits<uint64_t>::max()},
                          {"d", 1.25},
                          {"b", false}});
  EXPECT_EQ(line["event"], "event");
  EXPECT_EQ(line["s"], "x");
  EXPECT_EQ(line["i"], -5);
  EXPECT_EQ(line["u"].get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(line["d"], 1.25);
  EXPECT_TRUE(line["b"].is_boolean());
}

TEST(LogTest, JsonSurvivesHostileBytes) {
  EXPECT_EQ(Json({{"a", "1\n\"2\"\x01"}})["a"], "1\n\"2\"\x01");
  EXPECT_EQ(Json({{"a", "x\xff"}})["a"], "x\uFFFD");
  EXPECT_TRUE(Json({{"a", std::numeric_limits<double>::quiet_NaN()}})["a"].is_null());
}

TEST(LogTest, LinesHaveTimeLevelAndEvent) {
  testing::internal::CaptureStderr();
  InitLog({.format = LogFormat::kText, .level = LogLevel::kInfo});
  Log(LogLevel::kDebug, "unseen");
  Log(LogLevel::kInfo, "joined", {{"worker", "{} %v"}});
  InitLog({.format = LogFormat::kJson, .level = LogLevel::kDebug});
  WriteLog({LogLevel::kWarning, "late", {{"ms", 7}}});
  InitLog({});
  const std::string out = testing::internal::GetCapturedStderr();

  const size_t end = out.find('\n');
  ASSERT_NE(end, std::string::npos);
  EXPECT_TRUE(testing::internal::RE::FullMatch(
      out.substr(0, end), "[0-9-]+T[0-9:]+\\.[0-9][0-9][0-9]Z info  joined worker=\"\\{\\} %v\""))
      << out;
  const auto line = nlohmann::json::parse(out.substr(end + 1));
  EXPECT_EQ(line["level"], "warn");
  EXPECT_EQ(line["event"], "late");
  EXPECT_EQ(line["ms"], 7);
  EXPECT_EQ(line["time"].get<std::string>().size(), std::string("2026-11-23T18:00:00.123Z").size());
}

TEST(LogTest, LevelsAndFormatsParse) {
  EXPECT_EQ(ParseLogLevel("warn"), LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("loud"), std::nullopt);
  EXPECT_EQ(ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_EQ(ParseLogFormat("xml"), std::nullopt);
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
}

}  // namespace
}  // namespace whippletree
