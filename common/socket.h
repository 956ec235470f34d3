// ZeroMQ as the shells need it. Nothing else includes zmq.
//
// A message is one frame (at a ROUTER: the routing id, then one frame). Messages of another shape
// are received as malformed. A socket belongs to one thread.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/time.h"

namespace whippletree {

class Socket;

// Lets another thread, or a signal handler, end PollSockets.
class WakeEvent {
 public:
  WakeEvent();
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  // Thread-safe and async-signal-safe.
  void Notify() const;
  // Blocks until notified. Consumes notifications.
  void Wait() const;

  // For poll(2): readable once notified, until Clear(), which consumes notifications.
  int fd() const { return fd_; }
  void Clear() const;

 private:
  int fd_;
};

class SocketContext {
 public:
  // `io_threads`: of libzmq.
  explicit SocketContext(int io_threads = 1);
  ~SocketContext();
  SocketContext(const SocketContext&) = delete;
  SocketContext& operator=(const SocketContext&) = delete;

 private:
  friend class Socket;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Socket {
 public:
  // A ROUTER ends a connection that has taken nothing of what there is for it for so long.
  static constexpr Duration kUnreadMax = seconds(30);

  enum class Type { kRouter, kDealer, kPush, kPull, kPair };
  struct Options {
    int64_t message_bytes_max = -1;
    // Messages per peer. 0: no bound, for senders that keep to their credit.
    int high_water_mark = 0;
    // What of unsent messages survives Close().
    Duration linger{0};
  };

  Socket(SocketContext& context, Type type, const Options& options);
  ~Socket();
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;

  // Port 0 lets the system choose. Returns the port. ALREADY_EXISTS: the port is in use;
  // INVALID_ARGUMENT: no such address here; PERMISSION_DENIED.
  absl::StatusOr<uint32_t> Bind(const std::string& host, uint32_t port);
  absl::Status Connect(const std::string& host, uint32_t port);

  enum class SendResult { kSent, kAgain, kUnreachable };
  // Writes the bytes of a frame to where it is sent from.
  using Fill = absl::FunctionRef<void(char* frame)>;
  // A frame of so many bytes. Never blocks. kSent: queued.
  SendResult Send(size_t bytes, Fill fill);
  SendResult SendTo(const std::string& route, size_t bytes, Fill fill);

  enum class ReceiveResult { kMessage, kNothing, kMalformed };
  // Never blocks. `route` is set at a ROUTER, also of a malformed message. `frame` is valid until
  // the next call. Once it has returned kNothing, only PollSockets finds out that there is more.
  ReceiveResult Receive(std::string* route, std::string_view* frame);

  // A connection that was accepted; by now it may be gone, and its descriptor another's.
  struct Accepted {
    int fd = -1;
    uint32_t port = 0;  // that this socket is bound to
  };
  // From now on the socket that is returned, which another thread may have, tells what this one
  // accepts; until StopMonitor(). It has to be read all the time: libzmq waits for it. For a socket
  // that is not bound yet, once.
  Socket Monitor(SocketContext& context);
  void StopMonitor();
  // Likewise what is connected and loses its connection; until this socket is gone.
  Socket MonitorLost(SocketContext& context);
  // The next one; nullopt: there is none now, and only PollSockets finds out that there is more.
  // REQUIRES: this is from Monitor().
  std::optional<Accepted> ReceiveAccepted();
  // Whether a connection was lost since the last call. REQUIRES: this is from MonitorLost().
  bool ReceiveLost();

 private:
  Socket MonitorOf(SocketContext& context, const char* name, int event);
  // The number of an event, 16 bits, and its value, 32 bits; its address stays in `received`.
  std::optional<int32_t> ReceiveEvent();
  friend void PollSockets(std::span<Socket* const>, const WakeEvent*, Duration);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Blocks until one of the sockets has something to receive, `wake` (may be null) was notified, or
// `timeout` (not negative) has passed. Consumes notifications.
void PollSockets(std::span<Socket* const> sockets, const WakeEvent* wake, Duration timeout);

}  // namespace whippletree
