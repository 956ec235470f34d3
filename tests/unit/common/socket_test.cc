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

  static void ExpectPollEnds(Socket& socket) {
    Socket* const sockets[] = {&socket};
    const auto begin = std::chrono::steady_clock::now();
    PollSockets(sockets, nullptr, kPatience);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, kPatience);
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
  // It has arrived with the first one, and the descriptor says nothing of it any more.
  std::this_thread::sleep_for(milliseconds(3));
  ExpectPollEnds(router);
  EXPECT_EQ(Receive(router, &route), "two");
}

TEST_F(SocketTest, AWakeEventEndsThePollAndIsConsumed) {
  const WakeEvent wake;
  wake.Notify();
  wake.Notify();
  const auto begin = std::chrono::steady_clock::now();
  PollSockets({}, &wake, kPatience);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kPatience);
  const auto consumed = std::chrono::steady_clock::now();
  PollSockets({}, &wake, milliseconds(20));
  EXPECT_GE(std::chrono::steady_clock::now() - consumed, milliseconds(20));
  wake.Notify();
  wake.Wait();
}

// A send may take from a socket's descriptor what it tells of a message that has arrived.
TEST_F(SocketTest, WhatArrivesBeforeASendEndsThePoll) {
  std::string route;
  std::string_view frame;
  Send(dealer, "hello");
  ASSERT_EQ(Receive(router, &route), "hello");
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(router.Receive(&route, &frame), Socket::ReceiveResult::kNothing);
    Send(dealer, "question");
    // On its way for longer than libzmq lets sends pass without a look at what has arrived.
    std::this_thread::sleep_for(milliseconds(3));
    ASSERT_EQ(router.SendTo(route, 1, [](char* byte) { *byte = 'x'; }), Socket::SendResult::kSent);
    ExpectPollEnds(router);
    ASSERT_EQ(Receive(router, &route), "question");
  }
}

}  // namespace
}  // namespace whippletree
