// What workers report, and what ends with them.
#include <algorithm>
#include <string>

#include "broker/core/limits.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kHeld = 65'536;
constexpr uint32_t kLeases = kLeasesPerWorkerMax;
constexpr auto kBatchRecords = static_cast<uint32_t>(kBatchRecordsMax);

enum class Order { kAscending, kDescending, kScattered };

uint32_t Place(Order order, uint32_t i, uint32_t n) {
  switch (order) {
    case Order::kAscending:
      return i;
    case Order::kDescending:
      return n - 1 - i;
    case Order::kScattered:
      return static_cast<uint32_t>((uint64_t{i} * 2'654'435'761u) % n);
  }
  return i;
}

struct Peers {
  uint64_t producer = 0;
  uint64_t worker = 0;
};

// `n` jobs that a worker holds, in leases of `run` jobs.
Peers Hold(World& world, uint32_t n, uint32_t run) {
  Peers peers;
  peers.producer = world.JoinProducer("p");
  peers.worker = world.JoinWorker("w", {"q"}, 1, kHeld);
  world.SubmitAll(peers.producer, "q", n, run);
  return peers;
}

void Fill(wire::ReportItem::Kind kind, int code, wire::ReportItem* item) {
  item->set_kind(kind);
  if (kind == wire::ReportItem::COMPLETED) {
    item->mutable_results()->mutable_sizes()->Resize(static_cast<int>(item->count()), 0);
  } else if (kind == wire::ReportItem::FAILED) {
    item->mutable_status()->set_code(code);
  }
}

constexpr int kFatal = static_cast<int>(absl::StatusCode::kInvalidArgument);
constexpr int kAgain = static_cast<int>(absl::StatusCode::kUnavailable);

Event ReportOf(wire::Envelope message) {
  Event event;
  event.inputs.push_back(World::Frame(Channel::kComplete, "", std::move(message)));
  return event;
}

wire::Envelope BeginReport(uint64_t session) {
  wire::Envelope message;
  message.mutable_report()->set_session(session);
  message.mutable_report()->set_first_ordinal(1);
  return message;
}

// One item for each lease as a whole.
wire::Envelope WholeLeases(const World& world, uint64_t session, wire::ReportItem::Kind kind,
                           int code) {
  wire::Envelope message = BeginReport(session);
  for (const auto& [token, count] : world.delivered()) {
    wire::ReportItem* item = message.mutable_report()->add_items();
    item->set_token(token);
    item->set_count(count);
    Fill(kind, code, item);
  }
  return message;
}

// One item for each job of the leases, in this order.
wire::Envelope SingleJobs(const World& world, uint64_t session, wire::ReportItem::Kind kind,
                          int code, Order order) {
  std::vector<std::pair<uint64_t, uint32_t>> jobs;
  for (const auto& [token, count] : world.delivered()) {
    for (uint32_t i = 0; i < count; ++i) jobs.emplace_back(token, i);
  }
  const auto n = static_cast<uint32_t>(jobs.size());
  wire::Envelope message = BeginReport(session);
  for (uint32_t i = 0; i < n; ++i) {
    const auto& [token, index] = jobs[Place(order, i, n)];
    wire::ReportItem* item = message.mutable_report()->add_items();
    item->set_token(token);
    item->set_first(index);
    item->set_count(1);
    Fill(kind, code, item);
  }
  return message;
}

Scene Whole(std::string name, wire::ReportItem::Kind kind, int code, uint32_t run) {
  return {std::move(name), run == 1 ? kLeases : kHeld, [=](World& w, uint32_t n) {
            const Peers peers = Hold(w, n, std::min(run, n));
            return ReportOf(WholeLeases(w, peers.worker, kind, code));
          }};
}

Scene Single(std::string name, wire::ReportItem::Kind kind, int code, Order order) {
  return {std::move(name), kHeld, [=](World& w, uint32_t n) {
            const Peers peers = Hold(w, n, n);
            return ReportOf(SingleJobs(w, peers.worker, kind, code, order));
          }};
}

// The end of every other job of the lease was asked for.
Event ReportCancelled(World& world, uint32_t n) {
  const Peers peers = Hold(world, n, n);
  wire::Envelope message;
  wire::Cancel* cancel = message.mutable_cancel();
  cancel->set_session(peers.producer);
  cancel->set_queue("q");
  for (uint32_t i = 0; i < n; i += 2) {
    cancel->add_firsts(1 + i);
    cancel->add_counts(1);
  }
  world.Submit(std::move(message));
  return ReportOf(
      SingleJobs(world, peers.worker, wire::ReportItem::FAILED, kAgain, Order::kScattered));
}

// Cancels every other one of `n` jobs, in as many messages as it takes.
std::vector<wire::Envelope> CancelEveryOther(uint64_t producer, uint32_t n, Order order) {
  std::vector<wire::Envelope> messages;
  for (uint32_t i = 0; i < n;) {
    wire::Cancel* cancel = messages.emplace_back().mutable_cancel();
    cancel->set_session(producer);
    cancel->set_queue("q");
    for (; i < n && cancel->firsts_size() < kCancelRangesPerMessage; i += 2) {
      cancel->add_firsts(1 + Place(order, i, n));
      cancel->add_counts(1);
    }
  }
  return messages;
}

Event CancelLeases(World& world, uint32_t n, uint32_t run) {
  const Peers peers = Hold(world, n, std::min(run, n));
  Event event;
  for (wire::Envelope& message : CancelEveryOther(peers.producer, n, Order::kScattered)) {
    event.inputs.push_back(World::Frame(Channel::kSubmit, "", std::move(message)));
  }
  return event;
}

// One by one, where a job that backs off holds back those of its key.
Event CancelBehindKey(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  const uint64_t worker = world.JoinWorker("w", {"q"}, 1, 0);
  wire::JobOptions options;
  options.set_key("k");
  world.Submit(World::Jobs(producer, "q", 1, 1, options));
  world.Complete(WholeLeases(world, worker, wire::ReportItem::FAILED, kAgain));
  for (uint32_t i = 2; i <= n; ++i) {
    options.set_timeout_ms(i);  // a record of its own
    world.Submit(World::Jobs(producer, "q", i, 1, options));
  }
  Event event;
  for (uint32_t i = 2; i <= n; i += 4) {
    wire::Envelope message;
    message.mutable_cancel()->set_session(producer);
    message.mutable_cancel()->set_queue("q");
    message.mutable_cancel()->add_firsts(i);
    message.mutable_cancel()->add_counts(1);
    event.inputs.push_back(World::Frame(Channel::kSubmit, "", std::move(message)));
  }
  return event;
}

Event ReportStale(World& world, uint32_t n) {
  const Peers peers = Hold(world, 1, 1);
  wire::Envelope message = BeginReport(peers.worker);
  for (uint32_t i = 0; i < n; ++i) {
    wire::ReportItem* item = message.mutable_report()->add_items();
    item->set_kind(wire::ReportItem::STARTED);
    item->set_token(1);
    item->set_count(1);
  }
  return ReportOf(std::move(message));
}

Event ReportFollowOns(World& world, uint32_t n, uint32_t queues) {
  const Peers peers = Hold(world, 1, 1);
  wire::Envelope message = WholeLeases(world, peers.worker, wire::ReportItem::COMPLETED, 0);
  for (uint32_t i = 0; i < n; ++i) {
    wire::FollowOn* next = message.mutable_report()->mutable_items(0)->add_follow_ons();
    next->set_queue("next-" + std::to_string(i % queues));
    next->mutable_options()->set_timeout_ms(1000 + i % 2);
    next->mutable_run()->add_sizes(0);
  }
  return ReportOf(std::move(message));
}

// A batch of `n` jobs that are each a slice of its own.
Peers HoldBatch(World& world, uint32_t n) {
  Peers peers;
  peers.producer = world.JoinProducer("p");
  world.SubmitAll(peers.producer, "q", n, 1);
  peers.worker = world.JoinWorker("w", {"q"}, 1, kHeld);
  return peers;
}

Config Batches() {
  Config config;
  config.default_policy.batch.max_jobs = kHeld;
  config.default_policy.batch.linger = seconds(1);
  return config;
}

Config Keyed() {
  Config config;
  config.default_policy.keys.ordered = true;
  return config;
}

Event ReportBatch(World& world, uint32_t n, bool whole) {
  const Peers peers = HoldBatch(world, n);
  world.Step({}, seconds(2));
  world.Settle();
  wire::Envelope message =
      whole ? WholeLeases(world, peers.worker, wire::ReportItem::FAILED, kFatal)
            : SingleJobs(world, peers.worker, wire::ReportItem::FAILED, kAgain, Order::kScattered);
  if (whole) message.mutable_report()->mutable_items(0)->set_whole_batch(true);
  return ReportOf(std::move(message));
}

// A batch of one record, of which every other job is to be cancelled, fails.
Event ReportBatchWithHoles(World& world, uint32_t n) {
  Peers peers;
  peers.producer = world.JoinProducer("p");
  world.SubmitAll(peers.producer, "q", n, n);
  peers.worker = world.JoinWorker("w", {"q"}, 1, kHeld);
  world.Step({}, seconds(2));
  world.Settle();
  for (wire::Envelope& message : CancelEveryOther(peers.producer, n, Order::kAscending)) {
    world.Submit(std::move(message));
  }
  wire::Envelope message = WholeLeases(world, peers.worker, wire::ReportItem::FAILED, kFatal);
  message.mutable_report()->mutable_items(0)->set_whole_batch(true);
  return ReportOf(std::move(message));
}

// A worker that runs the jobs of a batch one after the other, and has every other one already.
Event ReportBatchSteps(World& world, uint32_t n) {
  Peers peers;
  peers.producer = world.JoinProducer("p");
  wire::JobOptions options;
  options.set_timeout_ms(60'000);
  world.Submit(World::Jobs(peers.producer, "q", 1, n, options));
  peers.worker = world.JoinWorker("w", {"q"}, 1, kHeld);
  world.Step({}, seconds(2));
  world.Settle();
  const uint64_t token = world.delivered().front().first;
  wire::Envelope first = BeginReport(peers.worker);
  wire::Envelope second = BeginReport(peers.worker);
  for (uint32_t i = 0; i < n; i += 2) {
    wire::ReportItem* completed = first.mutable_report()->add_items();
    completed->set_token(token);
    completed->set_first(i);
    completed->set_count(1);
    Fill(wire::ReportItem::COMPLETED, 0, completed);
    wire::ReportItem* started = second.mutable_report()->add_items();
    started->set_kind(wire::ReportItem::STARTED);
    started->set_token(token);
    started->set_first(i + 1);
    started->set_count(1);
  }
  second.mutable_report()->set_first_ordinal(1 +
                                             static_cast<uint64_t>(first.report().items_size()));
  world.Complete(std::move(first));
  return ReportOf(std::move(second));
}

// Jobs of as many records as a batch may have have waited for others long enough.
Event BatchGoes(World& world, uint32_t n) {
  HoldBatch(world, n);
  Event event;
  event.later = seconds(2);
  return event;
}

Event Goodbye(World& world, uint32_t n, uint32_t run) {
  const Peers peers = Hold(world, n, std::min(n, run));
  wire::Envelope message;
  message.mutable_goodbye()->set_session(peers.worker);
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "w", std::move(message)));
  return event;
}

// Held jobs, or jobs that were started, of a worker that is heard no more.
Event Silence(World& world, uint32_t n, uint32_t run, bool started) {
  const Peers peers = Hold(world, n, std::min(n, run));
  if (started) {
    world.Complete(WholeLeases(world, peers.worker, wire::ReportItem::STARTED, 0));
  }
  wire::Envelope heartbeat;
  heartbeat.mutable_heartbeat()->set_session(peers.worker);
  Event event;
  event.later = seconds(11);
  // The broker was not stopped.
  for (int i = 0; i < 20; ++i) {
    world.Step({}, milliseconds(500));
    world.Settle();
  }
  event.later = seconds(1);
  return event;
}

Event HelloAgain(World& world, uint32_t n, bool lists) {
  Hold(world, n, 1);
  wire::Envelope hello = HelloOf(wire::WORKER, "w");
  hello.mutable_hello()->set_attempt(2);
  hello.mutable_hello()->set_slots(1);
  *hello.mutable_hello()->add_credits() = CreditOf("q", kHeld);
  if (lists) {
    for (const auto& [token, count] : world.delivered()) hello.mutable_hello()->add_leases(token);
  }
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "w", std::move(hello)));
  return event;
}

