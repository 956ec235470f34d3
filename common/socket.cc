#include "common/socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
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
    case Socket::Type::kPair:
      break;
  }
  return zmq::socket_type::pair;
}

std::string Endpoint(const std::string& host, const std::string& port) {
  const bool v6 = host.find(':') != std::string::npos;
  return "tcp://" + (v6 ? "[" + host + "]" : host) + ":" + port;
}

// Of an address as libzmq writes it.
uint32_t PortOf(const std::string& endpoint) {
  return static_cast<uint32_t>(std::stoul(endpoint.substr(endpoint.rfind(':') + 1)));
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
  // Whether there is something to receive. Any call of libzmq may take what its descriptor tells.
  bool HasMessage() {
    try {
      return (socket.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0;
    } catch (const zmq::error_t& error) {
      if (error.num() == EINTR) return true;  // perhaps
      throw;
    }
  }

  zmq::socket_t socket;
  int fd = -1;
  bool router = false;
  // Nothing can be received until the descriptor is readable: each look costs system calls.
  bool drained = false;
  zmq::message_t received;  // what Receive returned last
};

Socket::Socket(SocketContext& context, Type type, const Options& options)
    : impl_(std::make_unique<Impl>(context.impl_->context, TypeOf(type))) {
  zmq::socket_t& s = impl_->socket;
  impl_->router = type == Type::kRouter;
  impl_->fd = s.get(zmq::sockopt::fd);
  s.set(zmq::sockopt::linger, static_cast<int>(ToMilliseconds(options.linger)));
  s.set(zmq::sockopt::sndhwm, options.high_water_mark);
  s.set(zmq::sockopt::rcvhwm, options.high_water_mark);
  s.set(zmq::sockopt::maxmsgsize, options.message_bytes_max);
  s.set(zmq::sockopt::ipv6, true);
  s.set(zmq::sockopt::tcp_keepalive, 1);
  s.set(zmq::sockopt::tcp_keepalive_idle, 10);
  s.set(zmq::sockopt::tcp_keepalive_intvl, 5);
  s.set(zmq::sockopt::tcp_keepalive_cnt, 3);
  s.set(zmq::sockopt::handshake_ivl, 5000);
  // No heartbeats of the connection (ZMQ_HEARTBEAT_IVL): libzmq aborts the process (4.3.4 and
  // 4.3.5, stream_engine_base.cpp, `!_io_error`) when their timer meets a connection whose peer has
  // reset it while its input was stopped. The sessions have heartbeats of their own.
  s.set(zmq::sockopt::reconnect_ivl, 100);
  s.set(zmq::sockopt::reconnect_ivl_max, 5000);
  s.set(zmq::sockopt::connect_timeout, 5000);
  if (impl_->router) {
    // Errors of its sends are told instead of dropping the message.
    s.set(zmq::sockopt::router_mandatory, true);
    // Who takes nothing for so long, though something is there for it, is gone, and with it what
    // waits in the socket.
    s.set(zmq::sockopt::tcp_maxrt, static_cast<int>(ToMilliseconds(kUnreadMax)));
  }
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
  return PortOf(impl_->socket.get(zmq::sockopt::last_endpoint));
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
  impl_->drained = false;
  zmq::message_t message(bytes);
  fill(static_cast<char*>(message.data()));
  return impl_->socket.send(message, zmq::send_flags::dontwait) ? SendResult::kSent
                                                                : SendResult::kAgain;
}

Socket::SendResult Socket::SendTo(const std::string& route, size_t bytes, Fill fill) {
  impl_->drained = false;
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
  if (impl_->drained) return ReceiveResult::kNothing;
  zmq::message_t& part = impl_->received;
  try {
    if (!impl_->socket.recv(part, zmq::recv_flags::dontwait)) {
      impl_->drained = true;
      return ReceiveResult::kNothing;
    }
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

Socket Socket::MonitorOf(SocketContext& context, const char* name, int event) {
  // A name that was used before may still be taken: libzmq gives it up some time after the end.
  static std::atomic<uint64_t> monitors{0};
  const std::string endpoint = std::string("inproc://") + name + std::to_string(++monitors);
  WT_CHECK(zmq_socket_monitor(impl_->socket.handle(), endpoint.c_str(), event) == 0);
  Socket monitor(context, Type::kPair, {});
  monitor.impl_->socket.connect(endpoint);
  return monitor;
}

Socket Socket::Monitor(SocketContext& context) {
  return MonitorOf(context, "accepted-", ZMQ_EVENT_ACCEPTED);
}

Socket Socket::MonitorLost(SocketContext& context) {
  return MonitorOf(context, "lost-", ZMQ_EVENT_DISCONNECTED);
}

void Socket::StopMonitor() { zmq_socket_monitor(impl_->socket.handle(), nullptr, 0); }

std::optional<int32_t> Socket::ReceiveEvent() {
  zmq::message_t event;
  if (impl_->drained) return std::nullopt;
  try {
    if (!impl_->socket.recv(event, zmq::recv_flags::dontwait)) {
      impl_->drained = true;
      return std::nullopt;
    }
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return std::nullopt;  // perhaps
    throw;
  }
  int32_t value = -1;
  WT_CHECK(event.size() == sizeof(uint16_t) + sizeof value && event.more());
  std::memcpy(&value, event.data<char>() + sizeof(uint16_t), sizeof value);
  // The parts of one message arrive together.
  WT_CHECK(impl_->socket.recv(impl_->received, zmq::recv_flags::none).has_value());
  return value;
}

std::optional<Socket::Accepted> Socket::ReceiveAccepted() {
  const std::optional<int32_t> fd = ReceiveEvent();
  if (!fd) return std::nullopt;
  return Accepted{*fd, PortOf(std::string(View(impl_->received)))};
}

bool Socket::ReceiveLost() {
  bool lost = false;
  while (ReceiveEvent()) lost = true;
  return lost;
}

// zmq_poll asks every socket twice, with two system calls each time.
void PollSockets(std::span<Socket* const> sockets, const WakeEvent* wake, Duration timeout) {
  constexpr size_t kSocketsMax = 3;
  WT_CHECK(sockets.size() <= kSocketsMax);
  std::array<pollfd, kSocketsMax + 1> fds;
  for (size_t i = 0; i < sockets.size(); ++i) {
    Socket::Impl& socket = *sockets[i]->impl_;
    if (!socket.drained) socket.drained = !socket.HasMessage();
    if (!socket.drained) timeout = Duration(0);
    fds[i] = {socket.fd, POLLIN, 0};
  }
  fds[sockets.size()] = {wake == nullptr ? -1 : wake->fd(), POLLIN, 0};
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timespec wait = {whole.count(), Duration(timeout - whole).count()};
  // Interrupted: whoever is called again has lost nothing.
  if (ppoll(fds.data(), sockets.size() + 1, &wait, nullptr) <= 0) return;
  for (size_t i = 0; i < sockets.size(); ++i) {
    if (fds[i].revents != 0) sockets[i]->impl_->drained = false;
  }
  if (fds[sockets.size()].revents != 0) wake->Clear();
}

WakeEvent::WakeEvent() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { WT_CHECK(fd_ >= 0); }
WakeEvent::~WakeEvent() { close(fd_); }

void WakeEvent::Notify() const {
  const int saved = errno;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(fd_, &one, sizeof one);
  errno = saved;
}

void WakeEvent::Wait() const {
  pollfd fd = {fd_, POLLIN, 0};
  while (poll(&fd, 1, -1) <= 0) {  // interrupted
  }
  Clear();
}

void WakeEvent::Clear() const {
  uint64_t value;
  [[maybe_unused]] const ssize_t n = read(fd_, &value, sizeof value);
}

}  // namespace whippletree
