// whippletree-producer: each command is in a file of its own.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/cli.h"
#include "common/codec.h"
#include "common/crash_point.h"
#include "common/descriptors.h"
#include "producer/flags.h"

namespace whippletree {
namespace {

constexpr char kProgram[] = "whippletree-producer";

int Main(int argc, char** argv) {
  // Whoever closes stdout does not want the outcomes, or has made a mistake: it is told.
  OpenStandardStreams(ClosedStreams::kBroken);
  SilenceProtobuf();
  ProducerFlags flags;
  std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  if (const auto code = ParseProducerFlags(std::move(args), &flags)) return *code;
  if (const auto warning = ArmCrashPoint(kProducerCrashPoints); !warning.ok()) {
    PrintError(kProgram, std::string(warning.status().message()));
    return kExitUsage;
  } else if (*warning) {
    PrintError(kProgram, **warning);
  }
  switch (flags.command) {
    case ProducerFlags::Command::kSubmit:
      return RunSubmit(flags.submit);
    case ProducerFlags::Command::kMapReduce:
      return RunMapReduce(flags.mapreduce);
    case ProducerFlags::Command::kDemo:
      return RunDemo(flags.demo);
  }
  return kExitUsage;
}

}  // namespace
}  // namespace whippletree

int main(int argc, char** argv) { return whippletree::Main(argc, argv); }
