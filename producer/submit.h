// `whippletree-producer submit`: input into jobs, outcomes to stdout. What it promises to its user
// is the manual in flags.cc.
#pragma once

#include <string>

#include "producer/job_reader.h"
#include "producer/outcome_printer.h"
#include "producer/producer.h"

namespace whippletree {

enum class ShowProgress { kOnTerminals, kAlways, kOff };

struct SubmitOptions {
  std::string broker;
  std::string queue;
  std::string file = "-";  // "-": stdin
  InputFormat format = InputFormat::kLines;
  bool job_names = false;  // each job of the input has a name
  OutputFormat output = OutputFormat::kText;
  bool ordered = false;
  bool no_wait = false;
  bool group = false;  // all jobs are one group, whose end is waited for; not with name or no_wait
  JobOptions defaults;
  Duration delay{0};
  Duration expires_in{0};
  std::string name;  // of the producer; empty: nameless
  Duration connect_timeout = seconds(10);
  bool quiet = false;
  ShowProgress progress = ShowProgress::kOnTerminals;
};

// Runs the command and returns the exit code. Takes over SIGINT, SIGTERM and SIGPIPE of the
// process; at most once in a process.
int RunSubmit(const SubmitOptions& options);

}  // namespace whippletree
