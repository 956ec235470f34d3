// whippletree-sim: runs the simulator over seeds and says what it found.
//
// Exit codes: 0 nothing found; 1 wrong use; 2 a crash (a failed check); 3 something does not end;
// 4 something is wrong; 5 a run is not repeatable; 6 a named situation was never met.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/simulation.h"

namespace {

using namespace whippletree::sim;  // NOLINT(google-build-using-namespace)

constexpr char kUsage[] =
    "usage: whippletree-sim [--seed N] [--first N] [--seeds COUNT] [--keep-going]\n"
    "                       [--counters] [--block] [--hashes] [--verbose]\n"
    "Runs seed N, or COUNT seeds from --first on (default: 1000 from 1).\n"
    "--counters: all figures of the runs, one a line. --block: these are some of many; what they\n"
    "never meet is no fault. --hashes: of each run a hash of all that was sent; two builds that\n"
    "behave the same have the same.\n";

struct Arguments {
  uint64_t first = 1;
  uint64_t count = 1000;
  bool verbose = false;
  bool keep_going = false;
  bool counters = false;
  bool block = false;
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
    } else if (name == "--block") {
      args->block = true;
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

// What is added up over all runs.
struct Totals {
  void Add(const Result& result) {
    situations.Add(result.situations);
    jobs.push_back(result.jobs);
    faults.push_back(result.faults);
    events += result.events;
    simulated += result.simulated;
    with_crash += result.situations.count("broker_crash") > 0 ? 1 : 0;
  }
  void Print() const;

  Situations situations;
  std::vector<uint64_t> jobs;  // of each run
  std::vector<uint64_t> faults;
  uint64_t events = 0;
  uint64_t with_crash = 0;  // runs
  whippletree::Duration simulated{};
};

void PrintFigure(const std::string& name, uint64_t n) {
  std::printf("%-40s %llu\n", name.c_str(), static_cast<unsigned long long>(n));
}

uint64_t Sum(const std::vector<uint64_t>& values) {
  return std::accumulate(values.begin(), values.end(), uint64_t{0});
}

uint64_t AtLeast(const std::vector<uint64_t>& values, uint64_t least) {
  return static_cast<uint64_t>(
      std::count_if(values.begin(), values.end(), [&](uint64_t n) { return n >= least; }));
}

// I9 and I22 have no check (docs/simulation.md).
bool HasCheck(uint32_t invariant) { return invariant != 9 && invariant != 22; }

std::string CheckName(uint32_t invariant) {
  if (invariant == kPauseCheck) return "pause";
  if (invariant == kUnreadCheck) return "unread";
  if (invariant == kApartCheck) return "apart";
  return invariant == kLoadCheck ? "load" : "I" + std::to_string(invariant);
}

void Totals::Print() const {
  PrintFigure("runs", jobs.size());
  PrintFigure("runs_with_200_jobs", AtLeast(jobs, 200));
  PrintFigure("runs_with_3_faults", AtLeast(faults, 3));
  PrintFigure("runs_with_broker_crash", with_crash);
  PrintFigure("jobs", Sum(jobs));
  PrintFigure("faults", Sum(faults));
  PrintFigure("events", events);
  PrintFigure("simulated_ms", static_cast<uint64_t>(simulated / whippletree::milliseconds(1)));
  for (uint32_t invariant = 0; invariant < kChecks; ++invariant) {
    if (!HasCheck(invariant)) continue;
    PrintFigure("checked_" + CheckName(invariant), situations.checked(invariant));
  }
  for (std::string_view name : kSituations) {
    PrintFigure("situation_" + std::string(name), situations.count(name));
  }
  for (const auto& [name, n] : situations.all()) {
    if (std::find(std::begin(kSituations), std::end(kSituations), name) == std::end(kSituations)) {
      PrintFigure("counter_" + name, n);
    }
  }
}

bool IsRare(std::string_view situation) {
  return std::find(std::begin(kRareSituations), std::end(kRareSituations), situation) !=
         std::end(kRareSituations);
}

// Whether every check was made, and every situation met that so many seeds meet. Says what was not.
bool MetAll(const Situations& situations, uint64_t seeds) {
  bool all = true;
  for (uint32_t invariant = 0; invariant < kChecks; ++invariant) {
    if (!HasCheck(invariant) || situations.checked(invariant) > 0) continue;
    std::printf("no run checked %s\n", CheckName(invariant).c_str());
    all = false;
  }
  for (std::string_view name : kSituations) {
    if (situations.count(name) > 0 || (seeds < kLongRunSeeds && IsRare(name))) continue;
    std::printf("no run met the situation %s\n", std::string(name).c_str());
    all = false;
  }
  return all;
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
  Totals totals;
  int exit_code = 0;
  for (uint64_t seed = args.first; seed < args.first + args.count; ++seed) {
    const Result result = RunSeed(seed, args.verbose);
    totals.Add(result);
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
      exit_code = 5;
      if (!args.keep_going) return exit_code;
    }
  }
  if (args.counters) totals.Print();
  if (!args.single) {
    std::printf("%zu runs; median: %llu jobs, %llu faults; simulated: %lld s\n", totals.jobs.size(),
                static_cast<unsigned long long>(Median(totals.jobs)),
                static_cast<unsigned long long>(Median(totals.faults)),
                static_cast<long long>(totals.simulated / whippletree::seconds(1)));
  }
  const uint64_t seeds = totals.jobs.size();
  const bool is_whole = !args.block && seeds >= kWholeRunSeeds;
  if (exit_code == 0 && is_whole && !MetAll(totals.situations, seeds)) exit_code = 6;
  return exit_code;
}
