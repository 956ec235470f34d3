#include "common/cli.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/printable.h"
#include "common/version.h"

namespace whippletree {
namespace {

TEST(CliTest, DurationsHaveUnits) {
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("2s"), seconds(2));
  EXPECT_EQ(*ParseDuration("0.5s"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("5m"), std::chrono::minutes(5));
  EXPECT_EQ(*ParseDuration("1h30m"), std::chrono::minutes(90));
  EXPECT_EQ(*ParseDuration("0"), Duration(0));
  for (const char* wrong : {"", "5", "s", "-1s", "inf", "1 s", "1s ", "1d", "1000000h"}) {
    EXPECT_FALSE(ParseDuration(wrong).ok()) << wrong;
  }
  EXPECT_EQ(ParseDuration("5").status().message(),
            "\"5\" is not a duration: expected a number and a unit, as in 500ms, 2s, 5m or 1h");
}

TEST(CliTest, DurationsPrintAsTheyParse) {
  for (const char* text : {"0", "1ns", "500ms", "2s", "1.5s", "1h30m"}) {
    EXPECT_EQ(FormatDuration(*ParseDuration(text)), text);
  }
}

TEST(CliTest, ByteSizesHaveUnits) {
  EXPECT_EQ(*ParseByteSize("1000000"), 1'000'000u);
  EXPECT_EQ(*ParseByteSize("64KiB"), 65'536u);
  EXPECT_EQ(*ParseByteSize("1GiB"), 1u << 30);
  EXPECT_EQ(*ParseByteSize("1.5GiB"), 3ull << 29);
  EXPECT_EQ(*ParseByteSize("10MB"), 10'000'000u);
  EXPECT_EQ(*ParseByteSize("512m"), 512ull << 20);
  EXPECT_EQ(*ParseByteSize("18446744073709551615"), ~0ull);
  for (const char* wrong : {"", "KiB", "-1", "1 KiB", "1XB", "1.2.3", ".", "16777216TiB",
                            "18446744073709551616", "1e3", "99999999999.5GiB"}) {
    EXPECT_FALSE(ParseByteSize(wrong).ok()) << wrong;
  }
}

TEST(CliTest, ByteSizesPrintAsTheyParse) {
  for (const char* text :
       {"0", "1", "1000001", "1KiB", "1536MiB", "2TiB", "1MB", "5TB", "9999KiB"}) {
    EXPECT_EQ(FormatByteSize(*ParseByteSize(text)), text);
  }
}

TEST(CliTest, AddressesAreHostAndPort) {
  const auto normal = [](std::string_view text) { return ParseHostPort(text)->ToString(); };
  EXPECT_EQ(normal("broker"), "broker:7711");
  EXPECT_EQ(normal("10.0.0.1:80"), "10.0.0.1:80");
  EXPECT_EQ(normal("[::1]"), "[::1]:7711");
  EXPECT_EQ(normal("[::1]:99"), "[::1]:99");
  EXPECT_EQ(ParseHostPort("[::1]:99")->host, "::1");
  EXPECT_EQ(ParseHostPort("broker", 1234)->port, 1234);
  for (const char* wrong :
       {"", ":7711", "host:", "host:0", "host:65536", "host:99999999999", "host:http", "host:+1",
        "tcp://host:1", "::1", "[::1", "[::1]7711", "[]:1", "a b:1", "host/x", "host:1/x"}) {
    EXPECT_FALSE(ParseHostPort(wrong).ok()) << wrong;
  }
  EXPECT_EQ(std::string(ParseHostPort("host:0").status().message()),
            "'host:0' has no port from 1 to 65535: expected HOST:PORT, as in 127.0.0.1:7711");
}

TEST(CliTest, StatusesHaveExitCodes) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCodeFor(absl::FailedPreconditionError("")), 4);
  EXPECT_EQ(ExitCodeFor(absl::ResourceExhaustedError("")), 4);
  EXPECT_EQ(ExitCodeFor(absl::InternalError("")), 5);
  EXPECT_EQ(ExitCodeFor(absl::CancelledError("")), 130);
}

TEST(CliTest, PrintableKeepsNewlinesWhenAskedTo) {
  EXPECT_EQ(Printable("a\r\nb\tc\rd\x1b"), "a\\x0d\\nb\\tc\\x0dd\\x1b");
  EXPECT_EQ(Printable("a\r\nb\tc\rd\x1b", Newlines::kKeep), "a\nb\tc\\x0dd\\x1b");
}

TEST(CliTest, QuotedCutsBetweenCharacters) {
  EXPECT_EQ(Quoted("abc", 3), "\"abc\"");
  EXPECT_EQ(Quoted("abcd", 3), "\"abc…\"");
  EXPECT_EQ(Quoted("ab€d", 4), "\"ab…\"");
  EXPECT_EQ(Quoted("a\"\\\n"), R"("a\"\\\n")");
}

// A program with a command, as whippletree-broker is one.
class ParseCommandLineTest : public testing::Test {
 protected:
  struct Printed {
    std::optional<int> code;
    std::string out;
    std::string err;
  };

