#include "broker/http_connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "broker/http_request.h"

namespace whippletree {
namespace {

constexpr Duration kEndingMax = seconds(1);

bool IsForNow(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

HttpConnection::~HttpConnection() {
  // Whoever reads slowly until time is up leaves nothing in the kernel's buffers.
  const linger at_once = {1, 0};
  if (state_ == State::kWriting) setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd_);
}

int16_t HttpConnection::events() const {
  switch (state_) {
    case State::kReading:
    case State::kEnding:
      return POLLIN;
    case State::kWriting:
      return POLLOUT;
    case State::kWaiting:
    case State::kEnded:
      break;
  }
  return 0;
}

void HttpConnection::Read() {
  char part[4096];
  const size_t room = state_ == State::kEnding ? sizeof part : kHttpHeadBytesMax - received_.size();
  const ssize_t size = recv(fd_, part, std::min(room, sizeof part), MSG_DONTWAIT);
  if (size < 0 && IsForNow(errno)) return;
  if (size <= 0) {
    state_ = State::kEnded;
  } else if (state_ == State::kReading) {
    received_.append(part, static_cast<size_t>(size));
  }
}

void HttpConnection::Wait(size_t page, uint64_t ticket) {
  state_ = State::kWaiting;
  page_ = page;
  ticket_ = ticket;
}

void HttpConnection::Answer(std::shared_ptr<const HttpMessage> message) {
  state_ = State::kWriting;
  received_ = std::string();
  message_ = std::move(message);
}

void HttpConnection::Write(MonoTime now) {
  const std::string& head = message_->head;
  const std::string& body = message_->body;
  const size_t all = head.size() + (with_body_ ? body.size() : 0);
  while (sent_ < all) {
    const bool in_head = sent_ < head.size();
    const size_t offset = in_head ? sent_ : sent_ - head.size();
    const std::string& part = in_head ? head : body;
    const ssize_t size = send(fd_, part.data() + offset, part.size() - offset,
                              MSG_DONTWAIT | MSG_NOSIGNAL | (in_head && with_body_ ? MSG_MORE : 0));
    if (size < 0 && IsForNow(errno)) return;
    if (size < 0) {
      state_ = State::kEnded;
      return;
    }
    sent_ += static_cast<size_t>(size);
  }
  message_.reset();
  shutdown(fd_, SHUT_WR);
  state_ = State::kEnding;
  deadline_ = std::min(deadline_, now + kEndingMax);
}

}  // namespace whippletree
