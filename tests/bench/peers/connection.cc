#include "tests/bench/peers/connection.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "tests/bench/drivers/ledger.h"

namespace whippletree::bench {
namespace {

constexpr size_t kReadBytes = 256 << 10;

}  // namespace

Connection::Connection(uint64_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    Fail("no server answers at port " + std::to_string(port));
  }
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() { close(fd_); }

void Connection::Flush() {
  for (size_t sent = 0; sent < out_.size();) {
    const ssize_t n = send(fd_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) Fail(std::string("send: ") + std::strerror(errno));
    sent += static_cast<size_t>(n);
  }
  out_.clear();
}

bool Connection::Readable(int timeout_ms) {
  if (has_input()) return true;
  pollfd item{fd_, POLLIN, 0};
  return poll(&item, 1, timeout_ms) > 0;
}

void Connection::Fill() {
  if (begin_ > 0 && begin_ >= in_.size() / 2) {
    in_.erase(0, begin_);
    begin_ = 0;
  }
  const size_t size = in_.size();
  in_.resize(size + kReadBytes);
  const ssize_t n = recv(fd_, in_.data() + size, kReadBytes, 0);
  if (n <= 0) Fail("the server closed the connection");
  in_.resize(size + static_cast<size_t>(n));
}

std::string_view Connection::Line() {
  size_t from = begin_;
  while (true) {
    const size_t end = in_.find("\r\n", from);
    if (end != std::string::npos) {
      const std::string_view line = std::string_view(in_).substr(begin_, end - begin_);
      begin_ = end + 2;
      return line;
    }
    Fill();
    from = begin_;
  }
}

std::string_view Connection::Body(size_t n) {
  while (in_.size() - begin_ < n + 2) Fill();
  const std::string_view body = std::string_view(in_).substr(begin_, n);
  begin_ += n + 2;
  return body;
}

uint64_t DecimalOf(std::string_view text) {
  uint64_t number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') break;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

std::string_view WordOf(std::string_view line, int index) {
  for (; index > 0; --index) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return line.substr(0, line.find(' '));
}

}  // namespace whippletree::bench
