#include "producer/callbacks.h"

#include <algorithm>
#include <iterator>

namespace whippletree {

void Callbacks::Add(const std::string& queue, uint64_t first, uint64_t count, bool discarded,
                    OutcomeCallback callback) {
  batches_[queue].emplace(first,
                          Batch{first + count, count, discarded,
                                std::make_shared<const OutcomeCallback>(std::move(callback))});
  if (!discarded) return;
  discarded_.emplace_back(queue, first);
  if (discarded_.size() > kDiscardedMax) {
    batches_[discarded_.front().first].erase(discarded_.front().second);
    discarded_.pop_front();
  }
}

void Callbacks::SetEarlier(const std::string& queue, OutcomeCallback callback) {
  earlier_[queue] = std::make_shared<const OutcomeCallback>(std::move(callback));
}

Callbacks::Part Callbacks::Take(const std::string& queue, uint64_t begin, uint64_t end) {
  Batches& batches = batches_[queue];
  auto it = batches.upper_bound(begin);
  if (it != batches.begin() && std::prev(it)->second.end > begin) {
    --it;
    Part part{it->second.callback, std::min(end, it->second.end), it->second.discarded};
    it->second.open -= part.end - begin;
    if (it->second.open == 0) batches.erase(it);
    return part;
  }
  Part part{nullptr, it != batches.end() ? std::min(end, it->first) : end, false};
  if (auto earlier = earlier_.find(queue); earlier != earlier_.end()) {
    part.callback = earlier->second;
  }
  return part;
}

}  // namespace whippletree
