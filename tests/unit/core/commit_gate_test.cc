#include "broker/core/commit_gate.h"

#include <gtest/gtest.h>

#include <vector>

namespace whippletree::core {
namespace {

struct Gate {
  void Pass(uint64_t commit, int item) {
    gate.Pass(commit, item, [this](int i) { released.push_back(i); });
  }
  void OnDurable(uint64_t commit) {
    gate.OnDurable(commit, [this](int i) { released.push_back(i); });
  }
  CommitGate<int> gate;
  std::vector<int> released;
};

TEST(CommitGateTest, WhatDependsOnNothingPassesAtOnce) {
  Gate gate;
  gate.Pass(3, 30);
  gate.Pass(0, 1);
  EXPECT_EQ(gate.released, std::vector<int>{1});
  EXPECT_EQ(gate.gate.held(), 1u);
}

TEST(CommitGateTest, ReleasesInTheOrderOfCommits) {
  Gate gate;
  gate.Pass(2, 20);
  gate.Pass(1, 10);
  gate.Pass(2, 21);
  gate.Pass(3, 30);
  gate.OnDurable(2);
  EXPECT_EQ(gate.released, (std::vector<int>{10, 20, 21}));
  EXPECT_EQ(gate.gate.held(), 1u);
  gate.Pass(2, 22);
  EXPECT_EQ(gate.released.back(), 22);
  gate.OnDurable(3);
  EXPECT_EQ(gate.released.back(), 30);
  EXPECT_EQ(gate.gate.held(), 0u);
}

TEST(CommitGateTest, ARepeatedOrOlderCommitChangesNothing) {
  Gate gate;
  gate.OnDurable(5);
  gate.OnDurable(3);
  EXPECT_EQ(gate.gate.durable(), 5u);
  gate.Pass(5, 50);
  EXPECT_EQ(gate.released, std::vector<int>{50});
}

}  // namespace
}  // namespace whippletree::core
