#include "broker/connection_guard.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <utility>

#include "common/clock.h"
#include "common/log.h"

namespace whippletree {
namespace {

// Of this end; 0: it is no connection of TCP.
uint32_t LocalPort(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  if (address.ss_family != AF_INET) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

ConnectionGuard::ConnectionGuard(SocketContext& context, std::vector<Socket*> sockets,
                                 int descriptors_max)
    : sockets_(std::move(sockets)), descriptors_max_(descriptors_max) {
  for (Socket* socket : sockets_) monitors_.push_back(socket->Monitor(context));
  thread_ = std::thread([this] { Run(); });
}

ConnectionGuard::~ConnectionGuard() {
  // As long as libzmq may tell something, it is read.
  for (Socket* socket : sockets_) socket->StopMonitor();
  stopping_ = true;
  wake_.Notify();
  thread_.join();
}

void ConnectionGuard::Run() {
  std::vector<Socket*> monitors;
  for (Socket& monitor : monitors_) monitors.push_back(&monitor);
  while (!stopping_) {
    // Also to say how many lines were left out.
    PollSockets(monitors, &wake_, seconds(1));
    for (Socket* monitor : monitors) {
      while (const auto accepted = monitor->ReceiveAccepted()) Look(*accepted);
    }
    for (const LogEvent& event : throttle_.TakeSummaries(ReadMonoClock())) WriteLog(event);
  }
}

void ConnectionGuard::Look(const Socket::Accepted& accepted) {
  if (accepted.fd < descriptors_max_ || LocalPort(accepted.fd) != accepted.port) return;
  ++refused_;
  // libzmq finds that the peer is gone, and closes it.
  shutdown(accepted.fd, SHUT_RDWR);
  const LogEvent event = {LogLevel::kWarning,
                          "connection_refused",
                          {{"port", uint64_t{accepted.port}},
                           {"reason", "too many descriptors are in use: raise ulimit -n"},
                           {"descriptors_max", int64_t{descriptors_max_}}}};
  if (throttle_.Admit(event, ReadMonoClock())) WriteLog(event);
}

}  // namespace whippletree
