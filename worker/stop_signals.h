// SIGTERM and SIGINT while workers run, for programs that leave them to the library.
#pragma once

namespace whippletree {

// While there is one, these signals do not end the process but call `on_signal`; what was before is
// back when the last one is gone. A signal that somebody else handles, or ignores, is left alone.
// There may be kMost at a time in a process; those beyond are not told of signals. Thread-safe.
class StopSignals {
 public:
  static constexpr int kMost = 64;
  // `count`: how many signals came since this was made. Called in a signal handler, by any thread.
  using OnSignal = void (*)(void* of, int count);

  StopSignals(OnSignal on_signal, void* of);
  // Once it returns, `on_signal` is neither running nor called again.
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  int place_ = -1;  // in the table of all; -1: none
};

}  // namespace whippletree
