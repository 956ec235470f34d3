// The keys of rows, as bytes whose order is the order in which rows are read back.
//
//   key    = kind fields
//   kind   = one byte: the number of the row's field in record.proto, from 1
//   number = 8 bytes, big-endian
//   string = its bytes, then a 0 byte
//
// Keys that begin with a 0 byte are the store's own (rocksdb_store.cc). Pure functions.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "broker/store/store.h"
#include "record.pb.h"

namespace whippletree {

// Below every key of a row, and above every key of the store itself.
inline constexpr std::string_view kFirstRowKey{"\x01", 1};

// The key of the row that `record` puts or erases.
// INVALID_ARGUMENT: there is no row in it, or a name has a 0 byte.
absl::StatusOr<std::string> KeyOf(const record::Record& record);

std::string KeyOf(const RowKey& row);

// For people: "run", "outcome", …; "row of kind N" if this program does not know it.
std::string KindName(int kind);

// For people: "run 1-39", "producer \"alpha\"". Takes any bytes.
std::string KeyText(std::string_view key);

}  // namespace whippletree
