// Shows the broker's status: tables for people, JSON for programs.
// Stateless, thread-safe. Names in a status come from peers and are escaped here.
#pragma once

#include <string>

#include "wire.pb.h"

namespace whippletree {

// A line about the broker, a table of queues and one of workers; within 120 columns as long as
// the numbers are not extreme. Ends with a newline.
std::string StatusText(const wire::StatusReply& status);

// The same as an object with the names of protos/wire.proto: every field is there, numbers are
// numbers, and `counters` is an object of name and value. Ends with a newline.
std::string StatusJson(const wire::StatusReply& status);

}  // namespace whippletree
