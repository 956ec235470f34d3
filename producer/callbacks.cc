#include "producer/callbacks.h"

#include <algorithm>
#include <iterator>

namespace whippletree {

std::deque<Callbacks::Batch>::iterator Callbacks::Batches::After(uint64_t number) {
  return std::upper_bound(all.begin(), all.end(), number,
                          [](uint64_t n, const Batch& batch) { return n < batch.first; });
}

Callbacks::Batch* Callbacks::Batches::Find(uint64_t number) {
  const auto it = After(number);
  if (it == all.begin() || std::prev(it)->end <= number || std::prev(it)->open == 0) return nullptr;
  return &*std::prev(it);
}

void Callbacks::Batches::Finish(Batch* batch) {
  batch->open = 0;
  batch->callback.reset();
  ++done;
  while (!all.empty() && all.front().open == 0) {
    all.pop_front();
    --done;
  }
  // A job without an outcome must not keep all that came after it.
  constexpr size_t kDoneMax = 1000;
  if (done < kDoneMax || done < all.size() / 2) return;
  std::erase_if(all, [](const Batch& each) { return each.open == 0; });
  done = 0;
}

void Callbacks::Add(const std::string& queue, uint64_t first, uint64_t count, bool discarded,
                    OutcomeCallback callback) {
  batches_[queue].all.push_back({first, first + count, count, discarded,
                                 std::make_shared<const OutcomeCallback>(std::move(callback))});
  if (!discarded) return;
  discarded_.emplace_back(queue, first);
  if (discarded_.size() <= kDiscardedMax) return;
  Batches& batches = batches_[discarded_.front().first];
  if (Batch* oldest = batches.Find(discarded_.front().second)) batches.Finish(oldest);
  discarded_.pop_front();
}

void Callbacks::SetEarlier(const std::string& queue, OutcomeCallback callback) {
  earlier_[queue] = std::make_shared<const OutcomeCallback>(std::move(callback));
}

Callbacks::Part Callbacks::Take(const std::string& queue, uint64_t begin, uint64_t end) {
  Batches& batches = batches_[queue];
  if (Batch* batch = batches.Find(begin)) {
    Part part{batch->callback, std::min(end, batch->end), batch->discarded};
    batch->open -= part.end - begin;
    if (batch->open == 0) batches.Finish(batch);
    return part;
  }
  const auto next = batches.After(begin);
  Part part{nullptr, next != batches.all.end() ? std::min(end, next->first) : end, false};
  if (auto earlier = earlier_.find(queue); earlier != earlier_.end()) {
    part.callback = earlier->second;
  }
  return part;
}

std::pair<std::future<Outcome>, OutcomeCallback> FutureOutcome() {
  // Shared, since a callback is copyable.
  struct Promise {
    std::promise<Outcome> promise;
    bool kept = false;
    ~Promise() {
      if (kept) return;
      Outcome outcome;
      outcome.status = absl::UnavailableError("outcome unknown: the producer was closed");
      promise.set_value(std::move(outcome));
    }
  };
  auto promise = std::make_shared<Promise>();
  std::future<Outcome> future = promise->promise.get_future();
  return {std::move(future), [promise](Outcome outcome) {
            promise->kept = true;
            promise->promise.set_value(std::move(outcome));
          }};
}

}  // namespace whippletree
