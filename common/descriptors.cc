#include "common/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace whippletree {
namespace {

std::atomic<uint64_t> inherited = 0;  // 0: as it is now

}  // namespace

uint64_t RaiseDescriptorLimit(uint64_t most) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, most);
  if (limit.rlim_cur <= before || setrlimit(RLIMIT_NOFILE, &limit) != 0) return before;
  uint64_t unset = 0;
  inherited.compare_exchange_strong(unset, before);
  return limit.rlim_cur;
}

uint64_t InheritedDescriptorLimit() {
  if (const uint64_t before = inherited) return before;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

void OpenStandardStreams(ClosedStreams closed) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    const int broken = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    // The lowest number that is free is this one.
    open("/dev/null", closed == ClosedStreams::kBroken ? broken : O_RDWR);
  }
}

}  // namespace whippletree
