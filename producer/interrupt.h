// What may end a command's wait for its input: SIGINT, SIGTERM and SIGHUP (unless it was ignored at
// the start, as by nohup), and events of its own threads.
// One for the whole process.
#pragma once

namespace whippletree {

// Begins to count these signals instead of dying of them. The second ends the process at once,
// with kExitInterrupted.
// REQUIRES: called once, before all that follows.
void CatchSignals();

// How many came. Thread-safe.
int Signals();

// Ends the wait of WaitReadable() and WaitEvent(); signals do it too. Thread-safe; without effect
// before CatchSignals().
void RaiseEvent();

// Waits until `fd` (-1: none) can be read, an event was raised or `timeout_ms` passed (-1: never).
// Returns whether `fd` can be read and no event was raised. Leaves events to WaitEvent().
bool WaitReadable(int fd, int timeout_ms);

// Waits for an event, and takes all there are.
void WaitEvent();

}  // namespace whippletree
