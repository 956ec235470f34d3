// `whippletree-producer mapreduce`: files in, sorted lines KEY<TAB>VALUE out. What it promises to
// its user is the manual in flags.cc.
#pragma once

#include <string>
#include <vector>

#include "producer/mapreduce.h"

namespace whippletree {

struct MapReduceCommandOptions {
  std::string broker;
  Duration connect_timeout = seconds(10);
  std::vector<std::string> files;
  MapReduceOptions mapreduce;
  bool quiet = false;
};

// Runs the command and returns the exit code. Takes over SIGINT, SIGTERM and SIGPIPE of the
// process; at most once in a process.
int RunMapReduce(const MapReduceCommandOptions& options);

}  // namespace whippletree
