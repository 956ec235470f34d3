// Virtual time: events run in the order of their instants (then of their making), and the clock
// jumps from one to the next. Nothing ever waits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "common/time.h"

namespace whippletree::sim {

class EventLoop {
 public:
  using Event = std::function<void()>;

  MonoTime now() const { return now_; }
  Instant instant() const { return {now_, WallTime(now_.time_since_epoch() + kWallOffset)}; }

  // An instant that is past means now.
  void At(MonoTime at, Event event) {
    heap_.push_back({at < now_ ? now_ : at, ++count_, std::move(event)});
    std::push_heap(heap_.begin(), heap_.end(), IsLater{});
  }
  void After(Duration delay, Event event) { At(now_ + delay, std::move(event)); }

  // False: nothing is left before `end`; the clock stands at `end` then.
  bool RunOne(MonoTime end) {
    if (heap_.empty() || heap_.front().at > end) {
      now_ = end;
      return false;
    }
    std::pop_heap(heap_.begin(), heap_.end(), IsLater{});
    now_ = heap_.back().at;
    const Event event = std::move(heap_.back().event);
    heap_.pop_back();
    ++run_;
    event();
    return true;
  }
  uint64_t events_run() const { return run_; }

 private:
  static constexpr Duration kWallOffset = std::chrono::hours(480'000);

  struct Planned {
    MonoTime at;
    uint64_t order;
    Event event;
  };
  struct IsLater {
    bool operator()(const Planned& a, const Planned& b) const {
      return a.at != b.at ? a.at > b.at : a.order > b.order;
    }
  };

  MonoTime now_ = MonoTime(seconds(1000));
  uint64_t count_ = 0;
  uint64_t run_ = 0;
  std::vector<Planned> heap_;  // the next one in front
};

}  // namespace whippletree::sim
