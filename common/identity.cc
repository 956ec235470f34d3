#include "common/identity.h"

#include <sys/random.h>
#include <unistd.h>

#include <cstdio>

#include "common/check.h"
#include "common/utf8.h"

namespace whippletree {

uint64_t RandomNumber() {
  uint64_t number = 0;
  WT_CHECK(getrandom(&number, sizeof number, 0) == sizeof number);
  return number;
}

std::array<uint8_t, 16> RandomKey() {
  std::array<uint8_t, 16> key;
  WT_CHECK(getrandom(key.data(), key.size(), 0) == static_cast<ssize_t>(key.size()));
  return key;
}

std::string UniqueName(const std::string& prefix) {
  std::string name = prefix;
  if (name.empty()) {
    char host[64] = "host";
    gethostname(host, sizeof host - 1);
    name = std::string(host) + "-" + std::to_string(getpid());
  }
  char suffix[16];
  std::snprintf(suffix, sizeof suffix, "-%08x", static_cast<unsigned>(RandomNumber()));
  return ToUtf8(name, 100) + suffix;
}

}  // namespace whippletree
