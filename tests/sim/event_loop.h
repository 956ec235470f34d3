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
    uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<uint32_t>(events_.size());
      events_.push_back(std::move(event));
    } else {
      slot = free_.back();
      free_.pop_back();
      events_[slot] = std::move(event);
    }
    heap_.push_back({at < now_ ? now_ : at, ++count_, slot});
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
    const Planned next = heap_.back();
    heap_.pop_back();
    now_ = next.at;
    const Event event = std::exchange(events_[next.slot], nullptr);
    free_.push_back(next.slot);
    ++run_;
    event();
    return true;
  }
  uint64_t events_run() const { return run_; }

 private:
  static constexpr Duration kWallOffset = std::chrono::hours(480'000);

  // Small, since a heap moves what it orders: the event itself stays in its slot.
  struct Planned {
    MonoTime at;
    uint64_t order;
    uint32_t slot;
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
  std::vector<Event> events_;
  std::vector<uint32_t> free_;  // slots without an event
};

}  // namespace whippletree::sim
