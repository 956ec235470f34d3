#include "broker/http.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace whippletree {
namespace {

// A connection that does what it is told to, and waits for no more than a minute.
class Client {
 public:
  explicit Client(int port, int receive_buffer_bytes = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience = {60, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (receive_buffer_bytes > 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Whether all of it could be sent.
  bool Send(const std::string& bytes) {
    return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  // All that comes until the server closes.
  std::string Receive() {
    std::string answer;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd_, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, n);
    return answer;
  }
  int fd() const { return fd_; }
  // Whether the server ends the connection, though nothing is read of it.
  bool IsEnded() {
    pollfd fd = {fd_, POLLRDHUP, 0};
    return poll(&fd, 1, 60'000) == 1;
  }

 private:
  const int fd_;
};

// Sends `request` as it is and returns all that comes back until the server closes.
std::string Exchange(int port, const std::string& request) {
  Client client(port);
  return client.Send(request) ? client.Receive() : "";
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

constexpr char kGetMetrics[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
constexpr char kHalfRequest[] = "GET /healthz HTTP/1.1\r\nHost: ";
constexpr Duration kNever = std::chrono::hours(1);

HttpServer::Options Healthy() {
  HttpServer::Options options;
  options.snapshot = [](wire::StatusReply*) { return true; };
  options.is_healthy = [] { return true; };
  return options;
}

// With pages of some megabytes.
HttpServer::Options Large() {
  HttpServer::Options options = Healthy();
  options.snapshot = [](wire::StatusReply* status) {
    for (int i = 0; i < 2000; ++i) status->add_queues()->set_name("queue-" + std::to_string(i));
    return true;
  };
  return options;
}

class HttpTest : public testing::Test {
 protected:
  HttpTest()
      : server_({[this](wire::StatusReply* status) {
                   status->set_software("whippletree 1.2.3");
                   status->add_queues()->set_name("<script>alert(1)</script>");
                   return answers_.load();
                 },
                 [this] { return answers_.load(); }}) {}

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
                           "localhost.evil.example", "10.0.0.1", "", "127.0.0.1\r\nHost: evil",
                           "localhost:80@evil", "localhost@evil", "evil@localhost", "[::1]evil",
                           "localhost:80:80", "localhost:8x", "[::1", "localhost/", "::1"}) {
    EXPECT_TRUE(Get(port_, "/healthz", host).starts_with("HTTP/1.1 403")) << host;
  }
  EXPECT_TRUE(Exchange(port_, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 403"));
}

TEST_F(HttpTest, GarbageIsRefused) {
  EXPECT_TRUE(Exchange(port_, std::string("\0\xff\r\n\r\n", 6)).starts_with("HTTP/1.1 400"));
  const std::string endless = Exchange(port_, "GET / HTTP/1.1\r\nA: " + std::string(20'000, 'x'));
  EXPECT_TRUE(endless.starts_with("HTTP/1.1 431")) << endless;
  EXPECT_EQ(Body(Get(port_, "/healthz")), "ok\n");
}

TEST_F(HttpTest, RangesAreNotLookedAt) {
  std::string request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1";
  for (int i = 0; i < 2600; ++i) request += ",0-1";
  const std::string answer = Exchange(port_, request + "\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_EQ(Body(answer), "ok\n");
}

TEST_F(HttpTest, WhatFollowsTheHeadTakesNothingAway) {
  const std::string head =
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n";
  EXPECT_EQ(Body(Exchange(port_, head + std::string(500'000, 'x'))), "ok\n");
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
  HttpServer second(Healthy());
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
  HttpServer second(Healthy());
  const absl::StatusOr<int> port = second.Listen("127.0.0.1", port_);
  EXPECT_TRUE(port.ok()) << port.status();
}

TEST(HttpServerTest, ManyWhoDoNotAskHoldUpNobody) {
  HttpServer::Options options = Healthy();
  options.request_time_max = kNever;
  options.connections_max = 4;
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<Client>(port));
    slow.back()->Send(kHalfRequest);
  }
  EXPECT_EQ(Body(Get(port, "/healthz")), "ok\n");
  // The oldest have made room; the newest may still ask.
  EXPECT_TRUE(slow.front()->IsEnded());
  EXPECT_TRUE(slow.back()->Send("localhost\r\n\r\n"));
  EXPECT_EQ(Body(slow.back()->Receive()), "ok\n");
}

TEST(HttpServerTest, ManyWhoDoNotReadHoldUpNobody) {
  HttpServer::Options options = Large();
  options.request_time_max = kNever;
  options.connections_max = 4;
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<Client>(port, 4096));
    slow.back()->Send(kGetMetrics);
  }
  EXPECT_EQ(Body(Get(port, "/healthz")), "ok\n");
  EXPECT_TRUE(slow.front()->IsEnded());
}

TEST(HttpServerTest, APageThatTakesLongHoldsUpNoOther) {
  std::mutex mutex;
  std::condition_variable released;
  bool is_released = false;
  HttpServer::Options options = Healthy();
  options.request_time_max = kNever;
  options.connections_max = 4;
  options.snapshot = [&](wire::StatusReply*) {
    std::unique_lock lock(mutex);
    released.wait(lock, [&] { return is_released; });
    return true;
  };
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  std::vector<std::unique_ptr<Client>> waiting;
  for (int i = 0; i < 20; ++i) {
    waiting.push_back(std::make_unique<Client>(port));
    waiting.back()->Send(kGetMetrics);
  }
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Body(Get(port, "/healthz")), "ok\n");
  {
    const std::lock_guard lock(mutex);
    is_released = true;
  }
  released.notify_all();
  EXPECT_TRUE(waiting.back()->Receive().starts_with("HTTP/1.1 200"));
}

// Each byte comes soon after the one before: only a time for the whole request ends it.
TEST(HttpServerTest, ARequestHasATimeForAllOfIt) {
  HttpServer::Options options = Healthy();
  options.request_time_max = milliseconds(50);
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  Client client(port);
  std::atomic<bool> ended = false;
  std::thread dripping([&] {
    client.Send("GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ");
    while (!ended && client.Send("x")) std::this_thread::sleep_for(milliseconds(1));
  });
  EXPECT_EQ(client.Receive(), "");
  EXPECT_TRUE(client.IsEnded());
  ended = true;
  dripping.join();
}

TEST(HttpServerTest, AnAnswerHasATimeToBeRead) {
  HttpServer::Options options = Large();
  options.request_time_max = milliseconds(500);
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  Client slow(port, 4096);
  slow.Send(kGetMetrics);
  EXPECT_TRUE(slow.IsEnded());
}

// As answers are megabytes, few may be on their way at a time.
TEST(HttpServerTest, ThoseWhoReadAnOldAnswerMakeRoomForNewOnes) {
  HttpServer::Options options = Large();
  options.request_time_max = kNever;
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  Client slow(port, 4096);
  slow.Send(kGetMetrics);
  std::vector<std::unique_ptr<Client>> later;
  // One after the other, so that each gets a page of its own.
  for (int i = 0; i < 4; ++i) {
    later.push_back(std::make_unique<Client>(port, 4096));
    later.back()->Send(kGetMetrics);
    pollfd fd = {later.back()->fd(), POLLIN, 0};
    EXPECT_EQ(poll(&fd, 1, 60'000), 1);
  }
  EXPECT_TRUE(slow.IsEnded());
  EXPECT_TRUE(Body(Get(port, "/metrics")).ends_with("\n"));
}

TEST(HttpServerTest, ManyWhoAskForOnePageGetOne) {
  std::atomic<int> made = 0;
  std::mutex mutex;
  std::condition_variable changed;
  bool is_released = false;
  HttpServer::Options options = Healthy();
  options.request_time_max = kNever;
  options.snapshot = [&](wire::StatusReply*) {
    ++made;
    std::unique_lock lock(mutex);
    changed.notify_all();
    changed.wait(lock, [&] { return is_released; });
    return true;
  };
  HttpServer server(options);
  const int port = *server.Listen("127.0.0.1", 0);
  std::vector<std::unique_ptr<Client>> waiting;
  for (int i = 0; i < 30; ++i) {
    waiting.push_back(std::make_unique<Client>(port));
    waiting.back()->Send(kGetMetrics);
    // Answered in their order: all of those before are known to the server then.
    EXPECT_EQ(Body(Get(port, "/healthz")), "ok\n");
  }
  {
    const std::lock_guard lock(mutex);
    is_released = true;
  }
  changed.notify_all();
  for (const auto& client : waiting) EXPECT_TRUE(client->Receive().starts_with("HTTP/1.1 200"));
  EXPECT_LE(made, 2);
}

TEST(HttpServerTest, BeyondLoopbackAnyHostIsAnswered) {
  HttpServer server(Healthy());
  const absl::StatusOr<int> port = server.Listen("0.0.0.0", 0);
  ASSERT_TRUE(port.ok()) << port.status();
  EXPECT_EQ(Body(Get(*port, "/healthz", "broker.example:7780")), "ok\n");
}

TEST(HttpServerTest, AnAddressOfAnotherMachineIsAnError) {
  HttpServer server(Healthy());
  const absl::StatusOr<int> port = server.Listen("192.0.2.1", 0);  // for documentation only
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.status().code(), absl::StatusCode::kUnavailable);
}

TEST(HttpServerTest, StartsAndStopsAtOnce) {
  for (int i = 0; i < 20; ++i) {
    HttpServer server(Healthy());
    EXPECT_TRUE(server.Listen("127.0.0.1", 0).ok());
  }
}

}  // namespace
}  // namespace whippletree
