#include "broker/store/commit_chain.h"

#include <gtest/gtest.h>

#include <vector>

namespace whippletree {
namespace {

// As a store writes them: two epochs.
std::vector<ChainLink> Links() {
  return {{{0, 0}, {1, 0}, {}, {}}, {{1, 0}, {1, 3}, {}, {}}, {{1, 3}, {1, 4}, {}, {}},
          {{1, 4}, {2, 4}, {}, {}}, {{2, 4}, {2, 9}, {}, {}}, {{2, 9}, {2, 10}, {}, {}}};
}

ChainLink JoinAll(const std::vector<ChainLink>& links) {
  ChainLink all = links.front();
  for (size_t i = 1; i < links.size(); ++i) all = Join(all, links[i]);
  return all;
}

TEST(CommitChainTest, LinksThatMeetAreOne) {
  EXPECT_EQ(JoinAll(Links()), (ChainLink{{0, 0}, {2, 10}, {}, {}}));
  EXPECT_EQ(ChainError(JoinAll(Links()), 2), "");
}

TEST(CommitChainTest, JoiningIsAssociative) {
  for (size_t missing = 0; missing <= Links().size(); ++missing) {
    std::vector<ChainLink> links = Links();
    if (missing < links.size()) links.erase(links.begin() + static_cast<ptrdiff_t>(missing));
    ChainLink from_the_end = links.back();
    for (size_t i = links.size() - 1; i-- > 0;) from_the_end = Join(links[i], from_the_end);
    EXPECT_EQ(JoinAll(links), from_the_end) << missing;
  }
}

TEST(CommitChainTest, AnyMissingLinkButTheLastIsFound) {
  for (size_t missing = 0; missing + 1 < Links().size(); ++missing) {
    std::vector<ChainLink> links = Links();
    links.erase(links.begin() + static_cast<ptrdiff_t>(missing));
    EXPECT_NE(ChainError(JoinAll(links), 2), "") << missing;
  }
}

TEST(CommitChainTest, AGapStaysWhateverFollows) {
  ChainLink chain = Join({{0, 0}, {1, 3}, {}, {}}, {{1, 5}, {1, 6}, {}, {}});
  for (uint64_t i = 6; i < 20; ++i) chain = Join(chain, {{1, i}, {1, i + 1}, {}, {}});
  EXPECT_EQ(ChainError(chain, 1),
            "commit 3 of epoch 1 is followed by what came after commit 5 of epoch 1; what was "
            "between is missing");
}

TEST(CommitChainTest, TheSameCommitOfAnotherEpochDoesNotFit) {
  const ChainLink chain = Join({{0, 0}, {2, 3}, {}, {}}, {{1, 3}, {1, 4}, {}, {}});
  EXPECT_NE(ChainError(chain, 1), "");
}

TEST(CommitChainTest, LinksSurviveTheirEncoding) {
  const ChainLink whole{{1, 2}, {3, uint64_t{1} << 63}, {}, {}};
  const ChainLink broken{{1, 2}, {3, 4}, ChainPosition{5, 6}, ChainPosition{7, 8}};
  EXPECT_EQ(DecodeLink(EncodeLink(whole)), whole);
  EXPECT_EQ(DecodeLink(EncodeLink(broken)), broken);
  for (const size_t bytes : {0, 1, 8, 31, 33, 40, 65}) {
    EXPECT_EQ(DecodeLink(std::string(bytes, 'x')), std::nullopt) << bytes;
  }
}

}  // namespace
}  // namespace whippletree
