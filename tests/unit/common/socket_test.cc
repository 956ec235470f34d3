#include "common/socket.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace whippletree {
namespace {

constexpr Duration kPatience = seconds(20);

class SocketTest : public ::testing::Test {
 protected:
  SocketTest()
      : router(context, Socket::Type::kRouter, {}), dealer(context, Socket::Type::kDealer, {}) {
    const absl::StatusOr<uint32_t> port = router.Bind("127.0.0.1", 0);
    EXPECT_TRUE(port.ok()) << port.status();
    EXPECT_TRUE(dealer.Connect("127.0.0.1", port.value_or(0)).ok());
  }
  static void Send(Socket& socket, const std::string& text) {
    ASSERT_EQ(socket.Send(text.size(), [&](char* frame) { text.copy(frame, text.size()); }),
              Socket::SendResult::kSent);
  }
  // Polls until there is a message; empty: none came.
  static std::string Receive(Socket& socket, std::string* route) {
    std::string_view frame;
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (socket.Receive(route, &frame) == Socket::ReceiveResult::kMessage) {
        return std::string(frame);
      }
      Socket* const sockets[] = {&socket};
      PollSockets(sockets, nullptr, kPatience);
    }
    return "";
  }

  SocketContext context;
  Socket router;
  Socket dealer;
};

TEST_F(SocketTest, AMessageEndsThePoll) {
  std::string route;
  Send(dealer, "one");
  EXPECT_EQ(Receive(router, &route), "one");
  EXPECT_FALSE(route.empty());
  std::string_view frame;
  EXPECT_EQ(router.Receive(&route, &frame), Socket::ReceiveResult::kNothing);
  Send(dealer, "two");
  EXPECT_EQ(Receive(router, &route), "two");
}

TEST_F(SocketTest, WhatIsNotReceivedEndsTheNextPoll) {
  std::string route;
  Send(dealer, "one");
  Send(dealer, "two");
  EXPECT_EQ(Receive(router, &route), "one");
  // "two" may be there already, and the descriptor says nothing of it any more.
  EXPECT_EQ(Receive(router, &route), "two");
}

TEST_F(SocketTest, AWakeEventEndsThePollAndIsConsumed) {
  const WakeEvent wake;
  Socket* const sockets[] = {&router};
  wake.Notify();
  wake.Notify();
  PollSockets(sockets, &wake, std::chrono::hours(1));
  PollSockets(sockets, &wake, Duration(0));
  wake.Notify();
  wake.Wait();
}

// Sends take from a socket's descriptor what it tells of messages that arrived: either side sends
// and receives in any mixture, and nobody may sleep beside a message.
TEST_F(SocketTest, NothingThatArrivesBetweenSendsIsOverlooked) {
  constexpr int kMessages = 20'000;
  const auto run = [&](Socket& socket, const std::string& route, bool is_router) {
    int sent = 0;
    int received = 0;
    std::string from = route;
    while (true) {
      // As many as the other side has sent, and some more.
      const auto may_send = [&] { return sent < kMessages && sent < received + 50; };
      for (int i = 0; i < 3 && may_send(); ++i, ++sent) {
        const auto fill = [](char* frame) { *frame = 'x'; };
        ASSERT_EQ(is_router ? socket.SendTo(route, 1, fill) : socket.Send(1, fill),
                  Socket::SendResult::kSent);
      }
      std::string_view frame;
      const int before = received;
      while (socket.Receive(&from, &frame) == Socket::ReceiveResult::kMessage) ++received;
      if (sent == kMessages && received == kMessages) break;
      if (received > before) continue;
      Socket* const sockets[] = {&socket};
      const auto begin = std::chrono::steady_clock::now();
      PollSockets(sockets, nullptr, may_send() ? Duration(0) : kPatience);
      if (std::chrono::steady_clock::now() - begin >= kPatience) break;
    }
    EXPECT_EQ(received, kMessages);
  };
  std::string route;
  Send(dealer, "hello");
  ASSERT_EQ(Receive(router, &route), "hello");
  std::thread other([&] { run(dealer, "", false); });
  run(router, route, true);
  other.join();
}

}  // namespace
}  // namespace whippletree
