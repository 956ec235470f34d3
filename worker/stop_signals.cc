#include "worker/stop_signals.h"

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

namespace whippletree {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT};

// Read by the signal handler, so without a lock.
struct Listener {
  std::atomic<StopSignals::OnSignal> on_signal{nullptr};  // nullptr: the place is free
  std::atomic<void*> of{nullptr};
  std::atomic<int> count{0};
  std::atomic<int> calls{0};  // under way
};
Listener g_listeners[StopSignals::kMost];
static_assert(std::atomic<StopSignals::OnSignal>::is_always_lock_free);
static_assert(std::atomic<int>::is_always_lock_free);

std::mutex g_mutex;  // guards what follows, and who takes a place
int g_taken = 0;
struct sigaction g_before[std::size(kSignals)];
bool g_handled[std::size(kSignals)];

void Handle(int) {
  const int saved = errno;
  for (Listener& listener : g_listeners) {
    ++listener.calls;
    const StopSignals::OnSignal on_signal = listener.on_signal;
    if (on_signal != nullptr) on_signal(listener.of, ++listener.count);
    --listener.calls;
  }
  errno = saved;
}

void Catch() {
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &g_before[i]);
    g_handled[i] = (g_before[i].sa_flags & SA_SIGINFO) == 0 && g_before[i].sa_handler == SIG_DFL;
    if (!g_handled[i]) continue;
    struct sigaction action {};
    action.sa_handler = Handle;
    action.sa_flags = SA_RESTART;
    sigaction(kSignals[i], &action, nullptr);
  }
}

}  // namespace

StopSignals::StopSignals(OnSignal on_signal, void* of) {
  const std::lock_guard lock(g_mutex);
  for (int i = 0; i < kMost && place_ < 0; ++i) {
    if (g_listeners[i].on_signal == nullptr) place_ = i;
  }
  if (place_ < 0) return;
  g_listeners[place_].of = of;
  g_listeners[place_].count = 0;
  g_listeners[place_].on_signal = on_signal;
  if (g_taken++ == 0) Catch();
}

StopSignals::~StopSignals() {
  if (place_ < 0) return;
  const std::lock_guard lock(g_mutex);
  g_listeners[place_].on_signal = nullptr;
  while (g_listeners[place_].calls > 0) std::this_thread::yield();
  if (--g_taken > 0) return;
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    if (g_handled[i]) sigaction(kSignals[i], &g_before[i], nullptr);
  }
}

}  // namespace whippletree
