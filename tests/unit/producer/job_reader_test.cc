#include "producer/job_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace whippletree {
namespace {

constexpr WallTime kNow{seconds(1'000'000)};

// What a reader reported, in order: "payload" for a job, "!line: message" for bad input.
struct Read {
  std::vector<std::string> items;
  std::vector<std::string> names;   // as told
  std::vector<JobOptions> options;  // of the jobs
  std::vector<size_t> groups;       // sizes of the calls with jobs
};

JobReader::Options Options(InputFormat format, uint64_t payload_bytes_max = 100) {
  JobReader::Options options;
  options.format = format;
  options.payload_bytes_max = payload_bytes_max;
  return options;
}

Read ReadPieces(const std::vector<std::string>& pieces, const JobReader::Options& options) {
  Read read;
  JobReader reader(
      options,
      [&](std::span<const std::string_view> payloads, std::span<const std::string_view> names,
          const JobOptions& job_options) {
        for (const std::string_view name : names) read.names.emplace_back(name);
        for (const std::string_view payload : payloads) {
          read.items.emplace_back(payload);
          read.options.push_back(job_options);
        }
        read.groups.push_back(payloads.size());
      },
      [&](const BadInput& bad) {
        read.items.push_back("!" + std::to_string(bad.line) + ": " + bad.message);
      });
  for (const std::string& piece : pieces) {
    // A copy that ends where the call ends: payloads must not be kept beyond it.
    reader.Add(std::string(piece), kNow);
  }
  reader.End(kNow);
  return read;
}

Read ReadAll(const std::string& input, const JobReader::Options& options) {
  return ReadPieces({input}, options);
}

using Items = std::vector<std::string>;

TEST(JobReaderTest, EachLineIsAJob) {
  const Read read = ReadAll("a\n\n b \nc\r\n", Options(InputFormat::kLines));
  EXPECT_EQ(read.items, (Items{"a", "", " b ", "c\r"}));
  EXPECT_EQ(read.groups, (std::vector<size_t>{4}));  // together
}

TEST(JobReaderTest, NoInputIsNoJob) {
  for (const InputFormat format :
       {InputFormat::kLines, InputFormat::kNul, InputFormat::kJsonLines}) {
    EXPECT_TRUE(ReadAll("", Options(format)).items.empty());
  }
}

TEST(JobReaderTest, TheLastLineNeedsNoTerminator) {
  EXPECT_EQ(ReadAll("a\nb", Options(InputFormat::kLines)).items, (Items{"a", "b"}));
  EXPECT_EQ(ReadAll("\n", Options(InputFormat::kLines)).items, (Items{""}));
}

TEST(JobReaderTest, NulSeparatesItemsWithAnyBytes) {
  const std::string input("a\nb\0\0\xff\x01\0c", 9);
  EXPECT_EQ(ReadAll(input, Options(InputFormat::kNul)).items, (Items{"a\nb", "", "\xff\x01", "c"}));
}

TEST(JobReaderTest, PiecesDoNotMatter) {
  const std::string input = "one\ntwo\n\nthis line is too long\nthree\nfour";
  const Items expected = ReadAll(input, Options(InputFormat::kLines, 10)).items;
  ASSERT_EQ(expected.size(), 6u);
  for (size_t size = 1; size < input.size(); ++size) {
    std::vector<std::string> pieces;
    for (size_t i = 0; i < input.size(); i += size) pieces.push_back(input.substr(i, size));
    EXPECT_EQ(ReadPieces(pieces, Options(InputFormat::kLines, 10)).items, expected) << size;
  }
}

TEST(JobReaderTest, JobsAreReportedInTheCallThatEndsThem) {
  std::vector<std::string> seen;
  JobReader reader(
      Options(InputFormat::kLines),
      [&](std::span<const std::string_view> payloads, std::span<const std::string_view>,
          const JobOptions&) { seen.insert(seen.end(), payloads.begin(), payloads.end()); },
      [](const BadInput&) { FAIL(); });
  reader.Add("a", kNow);
  EXPECT_EQ(seen, Items{});
  reader.Add("b\nc", kNow);
  EXPECT_EQ(seen, Items{"ab"});
  reader.Add("\n", kNow);
  EXPECT_EQ(seen, (Items{"ab", "c"}));
  reader.End(kNow);
  EXPECT_EQ(seen, (Items{"ab", "c"}));
}

TEST(JobReaderTest, AnOversizedLineIsNamedAndTheOthersGoOn) {
  const Read read = ReadAll("ok\n" + std::string(11, 'x') + "\n" + std::string(10, 'y') + "\nok",
                            Options(InputFormat::kLines, 10));
  EXPECT_EQ(read.items,
            (Items{"ok",
                   "!2: the payload has 11 bytes, the broker takes at most 10: split it, or pass a "
                   "reference to the data instead",
                   "yyyyyyyyyy", "ok"}));
}

TEST(JobReaderTest, AnOversizedLineIsNotHeld) {
  // 1 GiB of one line in one piece's memory.
  std::string error;
  JobReader reader(
      Options(InputFormat::kLines, 1000), [](auto...) { FAIL(); },
      [&](const BadInput& bad) { error = bad.message; });
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 1024; ++i) reader.Add(piece, kNow);
  reader.Add("\n", kNow);
  EXPECT_TRUE(error.starts_with("the payload has 1073741824 bytes,")) << error;
}

