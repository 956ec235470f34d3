#include "broker/http.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <list>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "broker/http_connection.h"
#include "broker/http_pages.h"
#include "broker/http_request.h"
#include "broker/page_maker.h"
#include "common/clock.h"
#include "common/socket.h"

namespace whippletree {
namespace {

using State = HttpConnection::State;

constexpr int kBacklog = 128;
constexpr int kAcceptsPerTurn = 64;
// What the kernel keeps for somebody who does not read; it may take more by itself.
constexpr int kSendBufferBytes = 64 << 10;
// When the process has no descriptor left, accepting is tried again after this.
constexpr Duration kAcceptPause = milliseconds(100);
// So many answers of a page may be on their way at a time. A further one takes the place of the
// oldest: those who still read it are too slow.
constexpr size_t kMessagesPerPage = 3;

enum Page : size_t { kHealth, kMetrics, kStatus, kPages };

struct AddressList {
  ~AddressList() {
    if (first != nullptr) freeaddrinfo(first);
  }
  addrinfo* first = nullptr;
};

// A socket that listens, or -1 and errno.
int ListenOn(const addrinfo& address) {
  const int fd = socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  // Connections inherit it.
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes);
  if (bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(Options options) : options_(std::move(options)) {}
  ~Impl() { Stop(); }

  absl::StatusOr<int> Listen(const std::string& host, int port);
  void Stop();

 private:
  using Connections = std::list<HttpConnection>;  // the oldest first

  void Run();
  Duration WaitMax(MonoTime now) const;
  void Accept(MonoTime now);
  // Ends the connection that is least worth keeping. False: there is none to end.
  bool MakeRoom();
  void Serve(HttpConnection& connection, MonoTime now);
  void Route(HttpConnection& connection, const HttpRequest& request);
  void Reply(HttpConnection& connection, HttpAnswer answer);
  // Hands out the pages that were made since the last turn.
  void TakePages(MonoTime now);
  void LimitMessages(size_t page, const std::shared_ptr<const HttpMessage>& fresh);

  const Options options_;
  // Constant once Listen() has begun to serve.
  int listener_ = -1;
  bool check_host_ = true;

  WakeEvent wake_;
  std::atomic<bool> stopping_{false};
  // The rest is the thread's.
  Connections connections_;
  MonoTime accept_again_{};
  std::vector<std::unique_ptr<PageMaker>> makers_;                         // by page
  std::deque<std::weak_ptr<const HttpMessage>> messages_[Page::kPages]{};  // the oldest first
  std::thread thread_;
};

absl::StatusOr<int> HttpServer::Impl::Listen(const std::string& host, int port) {
  check_host_ = IsLoopbackHost(host);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  AddressList addresses;
  const int unknown =
      getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &addresses.first);
  errno = 0;
  for (const addrinfo* one = addresses.first; unknown == 0 && one != nullptr && listener_ < 0;
       one = one->ai_next) {
    listener_ = ListenOn(*one);
  }
  if (listener_ < 0) {
    const int error = errno;
    return absl::UnavailableError(
        absl::StrCat("cannot serve HTTP on ", host, " port ", port, ": ",
                     error != 0 ? std::strerror(error) : "no such address here"));
  }
  const auto make = [&](std::function<HttpAnswer()> page) {
    makers_.push_back(std::make_unique<PageMaker>(std::move(page), &wake_));
  };
  const auto with_status = [this](HttpAnswer (*page)(const wire::StatusReply*)) {
    return [this, page] {
      wire::StatusReply status;
      return page(options_.snapshot(&status) ? &status : nullptr);
    };
  };
  make([this] { return HealthPage(options_.is_healthy()); });
  make(with_status(MetricsPage));
  make(with_status(StatusPage));
  thread_ = std::thread([this] { Run(); });
  return PortOf(listener_);
}

void HttpServer::Impl::Stop() {
  if (listener_ < 0) return;
  stopping_ = true;
  wake_.Notify();
  thread_.join();
  makers_.clear();
  connections_.clear();
  close(std::exchange(listener_, -1));
}

void HttpServer::Impl::Run() {
  std::vector<pollfd> fds;
  while (!stopping_) {
    MonoTime now = ReadMonoClock();
    fds.clear();
    fds.push_back({wake_.fd(), POLLIN, 0});
    fds.push_back({now < accept_again_ ? -1 : listener_, POLLIN, 0});
    for (const HttpConnection& connection : connections_) {
      fds.push_back({connection.fd(), connection.events(), 0});
    }
    const Duration wait = WaitMax(now);
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(wait);
    const timespec timeout = {whole.count(), Duration(wait - whole).count()};
    if (ppoll(fds.data(), fds.size(), &timeout, nullptr) < 0) continue;  // interrupted
    now = ReadMonoClock();
    if (fds[0].revents != 0) wake_.Clear();
    auto polled = fds.begin() + 2;
    for (auto it = connections_.begin(); it != connections_.end(); ++polled) {
      const bool is_broken = polled->events == 0 && polled->revents != 0;
      if (polled->revents != 0 && !is_broken) Serve(*it, now);
      const bool is_over = is_broken || it->state() == State::kEnded || it->deadline() <= now;
      it = is_over ? connections_.erase(it) : std::next(it);
    }
    TakePages(now);
    if (fds[1].revents != 0) Accept(now);
  }
}

Duration HttpServer::Impl::WaitMax(MonoTime now) const {
  Duration wait = std::chrono::hours(1);
  for (const HttpConnection& connection : connections_) {
    wait = std::min(wait, connection.deadline() - now);
  }
  if (now < accept_again_) wait = std::min(wait, accept_again_ - now);
  return std::max(wait, Duration(0));
}

void HttpServer::Impl::Accept(MonoTime now) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      const bool none_left =
          errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
      if (none_left) accept_again_ = now + kAcceptPause;
      if (none_left || errno == EAGAIN || errno == EWOULDBLOCK) return;
      continue;  // a connection that is gone already
    }
    if (connections_.size() >= options_.connections_max && !MakeRoom()) {
      close(fd);
      continue;
    }
    connections_.emplace_back(fd, now + options_.request_time_max);
    // What is asked at once is answered whatever comes after it.
    Serve(connections_.back(), now);
    if (connections_.back().state() == State::kEnded) connections_.pop_back();
  }
}

