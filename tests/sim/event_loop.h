// Virtual time: events run in the order of their instants (then of their making), and the clock
// jumps from one to the next. Nothing ever waits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "common/time.h"

namespace whippletree::sim {

class EventLoop {
 public:
  using Event = std::function<void()>;

  MonoTime now() const { return now_; }
  Instant instant() const { return {now_, WallTime(now_.time_since_epoch() + kWallOffset)}; }

  // An instant that is past means now.
  void At(MonoTime at, Event event) {
    events_.emplace(std::pair(at < now_ ? now_ : at, ++count_), std::move(event));
  }
  void After(Duration delay, Event event) { At(now_ + delay, std::move(event)); }

  // False: nothing is left before `end`; the clock stands at `end` then.
  bool RunOne(MonoTime end) {
    if (events_.empty() || events_.begin()->first.first > end) {
      now_ = end;
      return false;
    }
    auto first = events_.begin();
    now_ = first->first.first;
    const Event event = std::move(first->second);
    events_.erase(first);
    ++run_;
    event();
    return true;
  }
  uint64_t events_run() const { return run_; }

 private:
  static constexpr Duration kWallOffset = std::chrono::hours(480'000);

  MonoTime now_ = MonoTime(seconds(1000));
  uint64_t count_ = 0;
  uint64_t run_ = 0;
  std::map<std::pair<MonoTime, uint64_t>, Event> events_;
};

}  // namespace whippletree::sim
