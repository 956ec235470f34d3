// A text that comes through a pipe: standard input, a shell's <(…), a FIFO, a terminal. It can be
// read once only, and its end may be far away.
#pragma once

#include <string>

#include "producer/mapreduce.h"

namespace whippletree {

// The text behind `path` ("-": standard input, which is called "stdin"). Its stream ends early
// when a signal comes.
// REQUIRES: CatchSignals() before it is opened.
MapInput PipeInput(const std::string& path);

}  // namespace whippletree
