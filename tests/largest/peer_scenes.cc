// Peers that come and go at their largest, and what is dispatched to them.
#include <string>

#include "broker/core/limits.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kStreamsMax = kStreamsPerProducerMax;

std::string QueueOf(uint32_t i) { return "q" + std::to_string(i); }

std::vector<std::string> QueuesTo(uint32_t n) {
  std::vector<std::string> queues;
  for (uint32_t i = 0; i < n; ++i) queues.push_back(QueueOf(i));
  return queues;
}

Event AtDoor(const std::string& route, wire::Envelope message) {
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, route, std::move(message)));
  return event;
}

wire::Envelope HelloWithStreams(uint32_t n, uint64_t attempt) {
  wire::Envelope hello = HelloOf(wire::PRODUCER, "p");
  hello.mutable_hello()->set_attempt(attempt);
  for (uint32_t i = 0; i < n; ++i) {
    wire::StreamClaim* claim = hello.mutable_hello()->add_streams();
    claim->set_queue(QueueOf(i));
  }
  return hello;
}

Event HelloStreams(World&, uint32_t n) { return AtDoor("p", HelloWithStreams(n, 1)); }

Event HelloStreamsAgain(World& world, uint32_t n) {
  const uint64_t producer = world.Join("p", HelloWithStreams(n, 1));
  for (uint32_t i = 0; i < n; ++i) world.Submit(World::Jobs(producer, QueueOf(i), 1, 2));
  // Each has an outcome that is not acknowledged.
  for (uint32_t i = 0; i < n; ++i) {
    wire::Envelope message;
    wire::Cancel* cancel = message.mutable_cancel();
    cancel->set_session(producer);
    cancel->set_queue(QueueOf(i));
    cancel->add_firsts(1);
    cancel->add_counts(1);
    world.Submit(std::move(message));
  }
  return AtDoor("p", HelloWithStreams(n, 2));
}

Event GoodbyeStreams(World& world, uint32_t n) {
  const uint64_t producer = world.Join("p", HelloWithStreams(n, 1));
  for (uint32_t i = 0; i < n; ++i) world.Submit(World::Jobs(producer, QueueOf(i), 1, 2));
  wire::Envelope message;
  message.mutable_goodbye()->set_session(producer);
  return AtDoor("p", std::move(message));
}

Event HelloWorker(World&, uint32_t n) {
  wire::Envelope hello = HelloOf(wire::WORKER, "w");
  hello.mutable_hello()->set_slots(4096);
  for (uint32_t i = 0; i < n; ++i) *hello.mutable_hello()->add_credits() = CreditOf(QueueOf(i), 1);
  return AtDoor("w", std::move(hello));
}

// A worker joins, and what waits in all its queues is for its slots.
Event HelloWorkerTakes(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  for (uint32_t i = 0; i < n; ++i) world.Submit(World::Jobs(producer, QueueOf(i), 1, 100));
  return HelloWorker(world, n);
}

Event HelloWorkerTakesRecords(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  world.SubmitAll(producer, "q", n, 1);
  wire::Envelope hello = HelloOf(wire::WORKER, "w");
  hello.mutable_hello()->set_slots(1);
  *hello.mutable_hello()->add_credits() = CreditOf("q", 65'536);
  return AtDoor("w", std::move(hello));
}

// Each job has its own key, and starts when that key lets it.
Event HelloWorkerTakesKeys(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  wire::JobOptions options;
  for (uint32_t i = 0; i < n; ++i) {
    options.set_key("k" + std::to_string(i));
    world.Submit(World::Jobs(producer, "q", 1 + i, 1, options));
  }
  wire::Envelope hello = HelloOf(wire::WORKER, "w");
  hello.mutable_hello()->set_slots(4096);
  *hello.mutable_hello()->add_credits() = CreditOf("q", 65'536);
  return AtDoor("w", std::move(hello));
}

Event SubmitToWorkers(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  for (uint32_t i = 0; i < n; ++i) world.JoinWorker("w" + std::to_string(i), {"q"}, 1, 16);
  Event event;
  event.inputs.push_back(World::Frame(Channel::kSubmit, "", World::Jobs(producer, "q", 1, 65'536)));
  return event;
}

Event SubmitToWideWorkers(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  const std::vector<std::string> queues = QueuesTo(kQueuesPerWorkerMax);
  for (uint32_t i = 0; i < n; ++i) world.JoinWorker("w" + std::to_string(i), queues, 1, 16);
  Event event;
  event.inputs.push_back(
      World::Frame(Channel::kSubmit, "", World::Jobs(producer, QueueOf(0), 1, 65'536)));
  return event;
}

Event AllSilent(World& world, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) world.JoinWorker("w" + std::to_string(i), {"q"}, 1, 16);
  for (int i = 0; i < 20; ++i) {
    world.Step({}, milliseconds(500));
    world.Settle();
  }
  Event event;
  event.later = seconds(1);
  return event;
}

Event TickOfQueues(World& world, uint32_t n) {
  for (uint32_t at = 0; at < n; at += 1000) {
    wire::Envelope hello = HelloOf(wire::PRODUCER, "p" + std::to_string(at));
    for (uint32_t i = at; i < std::min(n, at + 1000); ++i) {
      hello.mutable_hello()->add_streams()->set_queue(QueueOf(i));
    }
    world.Join("p" + std::to_string(at), std::move(hello));
  }
  Event event;
  event.later = milliseconds(600);
  return event;
}

}  // namespace

std::vector<Scene> PeerScenes() {
  Config keyed;
  keyed.default_policy.keys.concurrency = 1;
  return {
      {"hello: new streams", kStreamsMax, HelloStreams},
      {"hello: streams with outcomes", kStreamsMax, HelloStreamsAgain},
      {"goodbye: streams with jobs", kStreamsMax, GoodbyeStreams},
      {"hello: a worker of many queues", kQueuesPerWorkerMax, HelloWorker},
      {"hello: the same, jobs wait in all", kQueuesPerWorkerMax, HelloWorkerTakes},
      {"hello: a worker that takes many records", 65'536, HelloWorkerTakesRecords},
      {"hello: a worker that takes jobs of many keys", 65'536, HelloWorkerTakesKeys, keyed},
      {"submit: for all workers", 4000, SubmitToWorkers},
      {"submit: for workers of many queues", 200, SubmitToWideWorkers},
      {"time: all workers silent", 4000, AllSilent},
      {"time: a tick with many queues", 100'000, TickOfQueues},
  };
}

}  // namespace whippletree::core