TEST(JobReaderTest, DefaultsGoWithEveryJob) {
  JobReader::Options options = Options(InputFormat::kLines);
  options.defaults.key = "k";
  options.defaults.timeout = seconds(5);
  EXPECT_EQ(ReadAll("a", options).options, std::vector{options.defaults});
}

TEST(JobReaderJsonTest, JobsSayTheirOptions) {
  JobReader::Options options = Options(InputFormat::kJsonLines);
  options.defaults.max_attempts = 7;
  const Read read = ReadAll(
      "{\"payload\": \"a\\n\\u00f6\"}\n"
      "{\"payload\": \"b\"}\r\n"
      "\n   \n"
      "{\"max_attempts\": 3, \"key\": \"c1\", \"timeout\": \"1500ms\", \"payload\": \"\"}\n"
      "{\"payload\": \"d\"}",
      options);
  EXPECT_EQ(read.items, (Items{"a\nö", "b", "", "d"}));
  EXPECT_EQ(read.groups, (std::vector<size_t>{2, 1, 1}));  // those with the same options together
  EXPECT_EQ(read.options[0], options.defaults);
  EXPECT_EQ(read.options[2].key, "c1");
  EXPECT_EQ(read.options[2].timeout, milliseconds(1500));
  EXPECT_EQ(read.options[2].max_attempts, 3u);
  EXPECT_EQ(read.options[3], options.defaults);
}

