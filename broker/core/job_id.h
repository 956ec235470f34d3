// What people and programs call a job: "3-17" is number 17 of stream 3.
#pragma once

#include <cstdint>
#include <string>

namespace whippletree::core {

inline std::string JobIdText(uint64_t stream, uint64_t number) {
  return std::to_string(stream) + "-" + std::to_string(number);
}

}  // namespace whippletree::core