bool HttpServer::Impl::MakeRoom() {
  // Health is the last to go: it is what tells that there is an attack.
  const auto worth = [](const HttpConnection& connection) {
    switch (connection.state()) {
      case State::kEnded:
      case State::kEnding:
        return 0;
      case State::kReading:
        return 1;
      case State::kWriting:
        return 2;
      case State::kWaiting:
        break;
    }
    return connection.page() == kHealth ? 4 : 3;
  };
  const auto least = std::min_element(
      connections_.begin(), connections_.end(),
      [&](const HttpConnection& a, const HttpConnection& b) { return worth(a) < worth(b); });
  if (least == connections_.end() || worth(*least) == 4) return false;
  connections_.erase(least);
  return true;
}

void HttpServer::Impl::Serve(HttpConnection& connection, MonoTime now) {
  if (connection.state() == State::kWriting) return connection.Write(now);
  const bool is_reading = connection.state() == State::kReading;
  connection.Read();
  if (!is_reading || connection.state() != State::kReading) return;
  const size_t size = HttpHeadSize(connection.received());
  if (size > 0) {
    const auto request = ParseHttpHead(connection.received().substr(0, size));
    if (request) {
      Route(connection, *request);
    } else {
      Reply(connection, PlainAnswer(400, "400 this request cannot be answered"));
    }
  } else if (connection.received().size() >= kHttpHeadBytesMax) {
    Reply(connection, PlainAnswer(431, "431 the head of the request is too large"));
  }
  if (connection.state() == State::kWriting) connection.Write(now);
}

void HttpServer::Impl::Route(HttpConnection& connection, const HttpRequest& request) {
  if (request.method == "HEAD") connection.OmitBody();
  if (check_host_ && !IsLoopbackHost(request.host)) {
    return Reply(
        connection,
        PlainAnswer(403, "403 the Host of the request is not this machine: use 127.0.0.1"));
  }
  if (request.method != "GET" && request.method != "HEAD") {
    return Reply(connection, PlainAnswer(405, "405 only GET and HEAD"));
  }
  const auto wait_for = [&](Page page) { connection.Wait(page, makers_[page]->Want()); };
  if (request.path == "/healthz") return wait_for(kHealth);
  if (request.path == "/metrics") return wait_for(kMetrics);
  if (request.path == "/") return wait_for(kStatus);
  if (request.path == "/style.css") return Reply(connection, StylePage());
  Reply(connection, PlainAnswer(404, "404 there is only /, /healthz and /metrics"));
}

void HttpServer::Impl::Reply(HttpConnection& connection, HttpAnswer answer) {
  connection.Answer(std::make_shared<const HttpMessage>(std::move(answer)));
}

void HttpServer::Impl::TakePages(MonoTime now) {
  for (size_t page = 0; page < kPages; ++page) {
    const PageMaker::Page made = makers_[page]->Take();
    if (made.message == nullptr) continue;
    for (HttpConnection& connection : connections_) {
      if (connection.state() != State::kWaiting || connection.page() != page ||
          connection.ticket() > made.ticket) {
        continue;
      }
      connection.Answer(made.message);
      connection.Write(now);
    }
    LimitMessages(page, made.message);
  }
}

void HttpServer::Impl::LimitMessages(size_t page, const std::shared_ptr<const HttpMessage>& fresh) {
  auto& messages = messages_[page];
  messages.push_back(fresh);
  std::erase_if(messages, [](const auto& message) { return message.expired(); });
  for (; messages.size() > kMessagesPerPage; messages.pop_front()) {
    const std::shared_ptr<const HttpMessage> oldest = messages.front().lock();
    connections_.remove_if(
        [&](const HttpConnection& connection) { return connection.message() == oldest; });
  }
}

HttpServer::HttpServer(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<int> HttpServer::Listen(const std::string& host, int port) {
  return impl_->Listen(host, port);
}

void HttpServer::Stop() { impl_->Stop(); }

}  // namespace whippletree
