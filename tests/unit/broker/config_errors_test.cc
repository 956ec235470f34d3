// What is wrong with a configuration file, in the exact words.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "broker/config.h"

namespace whippletree {
namespace {

// The errors of a file, a line each; "" if it is right.
std::string Errors(const std::string& text) {
  const absl::StatusOr<config::Config> config = ParseConfig(text, "b.yaml");
  if (config.ok()) return "";
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(config.status().message());
}

// That of one setting of the defaults, without its place.
std::string ErrorOf(const std::string& setting, const std::string& value) {
  const size_t dot = setting.find('.');
  const std::string text = dot == std::string::npos
                               ? "defaults: {" + setting + ": " + value + "}"
                               : "defaults: {" + setting.substr(0, dot) + ": {" +
                                     setting.substr(dot + 1) + ": " + value + "}}";
  const std::string error = Errors(text);
  const size_t begin = error.find("defaults." + setting + ": ");
  EXPECT_TRUE(error.empty() || begin != std::string::npos) << error;
  return error.empty() ? "" : error.substr(begin + setting.size() + 11);
}

TEST(ConfigErrorsTest, NameFileLineColumnAndSetting) {
  EXPECT_EQ(
      Errors("queues:\n  api:\n    rate: \"50\"\n"),
      "b.yaml:3:11: queues.api.rate: \"50\" has no unit: expected a whole number per s, min or "
      "h, as in 50/s, 300/min or \"2 batches/s\", or none");
}

TEST(ConfigErrorsTest, SayWhatIsExpected) {
  EXPECT_EQ(ErrorOf("capacity.jobs", "many"),
            "\"many\" is not a whole number: expected a whole number from 1 to 1099511627776, "
            "or none");
  EXPECT_EQ(ErrorOf("capacity.bytes", "1XB"),
            "\"1XB\" is not a size: expected a size of at least 1, as in 64KiB, or none");
  EXPECT_EQ(ErrorOf("lease", "5"),
            "\"5\" has no unit: expected a duration from 500ms to 24h, as in 500ms, 30s or 5m");
  EXPECT_EQ(ErrorOf("lease", "5 days"),
            "\"5 days\" is not a duration: expected a duration from 500ms to 24h, as in 500ms, 30s "
            "or 5m");
  EXPECT_EQ(ErrorOf("retry.backoff", "5s"),
            "\"5s\" is not a back-off: expected the least and the most, as in 1s..5m");
  EXPECT_EQ(ErrorOf("breaker.ratio", "half"),
            "\"half\" is not a ratio: expected a number above 0, at most 1, as in 0.5, or none");
  EXPECT_EQ(ErrorOf("concurrency", "[1]"),
            "a list: expected a whole number from 1 to 1000000, or none");
  EXPECT_EQ(ErrorOf("lease", "{s: 1}"),
            "a mapping: expected a duration from 500ms to 24h, as in 500ms, 30s or 5m");
  EXPECT_EQ(ErrorOf("lease", ""),
            "nothing: expected a duration from 500ms to 24h, as in 500ms, 30s or 5m");
  EXPECT_EQ(ErrorOf("batch", "5"), "\"5\" where settings are expected, as in max_jobs: …");
  EXPECT_EQ(ErrorOf("batch", "[]"), "a list where settings are expected, as in max_jobs: …");
  EXPECT_EQ(Errors("unknown_queues: yes"),
            "b.yaml:1:17: unknown_queues: \"yes\" is not known here: expected accept or refuse");
}

TEST(ConfigErrorsTest, OfKeys) {
  EXPECT_EQ(ErrorOf("keys", "true"), "\"true\" where settings are expected, as in order: …");
  EXPECT_EQ(ErrorOf("keys.order", "true"), "");
  EXPECT_EQ(ErrorOf("keys.order", "false"), "");
  for (const char* value : {"yes", "on", "True", "1", "none", "''"}) {
    EXPECT_NE(ErrorOf("keys.order", value).find(" is not known here: expected true or false"),
              std::string::npos)
        << value;
  }
  EXPECT_EQ(
      ErrorOf("keys.rate", "2 batches/s"),
      "\"2 batches/s\" counts batches; this rate counts jobs: expected a whole number of jobs "
      "per s, min or h, as in 50/s or 300/min, or none");
  EXPECT_EQ(
      ErrorOf("keys.rate", "fast"),
      "\"fast\" is not a rate: expected a whole number of jobs per s, min or h, as in 50/s or "
      "300/min, or none");
  EXPECT_EQ(
      Errors("defaults: {keys: {ordered: true}}"),
      "b.yaml:1:19: defaults.keys: there is no setting \"ordered\", did you mean order? There "
      "are order, concurrency, rate, burst");
  EXPECT_EQ(Errors("queues: {a: {keys: {burst: 5}, rate: 5/s}}"),
            "b.yaml:1:28: queues.a.keys.burst: has no effect without a rate: add one");
  EXPECT_EQ(Errors("queues: {a: {keys: {burst: 5}}}\ndefaults: {keys: {rate: 1/s}}"), "");
}

TEST(ConfigErrorsTest, TheLastGoodValueAndTheFirstBadOne) {
  const struct {
    const char* setting;
    std::vector<const char*> good;
    std::vector<const char*> out_of_range;
  } cases[] = {
      {"capacity.jobs",
       {"1", "1099511627776", "none"},
       {"0", "1099511627777", "99999999999999999999"}},
      {"capacity.bytes", {"1", "1TiB", "none"}, {"0"}},
      {"batch.max_jobs", {"1", "65536"}, {"0", "65537"}},
      {"batch.max_bytes", {"1", "1GiB"}, {"0", "2GiB"}},
      {"batch.linger", {"0", "0s", "24h"}, {"25h"}},
      {"rate", {"1/h", "1000000000/s", "none"}, {"1000000001/s", "99999999999999999999/s"}},
      {"burst", {"1", "1000000"}, {"0", "1000001"}},
      {"concurrency", {"1", "none"}, {"0", "1000001"}},
      {"keys.concurrency", {"1", "1000000", "none"}, {"0", "1000001"}},
      {"keys.rate", {"1/h", "1000000000 jobs/s", "none"}, {"1000000001/s"}},
      {"keys.burst", {"1", "1000000"}, {"0", "1000001"}},
      {"lease", {"500ms", "24h"}, {"499ms", "24h1s"}},
      {"timeout", {"1ms", "none"}, {"0", "8761h"}},
      {"retry.max_attempts", {"1", "1000"}, {"0", "1001"}},
      {"retry.backoff", {"0..0", "1s..1s"}, {"2s..1s"}},
      {"breaker.failures", {"1", "none"}, {"0"}},
      {"breaker.ratio", {"0.0001", "1", "none"}, {"0", "1.01", "0.0"}},
      {"breaker.window", {"100ms", "24h"}, {"99ms"}},
      {"breaker.min_jobs", {"1"}, {"0"}},
      {"breaker.open", {"1ms"}, {"0"}},
      {"breaker.probes", {"1"}, {"0"}},
  };
  for (const auto& one : cases) {
    for (const char* value : one.good) EXPECT_EQ(ErrorOf(one.setting, value), "") << one.setting;
    for (const char* value : one.out_of_range) {
      EXPECT_NE(ErrorOf(one.setting, value).find(" is out of range: expected "), std::string::npos)
          << one.setting << " " << value << ": " << ErrorOf(one.setting, value);
    }
  }
}

TEST(ConfigErrorsTest, ARateThatStartsNothingSaysHowAQueueIsStopped) {
  for (const char* rate : {"0", "0/s", "00 jobs/min", "0 batches/h"}) {
    EXPECT_EQ(ErrorOf("rate", rate),
              "\"" + std::string(rate) +
                  "\" would start nothing (whippletree-broker pause stops a queue): expected a "
                  "whole number per s, min or h, as in 50/s, 300/min or \"2 batches/s\", or none");
  }
}

TEST(ConfigErrorsTest, AnEmptyFileIsNoConfiguration) {
  for (const char* text : {"", "\n", "# queues: {}\n", "---\n", "null"}) {
    EXPECT_EQ(
        Errors(text),
        "b.yaml: it is empty: expected queues, defaults or unknown_queues (or `queues: {}`, to "
        "set nothing)");
  }
  EXPECT_EQ(Errors("queues: {}"), "");
}

// As when the file is being written, or was cut.
TEST(ConfigErrorsTest, NothingBelowItsKeysIsNoConfiguration) {
  const std::string queues =
      "queues: nothing is below it: expected names of queues and their settings (or `queues: {}`, "
      "to set nothing)";
  const std::string defaults =
      "defaults: nothing is below it: expected settings (or `defaults: {}`, to set nothing)";
  EXPECT_EQ(Errors("queues:\n"), "b.yaml:1:1: " + queues);
  EXPECT_EQ(Errors("queues:\n# all is a comment\n"), "b.yaml:1:1: " + queues);
  EXPECT_EQ(Errors("queues: null"), "b.yaml:1:1: " + queues);
  EXPECT_EQ(Errors("defaults:\n"), "b.yaml:1:1: " + defaults);
  EXPECT_EQ(Errors("unknown_queues: refuse\nqueues:\ndefaults: ~\n"),
            "b.yaml:2:1: " + queues + "\nb.yaml:3:1: " + defaults);
  EXPECT_EQ(Errors("queues: {}\ndefaults: {}\n"), "");
  // A queue that is only named, and a setting all of which is commented out.
  EXPECT_EQ(Errors("queues:\n  a:\n  b: {batch: }\n"), "");
}

TEST(ConfigErrorsTest, OddValuesAreRefused) {
  for (const char* rate : {"/s", "s", "5/", "5/d", "5", "-5/s", "5 apples/s", "5//s", "0.5/s",
                           "5/s/s", "1e3/s", "5 s"}) {
    EXPECT_NE(ErrorOf("rate", rate), "") << rate;
  }
  for (const char* number : {"-1", "+1", "1.0", "1e3", "0x10", "1_000", "' 1'", "''", "none"}) {
    EXPECT_NE(ErrorOf("burst", number), "") << number;
  }
  for (const char* ratio : {"nan", "inf", "-0.5", "1e-1", "50%", ".", "''"}) {
    EXPECT_NE(ErrorOf("breaker.ratio", ratio), "") << ratio;
  }
  for (const char* backoff :
       {"1s", "..", "1s..", "..1s", "1s..2s..3s", "1s-2s", "1s....2s", "1s. .2s", "1..5", "none"}) {
    EXPECT_NE(ErrorOf("retry.backoff", backoff), "") << backoff;
  }
  for (const char* choice : {"ACCEPT", "Accept", "''", "true"}) {
    EXPECT_NE(Errors(std::string("unknown_queues: ") + choice), "") << choice;
  }
  EXPECT_NE(ErrorOf("capacity", "none"), "");
}

TEST(ConfigErrorsTest, UnknownSettingsAreNamedWithTheKnownOnes) {
  EXPECT_EQ(Errors("queues:\n  api: {capcity: {}}"),
            "b.yaml:2:9: queues.api: there is no setting \"capcity\", did you mean capacity? There "
            "are capacity, batch, rate, burst, concurrency, keys, lease, timeout, retry, breaker, "
            "durable, job_names, dead");
  EXPECT_EQ(Errors("x: 1"),
            "b.yaml:1:1: there is no setting \"x\": there are queues, defaults, unknown_queues");
  EXPECT_EQ(
      Errors("defaults: {retry: {attempts: 3}}"),
      "b.yaml:1:20: defaults.retry: there is no setting \"attempts\": there are max_attempts, "
      "backoff");
}

TEST(ConfigErrorsTest, NothingMayBeGivenTwice) {
  EXPECT_EQ(Errors("queues:\n  a: {}\n  b: {}\n  a: {}\n"),
            "b.yaml:4:3: queues.a: given twice: it is in line 2 already");
  EXPECT_EQ(Errors("defaults: {lease: 1s,\n  lease: 2s}\ndefaults: {}\n"),
            "b.yaml:2:3: defaults.lease: given twice: it is in line 1 already\n"
            "b.yaml:3:1: defaults: given twice: it is in line 1 already");
}

TEST(ConfigErrorsTest, QueuesHaveNames) {
  EXPECT_EQ(Errors("queues: {a+b: {}}"),
            "b.yaml:1:10: queues: \"a+b\": a queue's name has 1 to 128 of the characters A-Z a-z "
            "0-9 . _ - : /");
  EXPECT_EQ(Errors("queues: {null: {}}"),
            "b.yaml:1:10: queues: a name is expected here; put it in quotes");
  EXPECT_EQ(Errors("queues: {\"\": {}}"),
            "b.yaml:1:10: queues: the name of a queue is empty: give it one, or remove it");
  EXPECT_EQ(Errors("queues: {a: {'': 5}}"),
            "b.yaml:1:14: queues.a: the name of a setting is empty: give it one, or remove it");
  EXPECT_EQ(Errors("queues: {\"null\": {}}"), "");
  EXPECT_EQ(Errors("queues: [a, b]"),
            "b.yaml:1:9: queues: expected a mapping of queues: their names and settings");
}

TEST(ConfigErrorsTest, SettingsWithoutAnEffectAreMistakes) {
  EXPECT_EQ(Errors("queues: {a: {burst: 5}}"),
            "b.yaml:1:21: queues.a.burst: has no effect without a rate: add one");
  EXPECT_EQ(Errors("queues: {a: {batch: {linger: 2s}}}"),
            "b.yaml:1:30: queues.a.batch.linger: has no effect without max_jobs: add it");
  EXPECT_EQ(
      Errors("queues: {a: {breaker: {open: 1s}}}"),
      "b.yaml:1:23: queues.a.breaker: never opens: add failures or ratio, as in {failures: 5}");
  EXPECT_EQ(Errors("queues: {a: {burst: 5, batch: {linger: 2s}, breaker: {open: 1s}}}\n"
                   "defaults: {rate: 1/s, batch: {max_jobs: 2}, breaker: {ratio: 0.1}}"),
            "");
  EXPECT_EQ(Errors("queues: {a: {breaker: none}}"), "");
  EXPECT_EQ(Errors("defaults: {burst: 5, batch: {linger: 1s}, breaker: {open: 1s}}"), "");
}

TEST(ConfigErrorsTest, AllAreToldInTheOrderOfTheFileAtMostTwenty) {
  EXPECT_EQ(
      Errors("unknown_queues: 1\nqueues: {a: {lease: 1}}\ndefaults: {lease: 2}").find("b.yaml:1:"),
      0u);
  std::string text = "queues:\n";
  for (int i = 0; i < 1000; ++i) text += "  q" + std::to_string(i) + ": {lease: 1}\n";
  const std::string errors = Errors(text);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 20);
  EXPECT_EQ(errors.find("b.yaml:2:"), 0u);
  EXPECT_NE(errors.find("\nb.yaml:21:"), std::string::npos);
  EXPECT_TRUE(errors.ends_with("\nb.yaml: 980 more errors")) << errors;
}

TEST(ConfigErrorsTest, WhatIsNotYamlIsAnErrorWithAPlace) {
  // In words of people who do not know the library's.
  const struct {
    const char* text;
    const char* error;
  } cases[] = {
      {"a: [1\nb: 2\n", "2:2: not YAML: a [ is not closed: expected , or ]"},
      {"a: {b: 1\n", "2:1: not YAML: a { is not closed: expected , or }"},
      {"a:\n\t- b\n", "2:2: not YAML: a \"- \" where no list is expected"},
      {"queues: *x", "1:9: not YAML: "},
      {"a: b: c\n",
       "1:5: not YAML: a colon where none is expected: put a value that has one in "
       "quotes"},
      {"a: @b\n", "1:4: not YAML: a character that no value begins with: put the value in quotes"},
      {"a: 1\n- b\n", "2:1: not YAML: "},
  };
  for (const auto& each : cases) {
    EXPECT_EQ(Errors(each.text).find(std::string("b.yaml:") + each.error), 0u)
        << each.text << Errors(each.text);
  }
  EXPECT_EQ(Errors("- a"), "b.yaml:1:1: a list where settings are expected, as in queues: …");
  EXPECT_EQ(Errors("queues: {}\n---\nqueues: {}\n"), "b.yaml:3:1: a second document: expected one");
}

TEST(ConfigErrorsTest, HostileTextStaysOnItsLine) {
  const std::string errors = Errors("\"a\\nb\\e[2J\": 1\ndefaults: {lease: \"x\\ny\"}");
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1);
  EXPECT_EQ(errors.find('\x1b'), std::string::npos);
}

TEST(ConfigErrorsTest, AliasesAreOrdinaryValues) {
  EXPECT_EQ(Errors("queues:\n  a: &x {rate: 5/h}\n  b: *x\n"), "");
  EXPECT_EQ(Errors("defaults: &a {batch: *a}"), "b.yaml:1:22: not YAML: an alias of what it is in");
}

TEST(ConfigErrorsTest, AFileThatCannotBeReadIsAnotherError) {
  const absl::StatusOr<config::Config> missing = ReadConfig("/no/such/file");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(std::string(missing.status().message()),
            "cannot read \"/no/such/file\": No such file or directory");
  EXPECT_EQ(std::string(ReadConfig("/").status().message()), "cannot read \"/\": Is a directory");
  EXPECT_EQ(std::string(ReadConfig("/dev/zero").status().message()),
            "cannot read \"/dev/zero\": it is not a regular file");

  const std::string path = testing::TempDir() + "whippletree_config_test.yaml";
  std::ofstream(path) << "defaults: {lease: 3s}\n";
  const absl::StatusOr<config::Config> read = ReadConfig(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(Duration(read->defaults().lease()), seconds(3));
}

}  // namespace
}  // namespace whippletree