TEST(JobReaderJsonTest, EachBadLineHasItsReason) {
  const std::string long_key = "{\"payload\": \"a\", \"key\": \"" + std::string(257, 'k') + "\"}";
  const struct {
    const char* line;
    const char* message;
  } cases[] = {
      {"hello", "not valid JSON at column 1: expected an object such as {\"payload\": \"text\"}"},
      {"{\"payload\": \"a\"",
       "not valid JSON at column 16: expected an object such as {\"payload\": \"text\"}"},
      {"{\"payload\": \"a\"} {}",
       "not valid JSON at column 18: expected an object such as {\"payload\": \"text\"}"},
      {"{\"payload\": \"\xff\"}",
       "not valid JSON at column 14: expected an object such as {\"payload\": \"text\"}"},
      {"[1]", "expected an object such as {\"payload\": \"text\"}, found an array"},
      {"\"a\"", "expected an object such as {\"payload\": \"text\"}, found a string"},
      {"12", "expected an object such as {\"payload\": \"text\"}, found a number"},
      {"{}", "the field \"payload\" is missing"},
      {"{\"payload\": {\"a\": 1}}",
       "\"payload\" must be a string (quote it if it is JSON itself), found an object"},
      {"{\"payload\": null}",
       "\"payload\" must be a string (quote it if it is JSON itself), found null"},
      {"{\"payload\": \"a\", \"payload\": \"b\"}", "\"payload\" is there twice"},
      {"{\"payload\": \"a\", \"prio\": 1}",
       "unknown field \"prio\": expected payload, name, key, timeout, max_attempts, delay or "
       "expires_in"},
      {"{\"payload\": \"a\", \"timeout\": 5}",
       "\"timeout\" must be a string such as \"5s\", from \"1ms\" to \"1000h\", found a number"},
      {"{\"payload\": \"a\", \"timeout\": \"soon\"}",
       "\"timeout\" must be a string such as \"5s\", from \"1ms\" to \"1000h\", found \"soon\""},
      {"{\"payload\": \"a\", \"timeout\": \"1us\"}",
       "\"timeout\" must be a string such as \"5s\", from \"1ms\" to \"1000h\", found \"1us\""},
      {"{\"payload\": \"a\", \"timeout\": \"2000h\"}",
       "\"timeout\" must be a string such as \"5s\", from \"1ms\" to \"1000h\", found \"2000h\""},
      {"{\"payload\": \"a\", \"max_attempts\": 0}",
       "\"max_attempts\" must be a whole number from 1 to 1000, found another number"},
      {"{\"payload\": \"a\", \"max_attempts\": 1.5}",
       "\"max_attempts\" must be a whole number from 1 to 1000, found another number"},
      {"{\"payload\": \"a\", \"max_attempts\": -1}",
       "\"max_attempts\" must be a whole number from 1 to 1000, found another number"},
      {"{\"payload\": \"a\", \"max_attempts\": 1001}",
       "\"max_attempts\" must be a whole number from 1 to 1000, found 1001"},
      {"{\"payload\": \"a\", \"max_attempts\": 4294967296}",
       "\"max_attempts\" must be a whole number from 1 to 1000, found 4294967296"},
      {"{\"payload\": \"a\", \"max_attempts\": \"3\"}",
       "\"max_attempts\" must be a whole number from 1 to 1000, found a string"},
      {"{\"payload\": \"a\", \"key\": true}",
       "\"key\" must be a string of at most 256 bytes, found a boolean"},
      {long_key.c_str(), "\"key\" must be a string of at most 256 bytes, found one of 257 bytes"},
  };
  for (const auto& test : cases) {
    const std::string good = "{\"payload\": \"good\"}\n";
    const Read read = ReadPieces({good, test.line, "\n", good}, Options(InputFormat::kJsonLines));
    EXPECT_EQ(read.items, (Items{"good", std::string("!2: ") + test.message, "good"}));
  }
}

TEST(JobReaderJsonTest, TheDecodedPayloadCounts) {
  const JobReader::Options options = Options(InputFormat::kJsonLines, 10);
  std::string escaped;
  for (int i = 0; i < 10; ++i) escaped += "\\u0041";
  EXPECT_EQ(ReadAll("{\"payload\":\"" + escaped + "\"}", options).items, Items{"AAAAAAAAAA"});
  EXPECT_EQ(ReadAll("{\"payload\":\"AAAAAAAAAAA\"}", options).items,
            Items{"!1: the payload has 11 bytes, the broker takes at most 10: split it, or pass a "
                  "reference to the data instead"});
  EXPECT_TRUE(ReadAll(std::string(1 << 20, ' ') + "{\"payload\":\"a\"}", options)
                  .items[0]
                  .starts_with("!1: the line has 1048591 bytes"));
}

