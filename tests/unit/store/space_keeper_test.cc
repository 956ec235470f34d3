#include "broker/store/space_keeper.h"

#include <gtest/gtest.h>

#include <semaphore>
#include <string>
#include <thread>
#include <vector>

namespace whippletree {
namespace {

// A store that notes what it is asked; its compactions end when they are cancelled.
struct FakeStore {
  SpaceKeeper::Calls Calls() {
    return {[this](std::atomic<bool>* cancelled) {
              compacting.release();
              while (!*cancelled) std::this_thread::yield();
              asked.emplace_back("compacted");
            },
            [this](bool allowed) {
              asked.emplace_back(allowed ? "allowed" : "forbidden");
              told.release();
            },
            [] { return uint64_t{1}; }};
  }

  std::binary_semaphore compacting{0};
  std::binary_semaphore told{0};
  std::vector<std::string> asked;  // of the keeper's thread, then of the test
};

TEST(SpaceKeeperTest, ALowDiskCompactsUntilThereIsRoom) {
  FakeStore store;
  {
    SpaceKeeper keeper(store.Calls());
    keeper.Set(Space::kLow);
    store.compacting.acquire();
    keeper.Set(Space::kPlenty);
    keeper.Set(Space::kFull);
    store.told.acquire();
    keeper.Set(Space::kPlenty);
    store.told.acquire();
  }
  EXPECT_EQ(store.asked, (std::vector<std::string>{"compacted", "forbidden", "allowed"}));
}

TEST(SpaceKeeperTest, ItsEndCancelsACompaction) {
  FakeStore store;
  {
    SpaceKeeper keeper(store.Calls());
    keeper.Set(Space::kLow);
    store.compacting.acquire();
  }
  EXPECT_EQ(store.asked.size(), 1u);
}

}  // namespace
}  // namespace whippletree
