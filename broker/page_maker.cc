#include "broker/page_maker.h"

namespace whippletree {

PageMaker::PageMaker(std::function<HttpAnswer()> make, const WakeEvent* made)
    : make_(std::move(make)), made_(made), thread_([this] { Run(); }) {}

PageMaker::~PageMaker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanting_.notify_one();
  thread_.join();
}

uint64_t PageMaker::Want() {
  const std::lock_guard lock(mutex_);
  wanting_.notify_one();
  return ++wanted_;
}

PageMaker::Page PageMaker::Take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(page_, Page());
}

void PageMaker::Run() {
  uint64_t made = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wanting_.wait(lock, [&] { return stopping_ || wanted_ > made; });
    if (stopping_) return;
    made = wanted_;
    lock.unlock();
    auto message = std::make_shared<const HttpMessage>(make_());
    lock.lock();
    page_ = {std::move(message), made};
    made_->Notify();
  }
}

}  // namespace whippletree
