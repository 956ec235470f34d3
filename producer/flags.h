// The command line of whippletree-producer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "producer/demo.h"
#include "producer/mapreduce_command.h"
#include "producer/submit.h"

namespace whippletree {

struct ProducerFlags {
  enum class Command { kSubmit, kMapReduce, kDemo };
  Command command = Command::kSubmit;
  // Of the command that was given.
  SubmitOptions submit;
  MapReduceCommandOptions mapreduce;
  DemoOptions demo;
};

// Takes the arguments, without the program's name. Nullopt: go on. Else what to exit with, as of
// ParseCommandLine().
std::optional<int> ParseProducerFlags(std::vector<std::string> args, ProducerFlags* flags);

}  // namespace whippletree
