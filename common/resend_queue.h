// The sending end of a numbered channel over a connection that may lose, repeat or delay frames:
// keeps what was sent until the other end acknowledges it, and sends it again when no
// acknowledgement comes (go-back-N). The receiving end takes exactly the next ordinal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "common/time.h"

namespace whippletree {

template <typename T>
class ResendQueue {
 public:
  static constexpr Duration kResendMin = seconds(1);
  static constexpr Duration kResendMax = seconds(8);

  struct Item {
    T value;
    uint64_t bytes;
  };

  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }
  uint64_t first_ordinal() const { return first_; }
  uint64_t next_to_send() const { return first_ + sent_; }
  // Everything below was sent at least once, though perhaps it is to be sent again.
  uint64_t sent_below() const { return first_ + sent_once_; }
  bool has_unsent() const { return sent_ < items_.size(); }
  uint64_t bytes() const { return bytes_; }
  // Of items sent and not acknowledged.
  uint64_t bytes_in_flight() const { return bytes_in_flight_; }
  // When to send again what is unacknowledged; kNever if nothing is.
  MonoTime resend_at() const { return sent_ > 0 ? resend_at_ : kNever; }
  const std::deque<Item>& items() const { return items_; }

  void Push(T value, uint64_t bytes = 0) {
    items_.push_back({std::move(value), bytes});
    bytes_ += bytes;
  }
  // The newest item, if it was never sent with its ordinal (it may be added to); else nullptr.
  Item* UnsentBack() { return sent_once_ < items_.size() ? &items_.back() : nullptr; }
  // To be called when UnsentBack() was made larger.
  void AddBytesToBack(uint64_t bytes) {
    items_.back().bytes += bytes;
    bytes_ += bytes;
  }

  // The next item to send. REQUIRES: has_unsent().
  const Item& PeekUnsent() const { return items_[sent_]; }
  void MarkSent(MonoTime now) {
    if (sent_ == 0) resend_at_ = now + interval_;
    bytes_in_flight_ += items_[sent_].bytes;
    sent_once_ = std::max(sent_once_, ++sent_);
  }

  // Everything below `next` has arrived: calls drop(item) for each. A lower number, or one of what
  // was never sent, changes nothing (returns false).
  template <typename Drop>
  bool Acknowledge(uint64_t next, MonoTime now, Drop&& drop) {
    if (next <= first_ || next > sent_below()) return false;
    while (first_ < next) {
      bytes_ -= items_.front().bytes;
      if (sent_ > 0) {
        bytes_in_flight_ -= items_.front().bytes;
        --sent_;
      }
      --sent_once_;
      drop(items_.front().value);
      items_.pop_front();
      ++first_;
    }
    interval_ = kResendMin;
    resend_at_ = now + interval_;
    return true;
  }
  bool Acknowledge(uint64_t next, MonoTime now) {
    return Acknowledge(next, now, [](T&) {});
  }

  // Sends all again, later and later while nothing is acknowledged.
  void Rewind() {
    sent_ = 0;
    bytes_in_flight_ = 0;
    interval_ = std::min(interval_ * 2, kResendMax);
  }

  // A new session: ordinals begin anew and everything is to be sent again.
  void Restart() {
    first_ = 1;
    sent_ = 0;
    sent_once_ = 0;
    bytes_in_flight_ = 0;
    interval_ = kResendMin;
  }

  // Gives up the oldest item, without a session. REQUIRES: !empty().
  Item PopFront() {
    Item item = std::move(items_.front());
    items_.pop_front();
    bytes_ -= item.bytes;
    Restart();
    return item;
  }

  void Clear() {
    items_.clear();
    bytes_ = 0;
    Restart();
  }

  // Removes items from the queue's head or middle that `gone` names. Only between sessions
  // (directly before Restart), since ordinals shift.
  template <typename Gone>
  void RemoveIf(Gone&& gone) {
    std::deque<Item> kept;
    for (Item& item : items_) {
      if (gone(item.value)) {
        bytes_ -= item.bytes;
      } else {
        kept.push_back(std::move(item));
      }
    }
    items_ = std::move(kept);
    Restart();
  }

 private:
  std::deque<Item> items_;
  uint64_t first_ = 1;    // ordinal of items_.front()
  size_t sent_ = 0;       // items_[0, sent_) are in flight
  size_t sent_once_ = 0;  // items_[0, sent_once_) were sent with their ordinals; >= sent_
  uint64_t bytes_ = 0;
  uint64_t bytes_in_flight_ = 0;
  Duration interval_ = kResendMin;
  MonoTime resend_at_ = kNever;
};

}  // namespace whippletree
