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

constexpr uint64_t kBlocksPerStepMax = 3'000'000;

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

// No load of the machine changes this. A million blocks are one to two milliseconds of an optimized
// core, page faults aside.
TEST_P(LargestTest, NoStepIsLong) {
  const Scene& scene = GetParam();
  const Work work = WorkOf(scene, scene.size_max);
  RecordProperty("longest", std::to_string(work.longest));
  EXPECT_LE(work.longest, kBlocksPerStepMax) << scene.name << ", in " << work.steps << " steps";
}

wire::JobsReply AskForJobs(World& world, const wire::JobsRequest& jobs) {
  static int asked = 0;  // who has not said that it has one large reply is not told another
  wire::Envelope message;
  message.mutable_admin_request()->set_id(1);
  *message.mutable_admin_request()->mutable_jobs() = jobs;
  world.Step(
      {World::Frame(Channel::kDoor, "admin-" + std::to_string(++asked), std::move(message))});
  for (const Send& send : world.effects().sends) {
    if (send.message.has_admin_reply()) return send.message.admin_reply().jobs();
  }
  return {};
}

TEST(LookingTest, IsBoundedAndSaysSo) {
  constexpr uint32_t kJobs = kRecordsLookedAt + 10;
  World world{Config()};
  const uint64_t producer = world.JoinProducer("p");
  world.SubmitAll(producer, "q", kJobs, 1);
  wire::JobsRequest request;
  request.set_action(wire::JobsRequest::SHOW);
  request.mutable_id()->set_stream(1);
  request.mutable_id()->set_number(kRecordsLookedAt);
  wire::JobsReply reply = AskForJobs(world, request);
  ASSERT_EQ(reply.jobs_size(), 1);
  EXPECT_FALSE(reply.jobs(0).far());
  request.mutable_id()->set_number(kJobs);
  reply = AskForJobs(world, request);
  ASSERT_EQ(reply.jobs_size(), 1);
  EXPECT_TRUE(reply.jobs(0).far());
  EXPECT_EQ(reply.jobs(0).state(), "waiting");
  EXPECT_EQ(reply.jobs(0).queue(), "q");
  EXPECT_EQ(reply.jobs(0).producer(), "p");

  request.Clear();
  request.set_action(wire::JobsRequest::LIST);
  request.set_queue("q");
  reply = AskForJobs(world, request);
  EXPECT_TRUE(reply.more());
  EXPECT_FALSE(reply.cut());
  // Leases are looked at like jobs that wait, though they may be of another queue.
  for (int i = 0; i < 8; ++i) world.JoinWorker("w" + std::to_string(i), {"other"}, 1, 65'536);
  world.SubmitAll(producer, "other", kJobs, 1);
  world.JoinWorker("last", {"q"}, 1, 0);
  ASSERT_GT(world.broker().leases().all().size(), kRecordsLookedAt);
  reply = AskForJobs(world, request);
  EXPECT_TRUE(reply.cut());
  EXPECT_EQ(reply.jobs_size(), 0);
}

TEST(BatchOfRecordsTest, IsNoLargerThanAStepGrants) {
  Config config;
  config.default_policy.batch.max_jobs = 65'536;
  config.default_policy.batch.linger = seconds(1);
  World world(config);
  const uint64_t producer = world.JoinProducer("p");
  world.JoinWorker("w", {"q"}, 2, 0);
  world.SubmitAll(producer, "q", kBatchRecordsMax + 10, 1);
  EXPECT_TRUE(world.delivered().empty());
  world.Step({}, seconds(2));
  world.Settle();
  ASSERT_EQ(world.delivered().size(), 2u);
  EXPECT_EQ(world.delivered()[0].second, kBatchRecordsMax);
  EXPECT_EQ(world.delivered()[1].second, 10u);
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
