// Many connections in one process need more descriptors than processes are given at first.
#pragma once

#include <sys/resource.h>

namespace whippletree::bench {

// As many as the hard limit allows.
inline void AllowManyDescriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace whippletree::bench
