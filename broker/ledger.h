// The sum that every job is in: accepted = waiting + leased + completed + dead + cancelled +
// expired. Stateless, thread-safe.
#pragma once

#include <string>

#include "wire.pb.h"

namespace whippletree {

// A table with a line for each queue and one for all together; lines that do not add up say by how
// much. Ends with a newline.
std::string LedgerText(const wire::StatusReply& status);

// Every line adds up.
bool LedgerBalances(const wire::StatusReply& status);

}  // namespace whippletree
