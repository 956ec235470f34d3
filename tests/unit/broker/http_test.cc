#include "broker/http.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace whippletree {
namespace {

// Sends `request` as it is and returns all that comes back until the server closes.
std::string Exchange(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, n);
  }
  close(fd);
  return answer;
}

std::string Request(int port, const std::string& method, const std::string& path,
                    const std::string& host = "127.0.0.1") {
  return Exchange(port, method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
}

std::string Get(int port, const std::string& path, const std::string& host = "127.0.0.1") {
  return Request(port, "GET", path, host);
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string Body(const std::string& answer) { return answer.substr(answer.find("\r\n\r\n") + 4); }

class HttpTest : public testing::Test {
 protected:
  HttpTest()
      : server_([this](wire::StatusReply* status) {
          status->set_software("whippletree 1.2.3");
          status->add_queues()->set_name("<script>alert(1)</script>");
          return answers_.load();
        }) {}

  void SetUp() override {
    const absl::StatusOr<int> port = server_.Listen("127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *port;
    ASSERT_GT(port_, 0);
  }

  std::atomic<bool> answers_{true};
  HttpServer server_;
  int port_ = 0;
};

TEST_F(HttpTest, HealthFollowsTheBroker) {
  std::string answer = Get(port_, "/healthz");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_EQ(Body(answer), "ok\n");
  answers_ = false;
  answer = Get(port_, "/healthz");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503")) << answer;
  EXPECT_EQ(Body(answer), "the broker does not answer\n");
  EXPECT_TRUE(Get(port_, "/metrics").starts_with("HTTP/1.1 503"));
  EXPECT_TRUE(Get(port_, "/").starts_with("HTTP/1.1 503"));
}

TEST_F(HttpTest, ServesMetrics) {
  const std::string answer = Get(port_, "/metrics");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_TRUE(Contains(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
  EXPECT_TRUE(Contains(answer, "whippletree_build_info{software=\"whippletree 1.2.3\"} 1\n"));
}

TEST_F(HttpTest, ThePageIsEscapedAndLocked) {
  const std::string answer = Get(port_, "/");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_TRUE(Contains(answer, "Content-Type: text/html; charset=utf-8"));
  EXPECT_TRUE(Contains(answer, "Content-Security-Policy: default-src 'none'; style-src 'self'"));
  EXPECT_TRUE(Contains(answer, "X-Content-Type-Options: nosniff"));
  EXPECT_TRUE(Contains(answer, "X-Frame-Options: DENY"));
  EXPECT_TRUE(Contains(answer, "Cache-Control: no-store"));
  EXPECT_TRUE(Contains(answer, "href=\"/metrics\""));
  EXPECT_TRUE(Contains(answer, "&lt;script&gt;"));
  EXPECT_FALSE(Contains(answer, "<script"));
  EXPECT_TRUE(Contains(Get(port_, "/style.css"), "Content-Type: text/css"));
}

TEST_F(HttpTest, HeadHasNoBody) {
  const std::string answer = Request(port_, "HEAD", "/healthz");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_TRUE(Contains(answer, "Content-Length: 3"));
  EXPECT_EQ(Body(answer), "");
}

TEST_F(HttpTest, RefusesAllElse) {
  const std::string missing = Get(port_, "/etc/passwd");
  EXPECT_TRUE(missing.starts_with("HTTP/1.1 404")) << missing;
  EXPECT_TRUE(Contains(missing, "404 there is only /, /healthz and /metrics\n"));
  EXPECT_TRUE(Contains(missing, "X-Content-Type-Options: nosniff"));
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    const std::string answer = Request(port_, method, "/");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 405")) << method << " " << answer;
    EXPECT_TRUE(Contains(answer, "Allow: GET, HEAD")) << answer;
  }
}

TEST_F(HttpTest, OnlyHostsOfThisMachineAreAnswered) {
  for (const char* host : {"127.0.0.1", "127.0.0.1:7780", "localhost", "LOCALHOST:1", "[::1]:80"}) {
    EXPECT_TRUE(Get(port_, "/healthz", host).starts_with("HTTP/1.1 200")) << host;
  }
  for (const char* host : {"evil.example", "evil.example:80", "127.0.0.1.evil.example",
                           "localhost.evil.example", "10.0.0.1", "", "127.0.0.1\r\nHost: evil"}) {
    EXPECT_TRUE(Get(port_, "/healthz", host).starts_with("HTTP/1.1 403")) << host;
  }
  EXPECT_TRUE(Exchange(port_, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 403"));
}

TEST_F(HttpTest, GarbageAndSilenceDoNotStopIt) {
  Exchange(port_, std::string(20'000, 'x') + "\r\n\r\n");
  Exchange(port_, std::string("\0\xff\r\n\r\n", 6));
  const std::string half = "GET /healthz HTTP/1.1\r\nHost: ";
  std::vector<std::thread> silent;
  for (int i = 0; i < 3; ++i) silent.emplace_back([&] { Exchange(port_, half); });
  EXPECT_EQ(Body(Get(port_, "/healthz")), "ok\n");
  for (std::thread& thread : silent) thread.join();
}

TEST_F(HttpTest, AnswersManyAtATime) {
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      for (int k = 0; k < 20; ++k) right += Body(Get(port_, "/healthz")) == "ok\n";
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 80);
}

TEST_F(HttpTest, APortInUseIsAnError) {
  HttpServer second([](wire::StatusReply*) { return true; });
  const absl::StatusOr<int> port = second.Listen("127.0.0.1", port_);
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(
      std::string(port.status().message()),
      "cannot serve HTTP on 127.0.0.1 port " + std::to_string(port_) + ": Address already in use");
}

TEST_F(HttpTest, ThePortIsFreeAfterStop) {
  Get(port_, "/healthz");
  server_.Stop();
  server_.Stop();
  HttpServer second([](wire::StatusReply*) { return true; });
  const absl::StatusOr<int> port = second.Listen("127.0.0.1", port_);
  EXPECT_TRUE(port.ok()) << port.status();
}

TEST(HttpServerTest, BeyondLoopbackAnyHostIsAnswered) {
  HttpServer server([](wire::StatusReply*) { return true; });
  const absl::StatusOr<int> port = server.Listen("0.0.0.0", 0);
  ASSERT_TRUE(port.ok()) << port.status();
  EXPECT_EQ(Body(Get(*port, "/healthz", "broker.example:7780")), "ok\n");
}

TEST(HttpServerTest, AnAddressOfAnotherMachineIsAnError) {
  HttpServer server([](wire::StatusReply*) { return true; });
  const absl::StatusOr<int> port = server.Listen("192.0.2.1", 0);  // for documentation only
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.status().code(), absl::StatusCode::kUnavailable);
}

TEST(HttpServerTest, StartsAndStopsAtOnce) {
  for (int i = 0; i < 20; ++i) {
    HttpServer server([](wire::StatusReply*) { return true; });
    EXPECT_TRUE(server.Listen("127.0.0.1", 0).ok());
  }
}

}  // namespace
}  // namespace whippletree