  Printed Parse(std::vector<std::string> args) {
    CLI::App app("Does something.", "program");
    app.footer("Examples:\n  program --slots 2");
    AddBroker(&app, &broker_);
    AddNumber(&app, "-n,--slots", &slots_, "How many at a time", 1, 64);
    AddDuration(&app, "--linger", &linger_, "How long to wait");
    AddByteSize(&app, "--memory-limit", &memory_, "How much to keep");
    AddLogOptions(&app, &log_);
    CLI::Option* json = app.add_flag("--json", json_, "Print JSON");
    app.add_flag("--plain", plain_, "Print text")->excludes(json);
    AddChoice(
        &app, "--color", {"auto", "always", "never"}, color_,
        [this](const std::string& color) { color_ = color; }, "When to use colors");
    app.add_option("--queue", queues_, "Queue")
        ->type_name("Q")
        ->required()
        ->allow_extra_args(false);
    CLI::App* command = app.add_subcommand("serve", "Serves");
    app.add_subcommand("status", "Shows");
    app.require_subcommand(needs_command_ ? 1 : 0, 1);
    AddNumber(command, "--port", &port_, "Port", 0);
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Printed printed;
    printed.code = ParseCommandLine(&app, std::move(args));
    printed.out = testing::internal::GetCapturedStdout();
    printed.err = testing::internal::GetCapturedStderr();
    return printed;
  }

  void ExpectError(std::vector<std::string> args, const std::string& line) {
    const Printed printed = Parse(std::move(args));
    EXPECT_EQ(printed.code, 2);
    EXPECT_EQ(printed.err, line + "\n");
    EXPECT_EQ(printed.out, "");
  }