TEST(JobReaderJsonTest, DeepNestingEndsAtTheFirstLevel) {
  const Read read = ReadAll("{\"payload\": " + std::string(200'000, '['),
                            Options(InputFormat::kJsonLines, 1 << 20));
  EXPECT_EQ(read.items, Items{"!1: \"payload\" must be a string (quote it if it is JSON itself), "
                              "found an array"});
}

TEST(JobReaderTest, DelayAndExpiryCountFromWhenThePieceWasRead) {
  JobReader::Options options = Options(InputFormat::kLines);
  options.delay = seconds(5);
  options.expires_in = seconds(60);
  std::vector<JobOptions> jobs;
  JobReader reader(
      options,
      [&](std::span<const std::string_view>, std::span<const std::string_view>,
          const JobOptions& job) { jobs.push_back(job); },
      [](const BadInput&) {});
  reader.Add("a\nb\n", kNow);
  reader.Add("c", kNow);
  reader.End(kNow + seconds(1));
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].not_before, kNow + seconds(5));
  EXPECT_EQ(jobs[0].expires_at, kNow + seconds(60));
  EXPECT_EQ(jobs[1].not_before, kNow + seconds(6));
}

TEST(JobReaderJsonTest, DelayAndExpiryOfAJob) {
  JobReader::Options options = Options(InputFormat::kJsonLines);
  options.delay = seconds(5);
  const Read read = ReadAll(
      "{\"payload\": \"a\"}\n"
      "{\"payload\": \"b\", \"delay\": \"0\", \"expires_in\": \"1m\"}\n",
      options);
  ASSERT_EQ(read.items, (Items{"a", "b"}));
  EXPECT_EQ(read.options[0].not_before, kNow + seconds(5));
  EXPECT_EQ(read.options[0].expires_at, WallTime{});
  EXPECT_EQ(read.options[1].not_before, WallTime{});
  EXPECT_EQ(read.options[1].expires_at, kNow + seconds(60));
}

TEST(JobReaderJsonTest, AJobThatExpiresBeforeItMayStartIsBadInput) {
  const Read read = ReadAll(
      "{\"payload\": \"a\", \"delay\": \"1m\", \"expires_in\": \"1m\"}\n"
      "{\"payload\": \"b\", \"expires_in\": \"0\"}\n"
      "{\"payload\": \"c\", \"delay\": 5}\n",
      Options(InputFormat::kJsonLines));
  EXPECT_EQ(read.items,
            (Items{"!1: the job expires before it may be started: \"expires_in\" (1m) must be "
                   "longer than \"delay\" (1m)",
                   "!2: \"expires_in\" must be a string such as \"5m\", at least \"1ms\", found "
                   "\"0\"",
                   "!3: \"delay\" must be a string such as \"5s\", found a number"}));
}

TEST(JobReaderTest, NamesComeFirst) {
  JobReader::Options options = Options(InputFormat::kLines);
  options.names = true;
  const Read read = ReadPieces({"one\tpay\tload\ntw", "o\t\nno name\n\tpayload\n"}, options);
  EXPECT_EQ(
      read.items,
      (Items{"pay\tload", "", "!3: expected the job's name, a tab and its payload, found no tab",
             "!4: the job's name, before the tab, must be UTF-8 text of 1 to 256 bytes, "
             "found \"\""}));
  EXPECT_EQ(read.names, (Items{"one", "two"}));
}

TEST(JobReaderTest, ANameDoesNotMakeAPayloadTooLarge) {
  JobReader::Options options = Options(InputFormat::kLines, 3);
  options.names = true;
  const Read read = ReadAll(std::string(256, 'n') + "\tabc\nn\tabcd\n", options);
  ASSERT_EQ(read.items.size(), 2u);
  EXPECT_EQ(read.items[0], "abc");
  EXPECT_EQ(read.items[1].rfind("!2: the payload has 4 bytes", 0), 0u) << read.items[1];
}

TEST(JobReaderTest, JsonMayNameJobs) {
  JobReader::Options options = Options(InputFormat::kJsonLines);
  const std::string input = "{\"payload\": \"a\", \"name\": \"n\"}\n{\"payload\": \"b\"}\n";
  Read read = ReadAll(input, options);
  EXPECT_EQ(read.items, (Items{"a", "b"}));
  EXPECT_EQ(read.names, (Items{"n", ""}));  // together
  options.names = true;
  read = ReadAll(input, options);
  EXPECT_EQ(read.items, (Items{"a", "!2: the field \"name\" is missing"}));
}

}  // namespace
}  // namespace whippletree
