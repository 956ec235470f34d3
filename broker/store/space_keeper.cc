#include "broker/store/space_keeper.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace whippletree {
namespace {

// Between two compactions; it doubles, since each may rewrite much for little.
constexpr std::chrono::seconds kIntervalMin{2};
constexpr std::chrono::seconds kIntervalMax{64};

}  // namespace

SpaceKeeper::SpaceKeeper(Calls calls) : calls_(std::move(calls)), thread_([this] { Run(); }) {}

SpaceKeeper::~SpaceKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    cancelled_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void SpaceKeeper::Set(Space space) {
  {
    const std::lock_guard lock(mutex_);
    space_ = space;
    // On a full disk it goes on: it may be what has filled it, and ends that when it is done.
    if (space == Space::kPlenty) cancelled_ = true;
  }
  wake_.notify_all();
}

void SpaceKeeper::Run() {
  Space before = Space::kPlenty;
  uint64_t written = 0;
  std::chrono::seconds interval = kIntervalMin;
  std::unique_lock lock(mutex_);
  while (true) {
    const auto changed = [&] { return stopping_ || space_ != before; };
    if (before == Space::kLow) {
      wake_.wait_for(lock, interval, changed);
    } else {
      wake_.wait(lock, changed);
    }
    if (stopping_) return;
    const Space now = space_;
    cancelled_ = false;
    lock.unlock();
    if ((now == Space::kFull) != (before == Space::kFull)) {
      calls_.allow_compactions(now != Space::kFull);
    }
    if (now != Space::kLow) {
      written = 0;
      interval = kIntervalMin;
    } else if (const uint64_t total = calls_.bytes_written(); before != now || total != written) {
      written = total;
      calls_.compact(&cancelled_);
      if (before == now) interval = std::min(2 * interval, kIntervalMax);
    }
    before = now;
    lock.lock();
  }
}

}  // namespace whippletree
