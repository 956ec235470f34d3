// What producers send: submits and cancels, acknowledgements of outcomes.
#include <algorithm>
#include <string>

#include "broker/core/limits.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kRunMax = 65'536;
// In messages of kCancelRangesPerMessage that come together.
constexpr uint32_t kRangesMax = 491'520;

Config Roomy() {
  Config config;
  config.memory_limit_bytes = 4ull << 30;
  config.default_policy.capacity_jobs = 4'000'000;
  config.default_policy.capacity_bytes = 1ull << 30;
  return config;
}

// What is submitted is in the store as well.
Config InStore() {
  Config config = Roomy();
  config.store_id = "store";
  config.default_policy.durable = true;
  return config;
}

Event ToSubmit(wire::Envelope message) {
  Event event;
  event.inputs.push_back(World::Frame(Channel::kSubmit, "", std::move(message)));
  return event;
}

std::string NameOf(uint32_t i) { return "name-" + std::to_string(i); }

// `shape` says which job the i-th of n ranges is, of 2n jobs that wait in runs of `run`.
template <typename Shape>
Event CancelOf(World& world, uint32_t n, uint32_t run, Shape&& shape) {
  const uint64_t producer = world.JoinProducer("p");
  world.SubmitAll(producer, "q", 2 * n, run);
  Event event;
  for (uint32_t i = 0; i < n;) {
    wire::Envelope message;
    wire::Cancel* cancel = message.mutable_cancel();
    cancel->set_session(producer);
    cancel->set_queue("q");
    for (; i < n && cancel->firsts_size() < kCancelRangesPerMessage; ++i) {
      cancel->add_firsts(shape(i, n));
      cancel->add_counts(1);
    }
    event.inputs.push_back(World::Frame(Channel::kSubmit, "", std::move(message)));
  }
  return event;
}

// The same jobs are cancelled by one range.
Event CancelAll(World& world, uint32_t n, uint32_t run) {
  const uint64_t producer = world.JoinProducer("p");
  world.SubmitAll(producer, "q", n, run);
  wire::Envelope message;
  message.mutable_cancel()->set_session(producer);
  message.mutable_cancel()->set_queue("q");
  message.mutable_cancel()->add_firsts(1);
  message.mutable_cancel()->add_counts(n);
  return ToSubmit(std::move(message));
}

uint64_t Ascending(uint32_t i, uint32_t) { return 2 * uint64_t{i} + 1; }
uint64_t Descending(uint32_t i, uint32_t n) { return 2 * uint64_t{n - i}; }
// Neither up nor down.
uint64_t Scattered(uint32_t i, uint32_t n) { return 2 * ((uint64_t{i} * 2'654'435'761u) % n) + 1; }

Event CancelTwice(World& world, uint32_t n) {
  // The upper half has holes already when the lower one gets them.
  Event upper = CancelOf(world, n, kRunMax, [](uint32_t i, uint32_t all) {
    return 2 * uint64_t{all / 2 + i / 2} + 2;
  });
  Event lower = upper;
  uint64_t i = 0;
  for (Input& input : lower.inputs) {
    for (uint64_t& first : *std::get<FrameIn>(input).message.mutable_cancel()->mutable_firsts()) {
      first = 2 * (i++ / 2) + 2;
    }
  }
  world.Step(std::move(upper.inputs));
  world.Settle();
  return lower;
}

Event SubmitNames(World& world, uint32_t n, uint32_t known_every) {
  const uint64_t producer = world.JoinProducer("p");
  const auto named = [&](uint64_t first, uint32_t count, uint32_t step) {
    wire::Envelope message = World::Jobs(producer, "q", first, count);
    for (uint32_t i = 0; i < count; ++i) message.mutable_submit()->add_names(NameOf(i * step));
    return message;
  };
  uint32_t known = 0;
  if (known_every > 0) {
    known = (n + known_every - 1) / known_every;
    world.Submit(named(1, known, known_every));
  }
  return ToSubmit(named(1 + known, n, 1));
}

Event SubmitTooLarge(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  wire::Envelope message = World::Jobs(producer, "q", 1, n);
  wire::Run* run = message.mutable_submit()->mutable_run();
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < n; i += 2) {  // every other one is a byte too large
    run->set_sizes(static_cast<int>(i), 2);
    bytes += 2;
  }
  run->mutable_block()->assign(bytes, 'x');
  return ToSubmit(std::move(message));
}

// As many outcomes as a message acknowledges: each job has one of its own.
Event AckOutcomes(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  Event cancel = CancelOf(world, n, kRunMax, Ascending);
  world.Step(std::move(cancel.inputs));
  uint64_t next = 1;
  // Each window's worth is acknowledged when it has come; the last of them is timed.
  Event event;
  const auto ack = [&] {
    wire::Envelope message;
    message.mutable_outcome_ack()->set_session(producer);
    wire::StreamAck* stream = message.mutable_outcome_ack()->add_streams();
    stream->set_queue("q");
    stream->set_next(next);
    return World::Frame(Channel::kDoor, "p", std::move(message));
  };
  for (const Send& send : world.effects().sends) {
    if (send.message.has_outcomes()) {
      next = send.message.outcomes().first_ordinal() +
             static_cast<uint64_t>(send.message.outcomes().ranges_size());
    }
  }
  event.inputs.push_back(ack());
  return event;
}

// Acknowledges `n` times the same.
Event AckRepeated(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  world.SubmitAll(producer, "q", 1, 1);
  wire::Envelope message;
  message.mutable_outcome_ack()->set_session(producer);
  for (uint32_t i = 0; i < n; ++i) {
    wire::StreamAck* stream = message.mutable_outcome_ack()->add_streams();
    stream->set_queue("q");
    stream->set_next(1);
  }
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "p", std::move(message)));
  return event;
}

