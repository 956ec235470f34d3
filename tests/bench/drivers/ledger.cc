#include "tests/bench/drivers/ledger.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "common/clock.h"

namespace whippletree::bench {

void Fail(std::string_view what) {
  std::fprintf(stderr, "bench: %.*s\n", static_cast<int>(what.size()), what.data());
  std::_Exit(1);
}

Ledger::Ledger(size_t payload_bytes, uint64_t window)
    : payloads_(payload_bytes),
      window_(window),
      seen_(static_cast<uint64_t*>(std::calloc(kJobsMax / 64, sizeof(uint64_t)))) {
  if (seen_ == nullptr) Fail("no memory for the books");
}

void Ledger::WaitUntilAtMost(uint64_t outstanding) {
  if (submitted() - settled() <= outstanding) return;
  std::unique_lock lock(mutex_);
  wake_at_.store(submitted() - outstanding);
  room_.wait(lock, [&] { return submitted() - settled() <= outstanding; });
  wake_at_.store(UINT64_MAX);
}

void Ledger::WaitForRoom(uint64_t n) {
  if (submitted() + n - settled() <= window_) return;
  // A full window is waited for until some of it is free: fewer wake-ups.
  WaitUntilAtMost(window_ - std::max(n, std::min<uint64_t>(window_ / 4, 25'000)));
}

void Ledger::WaitForAll() { WaitUntilAtMost(0); }

void Ledger::OnResult(std::string_view result) {
  if (result.size() < kNumberBytes) Fail("a result without a number");
  OnResultOf(Unscramble(ReadNumber(result.data())), result);
}

void Ledger::OnResultOf(uint64_t number, std::string_view result) {
  if (number >= submitted_.load()) Fail("a result of a job that was not submitted");
  if (!payloads_.IsResultOf(number, result)) Fail("a wrong result: " + std::string(result));
  if (number >= kJobsMax) Fail("too many jobs for one round");
  uint64_t& word = seen_[number / 64];
  const uint64_t bit = 1ull << number % 64;
  if ((word & bit) != 0) Fail("a second result of job " + std::to_string(number));
  word |= bit;
  ++settled_;
}

void Ledger::Publish() {
  if (settled_ == published_.load(std::memory_order_relaxed)) return;
  last_result_ = ReadMonoClock();
  published_.store(settled_);
  if (settled_ < wake_at_.load()) return;
  std::lock_guard lock(mutex_);
  room_.notify_one();
}

}  // namespace whippletree::bench
