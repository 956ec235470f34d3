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
    ASSERT_EQ(Receive(router, &route), "question");
  }
}

}  // namespace
}  // namespace whippletree
