#include "broker/store/keys.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <vector>

#include "store_testing.h"

namespace whippletree {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

record::Record GroupRow(const std::string& producer, uint64_t group) {
  record::Record record;
  record.mutable_group()->set_producer(producer);
  record.mutable_group()->set_group(group);
  return record;
}

record::Record ProducerRow(const std::string& name) {
  record::Record record;
  record.mutable_producer()->set_name(name);
  return record;
}

record::Record OutcomeRow(uint64_t stream, uint64_t first) {
  record::Record record;
  record.mutable_outcome()->set_stream(stream);
  record.mutable_outcome()->mutable_outcome()->set_first(first);
  return record;
}

record::Record EndedRow(uint64_t stream, uint64_t first) {
  record::Record record;
  record.mutable_ended()->set_stream(stream);
  record.mutable_ended()->set_first(first);
  return record;
}

record::Record ReturnedRow(uint64_t stream, uint64_t first) {
  record::Record record;
  record.mutable_returned()->set_stream(stream);
  record.mutable_returned()->set_first(first);
  return record;
}

record::Record LeaseRow(uint64_t token) {
  record::Record record;
  record.mutable_lease()->set_token(token);
  return record;
}

record::Record NamesRow(uint64_t stream, uint64_t first) {
  record::Record record;
  record.mutable_job_names()->set_stream(stream);
  record.mutable_job_names()->set_first(first);
  return record;
}

record::Record AttemptsRow(uint64_t stream, uint64_t first) {
  record::Record record;
  record.mutable_attempts()->set_stream(stream);
  record.mutable_attempts()->set_first(first);
  return record;
}

record::Record DeadRow(uint64_t stream, uint64_t number) {
  record::Record record;
  record.mutable_dead()->set_stream(stream);
  record.mutable_dead()->set_number(number);
  return record;
}

// In the order in which they are to be read back.
std::vector<record::Record> Ordered() {
  std::vector<record::Record> rows = {QueueRow(""),   QueueRow("a"),    QueueRow("a b"),
                                      QueueRow("ab"), QueueRow("\xff"), ProducerRow("a")};
  for (const uint64_t number : {uint64_t{1}, uint64_t{255}, uint64_t{256}, kMax}) {
    rows.push_back(StreamRow(number, "q", 1));
  }
  rows.push_back(LeaseRow(1));
  rows.push_back(LeaseRow(uint64_t{1} << 63));
  for (const auto make :
       {+[](uint64_t a, uint64_t b) { return RunRow(a, b); }, EndedRow, ReturnedRow}) {
    rows.push_back(make(0, kMax));
    rows.push_back(make(1, 0));
    rows.push_back(make(1, 255));
    rows.push_back(make(1, 256));
    rows.push_back(make(256, 1));
    rows.push_back(make(kMax, kMax));
  }
  rows.push_back(OutcomeRow(1, 2));
  rows.push_back(OutcomeRow(2, 1));
  rows.push_back(GroupRow("", 3));
  rows.push_back(GroupRow("a", 2));
  rows.push_back(GroupRow("a", 10));
  rows.push_back(GroupRow("aa", 1));
  for (const auto make : {NamesRow, AttemptsRow, DeadRow}) {
    rows.push_back(make(1, 2));
    rows.push_back(make(2, 1));
  }
  return rows;
}

TEST(KeysTest, BytesAreInTheOrderOfKindsAndNumbers) {
  std::string last(kFirstRowKey);
  for (const record::Record& row : Ordered()) {
    const std::string key = KeyOf(row).value();
    EXPECT_LT(last, key) << row.ShortDebugString();
    last = key;
  }
}

TEST(KeysTest, EveryKeyIsTheKeyOfOneRow) {
  std::set<std::string> keys;
  for (const record::Record& row : Ordered()) keys.insert(KeyOf(row).value());
  EXPECT_EQ(keys.size(), Ordered().size());
}

TEST(KeysTest, OtherFieldsAreNotOfTheKey) {
  EXPECT_EQ(KeyOf(QueueRow("a", 1)).value(), KeyOf(QueueRow("a", 2)).value());
  EXPECT_EQ(KeyOf(RunRow(1, 2, 3)).value(), KeyOf(Erased(RunRow(1, 2, 0))).value());
  EXPECT_EQ(KeyOf(RunRow(1, 2)).value(), KeyOf(RunKey(1, 2)));
}

TEST(KeysTest, NamesWithAZeroByteAreRefused) {
  const std::string name("a\0b", 3);
  EXPECT_TRUE(absl::IsInvalidArgument(KeyOf(QueueRow(name)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(KeyOf(ProducerRow(name)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(KeyOf(GroupRow(name, 1)).status()));
}

TEST(KeysTest, ARecordWithoutARowIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(KeyOf(record::Record()).status()));
}

TEST(KeysTest, KeysHaveATextForPeople) {
  EXPECT_EQ(KeyText(KeyOf(QueueRow("mail")).value()), "queue \"mail\"");
  EXPECT_EQ(KeyText(KeyOf(GroupRow("a", 7)).value()), "group \"a\" 7");
  EXPECT_EQ(KeyText(KeyOf(LeaseRow(9)).value()), "lease 9");
  EXPECT_EQ(KeyText(KeyOf(RunKey(1, 39))), "run 1-39");
  EXPECT_EQ(KeyText(KeyOf(OutcomeRow(1, 2)).value()), "outcome 1-2");
  EXPECT_EQ(KeyText(KeyOf(NamesRow(1, 2)).value()), "job_names 1-2");
  EXPECT_EQ(KeyText(KeyOf(DeadRow(3, 4)).value()), "dead 3-4");
  EXPECT_EQ(KeyText(""), "empty key");
  EXPECT_EQ(KeyText("\x04short"), "key \"\\x04short\"");
  EXPECT_EQ(KeyText("\x63"), "key \"c\"");
}

}  // namespace
}  // namespace whippletree
