#include "producer/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "common/check.h"
#include "common/cli.h"

namespace whippletree {
namespace {

std::atomic<int> g_signals{0};
std::atomic<int> g_event_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free);  // for the signal handler

void HandleSignal(int) {
  if (g_signals.fetch_add(1) > 0) _exit(kExitInterrupted);
  const int saved = errno;
  RaiseEvent();
  errno = saved;
}

}  // namespace

void CatchSignals() {
  g_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  WT_CHECK(g_event_fd >= 0);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) CatchSignal(number, HandleSignal);
}

int Signals() { return g_signals; }

void RaiseEvent() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(g_event_fd, &one, sizeof(one));
}

bool WaitReadable(int fd, int timeout_ms) {
  pollfd waits[] = {{g_event_fd, POLLIN, 0}, {fd, POLLIN, 0}};
  const int ready = poll(waits, fd < 0 ? 1 : 2, timeout_ms);
  return ready > 0 && waits[0].revents == 0 && waits[1].revents != 0;
}

void WaitEvent() {
  WaitReadable(-1, -1);
  uint64_t count;
  [[maybe_unused]] const ssize_t n = read(g_event_fd, &count, sizeof(count));
}

}  // namespace whippletree
