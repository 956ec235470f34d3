// bench-largest [PART OF A NAME]: what the largest messages cost. For each: the time until all of
// it is done, at half of its size and at its largest, and the longest single Step of that. A
// quotient of more than about 2 says that it costs more than its size.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>

#include "common/codec.h"
#include "tests/largest/scenes.h"

namespace whippletree::core {
namespace {

// Of the processor, so that others on the machine hardly count.
double Now() { return static_cast<double>(std::clock()) * 1e3 / CLOCKS_PER_SEC; }

struct Cost {
  double decode_ms = 0;
  double longest_ms = 0;
  double total_ms = 0;
  int steps = 0;
  size_t bytes = 0;
};

Cost Measure(const Scene& scene, uint32_t size) {
  World world(scene.config);
  Event event = scene.build(world, std::max(1u, size));
  world.Settle();
  Cost cost;
  for (Input& input : event.inputs) {
    FrameIn* in = std::get_if<FrameIn>(&input);
    if (in == nullptr) continue;
    std::string frame;
    Encode(&in->message, &frame);
    cost.bytes += frame.size();
    wire::Envelope decoded;
    const double begin = Now();
    const absl::Status status = Decode(frame, ReceiverOf(in->channel), &decoded);
    cost.decode_ms += Now() - begin;
    if (!status.ok()) std::printf("%s: %s\n", scene.name.c_str(), status.ToString().c_str());
    in->message = std::move(decoded);
  }
  double begin = Now();
  const auto note = [&] {
    const double took = Now() - begin;
    cost.longest_ms = std::max(cost.longest_ms, took);
    cost.total_ms += took;
    ++cost.steps;
    begin = Now();
  };
  world.Step(std::move(event.inputs), std::max<Duration>(microseconds(1), event.later));
  note();
  world.Settle([&](const Effects&) { note(); });
  return cost;
}

int Main(int argc, char** argv) {
  std::printf("%-50s %9s %6s %9s %7s %9s %9s %9s %6s %6s\n", "event", "size", "MiB", "decode",
              "steps", "longest", "total", "at half", "times", "ns/it");
  for (const Scene& scene : Scenes()) {
    if (argc > 1 && std::strstr(scene.name.c_str(), argv[1]) == nullptr) continue;
    const Cost small = Measure(scene, scene.size_max / 8);
    const bool is_slow = small.total_ms > 2'000;
    const Cost half = is_slow ? small : Measure(scene, scene.size_max / 2);
    const bool give_up = half.total_ms > 20'000 || is_slow;
    const Cost all = give_up ? half : Measure(scene, scene.size_max);
    std::printf("%-50s %9u %6.2f %9.1f %7d %9.1f %9.1f %9.1f %6.1f %6.0f%s\n", scene.name.c_str(),
                scene.size_max, static_cast<double>(all.bytes) / (1 << 20), all.decode_ms,
                all.steps, all.longest_ms, all.total_ms, half.total_ms,
                all.total_ms / half.total_ms, all.total_ms * 1e6 / scene.size_max,
                give_up ? (is_slow ? " (an eighth of the size)" : " (half of the size)") : "");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace whippletree::core

int main(int argc, char** argv) { return whippletree::core::Main(argc, argv); }
