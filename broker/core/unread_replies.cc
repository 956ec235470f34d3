#include "broker/core/unread_replies.h"

#include "common/check.h"

namespace whippletree::core {

void UnreadReplies::Erase(Replies::iterator it) {
  bytes_ -= it->second.bytes;
  by_age_.erase({it->second.sent, it->first});
  replies_.erase(it);
}

void UnreadReplies::OnRead(const std::string& route, uint64_t number) {
  const auto it = replies_.find(route);
  if (it != replies_.end() && it->second.number == number) Erase(it);
}

UnreadReplies::Verdict UnreadReplies::Check(const std::string& route, MonoTime now) {
  while (!by_age_.empty() && by_age_.begin()->first + kKept <= now) {
    Erase(replies_.find(by_age_.begin()->second));
  }
  const auto it = replies_.find(route);
  if (it != replies_.end()) {
    return std::exchange(it->second.told, true) ? Verdict::kDrop : Verdict::kUnread;
  }
  return bytes_ < kBytesMax ? Verdict::kAnswer : Verdict::kFull;
}

void UnreadReplies::Add(const std::string& route, uint64_t number, uint64_t bytes, MonoTime now) {
  bytes += kOverheadBytes;
  const bool is_new = replies_.try_emplace(route, Reply{number, bytes, now}).second;
  WT_CHECK(is_new);
  by_age_.emplace(now, route);
  bytes_ += bytes;
}

}  // namespace whippletree::core
