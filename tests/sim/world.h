// What all simulated processes share.
#pragma once

#include <cstdio>
#include <string>

#include "tests/sim/event_loop.h"
#include "tests/sim/history.h"
#include "tests/sim/network.h"
#include "tests/sim/options.h"
#include "tests/sim/situations.h"

namespace whippletree::sim {

struct World {
  World(const Options& o, bool v)
      : options(o),
        verbose(v),
        prng(o.seed),
        history(&options, &situations),
        network(&loop, o.network, prng.Next(), &situations) {}

  void Say(const std::string& who, const std::string& what) const {
    if (!verbose) return;
    const auto ns = (loop.now() - MonoTime(seconds(1000))).count();
    std::printf("%4lld.%09lld %-14s %s\n", static_cast<long long>(ns / 1'000'000'000),
                static_cast<long long>(ns % 1'000'000'000), who.c_str(), what.c_str());
  }

  const Options options;
  const bool verbose;
  Prng prng;
  EventLoop loop;
  Situations situations;
  History history;
  Network network;
  uint64_t last_process = 0;  // their numbers
};

}  // namespace whippletree::sim
