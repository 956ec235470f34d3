// A named producer that is started again: its input, by the hash that the broker keeps.
#include <gtest/gtest.h>

#include "producer/input_hash.h"
#include "tests/unit/producer/session_harness.h"

namespace whippletree {
namespace {

class NamedInputTest : public ProducerSessionTest {
 protected:
  using Input = std::vector<std::string_view>;

  NamedInputTest() : ProducerSessionTest(true) {}

  void SubmitInput(const Input& payloads) {
    RunData run;
    for (const std::string_view payload : payloads) run.Append(payload);
    session.Submit("q", {}, run);
  }
  // Joins where an earlier process had these accepted, the first `hashed` of them in whole runs.
  void Resume(const Input& earlier, uint64_t hashed) {
    State state = Update(earlier.size() + 1);
    state.set_hashed(hashed);
    uint64_t hash = 0;
    for (uint64_t i = 0; i < hashed; ++i) hash = NextInputHash(hash, "", earlier[i]);
    state.set_input_hash(hash);
    session.OpenStream("q");
    Join(1, {state});
  }
  // Of the last run that was sent.
  uint64_t SentHash() {
    Poll();
    for (auto it = out.submit.rbegin(); it != out.submit.rend(); ++it) {
      if (it->has_submit()) return it->submit().input_hash();
    }
    ADD_FAILURE() << "nothing was sent";
    return 0;
  }
};

TEST_F(NamedInputTest, EachRunHasTheHashOfAllUpToItsEnd) {
  session.OpenStream("q");
  Join(1, {Update(1, State::OPEN, 3)});
  SubmitInput({"a", "b"});
  SubmitInput({"c", "d"});  // there is no credit for the last one
  const uint64_t abc = NextInputHash(NextInputHash(NextInputHash(0, "", "a"), "", "b"), "", "c");
  EXPECT_EQ(SentHash(), abc);
  out.Clear();
  OnUpdate(Update(4));
  EXPECT_EQ(SentHash(), NextInputHash(abc, "", "d"));
}

TEST_F(NamedInputTest, TheSameInputGoesOn) {
  Resume({"a", "b", "c"}, 2);
  EXPECT_TRUE(session.Skip("q", Input{"a"}, {}).ok());
  EXPECT_TRUE(session.Skip("q", Input{"b", "c"}, {}).ok());
  SubmitInput({"d"});
  uint64_t hash = 0;
  for (const char* payload : {"a", "b", "c", "d"}) hash = NextInputHash(hash, "", payload);
  EXPECT_EQ(SentHash(), hash);
}

TEST_F(NamedInputTest, AnotherInputIsRefused) {
  Resume({"a", "b", "c"}, 2);
  EXPECT_TRUE(session.Skip("q", Input{"other"}, {}).ok());  // nobody knows yet
  EXPECT_EQ(session.Skip("q", Input{"b", "c"}, {}),
            absl::InvalidArgumentError("this is not the input that \"p\" has submitted before: "
                                       "they differ within the first 2 jobs"));
}

TEST_F(NamedInputTest, TheNameOfAJobCounts) {
  Resume({"a"}, 1);
  EXPECT_FALSE(session.Skip("q", Input{"a"}, Input{"name"}).ok());
}

TEST_F(NamedInputTest, WhoDoesNotLookAtTheEarlierJobsHasNoHash) {
  Resume({"a", "b"}, 2);
  SubmitInput({"c"});
  EXPECT_EQ(SentHash(), 0u);
}

class NamelessInputTest : public ProducerSessionTest {};

TEST_F(NamelessInputTest, HasNoHash) {
  Join();
  Submit(1);
  Poll();
  ASSERT_EQ(out.submit.size(), 1u);
  EXPECT_EQ(out.submit[0].submit().input_hash(), 0u);
}

TEST(InputHashTest, WhereANameEndsAndAPayloadBeginsCounts) {
  EXPECT_NE(NextInputHash(0, "a", "bc"), NextInputHash(0, "ab", "c"));
  EXPECT_NE(NextInputHash(NextInputHash(0, "", "a"), "", "b"), NextInputHash(0, "", "ab"));
  // Brokers keep it, so it is the same in each version.
  EXPECT_EQ(NextInputHash(0, "name", "payload"), 0x8a09ebcf621bbf8fu);
}

}  // namespace
}  // namespace whippletree
