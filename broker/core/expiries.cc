#include "broker/core/expiries.h"

#include <algorithm>
#include <iterator>

#include "common/check.h"

namespace whippletree::core {

void Expiries::Watch(WallTime at, const Expiry& jobs) {
  const auto is_near = [&](auto it) {
    return it->first.at == at && it->first.stream == jobs.stream;
  };
  auto it = by_time_.upper_bound({at, jobs.stream, jobs.begin});
  if (it != by_time_.begin() && is_near(std::prev(it)) && std::prev(it)->second >= jobs.begin) {
    --it;
    it->second = std::max(it->second, jobs.end);
  } else {
    it = by_time_.emplace_hint(it, Key{at, jobs.stream, jobs.begin}, jobs.end);
  }
  for (auto next = std::next(it);
       next != by_time_.end() && is_near(next) && next->first.begin <= it->second;) {
    it->second = std::max(it->second, next->second);
    next = by_time_.erase(next);
  }
}

Expiry Expiries::TakeFirst() {
  WT_CHECK(!by_time_.empty());
  const auto first = by_time_.begin();
  const Expiry expiry{first->first.stream, first->first.begin, first->second};
  by_time_.erase(first);
  return expiry;
}

}  // namespace whippletree::core
