// What libFuzzer calls: the only target that is in this program.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/codec.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  whippletree::SilenceProtobuf();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const whippletree::fuzz::Target target = whippletree::fuzz::Targets().begin()->second;
  target({reinterpret_cast<const char*>(data), size});
  return 0;
}
