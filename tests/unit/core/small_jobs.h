// Jobs for tests of a queue by itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "broker/core/slice.h"

namespace whippletree::core {

inline std::shared_ptr<const wire::JobOptions> Options(const std::string& key = "",
                                                       uint32_t max_attempts = 0) {
  wire::JobOptions options;
  options.set_key(key);
  options.set_max_attempts(max_attempts);
  return std::make_shared<wire::JobOptions>(options);
}

// Jobs [first, first + count) of a stream, of eight bytes each.
inline Slice Jobs(uint64_t stream, uint64_t first, uint32_t count = 1,
                  std::shared_ptr<const wire::JobOptions> options = Options()) {
  Slice slice;
  slice.data = std::make_shared<RunData>();
  for (uint32_t i = 0; i < count; ++i) slice.data->Append("12345678");
  slice.end = count;
  slice.stream = stream;
  slice.first = first;
  slice.options = std::move(options);
  return slice;
}

}  // namespace whippletree::core
