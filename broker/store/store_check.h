// Looks for damage in a store that no broker uses.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <string>

#include "broker/store/rocksdb_db.h"

namespace whippletree {

// Reads everything in options.dir, and changes nothing: the checksums of the log and of all tables,
// the chain of commits, whether every row is readable, has the key that fits it, and refers to
// streams, runs and queues that exist. `report` gets lines for people: what is there, and each
// thing that is wrong. OK: nothing is. DATA_LOSS says how much is wrong and what to do; others as
// OpenRocksdbStore.
//
// A log that ends in the middle of a record is reported, not an error: that is what a power loss
// leaves. Whether a confirmed commit was there cannot be told then, beyond what the file CONFIRMED
// vouches for.
absl::Status CheckStore(const RocksdbOptions& options,
                        const std::function<void(const std::string& line)>& report);

}  // namespace whippletree