Event BackOffEnds(World& world, uint32_t n) {
  const Peers peers = Hold(world, n, 1);
  world.Complete(WholeLeases(world, peers.worker, wire::ReportItem::FAILED, kAgain));
  Event event;
  event.later = milliseconds(900);
  world.Step({}, milliseconds(900));
  world.Settle();
  event.later = milliseconds(900);
  return event;
}

}  // namespace

std::vector<Scene> WorkerScenes() {
  using Item = wire::ReportItem;
  return {
      Whole("report: one lease fails for good", Item::FAILED, kFatal, kHeld),
      Whole("report: one lease is to be tried again", Item::FAILED, kAgain, kHeld),
      Whole("report: a lease each is completed", Item::COMPLETED, 0, 1),
      Whole("report: a lease each fails for good", Item::FAILED, kFatal, 1),
      Whole("report: a lease each is to be tried again", Item::FAILED, kAgain, 1),
      Whole("report: a lease each is handed back", Item::HANDED_BACK, 0, 1),
      Single("report: jobs of a lease completed, ascending", Item::COMPLETED, 0, Order::kAscending),
      Single("report: jobs of a lease completed, descending", Item::COMPLETED, 0,
             Order::kDescending),
      Single("report: jobs of a lease completed, scattered", Item::COMPLETED, 0, Order::kScattered),
      Single("report: jobs of a lease started, scattered", Item::STARTED, 0, Order::kScattered),
      {"report: jobs of a batch started, every other completed before", kHeld, ReportBatchSteps,
       Batches()},
      Single("report: jobs of a lease handed back, scattered", Item::HANDED_BACK, 0,
             Order::kScattered),
      Single("report: jobs of a lease failed, scattered", Item::FAILED, kAgain, Order::kScattered),
      Single("report: jobs of a lease dead, scattered", Item::FAILED, kFatal, Order::kScattered),
      {"report: every other one cancelled", kHeld, ReportCancelled},
      {"cancel: every other job of one lease", kHeld,
       [](World& w, uint32_t n) { return CancelLeases(w, n, kHeld); }},
      {"cancel: every other of many leases", kLeases,
       [](World& w, uint32_t n) { return CancelLeases(w, n, 1); }},
      {"cancel: one by one, behind a key", kHeld, CancelBehindKey, Keyed()},
      {"report: items of no lease", kHeld, ReportStale},
      {"report: follow-on jobs for one queue", kHeld,
       [](World& w, uint32_t n) { return ReportFollowOns(w, n, 1); }},
      {"report: follow-on jobs for many queues", kHeld,
       [](World& w, uint32_t n) { return ReportFollowOns(w, n, n); }},
      {"report: jobs of a batch, scattered", kBatchRecords,
       [](World& w, uint32_t n) { return ReportBatch(w, n, false); }, Batches()},
      {"report: a whole batch fails", kBatchRecords,
       [](World& w, uint32_t n) { return ReportBatch(w, n, true); }, Batches()},
      {"report: a whole batch fails, every other job cancelled", kHeld, ReportBatchWithHoles,
       Batches()},
      {"time: a batch of many records goes", kBatchRecords, BatchGoes, Batches()},
      {"goodbye: a lease each", kLeases, [](World& w, uint32_t n) { return Goodbye(w, n, 1); }},
      {"goodbye: one lease", kHeld, [](World& w, uint32_t n) { return Goodbye(w, n, kHeld); }},
      {"time: a silent worker with a lease each", kLeases,
       [](World& w, uint32_t n) { return Silence(w, n, 1, false); }},
      {"time: the same, all started", kLeases,
       [](World& w, uint32_t n) { return Silence(w, n, 1, true); }},
      {"hello: a worker that has no lease any more", kLeases,
       [](World& w, uint32_t n) { return HelloAgain(w, n, false); }},
      {"hello: a worker that lists all leases", kLeases,
       [](World& w, uint32_t n) { return HelloAgain(w, n, true); }},
      {"time: back-offs end together", kLeases, BackOffEnds},
  };
}

}  // namespace whippletree::core
