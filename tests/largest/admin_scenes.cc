// What admins ask for at its largest, and a reload of the configuration.
#include <string>

#include "broker/core/limits.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

std::string QueueOf(uint32_t i) { return "q" + std::to_string(i); }

Event Ask(wire::AdminRequest request) {
  wire::Envelope message;
  *message.mutable_admin_request() = std::move(request);
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "admin", std::move(message)));
  return event;
}

void OpenQueues(World& world, uint32_t n) {
  for (uint32_t at = 0; at < n; at += 1000) {
    wire::Envelope hello = HelloOf(wire::PRODUCER, "p" + std::to_string(at));
    for (uint32_t i = at; i < std::min(n, at + 1000); ++i) {
      hello.mutable_hello()->add_streams()->set_queue(QueueOf(i));
    }
    world.Join("p" + std::to_string(at), std::move(hello));
  }
}

Event StatusOfQueues(World& world, uint32_t n) {
  OpenQueues(world, n);
  wire::AdminRequest request;
  request.mutable_status();
  return Ask(std::move(request));
}

Event StatusOfWorkers(World& world, uint32_t n) {
  std::vector<std::string> queues;
  for (uint32_t i = 0; i < 1024; ++i) queues.push_back(QueueOf(i));
  for (uint32_t i = 0; i < n; ++i) world.JoinWorker("w" + std::to_string(i), queues, 1, 1);
  wire::AdminRequest request;
  request.mutable_status();
  return Ask(std::move(request));
}

Event Reload(World& world, uint32_t n) {
  OpenQueues(world, n);
  Policies policies;
  policies.defaults.concurrency = 7;
  policies.defaults.keys.concurrency = 1;
  Event event;
  event.inputs.push_back(std::move(policies));
  return event;
}

