// What a row of the store cannot be, whatever the other rows are: a store may be damaged in ways
// that its checksums do not see, or be written by hand.
#pragma once

#include <absl/status/status.h>

#include "record.pb.h"

namespace whippletree::core {

// DATA_LOSS: a number, range or name is none that a broker writes. Beyond this numbers of jobs can
// be added up without overflow, and no row stands for more memory than it should.
absl::Status RowError(const record::Record& row);

}  // namespace whippletree::core
