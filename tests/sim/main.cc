// whippletree-sim: runs the simulator over seeds and says what it found.
//
// Exit codes: 0 nothing found; 1 wrong use; 2 a crash (a failed check); 3 something does not end;
// 4 something is wrong; 5 a run is not repeatable; 6 a named situation was never met.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/sim/simulation.h"

namespace {

using namespace whippletree::sim;  // NOLINT(google-build-using-namespace)

constexpr char kUsage[] =
    "usage: whippletree-sim [--seed N] [--first N] [--seeds COUNT] [--keep-going]\n"
    "                       [--counters] [--hashes] [--verbose]\n"
    "Runs seed N, or COUNT seeds from --first on (default: 1000 from 1).\n"
    "--counters: all figures of the runs, one a line. --hashes: of each run a hash of all that was\n"
    "sent; two builds that behave the same have the same.\n";

struct Arguments {
  uint64_t first = 1;
  uint64_t count = 1000;
  bool verbose = false;
  bool keep_going = false;
  bool counters = false;
  bool hashes = false;
  bool single = false;
};

bool Parse(int argc, char** argv, Arguments* args) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto number = [&](uint64_t* value) {
      if (i + 1 >= argc) return false;
      char* end = nullptr;
      *value = std::strtoull(argv[++i], &end, 10);
      return *argv[i] != '\0' && *end == '\0';
    };
    bool good = true;
    if (name == "--seed") {
      good = number(&args->first);
      args->count = 1;
      args->single = true;
    } else if (name == "--first") {
      good = number(&args->first);
    } else if (name == "--seeds") {
      good = number(&args->count);
    } else if (name == "--verbose") {
      args->verbose = true;
    } else if (name == "--keep-going") {
      args->keep_going = true;
    } else if (name == "--counters") {
      args->counters = true;
    } else if (name == "--hashes") {
      args->hashes = true;
    } else {
      good = false;
    }
    if (!good) return false;
  }
  return true;
}

int ExitCode(FailureKind kind) {
  return kind == FailureKind::kCrash ? 2 : kind == FailureKind::kLiveness ? 3 : 4;
}

uint64_t Median(std::vector<uint64_t> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  if (!Parse(argc, argv, &args)) {
    std::fputs(kUsage, stderr);
    return 1;
  }
  std::printf("seeds %llu to %llu\n", static_cast<unsigned long long>(args.first),
              static_cast<unsigned long long>(args.first + args.count - 1));
  std::fflush(stdout);
  Situations situations;
  std::vector<uint64_t> jobs;
  std::vector<uint64_t> faults;
  int exit_code = 0;
  whippletree::Duration simulated{};
  for (uint64_t seed = args.first; seed < args.first + args.count; ++seed) {
    const Result result = RunSeed(seed, args.verbose);
    situations.Add(result.situations);
    jobs.push_back(result.jobs);
    faults.push_back(result.faults);
    simulated += result.simulated;
    if (args.hashes) {
      std::printf("%llu %016llx %llu events, %lld ms\n", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(result.trace_hash),
                  static_cast<unsigned long long>(result.events),
                  static_cast<long long>(result.simulated / whippletree::milliseconds(1)));
    }
    if (!result.ok) {
      std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), result.what.c_str());
      std::printf("again: whippletree-sim --seed %llu --verbose\n",
                  static_cast<unsigned long long>(seed));
      std::fflush(stdout);
      exit_code = ExitCode(result.kind);
      if (!args.keep_going) return exit_code;
      continue;
    }
    // One in twenty is run again: the same seed has to give the same bytes.
    if (seed % 20 == 0 && RunSeed(seed).trace_hash != result.trace_hash) {
      std::printf("seed %llu: two runs differ\n", static_cast<unsigned long long>(seed));
      return 5;
    }
  }
  if (args.counters) {
    for (const auto& [name, n] : situations.all()) {
      std::printf("%-28s %llu\n", name.c_str(), static_cast<unsigned long long>(n));
    }
  }
  if (!args.single) {
    std::printf("%zu runs; median: %llu jobs, %llu faults; simulated: %lld s\n", jobs.size(),
                static_cast<unsigned long long>(Median(jobs)),
                static_cast<unsigned long long>(Median(faults)),
                static_cast<long long>(simulated / whippletree::seconds(1)));
  }
  if (exit_code == 0 && jobs.size() >= 500) {
    for (std::string_view name : kSituations) {
      if (situations.count(name) > 0) continue;
      std::printf("no run met the situation %s\n", std::string(name).c_str());
      exit_code = 6;
    }
  }
  return exit_code;
}