  std::string broker_;
  uint32_t slots_ = 4;
  uint16_t port_ = 7711;
  Duration linger_ = seconds(2);
  uint64_t memory_ = 1u << 30;
  LogOptions log_;
  bool json_ = false;
  bool plain_ = false;
  std::string color_ = "auto";
  bool needs_command_ = false;
  std::vector<std::string> queues_;
};

TEST_F(ParseCommandLineTest, ReadsValues) {
  const auto printed = Parse({"--broker", "b", "-n", "7", "--linger=1m", "--memory-limit", "64KiB",
                              "--json", "--queue", "a", "--queue=b", "--log-format", "json",
                              "--log-level=error", "serve", "--port=0"});
  EXPECT_EQ(printed.code, std::nullopt) << printed.err;
  EXPECT_EQ(broker_, "b:7711");
  EXPECT_EQ(slots_, 7u);
  EXPECT_EQ(port_, 0);
  EXPECT_EQ(linger_, std::chrono::minutes(1));
  EXPECT_EQ(memory_, 65'536u);
  EXPECT_TRUE(json_);
  EXPECT_EQ(queues_, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(log_.format, LogFormat::kJson);
  EXPECT_EQ(log_.level, LogLevel::kError);
}

TEST_F(ParseCommandLineTest, DefaultsStay) {
  EXPECT_EQ(Parse({"--queue", "a"}).code, std::nullopt);
  EXPECT_EQ(broker_, "127.0.0.1:7711");
  EXPECT_EQ(slots_, 4u);
  EXPECT_EQ(linger_, seconds(2));
}

TEST_F(ParseCommandLineTest, EnvironmentStandsInForFlags) {
  setenv("WHIPPLETREE_SLOTS", "9", 1);
  setenv("WHIPPLETREE_BROKER", "env:1", 1);
  setenv("WHIPPLETREE_JSON", "true", 1);
  const auto printed = Parse({"--queue", "a", "--broker", "flag:2"});
  unsetenv("WHIPPLETREE_SLOTS");
  unsetenv("WHIPPLETREE_BROKER");
  unsetenv("WHIPPLETREE_JSON");
  EXPECT_EQ(printed.code, std::nullopt) << printed.err;
  EXPECT_EQ(slots_, 9u);
  EXPECT_EQ(broker_, "flag:2");
  EXPECT_TRUE(json_);
}

TEST_F(ParseCommandLineTest, WrongEnvironmentIsNamed) {
  setenv("WHIPPLETREE_SLOTS", "many", 1);
  ExpectError({"--queue", "a"},
              "program: --slots: \"many\" is not a whole number from 1 to 64 (from "
              "WHIPPLETREE_SLOTS) (see program --help)");
  unsetenv("WHIPPLETREE_SLOTS");
}

TEST_F(ParseCommandLineTest, AFlagIsTrueOrFalse) {
  for (const char* wrong : {"maybe", "2", "-1", "1.5"}) {
    const std::string error =
        "program: --json: \"" + std::string(wrong) + "\" is not known here: expected true or false";
    ExpectError({"--queue", "a", "--json=" + std::string(wrong)}, error + " (see program --help)");
    setenv("WHIPPLETREE_JSON", wrong, 1);
    ExpectError({"--queue", "a"}, error + " (from WHIPPLETREE_JSON) (see program --help)");
  }
  for (const char* yes : {"true", "1", "yes", "on"}) {
    setenv("WHIPPLETREE_JSON", yes, 1);
    json_ = false;
    EXPECT_EQ(Parse({"--queue", "a"}).code, std::nullopt) << yes;
    EXPECT_TRUE(json_) << yes;
  }
  for (const char* no : {"false", "0", "no", "off"}) {
    setenv("WHIPPLETREE_JSON", no, 1);
    json_ = true;
    EXPECT_EQ(Parse({"--queue", "a"}).code, std::nullopt) << no;
    EXPECT_FALSE(json_) << no;
  }
  unsetenv("WHIPPLETREE_JSON");
}

TEST_F(ParseCommandLineTest, WhatExcludesEachOtherSaysWhereItIsFrom) {
  ExpectError({"--queue", "a", "--json", "--plain"},
              "program: --json cannot be given together with --plain (see program --help)");
  setenv("WHIPPLETREE_PLAIN", "true", 1);
  ExpectError({"--queue", "a", "--json"},
              "program: --json cannot be given together with --plain (--plain is from "
              "WHIPPLETREE_PLAIN) (see program --help)");
  unsetenv("WHIPPLETREE_PLAIN");
  setenv("WHIPPLETREE_SLOTS", "many", 1);
  ExpectError({"--queue", "a", "-nfew"},
              "program: --slots: \"few\" is not a whole number from 1 to 64 (see program --help)");
  unsetenv("WHIPPLETREE_SLOTS");
}

TEST_F(ParseCommandLineTest, AChoiceIsOneOfItsNames) {
  EXPECT_EQ(Parse({"--queue", "a", "--color=never"}).code, std::nullopt);
  EXPECT_EQ(color_, "never");
  ExpectError({"--queue", "a", "--color", "sometimes"},
              "program: --color: \"sometimes\" is not known here: expected auto, always or never "
              "(see program --help)");
  ExpectError({"--queue", "a", "--color", ""},
              "program: --color: \"\" is not known here: expected auto, always or never (see "
              "program --help)");
}

TEST_F(ParseCommandLineTest, ErrorsAreOneLineThatNamesTheFlag) {
  ExpectError({}, "program: --queue is required (see program --help)");
  ExpectError({"--quue", "a"},
              "program: unknown flag --quue, did you mean --queue? (see program --help)");
  ExpectError({"--queue", "a", "--xyzzy"}, "program: unknown flag --xyzzy (see program --help)");
  ExpectError({"--queue", "a", "b\nc"},
              R"(program: unexpected argument "b\nc" (see program --help))");
  ExpectError({"--queue", "a", "serve", "--prt=1"},
              "program: unknown flag --prt, did you mean --port? (see program serve --help)");
  ExpectError({"--queue", "a", "--slots"}, "program: --slots needs a value (see program --help)");
  ExpectError({"--queue", "a", "--slots", "0"},
              "program: --slots: \"0\" is not a whole number from 1 to 64 (see program --help)");
  ExpectError({"--queue", "a", "--slots", "1", "-n", "2"},
              "program: --slots was given more than once (see program --help)");
  ExpectError({"--queue", "a", "--broker", "b:0"},
              "program: --broker: 'b:0' has no port from 1 to 65535: expected HOST:PORT, as in "
              "127.0.0.1:7711 (see program --help)");
  ExpectError({"--queue", "a", "--log-format", "xml"},
              "program: --log-format: \"xml\" is not a log format: text or json (see program "
              "--help)");
  needs_command_ = true;
  ExpectError({"--queue", "a", "statsu"},
              "program: there is no command \"statsu\", only serve or status (see program --help)");
  ExpectError({"--queue", "a"},
              "program: a command is required: serve or status (see program --help)");
}

TEST_F(ParseCommandLineTest, NoValueMayBeEmpty) {
  ExpectError({"--queue", ""}, "program: --queue: expected a value, got \"\" (see program --help)");
  ExpectError({"--queue="}, "program: --queue: expected a value, got \"\" (see program --help)");
  setenv("WHIPPLETREE_SLOTS", "", 1);
  ExpectError({"--queue", "a"},
              "program: --slots: WHIPPLETREE_SLOTS is empty: give it a value, or unset it (see "
              "program --help)");
  EXPECT_EQ(Parse({"--queue", "a", "--slots", "3"}).code, std::nullopt);
  unsetenv("WHIPPLETREE_SLOTS");
  setenv("WHIPPLETREE_PORT", "", 1);
  ExpectError({"--queue", "a", "serve"},
              "program: --port: WHIPPLETREE_PORT is empty: give it a value, or unset it (see "
              "program serve --help)");
  EXPECT_EQ(Parse({"--queue", "a", "status"}).code, std::nullopt);
  unsetenv("WHIPPLETREE_PORT");
}

// As --queue="$Q" --json and -n$N --json of a script whose variables were never set.
TEST_F(ParseCommandLineTest, AnEmptyValueTakesNoArgumentForItself) {
  ExpectError({"--queue=", "--json"},
              "program: --queue: expected a value, got \"\" (see program --help)");
  ExpectError({"--queue", "--json"},
              "program: --queue needs a value, and --json is a flag (see program --help)");
  ExpectError({"--queue", "a", "-n", "--broker=b"},
              "program: -n needs a value, and --broker is a flag (see program --help)");
  ExpectError({"--queue", "a", "serve", "--port=", "7"},
              "program: --port: expected a value, got \"\" (see program serve --help)");
  EXPECT_EQ(Parse({"--queue", "--other"}).code, std::nullopt);  // a name like another
}

TEST(NearestTest, IsTheOneThatMayBeMeant) {
  const std::vector<std::string> known = {"capacity", "rate", "lease"};
  EXPECT_EQ(Nearest("capcity", known), "capacity");
  EXPECT_EQ(Nearest("raet", known), "");
  EXPECT_EQ(Nearest("rat3", known), "rate");
  EXPECT_EQ(Nearest("", known), "");
  EXPECT_EQ(Nearest("something", {}), "");
}

TEST_F(ParseCommandLineTest, HelpIsAManual) {
  const auto printed = Parse({"--help"});
  EXPECT_EQ(printed.code, 0);
  EXPECT_EQ(printed.err, "");
  for (const char* part :
       {"Does something.\n\nUsage: program [OPTIONS] COMMAND\n",
        "\n  serve                     Serves",
        "\n  -n, --slots N             How many at a time (default: 4) [WHIPPLETREE_SLOTS]\n",
        "--memory-limit SIZE", "(default: 1GiB)", "--queue Q", "(required)",
        "Examples:", "Exit codes:\n  0    done\n"}) {
    EXPECT_NE(printed.out.find(part), std::string::npos) << part << "\n---\n" << printed.out;
  }
  const auto serve = Parse({"serve", "--help"});
  EXPECT_EQ(serve.code, 0);
  EXPECT_NE(serve.out.find("Usage: program serve [OPTIONS]\n"), std::string::npos) << serve.out;
  EXPECT_NE(serve.out.find("--port N"), std::string::npos) << serve.out;
}

TEST_F(ParseCommandLineTest, VersionIsOneLine) {
  const auto printed = Parse({"--version"});
  EXPECT_EQ(printed.code, 0);
  EXPECT_EQ(printed.out, std::string("program ") + kVersion + "\n");
}

}  // namespace
}  // namespace whippletree
