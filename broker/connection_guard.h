// Keeps the connections of the sockets below the limit of descriptors. At the limit libzmq's I/O
// thread would spin, for ever trying to accept one more, and serve nobody new.
//
// The system gives a new connection the lowest number that is free. So a high number means that
// nearly all are taken, by whomever; and a connection with such a number is ended at once, while
// those before it go on. The numbers from the bound on are for what has to be opened in any case:
// files of the store, HTTP.
//
// libzmq tells of a connection after it was accepted. Until that is read here its descriptor may be
// closed, and the number another's. If that is one more connection of these sockets it has to go as
// well; anything else is recognised by its port. (Between that look and the end there is a moment:
// what is closed and opened again in it, an HTTP connection say, would be ended by mistake.)
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "common/log_throttle.h"
#include "common/socket.h"

namespace whippletree {

class ConnectionGuard {
 public:
  // Ends connections whose descriptor is `descriptors_max` or higher. The sockets, at most three,
  // are not bound yet and outlive this.
  ConnectionGuard(SocketContext& context, std::vector<Socket*> sockets, int descriptors_max);
  // REQUIRES: no other thread uses the sockets.
  ~ConnectionGuard();
  ConnectionGuard(const ConnectionGuard&) = delete;
  ConnectionGuard& operator=(const ConnectionGuard&) = delete;

  // How many were ended. Thread-safe.
  uint64_t refused() const { return refused_; }

 private:
  void Run();
  void Look(const Socket::Accepted& accepted);

  const std::vector<Socket*> sockets_;
  const int descriptors_max_;
  std::atomic<uint64_t> refused_{0};
  WakeEvent wake_;
  std::atomic<bool> stopping_{false};
  // The rest is the thread's.
  std::vector<Socket> monitors_;
  LogThrottle throttle_;
  std::thread thread_;
};

}  // namespace whippletree
