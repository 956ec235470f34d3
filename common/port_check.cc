#include "common/port_check.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>

#include "common/clock.h"

namespace whippletree {

struct PortCheck::Answer {
  std::mutex mutex;
  std::string error;
};

namespace {

constexpr Duration kPatience = seconds(3);
// ZeroMQ speaks first; who says nothing for so long waits for a question.
constexpr Duration kSilence = milliseconds(300);
constexpr size_t kAnswerBytesMax = 4096;

// A connection, and what came on it.
class Probe {
 public:
  explicit Probe(const HostPort& address) : end_(ReadMonoClock() + kPatience) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const std::string port = std::to_string(address.port);
    if (getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found) != 0) return;
    for (const addrinfo* at = found; at != nullptr && !connected_; at = at->ai_next) Connect(*at);
    freeaddrinfo(found);
  }
  ~Probe() { Close(); }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  bool connected() const { return connected_; }
  const std::string& received() const { return received_; }

  // A few bytes, which fit what the system holds for a new connection.
  void Send(std::string_view bytes) {
    [[maybe_unused]] const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Until there are so many bytes, or nothing came for `silence`. False: fewer came.
  bool Receive(size_t bytes, Duration silence) {
    while (received_.size() < bytes && Wait(POLLIN, silence)) {
      char piece[512];
      const ssize_t n = recv(fd_, piece, sizeof piece, 0);
      if (n <= 0) break;
      received_.append(piece, static_cast<size_t>(n));
    }
    return received_.size() >= bytes;
  }

 private:
  void Connect(const addrinfo& at) {
    Close();
    fd_ = socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at.ai_protocol);
    if (fd_ < 0) return;
    const int now = connect(fd_, at.ai_addr, at.ai_addrlen);
    if (now != 0 && (errno != EINPROGRESS || !Wait(POLLOUT, kPatience))) return;
    int error = 0;
    socklen_t size = sizeof error;
    connected_ = getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
  }
  bool Wait(short events, Duration most) {
    const Duration left = std::min(most, end_ - ReadMonoClock());
    pollfd wait = {fd_, events, 0};
    return left > Duration(0) && poll(&wait, 1, static_cast<int>(ToMilliseconds(left)) + 1) > 0;
  }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  const MonoTime end_;
  int fd_ = -1;
  bool connected_ = false;
  std::string received_;
};

// ZMTP 3.0 with the mechanism NULL: what both sides say first.
std::string ZmtpGreeting() {
  std::string greeting = "\xff" + std::string(8, '\0') + "\x7f" + std::string("\x03\x00NULL", 6);
  greeting.resize(64, '\0');
  return greeting;
}

// The type of the socket that has greeted and said READY; empty: it did not say.
std::string SocketType(std::string_view received) {
  constexpr std::string_view kKey = "Socket-Type";
  const size_t key = received.find(kKey);
  const size_t value = key + kKey.size() + 4;  // behind its length
  if (key == received.npos || value > received.size()) return "";
  const auto size = static_cast<unsigned char>(received[value - 1]);
  return std::string(received.substr(value, size));
}

// Empty: nothing that says where the mistake is.
std::string WhatAnswers(const HostPort& address) {
  Probe probe(address);
  if (!probe.connected()) return "";
  const std::string greeting = ZmtpGreeting();
  constexpr size_t kSignature = 10;
  if (!probe.Receive(kSignature, kSilence) && probe.received().empty()) {
    probe.Send("GET / HTTP/1.1\r\nHost: " + address.ToString() + "\r\nConnection: close\r\n\r\n");
    probe.Receive(kAnswerBytesMax, seconds(1));
    const std::string& answer = probe.received();
    if (answer.rfind("HTTP/", 0) == 0) {
      return answer.find("hippletree") != answer.npos ? "that is the broker's HTTP port"
                                                      : "what answers there speaks HTTP";
    }
    // A broker that is stopped says nothing either.
    return answer.empty() ? "" : "what answers there is no broker";
  }
  const std::string& got = probe.received();
  if (got.size() < kSignature || got[0] != greeting[0] || got[9] != greeting[9]) {
    return "what answers there is no broker";
  }
  probe.Send(greeting);
  // The greeting, and READY behind it.
  for (size_t bytes = 65; SocketType(got).empty() && probe.Receive(bytes, seconds(1)); ++bytes) {
  }
  const std::string type = SocketType(got);
  if (type == "PULL") return "that is the broker's submit or complete port";
  if (type.empty() || type == "ROUTER") return "";
  return "what answers there is a " + type + " socket of ZeroMQ, and no broker";
}

}  // namespace

PortCheck::PortCheck(const HostPort& address) : answer_(std::make_shared<Answer>()) {
  try {
    std::thread([address, answer = answer_] {
      std::string error = WhatAnswers(address);
      const std::lock_guard lock(answer->mutex);
      answer->error = std::move(error);
    }).detach();
  } catch (const std::system_error&) {  // no thread: then nobody knows
  }
}

std::string PortCheck::error() const {
  const std::lock_guard lock(answer_->mutex);
  return answer_->error;
}

}  // namespace whippletree