// So many jobs for which `set(options, ms)` says one of two times a minute ahead; and that it
// passes.
template <typename Set>
Event PassTimeOf(World& world, uint32_t n, Set&& set) {
  const uint64_t producer = world.JoinProducer("p");
  const auto at =
      static_cast<uint64_t>(ToMilliseconds(world.now().wall.time_since_epoch())) + 60'000;
  wire::JobOptions options;
  for (uint32_t i = 0; i < n; ++i) {
    set(&options, at + i % 2);
    world.Submit(World::Jobs(producer, "q", 1 + i, 1, options));
  }
  Event event;
  event.later = seconds(61);
  return event;
}

Event Expire(World& world, uint32_t n) {
  return PassTimeOf(world, n,
                    [](wire::JobOptions* options, uint64_t ms) { options->set_expires_at_ms(ms); });
}

Event ComeDue(World& world, uint32_t n) {
  return PassTimeOf(world, n,
                    [](wire::JobOptions* options, uint64_t ms) { options->set_not_before_ms(ms); });
}

Event NamesExpire(World& world, uint32_t n) {
  Event submit = SubmitNames(world, n, 0);
  world.Step(std::move(submit.inputs));
  world.Settle();
  Event event;
  event.later = std::chrono::hours(25);
  return event;
}

}  // namespace

std::vector<Scene> ProducerScenes() {
  Config small_payloads = Roomy();
  small_payloads.payload_bytes_max = 1;
  return {
      {"submit: jobs of no bytes", kRunMax,
       [](World& w, uint32_t n) { return ToSubmit(World::Jobs(w.JoinProducer("p"), "q", 1, n)); },
       Roomy()},
      {"submit: every other job too large", kRunMax, SubmitTooLarge, small_payloads},
      {"submit: new names", kRunMax, [](World& w, uint32_t n) { return SubmitNames(w, n, 0); },
       Roomy()},
      {"submit: known names", kRunMax, [](World& w, uint32_t n) { return SubmitNames(w, n, 1); },
       Roomy()},
      {"submit: every other name known", kRunMax,
       [](World& w, uint32_t n) { return SubmitNames(w, n, 2); }, Roomy()},
      {"cancel: one range of all", 1'000'000,
       [](World& w, uint32_t n) { return CancelAll(w, n, kRunMax); }, Roomy()},
      {"cancel: one range of all, each a record", 1'000'000,
       [](World& w, uint32_t n) { return CancelAll(w, n, 1); }, Roomy()},
      {"cancel: one range of all, each a row", 500'000,
       [](World& w, uint32_t n) { return CancelAll(w, n, 1); }, InStore()},
      {"cancel: ascending ranges", kRangesMax,
       [](World& w, uint32_t n) { return CancelOf(w, n, kRunMax, Ascending); }, Roomy()},
      {"cancel: descending ranges", kRangesMax,
       [](World& w, uint32_t n) { return CancelOf(w, n, kRunMax, Descending); }, Roomy()},
      {"cancel: scattered ranges", kRangesMax,
       [](World& w, uint32_t n) { return CancelOf(w, n, kRunMax, Scattered); }, Roomy()},
      {"cancel: scattered ranges, each a record", kRangesMax,
       [](World& w, uint32_t n) { return CancelOf(w, n, 1, Scattered); }, Roomy()},
      {"cancel: holes below holes", kRangesMax, CancelTwice, Roomy()},
      {"outcome ack: what one window has", kRunMax, AckOutcomes, Roomy()},
      {"outcome ack: the same again", kStreamsPerAck, AckRepeated, Roomy()},
      {"time: jobs expire together", 500'000, Expire, Roomy()},
      {"time: jobs come due together", 500'000, ComeDue, Roomy()},
      {"time: names expire together", kRunMax, NamesExpire, Roomy()},
  };
}

}  // namespace whippletree::core
