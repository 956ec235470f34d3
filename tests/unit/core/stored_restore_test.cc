// A start finds all payloads in the store, and reads what comes next.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/core/stored_scene.h"

namespace whippletree::core {
namespace {

// A broker that starts with the rows of another.
struct Restarted {
  explicit Restarted(StoredScene* s)
      : h(s->h.NextConfig(), s->h.rows, Instant{s->h.now.mono + seconds(1), s->h.now.wall}) {
    s->h.sent.clear();
  }
  BrokerHarness h;
};

TEST(StoredRestoreTest, AStartKnowsItsJobsWithoutTheirPayload) {
  StoredScene s;
  for (uint64_t first = 1; first <= 40; first += 4) s.Submit(first, 4);
  Restarted r(&s);
  EXPECT_EQ(r.h.ledger("q").waiting(), 40u);
  // What is read ahead, and no more.
  EXPECT_LE(r.h.queue("q").bytes, kShare * 2);
  EXPECT_EQ(r.h.queue("q").payload_bytes(), 320u);
  WorkerPeer worker(&r.h, "w", {.slots = 3});
  worker.Join();
  EXPECT_EQ(RunAll(&r.h, &worker), Names(1, 1, 40));
  ForgetOutcomes(&r.h);
}

TEST(StoredRestoreTest, ACrashWhileRowsAreReadForgetsThatTheyWereAskedFor) {
  StoredScene s;
  s.h.loads_at_once = false;
  for (uint64_t first = 1; first <= 12; first += 4) s.Submit(first, 4);
  WorkerPeer worker(&s.h, "w", {.slots = 3});
  worker.Join();
  EXPECT_FALSE(s.h.loads.empty());
  Restarted r(&s);
  WorkerPeer next(&r.h, "w2", {.slots = 3});
  next.Join();
  EXPECT_EQ(RunAll(&r.h, &next), Names(1, 1, 12));
  ForgetOutcomes(&r.h);
}

TEST(StoredRestoreTest, ARestoredLeaseReturnsItsJobsWithTheirPayload) {
  StoredScene s;
  s.Submit(1, 6);
  WorkerPeer worker(&s.h, "w", {.slots = 6});
  worker.Join();
  const uint64_t token = worker.TakeDelivery().token();
  worker.Completed(token, 1, 2);
  Restarted r(&s);
  EXPECT_EQ(r.h.ledger("q").leased, 4u);
  EXPECT_EQ(r.h.queue("q").bytes, 32u);  // of what is leased only
  WorkerPeer again(&r.h, "w", {.slots = 6});
  again.Join();  // it lists no lease
  std::vector<std::string> names = NamesOf(TakeAll(&r.h, &again));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"1-1", "1-4", "1-5", "1-6"}));
}

TEST(StoredRestoreTest, RestoredHalvesOfABatchAreReadBeforeTheyGo) {
  QueuePolicy policy;
  policy.batch.max_jobs = 4;
  StoredScene s(policy);
  s.Submit(1, 4);
  WorkerPeer worker(&s.h, "w", {.slots = 1});
  worker.Join();
  wire::Delivery batch = worker.TakeDelivery();
  s.h.loads_at_once = false;
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::FAILED, batch.token(), 0, 4);
  *item.mutable_status() = WireStatus(absl::StatusCode::kInvalidArgument, "one of them");
  item.set_whole_batch(true);
  worker.draining = true;
  worker.Report({item});
  Restarted r(&s);
  WorkerPeer next(&r.h, "w2", {.slots = 2});
  next.Join();
  const std::vector<wire::Delivery> got = TakeAll(&r.h, &next);
  for (const wire::Delivery& delivery : got) EXPECT_EQ(delivery.run().sizes_size(), 2);
  EXPECT_EQ(NamesOf(got), Names(1, 1, 4));
}

}  // namespace
}  // namespace whippletree::core
