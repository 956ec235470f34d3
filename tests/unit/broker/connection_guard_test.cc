#include "broker/connection_guard.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace whippletree {
namespace {

constexpr int kPatienceMs = 60'000;
constexpr int kNoBound = std::numeric_limits<int>::max();

// A plain connection.
class Stranger {
 public:
  explicit Stranger(uint32_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Stranger() { close(fd_); }
  Stranger(const Stranger&) = delete;

  // Waits until the other end has ended it.
  bool IsEnded() const {
    pollfd poll_fd = {fd_, POLLRDHUP, 0};
    return poll(&poll_fd, 1, kPatienceMs) == 1;
  }

 private:
  const int fd_;
};

class ConnectionGuardTest : public testing::Test {
 protected:
  ConnectionGuardTest()
      : door_(context_, Socket::Type::kRouter, {}), data_(context_, Socket::Type::kPull, {}) {}

  std::vector<Socket*> Sockets() { return {&door_, &data_}; }
  uint32_t Bind(Socket& socket) {
    const absl::StatusOr<uint32_t> port = socket.Bind("127.0.0.1", 0);
    EXPECT_TRUE(port.ok()) << port.status();
    return port.value_or(0);
  }
  // Sends a message to the door and waits for it there.
  void ExpectServed(uint32_t port) {
    Socket dealer(context_, Socket::Type::kDealer, {});
    ASSERT_TRUE(dealer.Connect("127.0.0.1", port).ok());
    dealer.Send(1, [](char* frame) { *frame = 'x'; });
    std::string route;
    std::string_view frame;
    Socket* const sockets[] = {&door_};
    const auto end = std::chrono::steady_clock::now() + milliseconds(kPatienceMs);
    auto received = Socket::ReceiveResult::kNothing;
    // A poll may end for less than a message.
    while (received == Socket::ReceiveResult::kNothing && std::chrono::steady_clock::now() < end) {
      PollSockets(sockets, nullptr, milliseconds(kPatienceMs));
      received = door_.Receive(&route, &frame);
    }
    EXPECT_EQ(received, Socket::ReceiveResult::kMessage);
  }

  SocketContext context_;
  Socket door_;
  Socket data_;
};

TEST_F(ConnectionGuardTest, EndsConnectionsBeyondTheBoundOfEachSocket) {
  // All numbers that a connection can have are beyond it.
  ConnectionGuard guard(context_, Sockets(), 1);
  for (Socket* socket : Sockets()) {
    const uint32_t port = Bind(*socket);
    const uint64_t before = guard.refused();
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(Stranger(port).IsEnded());
    EXPECT_EQ(guard.refused(), before + 20);
  }
}

TEST_F(ConnectionGuardTest, ThoseBelowTheBoundGoOn) {
  ConnectionGuard guard(context_, Sockets(), kNoBound);
  const uint32_t port = Bind(door_);
  const Stranger stranger(port);
  ExpectServed(port);
  EXPECT_EQ(guard.refused(), 0u);
}

TEST_F(ConnectionGuardTest, WhenNumbersAreFreeAgainConnectionsAreServed) {
  std::vector<int> taken(64);
  for (int& fd : taken) fd = dup(STDIN_FILENO);
  ConnectionGuard guard(context_, Sockets(), taken.back());
  const uint32_t port = Bind(door_);
  EXPECT_TRUE(Stranger(port).IsEnded());
  EXPECT_EQ(guard.refused(), 1u);
  for (const int fd : taken) close(fd);
  ExpectServed(port);
  EXPECT_EQ(guard.refused(), 1u);
}

// Nothing waits for ever for somebody who reads what is told.
TEST_F(ConnectionGuardTest, EndsWhileConnectionsCome) {
  for (int i = 0; i < 20; ++i) {
    Socket door(context_, Socket::Type::kRouter, {});
    const ConnectionGuard guard(context_, {&door}, i % 2 == 0 ? 1 : kNoBound);
    const uint32_t door_port = Bind(door);
    std::vector<std::unique_ptr<Stranger>> strangers;
    for (int k = 0; k < 10; ++k) strangers.push_back(std::make_unique<Stranger>(door_port));
  }
}

}  // namespace
}  // namespace whippletree