// Jobs of many queues are held, one by one, and may be held no more.
Event ReloadHeld(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  std::vector<std::string> queues;
  for (uint32_t i = 0; i < 1024; ++i) queues.push_back(QueueOf(i));
  world.JoinWorker("w", queues, 1, 65'536);
  for (uint32_t i = 0; i < 1024; ++i) world.SubmitAll(producer, QueueOf(i), n / 1024, 1);
  Policies policies;
  policies.defaults.concurrency = 7;
  Event event;
  event.inputs.push_back(std::move(policies));
  return event;
}

// `n` dead jobs of `bytes` bytes each.
void Die(World& world, uint32_t n, uint32_t bytes) {
  const uint64_t producer = world.JoinProducer("p");
  const uint64_t worker = world.JoinWorker("w", {"q"}, 1, 65'536);
  uint64_t ordinal = 1;
  for (uint32_t i = 0; i < n; ++i) {
    wire::Envelope job = World::Jobs(producer, "q", 1 + i, 1);
    job.mutable_submit()->mutable_run()->set_sizes(0, bytes);
    job.mutable_submit()->mutable_run()->mutable_block()->assign(bytes, 'x');
    const size_t before = world.delivered().size();
    world.Submit(std::move(job));
    for (size_t at = before; at < world.delivered().size(); ++at) {
      wire::Envelope message;
      wire::Report* report = message.mutable_report();
      report->set_session(worker);
      report->set_first_ordinal(ordinal++);
      report->set_deliveries_next(at + 2);
      wire::ReportItem* item = report->add_items();
      item->set_kind(wire::ReportItem::FAILED);
      item->mutable_status()->set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
      item->set_token(world.delivered()[at].first);
      item->set_count(1);
      world.Complete(std::move(message));
    }
  }
}

Event OnDead(World& world, uint32_t n, wire::DeadRequest::Action action, uint32_t bytes,
             bool by_id) {
  Die(world, n, bytes);
  wire::AdminRequest request;
  request.mutable_dead()->set_action(action);
  if (by_id) {
    for (uint32_t i = 0; i < n; ++i) {
      wire::JobId* id = request.mutable_dead()->add_ids();
      id->set_stream(1);
      id->set_number(1 + i);
    }
  } else {
    request.mutable_dead()->set_queue("q");
  }
  return Ask(std::move(request));
}

Event UnknownIds(World& world, uint32_t n) {
  Die(world, 1, 1);
  wire::AdminRequest request;
  request.mutable_dead()->set_action(wire::DeadRequest::SHOW);
  for (uint32_t i = 0; i < n; ++i) {  // all but the last are known
    wire::JobId* id = request.mutable_dead()->add_ids();
    id->set_stream(1);
    id->set_number(i + 1 < n ? 1 : 2);
  }
  return Ask(std::move(request));
}

Event JobsOf(World& world, uint32_t n, wire::JobsRequest::Action action) {
  const uint64_t producer = world.JoinProducer("p");
  world.SubmitAll(producer, "q", n, 1);
  wire::AdminRequest request;
  wire::JobsRequest* jobs = request.mutable_jobs();
  jobs->set_action(action);
  if (action == wire::JobsRequest::LIST) {
    jobs->set_queue("q");
    jobs->set_limit(10'000);
  } else {
    jobs->mutable_id()->set_stream(1);
    jobs->mutable_id()->set_number(n);
  }
  return Ask(std::move(request));
}

Event PauseHeld(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  world.JoinWorker("w", {"q"}, 1, 65'536);
  world.SubmitAll(producer, "q", n, 1);
  wire::AdminRequest request;
  request.mutable_pause()->set_queue("q");
  request.mutable_pause()->set_paused(true);
  return Ask(std::move(request));
}

Event TakeBackTimes(World& world, uint32_t n) {
  PauseHeld(world, n);
  wire::AdminRequest request;
  request.mutable_pause()->set_queue("q");
  request.mutable_pause()->set_paused(true);
  Event pause = Ask(std::move(request));
  world.Step(std::move(pause.inputs));
  world.Settle();
  Event event;
  event.later = seconds(1);  // all is asked for again
  return event;
}

}  // namespace

std::vector<Scene> AdminScenes() {
  using Dead = wire::DeadRequest;
  using Jobs = wire::JobsRequest;
  Config many_dead;
  many_dead.default_policy.dead_bytes_max = 512 << 20;
  many_dead.memory_limit_bytes = 4ull << 30;
  return {
      {"status: many queues", kQueuesMax, StatusOfQueues},
      {"status: workers of many queues", 500, StatusOfWorkers},
      {"policies: many queues", kQueuesMax, Reload},
      {"policies: held jobs of many queues", 65'536, ReloadHeld},
      {"dead requeue: by id", 1000,
       [](World& w, uint32_t n) { return OnDead(w, n, Dead::REQUEUE, 1, true); }},
      {"dead requeue: of a queue", 10'000,
       [](World& w, uint32_t n) { return OnDead(w, n, Dead::REQUEUE, 1, false); }},
      {"dead drop: of a queue", 10'000,
       [](World& w, uint32_t n) { return OnDead(w, n, Dead::DROP, 1, false); }},
      {"dead list", 10'000,
       [](World& w, uint32_t n) { return OnDead(w, n, Dead::LIST, 1, false); }},
      {"dead show: 64 KiB each", 1000,
       [](World& w, uint32_t n) { return OnDead(w, n, Dead::SHOW, 64 << 10, true); }, many_dead},
      {"dead show: one id repeated, and one unknown", 4096, UnknownIds},
      {"jobs list", 500'000, [](World& w, uint32_t n) { return JobsOf(w, n, Jobs::LIST); }},
      {"jobs show: the last of many records", 500'000,
       [](World& w, uint32_t n) { return JobsOf(w, n, Jobs::SHOW); }},
      {"jobs cancel: the last of many records", 500'000,
       [](World& w, uint32_t n) { return JobsOf(w, n, Jobs::CANCEL); }},
      {"pause: held jobs", 65'536, PauseHeld},
      {"time: held jobs are asked back again", 65'536, TakeBackTimes},
  };
}

}  // namespace whippletree::core
