// Makes one page of the HTTP server on a thread of its own: once for all who wait for it, so that
// many who ask cost no more than one, and a page that takes long holds up no other one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "broker/http_connection.h"
#include "common/socket.h"

namespace whippletree {

class PageMaker {
 public:
  // `make` is called by the thread; `made`, which has to outlive this, is notified after it.
  PageMaker(std::function<HttpAnswer()> make, const WakeEvent* made);
  ~PageMaker();  // ends the thread, after what it makes just then
  PageMaker(const PageMaker&) = delete;
  PageMaker& operator=(const PageMaker&) = delete;

  // Wants a page of which the making has not begun yet. Returns its ticket.
  uint64_t Want();
  struct Page {
    std::shared_ptr<const HttpMessage> message;  // null: there is no new one
    uint64_t ticket = 0;                         // it is for this ticket and those before
  };
  // The page made last, the first time that it is asked for.
  Page Take();

 private:
  void Run();

  const std::function<HttpAnswer()> make_;
  const WakeEvent* const made_;
  std::mutex mutex_;
  std::condition_variable wanting_;
  bool stopping_ = false;  // this and what follows: guarded by mutex_
  uint64_t wanted_ = 0;
  Page page_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace whippletree
