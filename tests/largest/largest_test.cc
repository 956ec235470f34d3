// What the largest messages cost, counted in work and not in time: four times the size is about
// four times the work, for every message that a broker gets and whatever comes by time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "tests/largest/counting.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

// n log n at these sizes is below 5, with a table that grows in between below 7; n² is 16.
constexpr uint64_t kGrowthMax = 7;

struct Work {
  uint64_t total = 0;
  uint64_t longest = 0;  // Step
  int steps = 0;
};

Work WorkOf(const Scene& scene, uint32_t size) {
  World world(scene.config);
  Event event = scene.build(world, size);
  world.Settle();
  Work work;
  uint64_t begin = BlocksRun();
  const auto note = [&] {
    const uint64_t blocks = BlocksRun() - begin;
    work.total += blocks;
    work.longest = std::max(work.longest, blocks);
    ++work.steps;
    begin = BlocksRun();
  };
  world.Step(std::move(event.inputs), std::max<Duration>(microseconds(1), event.later));
  note();
  world.Settle([&](const Effects&) { note(); });
  return work;
}

class LargestTest : public testing::TestWithParam<Scene> {};

TEST_P(LargestTest, FourTimesTheSizeIsNotManyMoreTimesTheWork) {
  const Scene& scene = GetParam();
  const uint32_t size = scene.size_max / 16;
  const Work quarter = WorkOf(scene, size / 4);
  const Work whole = WorkOf(scene, size);
  RecordProperty("blocks", std::to_string(whole.total));
  // What is the same at any size does not count.
  const uint64_t most = kGrowthMax * quarter.total;
  EXPECT_LE(whole.total, most) << scene.name << ": " << size / 4 << " take " << quarter.total
                               << " blocks, " << size << " take " << whole.total;
}

std::string NameOf(const testing::TestParamInfo<Scene>& info) {
  std::string name;
  bool upper = true;
  for (const char c : info.param.name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      upper = true;
      continue;
    }
    name += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Every, LargestTest, testing::ValuesIn(Scenes()), NameOf);

}  // namespace
}  // namespace whippletree::core
