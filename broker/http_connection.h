// One connection of the broker's HTTP server: one request, one answer, and the end. It never
// blocks, takes no more than the head of a request, and leaves it to its owner when time is up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "broker/http_pages.h"
#include "common/time.h"

namespace whippletree {

// An answer as many connections may send it.
struct HttpMessage {
  explicit HttpMessage(HttpAnswer answer)
      : head(HttpAnswerHead(answer)), body(std::move(answer.body)) {}
  const std::string head;
  const std::string body;
};

class HttpConnection {
 public:
  enum class State {
    kReading,  // the head of the request
    kWaiting,  // for the answer to be made
    kWriting,  // the answer
    // All is said; what else comes is thrown away, for a moment: closing earlier would take the
    // answer away from a peer that has not read it.
    kEnding,
    kEnded,  // or broken
  };

  // Takes `fd`, which does not block.
  HttpConnection(int fd, MonoTime deadline) : fd_(fd), deadline_(deadline) {}
  ~HttpConnection();  // what is not sent by then is not sent
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  int fd() const { return fd_; }
  State state() const { return state_; }
  // When it has to be over.
  MonoTime deadline() const { return deadline_; }
  // What poll(2) is to tell.
  int16_t events() const;

  // Does what can be done now without blocking.
  void Read();               // in kReading and kEnding
  void Write(MonoTime now);  // in kWriting
  // In kReading: what was read so far. It has ended when there is a head in it.
  std::string_view received() const { return received_; }
  // The request is HEAD.
  void OmitBody() { with_body_ = false; }
  // The answer will be that with `ticket` of `page`; both are the owner's.
  void Wait(size_t page, uint64_t ticket);
  size_t page() const { return page_; }
  uint64_t ticket() const { return ticket_; }
  // Begins to write; nothing may be said yet.
  void Answer(std::shared_ptr<const HttpMessage> message);
  const std::shared_ptr<const HttpMessage>& message() const { return message_; }

 private:
  const int fd_;
  MonoTime deadline_;
  State state_ = State::kReading;
  std::string received_;
  size_t page_ = 0;
  uint64_t ticket_ = 0;
  bool with_body_ = true;
  std::shared_ptr<const HttpMessage> message_;
  size_t sent_ = 0;  // of head and body together
};

}  // namespace whippletree
