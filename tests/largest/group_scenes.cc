// Groups at their largest: many of them, and over many queues.
#include <string>

#include "broker/core/limits.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

constexpr uint32_t kGroupsMax = kGroupsPerProducerMax;
constexpr uint32_t kStreamsMax = kStreamsPerProducerMax;

std::string QueueOf(uint32_t i) { return "q" + std::to_string(i); }

wire::Envelope CloseOf(uint64_t session, uint64_t group, uint32_t queues, uint64_t jobs_each) {
  wire::Envelope message;
  wire::CloseGroup* close = message.mutable_close_group();
  close->set_session(session);
  close->set_group(group);
  for (uint32_t i = 0; i < queues; ++i) {
    wire::GroupCount* count = close->add_counts();
    count->set_queue(QueueOf(i));
    count->set_jobs(jobs_each);
  }
  return message;
}

Event CloseWide(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  wire::JobOptions options;
  options.set_group(1);
  for (uint32_t i = 0; i < n; ++i) {
    world.Submit(World::Jobs(producer, QueueOf(i), 1, 1, options));
  }
  Event event;
  event.inputs.push_back(World::Frame(Channel::kSubmit, "", CloseOf(producer, 1, n, 1)));
  return event;
}

// A group that is closed has members in many queues, and many of one queue end in one report.
Event EndWide(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  const uint32_t jobs = 6 * n;
  const uint64_t worker = world.JoinWorker("w", {QueueOf(0)}, 1, 65'536);
  wire::JobOptions options;
  options.set_group(1);
  wire::Envelope close = CloseOf(producer, 1, n, 1);
  close.mutable_close_group()->mutable_counts(0)->set_jobs(jobs);
  world.Submit(std::move(close));
  for (uint32_t i = 1; i < n; ++i) {
    world.Submit(World::Jobs(producer, QueueOf(i), 1, 1, options));
  }
  world.Submit(World::Jobs(producer, QueueOf(0), 1, jobs, options));
  Event event;
  wire::Envelope message;
  wire::Report* report = message.mutable_report();
  report->set_session(worker);
  report->set_first_ordinal(1);
  for (const auto& [token, count] : world.delivered()) {
    for (uint32_t i = 0; i < count; ++i) {
      wire::ReportItem* item = report->add_items();
      item->set_kind(wire::ReportItem::FAILED);
      item->mutable_status()->set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
      item->set_token(token);
      item->set_first(i);
      item->set_count(1);
    }
  }
  event.inputs.push_back(World::Frame(Channel::kComplete, "", std::move(message)));
  return event;
}

Event AckGroups(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  for (uint32_t i = 1; i <= n; ++i) world.Submit(CloseOf(producer, i, 0, 0));
  wire::Envelope message;
  message.mutable_group_ack()->set_session(producer);
  // Neither up nor down: the set of ended numbers is in pieces until the last.
  for (uint32_t i = 0; i < n; ++i) {
    message.mutable_group_ack()->add_groups(1 + (uint64_t{i} * 2'654'435'761u) % n);
  }
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "p", std::move(message)));
  return event;
}

Event TellEndedGroups(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  for (uint32_t i = 1; i <= n; ++i) world.Submit(CloseOf(producer, i, 0, 0));
  Event event;
  event.later = seconds(2);  // all are told again
  return event;
}

Event HelloWithGroups(World& world, uint32_t n) {
  wire::Envelope hello = HelloOf(wire::PRODUCER, "p");
  for (uint32_t i = 1; i <= n; ++i) hello.mutable_hello()->add_groups(i);
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "p", std::move(hello)));
  (void)world;
  return event;
}

// The producer leaves groups of one job each open; other jobs of the stream are leased, one by one.
Event LeaveGroups(World& world, uint32_t n) {
  const uint64_t producer = world.JoinProducer("p");
  world.JoinWorker("w", {"q"}, 1, 65'536);
  const uint32_t leased = n / 2;
  world.SubmitAll(producer, "q", leased, 1);
  // From here on they wait.
  wire::JobOptions options;
  for (uint32_t i = 1; i <= n; ++i) {
    options.set_group(i);
    options.set_not_before_ms(uint64_t{1} << 52);
    world.Submit(World::Jobs(producer, "q", leased + i, 1, options));
  }
  wire::Envelope message;
  message.mutable_goodbye()->set_session(producer);
  Event event;
  event.inputs.push_back(World::Frame(Channel::kDoor, "p", std::move(message)));
  return event;
}

}  // namespace

std::vector<Scene> GroupScenes() {
  return {
      {"close group: over many queues", kStreamsMax, CloseWide},
      {"report: ends of a group over many queues", kStreamsMax, EndWide},
      {"group ack: all groups, scattered", kGroupsMax, AckGroups},
      {"time: ended groups are told again", kGroupsMax, TellEndedGroups},
      {"hello: groups that are lost", kGroupsPerMessage, HelloWithGroups},
      {"goodbye: open groups, and leases", kGroupsMax, LeaveGroups},
  };
}

}  // namespace whippletree::core
