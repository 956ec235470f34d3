#include "common/socket.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <vector>
#include <zmq.hpp>

#include "common/check.h"

namespace whippletree {
namespace {

zmq::socket_type TypeOf(Socket::Type type) {
  switch (type) {
    case Socket::Type::kRouter:
      return zmq::socket_type::router;
    case Socket::Type::kDealer:
      return zmq::socket_type::dealer;
    case Socket::Type::kPush:
      return zmq::socket_type::push;
    case Socket::Type::kPull:
      return zmq::socket_type::pull;
  }
  return zmq::socket_type::pair;
}

std::string Endpoint(const std::string& host, const std::string& port) {
  const bool v6 = host.find(':') != std::string::npos;
  return "tcp://" + (v6 ? "[" + host + "]" : host) + ":" + port;
}

std::string_view View(const zmq::message_t& message) {
  return {static_cast<const char*>(message.data()), message.size()};
}

}  // namespace

struct SocketContext::Impl {
  explicit Impl(int io_threads) : context(io_threads) {}
  zmq::context_t context;
};

SocketContext::SocketContext(int io_threads) : impl_(std::make_unique<Impl>(io_threads)) {
  impl_->context.set(zmq::ctxopt::max_sockets, 65'535);
}
SocketContext::~SocketContext() = default;

struct Socket::Impl {
  Impl(zmq::context_t& context, zmq::socket_type type) : socket(context, type) {}
  zmq::socket_t socket;
  bool router = false;
  zmq::message_t received;  // what Receive returned last
};

Socket::Socket(SocketContext& context, Type type, const Options& options)
    : impl_(std::make_unique<Impl>(context.impl_->context, TypeOf(type))) {
  zmq::socket_t& s = impl_->socket;
  impl_->router = type == Type::kRouter;
  s.set(zmq::sockopt::linger, static_cast<int>(ToMilliseconds(options.linger)));
  s.set(zmq::sockopt::sndhwm, options.high_water_mark);
  s.set(zmq::sockopt::rcvhwm, options.high_water_mark);
  s.set(zmq::sockopt::maxmsgsize, options.message_bytes_max);
  s.set(zmq::sockopt::ipv6, true);
  s.set(zmq::sockopt::tcp_keepalive, 1);
  s.set(zmq::sockopt::tcp_keepalive_idle, 10);
  s.set(zmq::sockopt::handshake_ivl, 5000);
  s.set(zmq::sockopt::heartbeat_ivl, 5000);
  s.set(zmq::sockopt::heartbeat_timeout, 15000);
  s.set(zmq::sockopt::reconnect_ivl, 100);
  s.set(zmq::sockopt::reconnect_ivl_max, 5000);
  s.set(zmq::sockopt::connect_timeout, 5000);
  // Errors of a ROUTER's sends are told instead of dropping the message.
  if (impl_->router) s.set(zmq::sockopt::router_mandatory, true);
}
Socket::~Socket() = default;
Socket::Socket(Socket&&) noexcept = default;
Socket& Socket::operator=(Socket&&) noexcept = default;

absl::StatusOr<uint32_t> Socket::Bind(const std::string& host, uint32_t port) {
  try {
    // libzmq binds to numbers only.
    impl_->socket.bind(
        Endpoint(host == "localhost" ? "127.0.0.1" : host, port == 0 ? "*" : std::to_string(port)));
  } catch (const zmq::error_t& error) {
    const std::string what = host + ":" + std::to_string(port) + ": " + std::string(error.what());
    if (error.num() == EADDRINUSE) return absl::AlreadyExistsError(what);
    if (error.num() == EACCES) return absl::PermissionDeniedError(what);
    return absl::InvalidArgumentError(what);
  }
  const std::string endpoint = impl_->socket.get(zmq::sockopt::last_endpoint);
  return static_cast<uint32_t>(std::stoul(endpoint.substr(endpoint.rfind(':') + 1)));
}

absl::Status Socket::Connect(const std::string& host, uint32_t port) {
  try {
    impl_->socket.connect(Endpoint(host, std::to_string(port)));
  } catch (const zmq::error_t& error) {
    return absl::InvalidArgumentError(host + ":" + std::to_string(port) + ": " +
                                      std::string(error.what()));
  }
  return absl::OkStatus();
}

Socket::SendResult Socket::Send(size_t bytes, Fill fill) {
  zmq::message_t message(bytes);
  fill(static_cast<char*>(message.data()));
  return impl_->socket.send(message, zmq::send_flags::dontwait) ? SendResult::kSent
                                                                : SendResult::kAgain;
}

Socket::SendResult Socket::SendTo(const std::string& route, size_t bytes, Fill fill) {
  // Only the first frame reports errors; the second one then always has room.
  try {
    zmq::message_t id(route.data(), route.size());
    if (!impl_->socket.send(id, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) {
      return SendResult::kAgain;
    }
    return Send(bytes, fill);
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH) return SendResult::kUnreachable;
    throw;
  }
}

Socket::ReceiveResult Socket::Receive(std::string* route, std::string_view* frame) {
  zmq::message_t& part = impl_->received;
  try {
    if (!impl_->socket.recv(part, zmq::recv_flags::dontwait)) return ReceiveResult::kNothing;
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return ReceiveResult::kNothing;
    throw;
  }
  if (impl_->router) {
    route->assign(View(part));
    if (!part.more() || !impl_->socket.recv(part, zmq::recv_flags::none)) {
      return ReceiveResult::kMalformed;
    }
  }
  *frame = View(part);
  if (!part.more()) return ReceiveResult::kMessage;
  // The parts of one message arrive together.
  while (part.more() && impl_->socket.recv(part, zmq::recv_flags::none)) {
  }
  return ReceiveResult::kMalformed;
}

void PollSockets(std::span<Socket* const> sockets, int wake_fd, Duration timeout) {
  std::vector<zmq::pollitem_t> items;
  for (Socket* socket : sockets) {
    if (socket == nullptr) continue;
    items.push_back({socket->impl_->socket.handle(), 0, ZMQ_POLLIN, 0});
  }
  if (wake_fd >= 0) items.push_back({nullptr, wake_fd, ZMQ_POLLIN, 0});
  // Rounded up: to wake before the deadline only to sleep again is waste.
  const auto wait =
      timeout < Duration(0)
          ? milliseconds(-1)
          : std::chrono::ceil<milliseconds>(std::min<Duration>(timeout, std::chrono::hours(1)));
  try {
    zmq::poll(items.data(), items.size(), wait);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;
  }
}

WakeEvent::WakeEvent() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { WT_CHECK(fd_ >= 0); }
WakeEvent::~WakeEvent() { close(fd_); }

void WakeEvent::Notify() const {
  const int saved = errno;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(fd_, &one, sizeof one);
  errno = saved;
}

void WakeEvent::Clear() const {
  uint64_t value;
  [[maybe_unused]] const ssize_t n = read(fd_, &value, sizeof value);
}

}  // namespace whippletree
